"""What an error of a provider with OpenAI's dialect means.

The dialect has one documented error body, `{"error": {"message", "type", "param", "code"}}`, and
many real ones: xAI `{code, error}`, Mistral `{detail}`, `{message}` or `{object: "error"}`,
Cerebras flat, Google an array of one, OpenRouter with the upstream's own body as text inside
`metadata.raw`, and plain text or HTML from whatever stands in front. All become one `Failure`.
Nothing here raises, whatever the bytes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import msgspec
from msgspec.structs import replace

from signalbox.adapters.error_classes import classify
from signalbox.adapters.openai_wire import DECODE_ERRORS
from signalbox.adapters.protocol import Headers
from signalbox.adapters.rate_limit_headers import bounded_wait, parse_duration, parse_rate_limits
from signalbox.errors import Failure, FailureKind

MAX_MESSAGE_CHARS = 1000
"""Providers explain themselves in a few hundred characters; more is an echo of the request."""
MAX_NAME_CHARS = 100
"""For `code` and `param`: an identifier or a field's path."""
_MAX_SCANNED_CHARS = 8 * 1024
"""What is cleaned at all: enough for any message after its secrets are masked, and little enough
that no pattern below takes long."""
_WAITABLE = frozenset({FailureKind.RATE_LIMITED, FailureKind.OVERLOADED})

_SECRETS = (
    re.compile(
        r"(?<![A-Za-z0-9])(?:sk|pk|rk|gsk|csk|xai|pplx|fw|hf|nvapi|tgp)[-_][A-Za-z0-9*_.\-]{6,}"
    ),
    re.compile(r"AIza[A-Za-z0-9_\-]{10,}"),
)
_NAMED_SECRETS = (
    re.compile(r"(?i)(\bBearer\s+)[^\s\"',;]+"),
    re.compile(r"(?i)(\bapi[ _-]?key\b[^:=.]{0,20}[:=]\s*[\"']?)[^\s\"',;&]+"),
    re.compile(r"(?i)([?&](?:api[_-]?key|key|token)=)[^\s&\"']+"),
)
_TITLE = re.compile(r"(?i)<title[^>]{0,100}>([^<]{1,300})")
_WAIT_IN_WORDS = re.compile(
    r"(?i)(?:try again|retry)\s+(?:in|after)\s+(\d[\d.]*(?:ms|[dhms])(?:\d[\d.]*(?:ms|[dhms]))*\b"
    r"|\d[\d.]*(?= ?seconds?\b))"
)


class _Words(msgspec.Struct, frozen=True):
    """What an error body says, whatever its shape."""

    message: str = ""
    code: str | None = None
    type: str | None = None
    param: str | None = None
    status: int | None = None
    retry_after: float | None = None
    headers: tuple[tuple[str, str], ...] = ()


def decode_error(status: int, headers: Headers, body: bytes, now: float) -> Failure:
    """The failure that an HTTP answer of 400 and more means. `now`: wall clock, seconds.

    The caller bounds the size of `body`.
    """
    words = _read_bytes(body)
    kind = classify(status, words.message, words.code, words.type)
    wait = _retry_after(headers, words, now) if kind in _WAITABLE else None
    return _failure(kind, words, status, wait, _status_line(status))


def decode_body_error(body: object, otherwise: FailureKind) -> Failure:
    """The failure that an error inside a 200 means: an event of a stream, or the whole body.

    `body` is decoded JSON. `otherwise`: the kind where neither a status in the body nor any of
    its words names one.
    """
    words = _read(body)
    kind = classify(words.status, words.message, words.code, words.type, otherwise)
    wait = _wait_in_words(words) if kind in _WAITABLE else None
    return _failure(kind, words, words.status, wait, "an error without a message")


def clean(text: str, max_chars: int) -> str:
    """`text` on one line: without control characters and keys, at most `max_chars` long."""
    text = text[:_MAX_SCANNED_CHARS]
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    for pattern in _SECRETS:
        text = pattern.sub("[key]", text)
    for pattern in _NAMED_SECRETS:
        text = pattern.sub(r"\1[key]", text)
    return text if len(text) <= max_chars else text[: max_chars - 1] + "…"


def _failure(
    kind: FailureKind, words: _Words, status: int | None, retry_after: float | None, wordless: str
) -> Failure:
    """`wordless`: the message where the provider gave none."""
    return Failure(
        kind=kind,
        message=clean(words.message, MAX_MESSAGE_CHARS) or wordless,
        status=status,
        code=None if words.code is None else clean(words.code, MAX_NAME_CHARS),
        param=None if words.param is None else clean(words.param, MAX_NAME_CHARS),
        retry_after=retry_after,
    )


