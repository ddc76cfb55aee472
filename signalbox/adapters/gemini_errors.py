"""What an error of Gemini's API means.

Its body is Google's, `{"error": {"code", "message", "status", "details"}}`, sometimes in a list of
one; `openai_errors.py` reads that too. Here is what Google's reasons and quotas say more exactly:
`google.rpc.ErrorInfo` and `google.rpc.QuotaFailure` of "Google API error model", and the messages
of the guide "Troubleshooting".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec
from msgspec.structs import replace

from signalbox.adapters import openai_errors
from signalbox.adapters.openai_wire import DECODE_ERRORS
from signalbox.adapters.protocol import Headers
from signalbox.errors import Failure, FailureKind

_OF_REASON: Mapping[str, FailureKind] = {
    "API_KEY_INVALID": FailureKind.KEY_REJECTED,
    "API_KEY_EXPIRED": FailureKind.KEY_REJECTED,
    "API_KEY_SERVICE_BLOCKED": FailureKind.KEY_REJECTED,
    "API_KEY_HTTP_REFERRER_BLOCKED": FailureKind.KEY_REJECTED,
    "API_KEY_IP_ADDRESS_BLOCKED": FailureKind.KEY_REJECTED,
    "SERVICE_DISABLED": FailureKind.KEY_REJECTED,
    "CONSUMER_INVALID": FailureKind.KEY_REJECTED,
    "CONSUMER_SUSPENDED": FailureKind.KEY_REJECTED,
    "BILLING_DISABLED": FailureKind.QUOTA_EXHAUSTED,
}
"""`ErrorInfo.reason`: what is wrong with the key or its project."""
_OF_WORDS = (
    (
        re.compile(r"user location is not supported|not available in your (?:country|region)"),
        FailureKind.MODEL_FORBIDDEN,
    ),
    (
        re.compile(r"prepay\w* credits? (?:are|is) depleted|monthly spending cap"),
        FailureKind.QUOTA_EXHAUSTED,
    ),
    (
        # The client's own: no other key has it either.
        re.compile(r"cachedcontent|permission to access the file|\bfiles?/\w+.{0,40}not (?:ex|fo)"),
        FailureKind.INVALID_REQUEST,
    ),
)
_CLIENTS_OR_KEYS = frozenset(
    {
        FailureKind.INVALID_REQUEST,
        FailureKind.MODEL_FORBIDDEN,
        FailureKind.MODEL_UNKNOWN,
        FailureKind.KEY_REJECTED,
        FailureKind.RATE_LIMITED,
        FailureKind.QUOTA_EXHAUSTED,
    }
)
"""What the reasons and words above may say otherwise; a 500 or 503 stays one."""
_NONE_AT_ALL = re.compile(r"\blimit: 0\b")


def decode_error(status: int, headers: Headers, body: bytes, now: float) -> Failure:
    """See `Adapter.decode_error`."""
    failure = openai_errors.decode_error(status, headers, body, now)
    try:
        decoded = msgspec.json.decode(body)
    except DECODE_ERRORS:
        return failure
    return _corrected(failure, decoded)


def decode_body_error(body: object, otherwise: FailureKind) -> Failure:
    """An error inside a 200; `body` is decoded JSON."""
    return _corrected(openai_errors.decode_body_error(body, otherwise), body)


def _corrected(failure: Failure, body: object) -> Failure:
    if failure.kind not in _CLIENTS_OR_KEYS:
        return failure
    kind = _kind(failure, body)
    if kind is None or kind is failure.kind:
        return failure
    wait = failure.retry_after if kind is FailureKind.RATE_LIMITED else None
    return replace(failure, kind=kind, retry_after=wait)


def _kind(failure: Failure, body: object) -> FailureKind | None:
    details = list(_details(body))
    for detail in details:
        reason = detail.get("reason")
        if isinstance(reason, str) and reason in _OF_REASON:
            return _OF_REASON[reason]
    words = failure.message.lower()
    if failure.kind is FailureKind.RATE_LIMITED and (
        _NONE_AT_ALL.search(words) or any(map(_allows_nothing, details))
    ):
        # The model is not part of this key's plan: no waiting helps.
        return FailureKind.MODEL_FORBIDDEN
    return next((kind for pattern, kind in _OF_WORDS if pattern.search(words)), None)


def _details(body: object) -> Iterator[Mapping[str, object]]:
    if isinstance(body, list):
        body = body[0] if body else None
    error = body.get("error") if isinstance(body, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict):
            yield detail


def _allows_nothing(detail: Mapping[str, object]) -> bool:
    """A `QuotaFailure` whose every limit is 0."""
    violations = detail.get("violations")
    if not isinstance(violations, list) or not violations:
        return False
    return all(isinstance(each, dict) and each.get("quotaValue") == "0" for each in violations)
