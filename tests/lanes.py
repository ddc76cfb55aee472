"""Lanes: providers, keys and models that one test has for itself, on a gateway that many share.

A cooled key, an evicted key and an open circuit breaker outlive the request that caused them, and a
gateway takes seconds to start. So one configuration declares many lanes, and each test takes a new
one:

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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
import msgspec
import pytest

from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.stores import Charge
from signalbox.simulator import Match, Rule, Scenario, Step
from tests.gateway import KEY, NO_TLS, Gateway, Provider, eventually, gateway, simulated_provider
from tests.observed import Seen, Trace
from tests.simulator_client import chat

KEYS = {"twin": ("left", "right")}
"""The keys of a provider that has not just one of its own name; the first is leased first."""
SHARED = ("groq",)
"""Providers that all lanes have in common: what they can carry goes by their name."""

LOST = "lost"
"""A simulator of its own, for broken connections: it must never leave one for the next request,
which would send that once more if it found the connection broken."""
DEAD = "dead"
"""A port where nobody listens."""
VOID = "void"
"""A port that never completes a connection."""

FINISHED = {False: ("answered",), True: ("first_token_received", "stream_ended")}
"""The last events of a request that is answered, by whether it is streamed."""
json_and_stream = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])


class Model(msgspec.Struct, frozen=True):
    """A model with a route to each of `providers`, in this order of preference.

    `-N` in `more`, further TOML of the model, stands for the lane's number. With `by_strategy` no
    order is declared; each route then costs ten times as much as the one before it. With `prefill`
    every route takes one. `at`: where the first provider is, one of `LOST`, `DEAD`, `VOID`.
    """

    providers: tuple[str, ...]
    more: str = ""
    by_strategy: bool = False
    prefill: bool = False
    at: str | None = None


def served_by(*providers: str, **options: Any) -> Model:
    return Model(providers, **options)


class Lanes:
    """Hands out lanes; a context manager's product, see `running_lanes`."""

    def __init__(self, running: Gateway, simulators: Sequence[list[Provider]]) -> None:
        """`simulators`: those that each lane uses."""
        self.gateway = running
        self._simulators = simulators
        self._numbers = count()

    def next(self) -> Lane:
        number = next(self._numbers)
        assert number < len(self._simulators), "all lanes are used: declare more"
        return self.at(number)

    def at(self, number: int) -> Lane:
        return Lane(number, self.gateway, self._simulators[number])


@contextmanager
def running_lanes(lanes: Sequence[Mapping[str, Model]], more: str = "") -> Iterator[Lanes]:
    """A gateway with these models, by name, in each lane. `more`: TOML that stands before all
    tables."""
    with ExitStack() as stack:
        usual = stack.enter_context(simulated_provider())
        simulators = [[usual] for _ in lanes]
        urls = {None: usual.url} | _addresses(stack)
        losing = [number for number, models in enumerate(lanes) if _has_lost(models)]
        if losing:
            unreliable = stack.enter_context(simulated_provider())
            urls[LOST] = unreliable.url
            for number in losing:
                simulators[number].insert(0, unreliable)
        config = [more, f'keys.test.key = {{ value = "{KEY}" }}']
        for number, models in enumerate(lanes):
            config += _tables(number, models, urls)
        running = stack.enter_context(gateway("\n".join(dict.fromkeys(config))))
        yield Lanes(running, simulators)


def _has_lost(models: Mapping[str, Model]) -> bool:
    return any(model.at == LOST for model in models.values())


def _addresses(stack: ExitStack) -> dict[str | None, str]:
    """The addresses at which no simulator is, as long as the stack holds."""
    dead, void, held = (stack.enter_context(socket.socket()) for _ in range(3))
    for unanswered in (dead, void):
        unanswered.bind(("127.0.0.1", 0))
    # Nobody listens at `dead`. The queue of `void` has room for one connection, which is never
    # accepted: Linux ignores those that come after it.
    void.listen(0)
    held.connect(void.getsockname())
    return {DEAD: _url(dead), VOID: _url(void)}


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


def _tables(
    number: int, models: Mapping[str, Model], urls: Mapping[str | None, str]
) -> Iterator[str]:
    for name, model in models.items():
        for place, provider in enumerate(model.providers):
            yield _provider(number, provider, urls[None if place else model.at])
        routes = ", ".join(
            f'{{ provider = "{_numbered(number, provider)}", model = "{name}", '
            + _price_and_order(place, model)
            + (", prefill = true }" if model.prefill else " }")
            for place, provider in enumerate(model.providers)
        )
        more = model.more.replace("-N", f"-{number}")
        yield f'[models."{name}-{number}"]\nroutes = [{routes}]\n{more}'


def _provider(number: int, name: str, url: str) -> str:
    keys = ", ".join(f'{{ value = "{_key(number, key)}" }}' for key in KEYS.get(name, (name,)))
    table = f"[providers.{_numbered(number, name)}]"
    more = "discover = false"  # an idle connection would be tried again when it is reset
    return f'{table}\napi = "openai"\nbase_url = "{url}"\nkeys = [{keys}]\n{more}'


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
        those of providers at `LOST` before all others, and the oldest first."""
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
        return dict(Counter(key for key, _ in self.way()))

    def way(self) -> list[tuple[str, str]]:
        """The name of the key and of the model of each call, in the order of `calls`."""
        suffix = f"-{self.number}"
        return [
            (call["key"].removeprefix("sk-").removesuffix(suffix), call["body"]["model"])
            for call in self.calls()
        ]

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
