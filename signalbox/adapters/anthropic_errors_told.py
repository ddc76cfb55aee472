"""Errors as Anthropic's clients expect them.

Format: Anthropic API reference, "Errors". Clients look at the status and at `error.type`; the SDK
also gives out `error.details.error_code`. Claude Code makes a conversation shorter when a message
says that the prompt is too long.
"""

from __future__ import annotations

from signalbox.adapters.openai_door import error_body as openai_error_body
from signalbox.errors import ApiError, FailureKind

TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""By status; other 4xx are `invalid_request_error`, other 5xx `api_error`."""
TOO_LONG = "prompt is too long"


def error_type(error: ApiError) -> str:
    busy = bool(error.attempts) and all(a.kind is FailureKind.OVERLOADED for a in error.attempts)
    if error.status == 503 and busy:
        return "overloaded_error"
    return TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")


def message_of(error: ApiError) -> str:
    if error.code == "context_length_exceeded" and TOO_LONG not in error.message.lower():
        return f"{TOO_LONG}: {error.message}"
    return error.message


def error_body(error: ApiError, trace_id: str) -> dict[str, object]:
    """The error; `details` has what else the gateway knows: code, field, trace, what was tried."""
    known = openai_error_body(error, trace_id)["error"]
    assert isinstance(known, dict)
    details: dict[str, object] = {"error_code": error.code}
    if error.param is not None:
        details["param"] = error.param
    return {
        "type": "error",
        "error": {
            "type": error_type(error),
            "message": message_of(error),
            "details": {**details, **known["metadata"]},
        },
        "request_id": trace_id,
    }
