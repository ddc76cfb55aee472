"""What a client did that HTTP does not allow, and the answer to it."""

from __future__ import annotations

import msgspec

from signalbox.errors import SignalboxError


class Violation(SignalboxError):
    """The bytes are no request that can be served; the connection ends with the answer.

    `status`: 400, 408, 414, 417, 431, 501 or 505. The message says what was wrong.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


_CODES = {
    408: "request_timeout",
    414: "uri_too_long",
    417: "expectation_failed",
    431: "request_header_fields_too_large",
    501: "not_implemented",
    505: "http_version_not_supported",
}


def error_body(status: int, message: str) -> bytes:
    """JSON in the shape of OpenAI's errors: no door is known where these are told."""
    error = {
        "message": message,
        "type": "invalid_request_error" if status < 500 or status in _CODES else "server_error",
        "param": None,
        "code": _CODES.get(status, "invalid_value" if status < 500 else "internal_error"),
    }
    return msgspec.json.encode({"error": error})
