"""What an error of Anthropic's API means.

Its body is `{"type": "error", "error": {"type", "message"}, "request_id"}`, over HTTP and as an
event of a stream; what stands in front of it may answer anything. Source: Anthropic's
documentation, "Errors" and "Rate limits". Nothing here raises, whatever the bytes.
"""

from __future__ import annotations

import re

import msgspec
from msgspec.structs import replace

from signalbox.adapters import openai_errors
from signalbox.adapters.anthropic_wire import DECODE_ERRORS
from signalbox.adapters.protocol import Headers
from signalbox.errors import Failure, FailureKind

_FIELD = re.compile(
    r"((?:messages|system|tools|tool_choice|thinking|output_config|metadata|max_tokens|temperature"
    r"|top_p|top_k|stop_sequences|model|container|mcp_servers|cache_control|betas|service_tier)"
    r"(?:\.[\w-]{1,40}){0,8}): "
)
"""Validation errors begin with the field's path."""
_SPENDING_LIMIT = re.compile(r"specified (?:\w+ )?api usage limits|credit balance is too low")
_WAITABLE = (FailureKind.RATE_LIMITED, FailureKind.OVERLOADED)


def decode_error(status: int, headers: Headers, body: bytes, now: float) -> Failure:
    """The failure that an HTTP answer of 400 and more means. `now`: wall clock, seconds.

    A 429 that says `x-should-retry: false` is about a prompt that alone is over the limit.
    """
    failure = openai_errors.decode_error(status, headers, body, now)
    failure = _told_apart(failure, _decoded(body))
    retry = dict(headers).get("x-should-retry", "").strip().lower()
    if status == 429 and retry == "false" and failure.kind is FailureKind.RATE_LIMITED:
        kind = FailureKind.REQUEST_TOO_LARGE_FOR_QUOTA
        return replace(failure, kind=kind, retry_after=None)
    return failure


def decode_body_error(body: object, otherwise: FailureKind) -> Failure:
    """The failure that an error inside a 200 means; `body` is decoded JSON."""
    return _told_apart(openai_errors.decode_body_error(body, otherwise), body)


def _told_apart(failure: Failure, body: object) -> Failure:
    """With the type as its code and the path that its words begin with."""
    error = body.get("error") if isinstance(body, dict) else None
    kind = error.get("type") if isinstance(error, dict) else None
    if failure.code is None and isinstance(kind, str) and kind:
        failure = replace(failure, code=openai_errors.clean(kind, openai_errors.MAX_NAME_CHARS))
    field = _FIELD.match(failure.message)
    if failure.param is None and field is not None:
        failure = replace(failure, param=field[1])
    if _SPENDING_LIMIT.search(failure.message.lower()):
        failure = replace(failure, kind=FailureKind.QUOTA_EXHAUSTED)
    return failure if failure.kind in _WAITABLE else replace(failure, retry_after=None)


def _decoded(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except DECODE_ERRORS:
        return None
