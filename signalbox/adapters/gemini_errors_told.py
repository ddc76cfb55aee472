"""Errors as Google's clients expect them.

Format: `google.rpc.Status` as JSON (Google, API design guide, "Errors"): the HTTP status as `code`,
its name as `status`, and `details` of known types.
"""

from __future__ import annotations

import msgspec

from signalbox.errors import ApiError

STATUSES = {
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""By HTTP status; other 4xx are `INVALID_ARGUMENT`, other 5xx `INTERNAL`."""
DOMAIN = "signalbox"

_TYPE = "type.googleapis.com/google.rpc."


def status_of(error: ApiError) -> str:
    return STATUSES.get(error.status, "INVALID_ARGUMENT" if error.status < 500 else "INTERNAL")


def error_body(error: ApiError, trace_id: str) -> dict[str, object]:
    """The error; `details` name the code, the trace, the field, and when to come again."""
    tried = "; ".join(f"{each.provider} {each.model}: {each.kind}" for each in error.attempts)
    metadata = {"trace_id": trace_id, **({"attempts": tried} if tried else {})}
    for name, value in error.metadata.items():
        metadata[name] = msgspec.json.encode(value).decode()
    details: list[dict[str, object]] = [
        {
            "@type": _TYPE + "ErrorInfo",
            "reason": error.code.upper(),
            "domain": DOMAIN,
            "metadata": metadata,
        }
    ]
    if error.param is not None:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": _TYPE + "BadRequest", "fieldViolations": [violation]})
    if error.retry_after is not None:
        delay = f"{error.retry_after:.3f}".rstrip("0").rstrip(".")
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{delay}s"})
    return {
        "error": {
            "code": error.status,
            "message": error.message,
            "status": status_of(error),
            "details": details,
        }
    }
