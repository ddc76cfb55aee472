"""The simulated provider: a received request in, a script out. No sockets, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from signalbox.simulator import anthropic_wire, gemini_wire, openai_wire
from signalbox.simulator.actions import Script, json_answer
from signalbox.simulator.endpoints import key_of, query_of
from signalbox.simulator.journal import Exchange, Journal
from signalbox.simulator.model_endpoint import ModelEndpoint
from signalbox.simulator.scenario import ScenarioError, parse_scenario


@dataclass(frozen=True, slots=True)
class Received:
    """A whole request. Header names are lower case; `at` is monotonic seconds since the start."""

    connection: int
    at: float
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def key(self) -> str | None:
        return key_of(self.path, self.headers, query_of(self.target))


@dataclass(frozen=True, slots=True)
class Reply:
    """What to do, and where to note how it ended (None: the request is not listed)."""

    script: Script
    exchange: Exchange | None = None


_MODEL_LISTS = ("/v1/models", "/models", "/openai/v1/models", "/api/v1/models", "/v1beta/models")
Handler = Callable[[Received], Script]


class Provider:
    """Routes requests; keeps the journal of all but those for the simulator itself."""

    def __init__(self, models: ModelEndpoint) -> None:
        self.journal = Journal()
        self.models = models
        self._received = 0
        self._own: dict[str, dict[str, Handler]] = {
            "/healthz": {"GET": lambda _: json_answer(200, {"status": "ok"})},
            "/_simulator/scenario": {"POST": self._replace_scenario},
            "/_simulator/requests": {"GET": self._list_requests, "DELETE": self._clear_requests},
        }

    def respond(self, request: Received) -> Reply:
        if (methods := self._own.get(request.path)) is not None:
            handler = methods.get(request.method)
            return Reply(handler(request) if handler else _not_allowed(methods))
        exchange = self._note(request)
        return Reply(self._provider_api(request, exchange), exchange)

    def _provider_api(self, request: Received, exchange: Exchange) -> Script:
        if request.path in _MODEL_LISTS:
            if request.method != "GET":
                return _not_allowed(["GET"])
            return json_answer(200, self._model_list(request))
        return self.models.answer(exchange)

    def _model_list(self, request: Received) -> dict[str, object]:
        """In the words of the API that the request is of."""
        names = self.models.models()
        if request.path == "/v1beta/models" or "x-goog-api-key" in request.headers:
            return gemini_wire.model_list(names)
        if "anthropic-version" in request.headers:
            return anthropic_wire.model_list(names)
        return openai_wire.model_list(names)

    def _note(self, request: Received) -> Exchange:
        self._received += 1
        exchange = Exchange(
            ordinal=self._received,
            at=request.at,
            connection=request.connection,
            method=request.method,
            path=request.target,
            key=request.key,
            headers=request.headers,
            body=request.body,
        )
        self.journal.add(exchange)
        return exchange

    def _replace_scenario(self, request: Received) -> Script:
        try:
            scenario = parse_scenario(request.body, source="scenario")
        except ScenarioError as error:
            return json_answer(400, {"error": {"message": str(error)}})
        self.models.play(scenario)
        return json_answer(200, {"rules": len(scenario.rules), "keys": len(scenario.keys)})

    def _list_requests(self, _: Received) -> Script:
        return json_answer(200, self.journal.to_json())

    def _clear_requests(self, _: Received) -> Script:
        cleared = len(self.journal.exchanges)
        self.journal.clear()
        return json_answer(200, {"cleared": cleared})


def _not_allowed(methods: Iterable[str]) -> Script:
    allowed = ", ".join(methods)
    body = {"error": {"message": f"only {allowed} is served here"}}
    return json_answer(405, body, {"allow": allowed})
