"""Each error of a provider, from its bytes to the words of every door: what it means, what the
machine makes of it where there is no other route, and what the client is told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors.outputs import Refusal
from signalbox.actors.services import Provider
from signalbox.adapters.doors import door_of
from signalbox.adapters.protocol import Adapter, StreamError
from signalbox.adapters.registry import ProviderAdapters, adapters_of
from signalbox.adapters.responses import ResponsesAdapter
from signalbox.config_settings import ProviderSettings
from signalbox.errors import ApiError, AttemptReport, Failure
from signalbox.errors import FailureKind as Kind
from signalbox.machines.decisions import VERDICTS, Step
from signalbox.types import Dialect, Flavour, ModelPlan, Route
from tests.dialect_streams import request_of, told_by
from tests.outgoing import REQUEST
from tests.recordings import Exchange, own_exchanges, recorded_exchanges
from tests.rig import EPOCH, PRICE, Rig, plan, provider_key, sent
from tests.scripted_upstream import EVENTS, Head, ScriptedUpstream

KINDS_OF_STATUS: dict[int, set[Kind]] = {
    400: {
        Kind.INVALID_REQUEST,
        Kind.CONTEXT_LENGTH,
        Kind.CONTENT_POLICY,
        Kind.KEY_REJECTED,  # xAI and Gemini
        Kind.QUOTA_EXHAUSTED,  # Anthropic's credit
        Kind.SERVER_ERROR,  # Groq's model that failed to call its tool
        Kind.MODEL_UNKNOWN,  # Mistral and OpenRouter
        Kind.MODEL_FORBIDDEN,  # Gemini, by region
    },
    401: {Kind.KEY_REJECTED},
    402: {Kind.QUOTA_EXHAUSTED},
    403: {
        Kind.MODEL_FORBIDDEN,
        Kind.CONTENT_POLICY,
        Kind.KEY_REJECTED,
        Kind.QUOTA_EXHAUSTED,  # Google: billing disabled
        Kind.INVALID_REQUEST,  # Google: a file or cache of another account
    },
    404: {Kind.MODEL_UNKNOWN},
    408: {Kind.SERVER_ERROR, Kind.OVERLOADED},
    413: {Kind.INVALID_REQUEST, Kind.CONTEXT_LENGTH, Kind.REQUEST_TOO_LARGE_FOR_QUOTA},
    422: {Kind.INVALID_REQUEST, Kind.CONTEXT_LENGTH, Kind.CONTENT_POLICY},
    429: {
        Kind.RATE_LIMITED,
        Kind.QUOTA_EXHAUSTED,
        Kind.REQUEST_TOO_LARGE_FOR_QUOTA,
        Kind.OVERLOADED,
        Kind.MODEL_FORBIDDEN,  # Gemini: not in the plan
    },
}
"""What a status may mean; 5xx are `SERVER_ERROR` or `OVERLOADED`."""


class Told(msgspec.Struct, frozen=True):
    """What the client is told, in the words of each door."""

    status: int
    type: str
    code: str
    anthropic: str
    google: str


BUSY = Told(503, "server_error", "all_routes_failed", "api_error", "UNAVAILABLE")
LIMITED = Told(429, "requests", "rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED")


def _refused(code: str) -> Told:
    words = "invalid_request_error"
    return Told(400, words, code, words, "INVALID_ARGUMENT")


def _bad(status: int, code: str, anthropic: str = "api_error", google: str = "UNAVAILABLE") -> Told:
    return Told(status, "server_error", code, anthropic, google)


TOLD: dict[Kind, Told] = {
    Kind.RATE_LIMITED: LIMITED,
    Kind.REQUEST_TOO_LARGE_FOR_QUOTA: replace(LIMITED, type="tokens"),
    # About our key or our model: never the client's fault.
    Kind.QUOTA_EXHAUSTED: BUSY,
    Kind.KEY_REJECTED: BUSY,
    Kind.MODEL_FORBIDDEN: BUSY,
    Kind.MODEL_UNKNOWN: BUSY,
    Kind.SERVER_ERROR: BUSY,
    Kind.STREAM_ERROR: BUSY,
    Kind.OVERLOADED: replace(BUSY, anthropic="overloaded_error"),
    Kind.CONTEXT_LENGTH: _refused("context_length_exceeded"),
    Kind.CONTENT_POLICY: _refused("content_policy_violation"),
    Kind.INVALID_REQUEST: _refused("invalid_value"),
    Kind.PROTOCOL_ERROR: _bad(502, "bad_upstream"),
    Kind.EMPTY_ANSWER: _bad(502, "bad_upstream"),
}
"""The table of design.md, section 5, for the only route there is."""
RETRIED = {kind for kind in VERDICTS if VERDICTS[kind].step is Step.RETRY_ROUTE}


def adapter_of(exchange: Exchange) -> Adapter:
    name = exchange.provider
    api = {"anthropic": "anthropic", "gemini": "gemini", "google": "gemini"}.get(name, "openai")
    if "responses" in exchange.path or "responses" in exchange.id:
        return ResponsesAdapter(name)
    return adapters_of(ProviderSettings(name, api, "http://p", keys=())).spoken("m")[0]


def is_error(exchange: Exchange) -> bool:
    return exchange.status >= 400


ERRORS = [
    *own_exchanges("openai/errors.json"),
    *(it for it in own_exchanges("anthropic") if is_error(it.values[0])),
    *own_exchanges("gemini/errors.json"),
    *recorded_exchanges(is_error),
]


def failure_of(exchange: Exchange) -> Failure:
    headers = exchange.headers
    return adapter_of(exchange).decode_error(exchange.status, headers, exchange.body, EPOCH)


@pytest.mark.parametrize("exchange", ERRORS)
def test_a_status_means_one_of_its_documented_classes(exchange: Exchange) -> None:
    kind = failure_of(exchange).kind
    usual = {Kind.SERVER_ERROR, Kind.OVERLOADED}
    assert kind in KINDS_OF_STATUS.get(exchange.status, usual)
    expected = exchange.expect.get("kind") or exchange.expect.get("error")
    assert expected in (None, kind.value)


@pytest.mark.parametrize("exchange", ERRORS)
async def test_what_the_machine_makes_of_it_is_the_table(
    exchange: Exchange, autojump_clock: MockClock, tmp_path: Path
) -> None:
    failure = failure_of(exchange)
    rig = only_route(tmp_path, exchange)
    error = await refused(rig, Dialect.CHAT, stream=False)
    assert_told(error, TOLD[failure.kind])
    assert (len(rig.calls) > 1) is (failure.kind in RETRIED and failure.retry_after is None) or (
        failure.kind is Kind.RATE_LIMITED
    )
    # Of a key that is rejected or has no quota the key pool tells, and not after one answer.
    assert bool(rig.alerts) is VERDICTS[failure.kind].alert
    assert error.should_retry is (error.retry_after is not None and error.retry_after <= 60)
    if VERDICTS[failure.kind].step is Step.REFUSE:
        assert (error.message, error.param) == (failure.message, failure.param)


def only_route(folder: Path, exchange: Exchange) -> Rig:
    """Every call is answered with the exchange."""
    spoken = (adapter_of(exchange),)
    name = exchange.provider
    kind = EVENTS if exchange.streamed else ()
    headers = tuple({**dict(kind), **dict(exchange.headers)}.items())
    upstream = ScriptedUpstream(lambda _: [Head(exchange.status, headers), exchange.body])
    rig = Rig(upstream, folder, [provider_key(name)])
    provider = Provider(ProviderAdapters(lambda _: spoken), "http://p/v1")
    rig.services = replace(rig.services, providers={name: provider})
    return rig


async def asked(rig: Rig, door: Dialect, *, stream: bool) -> Sequence[Any]:
    [provider] = rig.services.providers
    chain = plan(ModelPlan("m", (Route(provider, "m", PRICE),)))
    async with rig.running():
        pieces = await rig.ask(request_of(rig, door, stream=stream), chain)
    rig.assert_nothing_is_held()
    return pieces


async def refused(rig: Rig, door: Dialect, *, stream: bool) -> ApiError:
    [piece] = await asked(rig, door, stream=stream)
    assert isinstance(piece, Refusal)
    return piece.error


# ── the words of the doors ────────────────────────────────────────────────────────────────────


def assert_told(error: ApiError, told: Told) -> None:
    """In the dialect of every door."""
    assert (error.status, error.type, error.code) == (told.status, told.type, told.code)
    openai = {"type": told.type, "code": told.code, "param": error.param}
    for door in (Dialect.CHAT, Dialect.RESPONSES, Dialect.COMPLETIONS, Dialect.EMBEDDINGS):
        assert openai.items() <= body_at(door, error).items()
    assert body_at(Dialect.CHAT, error, Flavour.OPENROUTER)["code"] == told.status
    for door in (Dialect.MESSAGES, Dialect.MESSAGES_COUNT):
        assert body_at(door, error)["type"] == told.anthropic
    for door in (Dialect.GENERATE, Dialect.GENERATE_COUNT, Dialect.EMBED):
        google = body_at(door, error)
        assert (google["code"], google["status"]) == (told.status, told.google)


def body_at(door: Dialect, error: ApiError, flavour: Flavour = Flavour.PLAIN) -> dict[str, Any]:
    told = door_of(door, flavour).error_body(error, "trace-1", flavour)["error"]
    assert isinstance(told, dict)
    assert error.message in str(told["message"])
    return told


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            ApiError(401, "invalid_request_error", "invalid_api_key", "words"),
            Told(
                401,
                "invalid_request_error",
                "invalid_api_key",
                "authentication_error",
                "UNAUTHENTICATED",
            ),
        ),
        (
            ApiError(403, "permission_error", "model_not_allowed", "words"),
            Told(
                403,
                "permission_error",
                "model_not_allowed",
                "permission_error",
                "PERMISSION_DENIED",
            ),
        ),
        (
            ApiError(402, "insufficient_quota", "budget_exceeded", "words"),
            Told(
                402, "insufficient_quota", "budget_exceeded", "billing_error", "FAILED_PRECONDITION"
            ),
        ),
        (
            ApiError(404, "invalid_request_error", "model_not_found", "words"),
            Told(404, "invalid_request_error", "model_not_found", "not_found_error", "NOT_FOUND"),
        ),
        (
            ApiError(413, "invalid_request_error", "request_too_large", "words"),
            Told(
                413,
                "invalid_request_error",
                "request_too_large",
                "request_too_large",
                "INVALID_ARGUMENT",
            ),
        ),
        (
            ApiError(500, "server_error", "internal_error", "words"),
            Told(500, "server_error", "internal_error", "api_error", "INTERNAL"),
        ),
        (
            ApiError(504, "server_error", "timeout", "words"),
            _bad(504, "timeout", "timeout_error", "DEADLINE_EXCEEDED"),
        ),
        (
            ApiError(
                503,
                "server_error",
                "all_routes_failed",
                "words",
                attempts=(
                    AttemptReport("p", "m", Kind.OVERLOADED, "busy"),
                    AttemptReport("q", "m", Kind.SERVER_ERROR, "broken"),
                ),
            ),
            BUSY,
        ),
    ],
    ids=lambda it: it.code if isinstance(it, ApiError) else "",
)
def test_the_gateways_own_errors_at_every_door(error: ApiError, told: Told) -> None:
    assert_told(error, told)


# ── errors inside of streams ──────────────────────────────────────────────────────────────────


def stream_failure(exchange: Exchange) -> Failure | None:
    """The error that the stream ends in, if it does."""
    if not exchange.streamed or exchange.status != 200 or "cohere" in exchange.provider:
        return None
    request = replace(REQUEST, stream=True)
    decoder = adapter_of(exchange).stream_decoder(request)
    events = [*decoder.feed(exchange.body), *decoder.end()]
    return next((event.failure for event in events if isinstance(event, StreamError)), None)


def breaks(exchange: Exchange) -> bool:
    return stream_failure(exchange) is not None


BROKEN = [
    *(it for it in own_exchanges("anthropic") if breaks(it.values[0])),
    *(it for it in own_exchanges("responses") if breaks(it.values[0])),
    *(it for it in own_exchanges("gemini/streams") if breaks(it.values[0])),
    *recorded_exchanges(breaks),
]


@pytest.mark.parametrize("exchange", BROKEN)
@pytest.mark.parametrize(
    ("door", "broken"),
    [
        (Dialect.CHAT, "bad_upstream"),
        (Dialect.RESPONSES, "bad_upstream"),
        (Dialect.MESSAGES, "api_error"),
        (Dialect.GENERATE, "UNAVAILABLE"),
    ],
)
async def test_an_error_inside_a_stream_is_told_once_at_every_door(
    exchange: Exchange, door: Dialect, broken: str, autojump_clock: MockClock, tmp_path: Path
) -> None:
    """Before any content the machine decides as for a status; afterwards the stream ends in it."""
    failure = stream_failure(exchange)
    assert failure is not None
    pieces = await asked(only_route(tmp_path, exchange), door, stream=True)
    if isinstance(pieces[0], Refusal):
        assert_told(pieces[0].error, TOLD[failure.kind])
    else:
        assert told_by(door, sent(pieces)).error == broken
