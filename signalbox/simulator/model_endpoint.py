"""The simulated model call: key limits, then the scenario, then recordings, then an answer."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

import msgspec

from signalbox.simulator import script
from signalbox.simulator.actions import Script, json_answer
from signalbox.simulator.answers import (
    BadRequest,
    compose,
    identifier,
    read_chat_request,
    seeded,
)
from signalbox.simulator.errors import ERRORS, WireError
from signalbox.simulator.journal import Exchange
from signalbox.simulator.player import Features, KeyState, ScenarioPlayer
from signalbox.simulator.recordings import HEADER, MODEL_PREFIX, Recordings
from signalbox.simulator.scenario import RateLimit, Scenario, Step

MODELS = ("simulated-large", "simulated-small")
"""What is always listed; a request may name any other model."""

PATHS = ("/v1/chat/completions", "/chat/completions")

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
    headers: dict[str, str]
    """What every simulated answer to this call says."""

    @property
    def model(self) -> str | None:
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
        headers = {"x-request-id": identifier("req_", 32, rng)}
        call = _Call(exchange, body, fault, rng, headers)
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
        return _error(call, WireError(404, "invalid_request_error", "model_not_found", message))

    def _play(self, call: _Call, step: Step, limit: KeyState | None) -> Script:
        if (broken := script.disrupted(step)) is not None:
            return broken
        own = (step.ratelimit.headers() if step.ratelimit else {}) | step.extra_headers()
        if step.refuses:
            return script.refused(step, call.model or "", call.headers | own)
        if call.path not in PATHS:
            return unknown_path(call.path, call.headers)
        if call.fault is not None:
            return _invalid(call, call.fault)
        try:
            request = read_chat_request(call.body)
            answer = compose(request, step, call.exchange.ordinal, call.rng)
        except BadRequest as error:
            return _invalid(call, str(error))
        limits = {} if step.ratelimit else _limits_of(limit).headers()
        headers = call.headers | limits | own
        token_delay = self._token_delay if step.token_delay is None else step.token_delay
        if request.stream:
            usage = request.include_usage
            return script.streamed(step, answer, token_delay, headers, include_usage=usage)
        return script.whole(step, answer, token_delay, headers)


def unknown_path(path: str, headers: dict[str, str] | None = None) -> Script:
    message = f"the simulator has no {path}; model calls are POST {PATHS[0]}"
    error = WireError(404, "invalid_request_error", "unknown_url", message)
    return json_answer(404, error.body(""), headers)


def _decoded(body: bytes) -> tuple[Any, str | None]:
    """The JSON value, or None and what is wrong with it."""
    try:
        return msgspec.json.decode(body), None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return None, f"the body is not JSON: {error}"
    except RecursionError:
        return None, "the body is nested too deeply"


def _error(call: _Call, error: WireError, headers: dict[str, str] | None = None) -> Script:
    body = error.body(call.model or "")
    return json_answer(error.status, body, call.headers | (headers or {}))


def _invalid(call: _Call, message: str) -> Script:
    return _error(call, WireError(400, "invalid_request_error", None, message))


def _over_limit(call: _Call, limit: KeyState) -> Script:
    wait = {
        "retry-after": str(math.ceil(limit.reset)),
        "retry-after-ms": str(math.ceil(limit.reset * 1000)),
    }
    return _error(call, ERRORS["rate_limit_exceeded"], wait | _limits_of(limit).headers())


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
