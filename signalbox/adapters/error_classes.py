"""Which `FailureKind` a provider's status and words mean: one table of rules, first match wins.

Shared by the adapters whose providers speak of errors in English words. The words are those that
providers send; a comment names whose they are where that is not plain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from signalbox.errors import FailureKind

_SCANNED_CHARS = 4096
"""The words that decide stand at a message's start; what follows is an echo of the request."""

_CONTENT_POLICY = re.compile(
    r"content_policy_violation|content_filter|content[_ ]management policy"
    r"|violates? (?:our |the )?(?:usage|content) (?:guidelines|polic)"
    r"|flagged (?:for|by|as)|requires moderation|responsible ?ai ?policy"
    r"|data_inspection_failed"  # Alibaba
)
_CONTEXT_LENGTH = re.compile(
    r"context_length_exceeded|exceed_context_size|context[ _](?:length|window|size|limit)"
    r"|maximum (?:prompt|model|input) length|prompt is too long|prompt too long"
    r"|too_many_tokens|too many tokens|input token count|tokens? limit exceeded"
    r"|reduce the length of the (?:messages|input|prompt)"
    r"|tokens \+ .{0,40}must be <="  # Together
)
_QUOTA = re.compile(
    r"insufficient_quota|insufficient[ _](?:balance|credits?|funds)|credit balance is too low"
    r"|used all (?:of )?(?:its |your )?available credits|(?:doesn't|does not) have any credits"
    r"|spending[ -]limit|billing_(?:hard_limit_reached|not_active)|payment required"
)
_KEY = re.compile(
    r"api_key_invalid|invalid_api_key|invalid[ _]authentication|no auth credentials"
    r"|(?:incorrect|invalid|expired|revoked|missing|unknown|wrong) (?:api|auth)[ _-]?(?:key|token)"
    r"|api[ _-]key (?:is )?(?:not valid|invalid|not found|expired|disabled|blocked)"
    r"|authentication_error|unauthori[sz]ed"
)
_KEY_AT_403 = re.compile(_KEY.pattern + r"|\bapi[ _-]?key\b|authenticat|credential")
_MODEL = re.compile(r"\bmodels?\b|\bregion|\bcountry|\bterritor|\blocation|\bengine\b")
_MODEL_UNKNOWN = re.compile(
    r"model_not_found|model_decommissioned|model_not_active|invalid_model|unknown_model"
    r"|not a valid model|invalid model|unknown model|model not (?:found|exist)"
    r"|\bmodel\b[^.]{0,100}\b(?:does not exist|not found|decommissioned)"
)
_MODELS_OWN_FAULT = re.compile(r"tool_use_failed|json_validate_failed")  # Groq
_OVERLOADED = re.compile(r"overloaded|at capacity|capacity_exceeded")

_STATUS_OF_WORD: Mapping[str, int] = MappingProxyType(
    {
        "invalid_request_error": 400,
        "invalid_argument": 400,
        "bad_request": 400,
        "authentication_error": 401,
        "unauthenticated": 401,
        "permission_error": 403,
        "permission_denied": 403,
        "not_found_error": 404,
        "rate_limit_error": 429,
        "rate_limit_exceeded": 429,
        "rate_limited": 429,
        "too_many_requests": 429,
        "too_many_requests_error": 429,
        "resource_exhausted": 429,
        "insufficient_quota": 429,
        "server_error": 500,
        "api_error": 500,
        "internal": 500,
        "internal_error": 500,
        "internal_server_error": 500,
        "unavailable": 503,
        "service_unavailable": 503,
        "timeout": 504,
        "deadline_exceeded": 504,
        "overloaded_error": 529,
        "engine_overloaded_error": 529,
    }
)
"""For an error without a status, inside a 200: the status that its `code` or `type` stands for."""

_OF_STATUS: Mapping[int, FailureKind] = MappingProxyType(
    {
        401: FailureKind.KEY_REJECTED,
        402: FailureKind.QUOTA_EXHAUSTED,
        403: FailureKind.MODEL_FORBIDDEN,
        404: FailureKind.MODEL_UNKNOWN,
        # Timeouts and conflicts are the server's; the same request may do well a moment later.
        408: FailureKind.SERVER_ERROR,
        409: FailureKind.SERVER_ERROR,
        425: FailureKind.SERVER_ERROR,
        429: FailureKind.RATE_LIMITED,
        498: FailureKind.OVERLOADED,  # Groq: the flex tier has no capacity
        499: FailureKind.SERVER_ERROR,
        503: FailureKind.OVERLOADED,
        529: FailureKind.OVERLOADED,
    }
)


def classify(
    status: int | None,
    message: str,
    code: str | None,
    type_: str | None,
    otherwise: FailureKind = FailureKind.PROTOCOL_ERROR,
) -> FailureKind:
    """The class of an error; `otherwise` where there is neither a status nor a telling word."""
    words = f"{code or ''} {type_ or ''} {message[:_SCANNED_CHARS]}".lower()
    if status is None:
        status = _status_of_words(code, type_)
    by_words = _by_words(status, words)
    if by_words is not None:
        return by_words
    if status is None:
        return otherwise
    if status in _OF_STATUS:
        return _OF_STATUS[status]
    if 400 <= status <= 499:
        return FailureKind.INVALID_REQUEST
    return FailureKind.SERVER_ERROR if 500 <= status <= 599 else FailureKind.PROTOCOL_ERROR


def _status_of_words(code: str | None, type_: str | None) -> int | None:
    for word in (code, type_):
        if word and word.lower() in _STATUS_OF_WORD:
            return _STATUS_OF_WORD[word.lower()]
    return None


def _by_words(status: int | None, words: str) -> FailureKind | None:
    """What the words say more exactly than the status does; None where they add nothing."""
    about_request = status in (None, 400, 403, 413, 422, 451)
    if about_request and _CONTENT_POLICY.search(words):
        return FailureKind.CONTENT_POLICY
    if "request too large" in words and (status == 429 or (status == 413 and "per min" in words)):
        return FailureKind.REQUEST_TOO_LARGE_FOR_QUOTA  # OpenAI at 429, Groq at 413
    if status in (400, 403, 429) and _QUOTA.search(words):
        return FailureKind.QUOTA_EXHAUSTED
    if status in (None, 400, 413, 422) and _CONTEXT_LENGTH.search(words):
        return FailureKind.CONTEXT_LENGTH
    if status == 413 and "token" in words:
        return FailureKind.CONTEXT_LENGTH
    if status in (400, 422):
        return _about_key_or_model(words)
    if status == 403 and not _MODEL.search(words) and _KEY_AT_403.search(words):
        return FailureKind.KEY_REJECTED
    if status in (500, 502) and _OVERLOADED.search(words):
        return FailureKind.OVERLOADED
    return None


def _about_key_or_model(words: str) -> FailureKind | None:
    """A 400 that is not the client's: xAI's and Google's bad key, a model the provider lacks."""
    if _KEY.search(words):
        return FailureKind.KEY_REJECTED
    if _MODEL_UNKNOWN.search(words):
        return FailureKind.MODEL_UNKNOWN
    if _MODELS_OWN_FAULT.search(words):
        return FailureKind.SERVER_ERROR
    return None
