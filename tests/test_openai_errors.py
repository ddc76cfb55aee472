"""What providers' errors mean: every body style, every class, and any bytes at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.adapters.openai_errors import (
    MAX_MESSAGE_CHARS,
    MAX_NAME_CHARS,
    clean,
    decode_body_error,
    decode_error,
)
from signalbox.adapters.protocol import RateLimits
from signalbox.adapters.rate_limit_headers import MAX_WAIT_SECONDS, parse_rate_limits
from signalbox.errors import Failure, FailureKind
from tests.garbled import JSON, garbled
from tests.recordings import Exchange, own_exchanges, recorded_exchanges

NOW = 1000.0
RECORDED_KINDS = {
    "azure-413": FailureKind.INVALID_REQUEST,
    "azure-429": FailureKind.RATE_LIMITED,
    "cerebras-429": FailureKind.RATE_LIMITED,
    "cohere-400-too-many-tokens": FailureKind.CONTEXT_LENGTH,
    "deepseek-400-context-length": FailureKind.CONTEXT_LENGTH,
    "deepseek-422-text": FailureKind.INVALID_REQUEST,
    "gemini-400-api-key-invalid": FailureKind.KEY_REJECTED,
    "gemini-400-context-length": FailureKind.CONTEXT_LENGTH,
    "gemini-429-retryinfo": FailureKind.RATE_LIMITED,
    "gemini-503-overloaded": FailureKind.OVERLOADED,
    "gemini-stream-404-model": FailureKind.MODEL_UNKNOWN,
    "groq-400-tool-use-failed": FailureKind.SERVER_ERROR,
    "groq-401": FailureKind.KEY_REJECTED,
    "groq-429-tpm": FailureKind.RATE_LIMITED,
    "mistral-401": FailureKind.KEY_REJECTED,
    "mistral-422": FailureKind.INVALID_REQUEST,
    "mistral-429": FailureKind.RATE_LIMITED,
    "mistral-500": FailureKind.SERVER_ERROR,
    "openai-chat-400-context-length": FailureKind.CONTEXT_LENGTH,
    "openai-chat-400-invalid-type": FailureKind.INVALID_REQUEST,
    "openai-chat-401": FailureKind.KEY_REJECTED,
    "openai-chat-403": FailureKind.MODEL_FORBIDDEN,
    "openai-chat-404-model": FailureKind.MODEL_UNKNOWN,
    "openai-chat-429-insufficient-quota": FailureKind.QUOTA_EXHAUSTED,
    "openai-chat-429-rpm": FailureKind.RATE_LIMITED,
    "openai-chat-429-tpm-too-large": FailureKind.REQUEST_TOO_LARGE_FOR_QUOTA,
    "openai-chat-503-text-plain": FailureKind.OVERLOADED,
    "openai-responses-500": FailureKind.SERVER_ERROR,
    "openrouter-401": FailureKind.KEY_REJECTED,
    "openrouter-403-upstream": FailureKind.CONTENT_POLICY,
    "openrouter-429-free-limit": FailureKind.RATE_LIMITED,
    "perplexity-401-html": FailureKind.KEY_REJECTED,
    "xai-400-bad-key": FailureKind.KEY_REJECTED,
    "xai-503": FailureKind.OVERLOADED,
}
RECORDED_WAITS = {
    "azure-429": 1.0,
    "cerebras-429": 0.66,
    "gemini-429-retryinfo": 48.0,
    "groq-429-tpm": 7.0,
    "openai-chat-429-rpm": 20.0,
}


@pytest.mark.parametrize("exchange", own_exchanges("openai/errors.json"))
def test_own_error_means_what_it_was_written_to_mean(exchange: Exchange) -> None:
    expect = exchange.expect
    now = expect.get("now", NOW)
    failure = decode_error(exchange.status, exchange.headers, exchange.body, now)
    assert failure.kind == expect["error"]
    assert failure.status == exchange.status
    assert failure.retry_after == expect.get("retry_after")
    assert failure.message
    for field in ("message", "code", "param"):
        if field in expect:
            assert getattr(failure, field) == expect[field]
    if "hides" in expect:
        assert expect["hides"] not in failure.message


@pytest.mark.parametrize(
    "exchange", recorded_exchanges(lambda e: e.status >= 400 and e.provider != "anthropic")
)
def test_recorded_error_is_of_its_class(exchange: Exchange) -> None:
    failure = decode_error(exchange.status, exchange.headers, exchange.body, NOW)
    assert failure.kind is RECORDED_KINDS[exchange.id]
    if exchange.id != "openrouter-429-free-limit":  # an absolute time, long after NOW
        assert failure.retry_after == RECORDED_WAITS.get(exchange.id)
    assert "<" not in failure.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, FailureKind.INVALID_REQUEST),
        (401, FailureKind.KEY_REJECTED),
        (402, FailureKind.QUOTA_EXHAUSTED),
        (403, FailureKind.MODEL_FORBIDDEN),
        (404, FailureKind.MODEL_UNKNOWN),
        (408, FailureKind.SERVER_ERROR),
        (413, FailureKind.INVALID_REQUEST),
        (422, FailureKind.INVALID_REQUEST),
        (429, FailureKind.RATE_LIMITED),
        (500, FailureKind.SERVER_ERROR),
        (502, FailureKind.SERVER_ERROR),
        (503, FailureKind.OVERLOADED),
        (504, FailureKind.SERVER_ERROR),
        (524, FailureKind.SERVER_ERROR),
        (529, FailureKind.OVERLOADED),
        (302, FailureKind.PROTOCOL_ERROR),
    ],
)
def test_a_status_alone_has_a_class_and_a_message(status: int, kind: FailureKind) -> None:
    failure = decode_error(status, (), b"", NOW)
    assert (failure.kind, failure.status) == (kind, status)
    assert failure.message.startswith(f"HTTP {status}")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "server_error", "message": "x"}, FailureKind.SERVER_ERROR),
        ({"code": 502, "message": "x"}, FailureKind.SERVER_ERROR),
        ({"code": "503", "message": "x"}, FailureKind.OVERLOADED),
        ({"type": "overloaded_error", "message": "x"}, FailureKind.OVERLOADED),
        ({"code": "rate_limit_exceeded", "message": "x"}, FailureKind.RATE_LIMITED),
        ({"code": "insufficient_quota", "message": "x"}, FailureKind.QUOTA_EXHAUSTED),
        ({"code": "context_length_exceeded", "message": "x"}, FailureKind.CONTEXT_LENGTH),
        ({"code": "content_filter", "message": "x"}, FailureKind.CONTENT_POLICY),
        ({"message": "something happened"}, FailureKind.STREAM_ERROR),
        ({}, FailureKind.STREAM_ERROR),
        ("text", FailureKind.STREAM_ERROR),
    ],
)
def test_an_error_inside_a_stream_is_classed_by_its_words(error: object, kind: FailureKind) -> None:
    failure = decode_body_error({"error": error}, FailureKind.STREAM_ERROR)
    assert failure.kind is kind
    assert failure.message


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "99999999999"}, MAX_WAIT_SECONDS),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:17:00 -0000"}, 20.0),
        ({"retry-after": "Thu, 01 Jan 9999 00:00:00 GMT"}, MAX_WAIT_SECONDS),
        ({"retry-after-ms": "250"}, 0.25),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6ms"}, 0.006),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "6ms"}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], wait: float | None) -> None:
    assert decode_error(429, tuple(headers.items()), b"", NOW).retry_after == wait


def test_only_errors_that_waiting_heals_say_how_long() -> None:
    for status in (400, 401, 500):
        assert decode_error(status, [("retry-after", "5")], b"", NOW).retry_after is None
    assert decode_error(503, [("retry-after", "5")], b"", NOW).retry_after == 5.0


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("key sk-proj-abcdefgh12345678 is wrong", "key [key] is wrong"),
        ("Authorization: Bearer abc.def-ghi, no", "Authorization: Bearer [key], no"),
        ("GET /v1?api_key=secret123&x=1", "GET /v1?api_key=[key]&x=1"),
        ("AIzaSyA1234567890abcdef rejected", "[key] rejected"),
        ("a task-force of risk-averse people", "a task-force of risk-averse people"),
        ("two\r\nlines\x00\x1b[31m red", "two lines [31m red"),
    ],
)
def test_messages_are_clean(said: str, kept: str) -> None:
    assert clean(said, MAX_MESSAGE_CHARS) == kept


@given(
    st.integers(100, 599),
    st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset"]), st.text()
    ),
    garbled(b"{", b"<title>", b"try again in 5s ") | JSON.map(lambda value: repr(value).encode()),
)
def test_decode_error_never_raises(status: int, headers: dict[str, str], body: bytes) -> None:
    _check_bounds(decode_error(status, tuple(headers.items()), body, NOW))


@given(JSON)
def test_decode_body_error_never_raises(body: object) -> None:
    _check_bounds(decode_body_error(body, FailureKind.STREAM_ERROR))


def _check_bounds(failure: Failure) -> None:
    assert 0 < len(failure.message) <= MAX_MESSAGE_CHARS
    assert failure.message.isprintable()
    for name in (failure.code, failure.param):
        assert name is None or len(name) <= MAX_NAME_CHARS
    assert failure.retry_after is None or 0 <= failure.retry_after <= MAX_WAIT_SECONDS


@pytest.mark.parametrize(
    ("headers", "limits"),
    [
        (
            {
                "x-ratelimit-limit-requests": "500",
                "x-ratelimit-remaining-requests": "499",
                "x-ratelimit-reset-requests": "21m36.001s",
                "x-ratelimit-limit-tokens": "200000",
                "x-ratelimit-remaining-tokens": "199996",
                "x-ratelimit-reset-tokens": "6ms",
            },
            RateLimits(500, 499, 1296.001, 200_000, 199_996, 0.006),
        ),
        ({"x-ratelimit-reset-requests": "10m4.8s"}, RateLimits(reset_requests=604.8)),
        ({"x-ratelimit-remaining-requests": "9"}, RateLimits(remaining_requests=9)),
        (
            # Cerebras: the window with the least remaining is the one that binds.
            {
                "x-ratelimit-remaining-requests-day": "3",
                "x-ratelimit-reset-requests-day": "33011.382867097855",
                "x-ratelimit-remaining-requests-minute": "30",
                "x-ratelimit-reset-requests-minute": "5.5",
            },
            RateLimits(remaining_requests=3, reset_requests=33011.382867097855),
        ),
        (
            {
                "x-ratelimit-limit": "20",
                "x-ratelimit-remaining": "0",
                "x-ratelimit-reset": "1700000012500",
            },
            RateLimits(20, 0, 12.5),
        ),
        (
            {
                "x-ratelimit-limit-req-minute": "100",
                "x-ratelimit-remaining-req-minute": "97",
                "ratelimitbysize-limit": "2000000",
                "ratelimitbysize-remaining": "1967999",
                "ratelimitbysize-reset": "6",
                "x-ratelimitbysize-remaining-minute": "1967999",
            },
            RateLimits(100, 97, None, 2_000_000, 1_967_999, 6.0),
        ),
        (
            {
                "anthropic-ratelimit-tokens-limit": "80000",
                "anthropic-ratelimit-tokens-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "2023-11-14T22:14:20Z",
            },
            RateLimits(limit_tokens=80_000, remaining_tokens=0, reset_tokens=60.0),
        ),
        ({"x-ratelimit-reset": "1700000003"}, RateLimits(reset_requests=3.0)),
        ({"x-ratelimit-remaining-tokens": "many", "x-ratelimit-reset-tokens": ""}, RateLimits()),
        ({"x-ratelimit-reset-tokens": "1999-01-01T00:00:00"}, RateLimits(reset_tokens=0.0)),
    ],
)
def test_rate_limit_headers(headers: dict[str, str], limits: RateLimits) -> None:
    assert parse_rate_limits(tuple(headers.items()), 1_700_000_000.0) == limits


@given(st.text() | st.from_regex(r"[0-9]{1,20}(ms|s|m|h)?([0-9.]{1,5}s)?"))
def test_no_header_value_breaks_the_parser(value: str) -> None:
    limits = parse_rate_limits(
        [(f"x-ratelimit-{field}-tokens", value) for field in ("limit", "remaining", "reset")], NOW
    )
    assert limits.reset_tokens is None or 0 <= limits.reset_tokens <= MAX_WAIT_SECONDS


@pytest.mark.parametrize("exchange", recorded_exchanges(lambda e: "ratelimit" in str(e.headers)))
def test_recorded_limits_are_understood(exchange: Exchange) -> None:
    limits = parse_rate_limits(exchange.headers, NOW)
    said = dict(exchange.headers)
    for field, known in (
        ("x-ratelimit-remaining-requests", limits.remaining_requests),
        ("x-ratelimit-remaining-tokens", limits.remaining_tokens),
    ):
        if field in said:
            assert known == int(said[field])
    assert limits != RateLimits()
