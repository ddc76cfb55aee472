"""The simulated model call: key limits, then the scenario, then recordings, then an answer."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import msgspec

from signalbox.simulator import script
from signalbox.simulator.actions import Script, json_answer
from signalbox.simulator.answers import identifier, seeded
from signalbox.simulator.endpoints import Endpoints, Place, query_of
from signalbox.simulator.journal import Exchange
from signalbox.simulator.player import Features, KeyState, ScenarioPlayer
from signalbox.simulator.prompts import BadRequest, Call
from signalbox.simulator.recordings import HEADER, MODEL_PREFIX, Recordings
from signalbox.simulator.scenario import RateLimit, Scenario, Step
from signalbox.simulator.wire import Endpoint, Errors, Refusal

MODELS = ("simulated-large", "simulated-small")
"""What is always listed; a request may name any other model."""

USUAL_LIMITS = RateLimit(
    limit_requests=10_000,
    remaining_requests=9_999,
    reset_requests="6ms",
    limit_tokens=2_000_000,
    remaining_tokens=1_999_000,
    reset_tokens="30ms",
)


@dataclass(frozen=True, slots=True)
class _Call:
    exchange: Exchange
    body: Any
    """The decoded JSON; None where it is not JSON."""
    fault: str | None
    """Why it is not JSON."""
    rng: random.Random
    place: Place
    headers: dict[str, str]
    """What every simulated answer to this call says."""

    @property
    def model(self) -> str | None:
        """The model that the path or the body names."""
        if self.place.model:
            return self.place.model
        model = self.body.get("model") if isinstance(self.body, dict) else None
        return model if isinstance(model, str) else None

    @property
    def path(self) -> str:
        return self.exchange.path.partition("?")[0]


class ModelEndpoint:
    """Answers model calls by seed, scenario and recordings."""

    def __init__(
        self,
        seed: int,
        scenario: Scenario,
        recordings: Recordings | None,
        tokens_per_second: float | None,
    ) -> None:
        self._seed = seed
        self._player = ScenarioPlayer(scenario)
        self._recordings = recordings
        self._endpoints = Endpoints()
        self._token_delay = 1 / tokens_per_second if tokens_per_second else 0.0

    def play(self, scenario: Scenario) -> None:
        """Replaces the scenario; the new one begins at its first steps, with unused limits."""
        self._player = ScenarioPlayer(scenario)

    def models(self) -> tuple[str, ...]:
        recorded = self._recordings.ids if self._recordings else ()
        names = (*MODELS, *self._player.models, *(MODEL_PREFIX + one for one in recorded))
        return tuple(dict.fromkeys(names))

    def answer(self, exchange: Exchange) -> Script:
        body, fault = _decoded(exchange.body)
        rng = seeded(self._seed, exchange.body, exchange.ordinal)
        place = self._endpoints.find(exchange.path.partition("?")[0])
        request_id = identifier("req_", 32, rng)
        headers = {"x-request-id": request_id, "request-id": request_id}
        call = _Call(exchange, body, fault, rng, place, headers)
        limit = self._player.admit(exchange.key, exchange.at)
        if limit is not None and not limit.admitted:
            return _over_limit(call, limit)
        step = self._player.next_step(
            Features(call.model, exchange.key, exchange.headers, exchange.body)
        )
        if step is None and (recorded := self._recorded(call)) is not None:
            return recorded
        return self._play(call, step or Step(), limit)

    def _recorded(self, call: _Call) -> Script | None:
        """The recording that the call names or that answered the same request."""
        wanted = call.exchange.headers.get(HEADER)
        if wanted is None and call.model and call.model.startswith(MODEL_PREFIX):
            wanted = call.model.removeprefix(MODEL_PREFIX)
        if wanted is not None:
            named = self._recordings.by_id(wanted) if self._recordings else None
            return named.script() if named else self._unknown_recording(call, wanted)
        if self._recordings is None or not isinstance(call.body, dict):
            return None
        same = self._recordings.matching(call.path, call.body)
        return same.script() if same else None

    def _unknown_recording(self, call: _Call, wanted: str) -> Script:
        loaded = len(self._recordings.ids) if self._recordings else 0
        message = f"recording {wanted!r} is not among the {loaded} that are loaded"
        return _invalid(call, BadRequest(message, status=404, code="model_not_found"))

    def _play(self, call: _Call, step: Step, limit: KeyState | None) -> Script:
        if (broken := script.disrupted(step)) is not None:
            return broken
        errors = call.place.errors
        own = errors.limit_headers(step.ratelimit) if step.ratelimit else {}
        own |= step.extra_headers()
        if step.refuses:
            return script.refused(step, errors, call.model or "", call.headers | own)
        method = call.exchange.method
        if call.place.stored is not None:
            return self._stored(call, *call.place.stored)
        endpoint = call.place.endpoint
        if endpoint is None or method != "POST":
            shown = call.path if method == "POST" else f"{method} {call.path}"
            return unknown_path(errors, shown, call.headers)
        if call.fault is not None:
            return _invalid(call, BadRequest(call.fault))
        limits = {} if step.ratelimit else errors.limit_headers(_limits_of(limit))
        return self._answered(call, endpoint, step, call.headers | limits | own)

    def _answered(
        self, call: _Call, endpoint: Endpoint, step: Step, headers: dict[str, str]
    ) -> Script:
        try:
            said = endpoint.answer(_wire_call(call), step, call.rng)
        except BadRequest as error:
            return _invalid(call, error)
        token_delay = self._token_delay if step.token_delay is None else step.token_delay
        if said.parts is not None:
            return script.streamed(step, said.parts, token_delay, headers)
        return script.whole(step, said, endpoint.errors, call.model or "", token_delay, headers)

    def _stored(self, call: _Call, answer_id: str, action: str) -> Script:
        store, exchange = self._endpoints.store, call.exchange
        try:
            body = store.handle(exchange.method, answer_id, action, exchange.key)
        except BadRequest as error:
            return _invalid(call, error)
        return json_answer(200, body, call.headers)


def unknown_path(errors: Errors, path: str, headers: dict[str, str] | None = None) -> Script:
    message = f"the simulator has no {path}; model calls are POST /v1/chat/completions and others"
    refusal = errors.invalid(BadRequest(message, status=404, code="unknown_url"))
    return json_answer(404, refusal.body, headers)


def _wire_call(call: _Call) -> Call:
    exchange, place = call.exchange, call.place
    return Call(
        body=call.body,
        model=place.model,
        key=exchange.key,
        headers=exchange.headers,
        query=query_of(exchange.path),
        ordinal=exchange.ordinal,
        stream=place.stream,
    )


def _decoded(body: bytes) -> tuple[Any, str | None]:
    """The JSON value, or None and what is wrong with it."""
    try:
        return msgspec.json.decode(body), None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return None, f"the body is not JSON: {error}"
    except RecursionError:
        return None, "the body is nested too deeply"


def _refused(call: _Call, refusal: Refusal, headers: dict[str, str] | None = None) -> Script:
    return json_answer(refusal.status, refusal.body, call.headers | (headers or {}))


def _invalid(call: _Call, fault: BadRequest) -> Script:
    return _refused(call, call.place.errors.invalid(fault))


def _over_limit(call: _Call, limit: KeyState) -> Script:
    errors = call.place.errors
    refusal, wait = errors.over_limit(call.model or "", limit.reset)
    return _refused(call, refusal, wait | errors.limit_headers(_limits_of(limit)))


def _limits_of(key: KeyState | None) -> RateLimit:
    if key is None:
        return USUAL_LIMITS
    return RateLimit(
        limit_requests=key.rpm,
        remaining_requests=key.remaining,
        reset_requests=f"{key.reset:.3f}s",
        limit_tokens=USUAL_LIMITS.limit_tokens,
        remaining_tokens=USUAL_LIMITS.remaining_tokens,
        reset_tokens=USUAL_LIMITS.reset_tokens,
    )
