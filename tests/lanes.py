"""Lanes: providers, keys and models that one test has for itself, on a gateway that many share.

A cooled key, an evicted key and an open circuit breaker outlive the request that caused them, and a
gateway takes seconds to start. So one configuration declares many equal lanes, and each test takes
a new one:

    lane.plays(first=Step(status=500), second=Step(text="hello"))
    seen = lane.ask("first-second", stream=True)
    assert lane.called() == {"first": 2, "second": 1}

A lane's providers and models carry its number, which only this module sees. Every provider is the
same simulator; its keys tell it which provider it is asked as.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

import httpx
import pytest

from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.stores import Charge
from signalbox.simulator import Match, Rule, Scenario, Step
from tests.gateway import KEY, NO_TLS, Gateway, Provider, eventually, gateway, simulated_provider
from tests.simulator_client import chat

KEYS = {"twin": ("left", "right")}
"""The keys of a provider that has not just one of its own name."""
SHARED = ("groq",)
"""Providers that all lanes have in common: what they can carry goes by their name."""
LOST = "lost"
"""A provider at a simulator of its own, for broken connections: it never leaves one for the next
request, which would send that once more if it found the connection broken."""
DEAD = "dead"
"""A provider at a port where nobody listens."""

FINISHED = {False: ("answered",), True: ("first_token_received", "stream_ended")}
"""The last events of a request that is answered, by whether it is streamed."""
json_and_stream = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])


@dataclass(frozen=True)
class Model:
    """A model with a route to each of `providers`, in this order of preference.

    `-N` in `more`, further TOML of the model, stands for the lane's number. With `by_strategy` no
    order is declared; each route then costs ten times as much as the one before it.
    """

    providers: tuple[str, ...]
    more: str = ""
    by_strategy: bool = False


def served_by(*providers: str, more: str = "", by_strategy: bool = False) -> Model:
    return Model(providers, more, by_strategy)


class Lanes:
    """Hands out lanes; a context manager's product, see `running_lanes`."""

    def __init__(self, running: Gateway, simulators: list[Provider], how_many: int) -> None:
        self.gateway = running
        self._simulators = simulators
        self._how_many = how_many
        self._numbers = count()

    def next(self) -> Lane:
        number = next(self._numbers)
        assert number < self._how_many, f"all {self._how_many} lanes are used: declare more"
        return Lane(number, self.gateway, self._simulators)


@contextmanager
def running_lanes(how_many: int, models: Mapping[str, Model], more: str = "") -> Iterator[Lanes]:
    """A gateway with these models in every lane. `more`: TOML that stands before all tables."""
    with ExitStack() as stack:
        usual, unreliable = (stack.enter_context(simulated_provider()) for _ in range(2))
        dead = stack.enter_context(socket.socket())
        dead.bind(("127.0.0.1", 0))  # without `listen`: connections are refused
        urls = {LOST: unreliable.url, DEAD: f"http://127.0.0.1:{dead.getsockname()[1]}/v1"}
        config = [more, f'keys.test.key = {{ value = "{KEY}" }}']
        for number in range(how_many):
            config += _tables(number, models, urls, usual.url)
        running = stack.enter_context(gateway("\n".join(dict.fromkeys(config))))
        yield Lanes(running, [usual, unreliable], how_many)


def _tables(
    number: int, models: Mapping[str, Model], urls: Mapping[str, str], usual: str
) -> Iterator[str]:
    for provider in dict.fromkeys(p for model in models.values() for p in model.providers):
        keys = ", ".join(
            f'{{ value = "{_key(number, key)}" }}' for key in KEYS.get(provider, (provider,))
        )
        yield (
            f"[providers.{_numbered(number, provider)}]\n"
            f'api = "openai"\nbase_url = "{urls.get(provider, usual)}"\nkeys = [{keys}]'
        )
    for name, model in models.items():
        routes = ", ".join(
            f'{{ provider = "{_numbered(number, provider)}", model = "m", '
            + _price_and_order(place, model)
            + " }"
            for place, provider in enumerate(model.providers)
        )
        more = model.more.replace("-N", f"-{number}")
        yield f'[models."{name}-{number}"]\nroutes = [{routes}]\n{more}'