def _status_line(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _read_bytes(body: bytes) -> _Words:
    try:
        return _read(msgspec.json.decode(body))
    except DECODE_ERRORS:
        return _Words(message=_plain_text(body))


def _plain_text(body: bytes) -> str:
    text = body[: _MAX_SCANNED_CHARS * 4].decode("utf-8", "replace").strip()
    if not text.startswith("<"):
        return text
    title = _TITLE.search(text[:_MAX_SCANNED_CHARS])
    return html.unescape(title[1]) if title else "a page of HTML instead of an error"


def _read(body: object) -> _Words:
    """The words of one error object; OpenRouter's upstream body is read one level down."""
    words, metadata = _read_object(body)
    if metadata is None:
        return words
    upstream_headers = metadata.get("headers")
    if isinstance(upstream_headers, dict):
        pairs = ((str(name).lower(), str(value)) for name, value in upstream_headers.items())
        words = replace(words, headers=tuple(pairs))
    raw = metadata.get("raw")
    if not isinstance(raw, str):
        return words
    try:
        upstream, _ = _read_object(msgspec.json.decode(raw))
    except DECODE_ERRORS:
        upstream = _Words(message=raw)
    return replace(
        words,
        message=f"{words.message}: {upstream.message}" if upstream.message else words.message,
        code=upstream.code or words.code,
        type=upstream.type or words.type,
        param=upstream.param or words.param,
        retry_after=upstream.retry_after,
    )


def _read_object(body: object) -> tuple[_Words, Mapping[str, object] | None]:
    if isinstance(body, list):
        body = body[0] if body else None
    if not isinstance(body, dict):
        return _Words(message=body if isinstance(body, str) else ""), None
    inner = body.get("error") or _error_of_a_choice(body)
    if isinstance(inner, str):
        inner = {**body, "message": inner}
    elif not isinstance(inner, dict):
        inner = body
    message, param = _message(inner)
    details = inner.get("details")
    metadata = inner.get("metadata")
    words = _Words(
        message=message,
        code=_code(inner, details),
        type=_text(inner.get("type")) or _text(inner.get("error_type")),
        param=_text(inner.get("param")) or param,
        status=_status(inner),
        retry_after=_retry_info(details),
    )
    return words, metadata if isinstance(metadata, dict) else None


def _error_of_a_choice(body: Mapping[str, object]) -> object:
    """OpenRouter puts an error into the choice, Groq into `x_groq`, when the stream has begun."""
    groq = body.get("x_groq")
    if isinstance(groq, dict) and groq.get("error"):
        return groq["error"]
    choices = body.get("choices")
    if not isinstance(choices, list):
        return None
    errors = (choice.get("error") for choice in choices if isinstance(choice, dict))
    return next(filter(None, errors), None)


def _message(inner: Mapping[str, object]) -> tuple[str, str | None]:
    """The message, and the field that a list of validation errors (pydantic's form) names."""
    said: object = inner.get("message") or inner.get("detail") or inner.get("msg")
    if isinstance(said, dict):
        said = said.get("detail") or said.get("message")
    if not isinstance(said, list):
        return _text(said) or "", None
    problems = [problem for problem in said[:3] if isinstance(problem, dict)]
    paths = [_path(problem.get("loc")) for problem in problems]
    texts = (
        f"{path}: {_text(problem.get('msg')) or 'invalid'}"
        for path, problem in zip(paths, problems, strict=True)
    )
    return "; ".join(texts), next(filter(None, paths), None)


def _path(location: object) -> str:
    if not isinstance(location, list):
        return ""
    return ".".join(str(step) for step in location[:10] if step != "body")


def _code(inner: Mapping[str, object], details: object) -> str | None:
    """The most telling code: Google's reason, else `code` in words, `status` in words, a number."""
    for detail in _dicts(details):
        reason = _text(detail.get("reason"))
        if reason:
            return reason
    code = inner.get("code")
    if isinstance(code, int) and not isinstance(code, bool):
        return _text(inner.get("status")) or str(code)[:MAX_NAME_CHARS]
    return _text(code) or _text(inner.get("status"))


def _status(inner: Mapping[str, object]) -> int | None:
    """An HTTP status inside the body (OpenRouter's and vLLM's `code`, Groq's `status_code`)."""
    for name in ("status_code", "code", "status"):
        value = inner.get(name)
        if isinstance(value, str) and re.fullmatch(r"[45]\d\d", value):
            return int(value)
        if isinstance(value, int) and 400 <= value <= 599:
            return value
    return None


def _retry_info(details: object) -> float | None:
    for detail in _dicts(details):
        if str(detail.get("@type")).endswith("google.rpc.RetryInfo"):
            return parse_duration(_text(detail.get("retryDelay")) or "")
    return None


def _dicts(values: object) -> list[dict[str, object]]:
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _retry_after(headers: Headers, words: _Words, now: float) -> float | None:
    fields = dict(headers)
    said = [
        _milliseconds(fields.get("retry-after-ms", "")),
        _seconds_or_date(fields.get("retry-after", ""), now),
    ]
    known = [wait for wait in said if wait is not None]
    if known:
        # Azure sends `retry-after-ms: 0` beside `retry-after: 1`: the longer one is true.
        return bounded_wait(max(known))
    wait = _wait_in_words(words)
    if wait is not None:
        return wait
    limits = parse_rate_limits([*words.headers, *headers], now)
    resets = [
        reset
        for remaining, reset in (
            (limits.remaining_requests, limits.reset_requests),
            (limits.remaining_tokens, limits.reset_tokens),
        )
        if remaining == 0 and reset is not None
    ]
    return max(resets, default=None)


def _wait_in_words(words: _Words) -> float | None:
    wait = words.retry_after
    if wait is None:
        match = _WAIT_IN_WORDS.search(words.message[:_MAX_SCANNED_CHARS])
        wait = parse_duration(match[1].rstrip(".")) if match else None
    return None if wait is None else bounded_wait(wait)


def _milliseconds(text: str) -> float | None:
    value = parse_duration(text.strip())
    return None if value is None else value / 1000


def _seconds_or_date(text: str, now: float) -> float | None:
    """`retry-after` of RFC 9110, section 10.2.3: seconds or an HTTP date."""
    seconds = parse_duration(text.strip())
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return bounded_wait(moment.timestamp() - now)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
