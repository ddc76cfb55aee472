"""What an error of Cohere's API means: `{"id", "message"}`, and `error_type` in some.

Source: Cohere API reference, "Errors (status codes and description)", and the answers of "Chat".
Nothing here raises, whatever the bytes.
"""

from __future__ import annotations

import re

from msgspec.structs import replace

from signalbox.adapters import openai_errors
from signalbox.adapters.protocol import Headers
from signalbox.errors import Failure, FailureKind

_DENY_LISTED = 498
"""The request or the answer holds a token that is on the account's deny list."""
_USED_UP = re.compile(r"trial key.{0,80}(?:calls? ?/ ?month|per month|monthly)")
"""A trial key's month is over: waiting some seconds does not help."""
_INVALID_TOKEN = re.compile(r"invalid api token|no api key supplied")


def decode_error(status: int, headers: Headers, body: bytes, now: float) -> Failure:
    """The failure that an HTTP answer of 400 and more means. `now`: wall clock, seconds."""
    failure = openai_errors.decode_error(status, headers, body, now)
    if status == _DENY_LISTED:
        return replace(failure, kind=FailureKind.CONTENT_POLICY, retry_after=None)
    words = failure.message.lower()
    if status == 429 and _USED_UP.search(words):
        return replace(failure, kind=FailureKind.QUOTA_EXHAUSTED, retry_after=None)
    if status in (400, 403) and _INVALID_TOKEN.search(words):
        return replace(failure, kind=FailureKind.KEY_REJECTED)
    return failure


def decode_body_error(body: object, otherwise: FailureKind) -> Failure:
    """The failure that an error inside a 200 means; `body` is decoded JSON."""
    return openai_errors.decode_body_error(body, otherwise)