def _price_and_order(place: int, model: Model) -> str:
    if model.by_strategy:
        return f"input = {10**place}.0, output = {10**place}.0"
    return f"input = 1.0, output = 2.0, order = {place}"


def _numbered(number: int, provider: str) -> str:
    return provider if provider in SHARED else f"{provider}-{number}"


def _key(number: int, name: str) -> str:
    return f"sk-{_numbered(number, name)}"


@dataclass(frozen=True)
class Lane:
    number: int
    gateway: Gateway
    _simulators: list[Provider]

    def plays(self, **answers: Step | tuple[Step, ...]) -> None:
        """What each key is answered: a step always, several in turn and then as usual.

        A provider's key has its name where it has only one. What was received is forgotten.
        """
        rules = tuple(
            Rule(match=Match(key=_key(self.number, name)), steps=answer, then="ok")
            if isinstance(answer, tuple)
            else Rule(match=Match(key=_key(self.number, name)), steps=(answer,))
            for name, answer in answers.items()
        )
        for simulator in self._simulators:
            simulator.plays_scenario(Scenario(rules=rules))

    def model(self, name: str) -> str:
        return f"{name}-{self.number}"

    def provider(self, name: str) -> str:
        return _numbered(self.number, name)

    def key(self, name: str) -> str:
        return _key(self.number, name)

    def body(self, model: str, **fields: Any) -> dict[str, Any]:
        """A request for the lane's model of this name."""
        return chat() | {"model": self.model(model)} | fields

    def ask(self, model: str, headers: Mapping[str, str] | None = None, **fields: Any) -> Seen:
        return Seen.of(self.gateway.post(self.body(model, **fields), **(headers or {})))

    def leave(self, model: str, *, after_calls: int = 1, key: str = KEY, **fields: Any) -> None:
        """Asks, and disconnects when so many calls have reached the providers."""
        client = http.client.HTTPConnection(httpx.URL(self.gateway.url).netloc.decode())
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        body = json.dumps(self.body(model, **fields))
        client.request("POST", "/v1/chat/completions", body, headers)
        eventually(self.calls, lambda calls: len(calls) == after_calls)
        client.close()

    def leave_after_first_content(self, model: str, **fields: Any) -> Seen:
        """Streams, and disconnects at the first content; what was seen until then."""
        with httpx.stream(
            "POST",
            f"{self.gateway.url}/v1/chat/completions",
            json=self.body(model, stream=True, **fields),
            headers={"authorization": f"Bearer {KEY}"},
            verify=NO_TLS,
        ) as response:
            body = b""
            for piece in response.iter_raw():
                body += piece
                seen = Seen(response.status_code, response.headers, body)
                if body.endswith(b"\n\n") and seen.text:
                    return seen
        raise AssertionError(f"the stream ended without content: {body!r}")

    def calls(self, *keys: str) -> list[dict[str, Any]]:
        """What was received on these keys, on all of them where none is named: journal entries,
        oldest first at each simulator."""
        wanted = [_key(self.number, key) for key in keys]
        received = [call for simulator in self._simulators for call in simulator.received()]
        return [call for call in received if not keys or call["key"] in wanted]

    def ended_calls(self, *keys: str) -> list[dict[str, Any]]:
        """As `calls`, once there are some and every exchange has ended."""
        found: list[dict[str, Any]] = eventually(
            lambda: self.calls(*keys), lambda calls: calls and all(call["ended"] for call in calls)
        )
        return found

    def called(self) -> dict[str, int]:
        """How often each key was used."""
        suffix = f"-{self.number}"
        names = (call["key"].removeprefix("sk-").removesuffix(suffix) for call in self.calls())
        return dict(Counter(names))

    def trace(self, seen: Seen) -> Trace:
        return Trace(self.gateway.trace(seen.trace_id))

    def saved_traces(self, model: str) -> list[Trace]:
        """The traces of a model of this lane, newest first, once there are some."""
        path = f"/traces?model={self.model(model)}"
        found = eventually(lambda: self.gateway.admin(path).json()["traces"], bool)
        return [Trace(self.gateway.trace(summary["id"])) for summary in found]

    def charge(self, seen: Seen | Trace) -> Charge | None:
        """The ledger's row, read from the gateway's own database."""
        store = SqliteStore.open(self.gateway.data_dir / "signalbox.db")
        try:
            return store.load_charge(seen.trace_id)
        finally:
            store.close()


