"""What an error of Bedrock's runtime means, over HTTP and inside of a stream.

`x-amzn-errortype` names the exception, with a path behind a colon in some; the body is
`{"message"}`. Source: Amazon Bedrock API reference, "Converse", errors; user guide,
"Troubleshooting API error codes"; AWS, "Common errors". Nothing here raises, whatever the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec
from msgspec.structs import replace

from signalbox.adapters import openai_errors
from signalbox.adapters.openai_wire import DECODE_ERRORS
from signalbox.adapters.protocol import Headers
from signalbox.errors import Failure, FailureKind

_KINDS: Mapping[str, FailureKind] = MappingProxyType(
    {
        "throttlingexception": FailureKind.RATE_LIMITED,
        "toomanyrequestsexception": FailureKind.RATE_LIMITED,
        "servicequotaexceededexception": FailureKind.QUOTA_EXHAUSTED,
        "modelnotreadyexception": FailureKind.OVERLOADED,
        "serviceunavailableexception": FailureKind.OVERLOADED,
        "serviceunavailable": FailureKind.OVERLOADED,
        "modeltimeoutexception": FailureKind.SERVER_ERROR,
        "modelerrorexception": FailureKind.SERVER_ERROR,
        "modelstreamerrorexception": FailureKind.SERVER_ERROR,
        "internalserverexception": FailureKind.SERVER_ERROR,
        "internalfailure": FailureKind.SERVER_ERROR,
        "resourcenotfoundexception": FailureKind.MODEL_UNKNOWN,
        "accessdeniedexception": FailureKind.MODEL_FORBIDDEN,
        "unrecognizedclientexception": FailureKind.KEY_REJECTED,
        "invalidclienttokenid": FailureKind.KEY_REJECTED,
        "invalidsignatureexception": FailureKind.KEY_REJECTED,
        "incompletesignatureexception": FailureKind.KEY_REJECTED,
        "missingauthenticationtokenexception": FailureKind.KEY_REJECTED,
        "expiredtokenexception": FailureKind.KEY_REJECTED,
        "notauthorized": FailureKind.KEY_REJECTED,
        "validationexception": FailureKind.INVALID_REQUEST,
    }
)
_TOO_LONG = re.compile(
    r"too long for requested model|input length .{0,80}exceed|too many input tok"
)
_UNKNOWN_MODEL = re.compile(
    r"model identifier is invalid|on-demand throughput isn.t supported|end of its life"
)
_KEY = re.compile(r"bearer|api key|security token|signature|credential|authentication failed")
_DAY = re.compile(r"tokens per day|per day")


def decode_error(status: int, headers: Headers, body: bytes, now: float) -> Failure:
    """The failure that an HTTP answer of 400 and more means. `now`: wall clock, seconds."""
    failure = openai_errors.decode_error(status, headers, body, now)
    name = dict(headers).get("x-amzn-errortype", "")
    return _named(replace(failure, message=_message(body) or failure.message), name)


def stream_failure(name: str, payload: bytes) -> Failure:
    """The failure that an exception of a stream means; `name`: its type, or an error's code."""
    words = _message(payload) or openai_errors.clean(
        payload[:4000].decode("utf-8", "replace"), openai_errors.MAX_MESSAGE_CHARS
    )
    failure = Failure(FailureKind.STREAM_ERROR, words or "an exception without a message")
    return _named(failure, name)


def _named(failure: Failure, name: str) -> Failure:
    name = name.strip().rpartition("#")[2].partition(":")[0]  # `Name:http://…`, `ns#Name`
    if not name:
        return failure
    kind = _KINDS.get(name.lower(), failure.kind)
    words = failure.message.lower()
    if kind is FailureKind.INVALID_REQUEST:
        kind = _about_request(words, failure.kind)
    elif kind is FailureKind.MODEL_FORBIDDEN and _KEY.search(words):
        kind = FailureKind.KEY_REJECTED
    elif kind is FailureKind.RATE_LIMITED and _DAY.search(words):
        kind = FailureKind.QUOTA_EXHAUSTED
    waits = kind in (FailureKind.RATE_LIMITED, FailureKind.OVERLOADED)
    return replace(
        failure,
        kind=kind,
        code=openai_errors.clean(name, openai_errors.MAX_NAME_CHARS) or failure.code,
        retry_after=failure.retry_after if waits else None,
    )


def _about_request(words: str, read: FailureKind) -> FailureKind:
    if _TOO_LONG.search(words):
        return FailureKind.CONTEXT_LENGTH
    if _UNKNOWN_MODEL.search(words):
        return FailureKind.MODEL_UNKNOWN
    known = (FailureKind.CONTEXT_LENGTH, FailureKind.CONTENT_POLICY, FailureKind.MODEL_UNKNOWN)
    return read if read in known else FailureKind.INVALID_REQUEST


def _message(body: bytes) -> str:
    """Older services spell it `Message`."""
    try:
        fields = msgspec.json.decode(body)
    except DECODE_ERRORS:
        return ""
    if not isinstance(fields, dict):
        return ""
    said = fields.get("message") or fields.get("Message")
    said = said if isinstance(said, str) else ""
    return openai_errors.clean(said, openai_errors.MAX_MESSAGE_CHARS)