@dataclass(frozen=True)
class Seen:
    """What the client saw: one whole answer, or as much of a stream as there was."""

    status: int
    headers: httpx.Headers
    body: bytes

    @classmethod
    def of(cls, response: httpx.Response) -> Seen:
        return cls(response.status_code, response.headers, response.content)

    @property
    def trace_id(self) -> str:
        return self.headers["x-signalbox-trace-id"]

    @property
    def streamed(self) -> bool:
        return self.headers["content-type"].startswith("text/event-stream")

    @property
    def _lines(self) -> list[str]:
        return [line for line in self.body.decode().split("\n") if line]

    @property
    def comments(self) -> int:
        return sum(line.startswith(":") for line in self._lines)

    @property
    def ended(self) -> bool:
        """Whether the answer was brought to its end."""
        return not self.streamed or self._lines[-1] == "data: [DONE]"

    @property
    def events(self) -> list[dict[str, Any]]:
        """A stream's events without the end mark; the body where it is no stream."""
        if not self.streamed:
            return [json.loads(self.body)]
        data = [line.removeprefix("data: ") for line in self._lines if line.startswith("data: ")]
        return [json.loads(event) for event in data if event != "[DONE]"]

    @property
    def _choices(self) -> list[dict[str, Any]]:
        return [choice for event in self.events for choice in event.get("choices", ())]

    @property
    def text(self) -> str:
        parts = [choice.get("delta") or choice.get("message") or {} for choice in self._choices]
        return "".join(part.get("content") or "" for part in parts)

    @property
    def finish_reasons(self) -> list[str]:
        reasons = [choice.get("finish_reason") for choice in self._choices]
        return [reason for reason in reasons if reason is not None]

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [event["error"] for event in self.events if "error" in event]

    @property
    def error(self) -> dict[str, Any]:
        """The one error that there is."""
        [error] = self.errors
        return error


FAILED = ("attempt_failed", "route_failed", "model_failed")


@dataclass(frozen=True)
class Trace:
    """A saved trace, as `GET /traces/{id}` shows it."""

    raw: dict[str, Any]

    @property
    def trace_id(self) -> str:
        return str(self.raw["id"])

    @property
    def _steps(self) -> list[dict[str, Any]]:
        return list(self.raw["events"])

    @property
    def events(self) -> tuple[str, ...]:
        return tuple(step["name"] for step in self._steps if step["kind"] == "event")

    @property
    def reasons(self) -> dict[str, list[str]]:
        """Of each event that gives one, the reasons in order."""
        found: dict[str, list[str]] = {}
        for step in self._steps:
            if step["kind"] == "event" and step["data"]["reason"]:
                found.setdefault(step["name"], []).append(step["data"]["reason"])
        return found

    @property
    def failures(self) -> list[str]:
        """The kind of each attempt's failure. The fact says it; of an answer that came to its end
        and was none, the move that follows does."""
        kinds = []
        for step, after in pairwise(self._steps):
            if step["name"] == "UpstreamFailed":
                kinds.append(step["data"]["failure"]["kind"])
            elif step["name"] == "UpstreamEnded" and after["name"] in FAILED:
                kinds.append(after["data"]["reason"].partition(":")[0])
        return kinds

    def payloads(self, kind: str) -> list[Any]:
        """The recorded bodies of this kind, decoded."""
        return [json.loads(p["body"]) for p in self.raw["payloads"] if p["kind"] == kind]
