"""What goes wrong: the package's exceptions, failures of upstream calls, errors for clients."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec


class SignalboxError(Exception):
    """The base of the errors that this package raises on purpose."""


class ActorCrashed(SignalboxError):
    """The actor died with this message in hand; the message is not delivered again."""


class MailboxFull(SignalboxError):
    """`tell` found no room; the message was not taken."""


class StoreUnavailable(SignalboxError):
    """The database could not do what was asked just now; what was asked is not lost by itself."""


class ProviderProtocolError(SignalboxError):
    """A provider's bytes are not what its wire format allows. The only error a decoder raises."""


class UnsupportedParameter(SignalboxError):
    """A route cannot carry a field that changes the meaning of the request."""

    def __init__(self, param: str, why: str) -> None:
        super().__init__(f"{param}: {why}")
        self.param = param
        self.why = why


class FailureKind(StrEnum):
    """What went wrong with an attempt, by what follows from it (`machines/decisions.py`)."""

    RATE_LIMITED = "rate_limited"
    """429 that waiting heals: the key is used up for now."""
    REQUEST_TOO_LARGE_FOR_QUOTA = "request_too_large_for_quota"
    """429 that waiting does not heal: the request alone is over the key's limit."""
    QUOTA_EXHAUSTED = "quota_exhausted"
    """The key's account has no money or quota left (402, OpenAI's `insufficient_quota`)."""
    KEY_REJECTED = "key_rejected"
    """The answer speaks of the key itself: unknown, revoked, malformed."""
    MODEL_FORBIDDEN = "model_forbidden"
    """403 about the model or the region: this key may not use this model."""
    MODEL_UNKNOWN = "model_unknown"
    """404: the provider does not know the model that the configuration names."""
    CONTEXT_LENGTH = "context_length"
    """The prompt is longer than the model's context."""
    CONTENT_POLICY = "content_policy"
    """The provider refuses the content."""
    INVALID_REQUEST = "invalid_request"
    """400, 413, 422: the request itself is wrong; it would be wrong anywhere."""
    UNSUPPORTED_PARAMETER = "unsupported_parameter"
    """The route cannot carry a field that changes the meaning; nothing was sent."""
    OVER_BUDGET = "over_budget"
    """A hard budget of the request has too little left for the route; nothing was sent."""
    SERVER_ERROR = "server_error"
    """500 and other 5xx."""
    OVERLOADED = "overloaded"
    """503, 529: the provider asks for patience."""
    CONNECT_FAILED = "connect_failed"
    """No connection: refused, unreachable, DNS, TLS."""
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECTION_LOST = "connection_lost"
    """The connection ended or was reset before the answer was whole."""
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    RESPONSE_TIMEOUT = "response_timeout"
    PROTOCOL_ERROR = "protocol_error"
    """Bytes that are not the wire format."""
    STREAM_ERROR = "stream_error"
    """An error event inside a 200 stream that fits no class above."""
    EMPTY_ANSWER = "empty_answer"
    """A 200 without any content whose finish reason does not explain it."""
    TRUNCATED = "truncated"
    """The bytes ended without a finish reason."""
    SPLICE_MISMATCH = "splice_mismatch"
    """A second answer that does not repeat what was already sent, so it cannot be joined on."""
    INTERNAL = "internal"
    """The gateway's own fault."""


class Failure(msgspec.Struct, frozen=True):
    """Why an attempt failed. `message` is the provider's own words, capped, without secrets."""

    kind: FailureKind
    message: str
    status: int | None = None
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    """Seconds that the provider asks to wait, whatever header or body field said so."""


class AttemptReport(msgspec.Struct, frozen=True):
    """One upstream call, or one route that was passed over, as an error tells of it."""

    provider: str
    model: str
    kind: FailureKind
    message: str
    attempt: int | None = None
    """None where nothing was sent: no key had room."""
    status: int | None = None
    param: str | None = None
    """The request's field that the provider found fault with."""


class ApiError(msgspec.Struct, frozen=True):
    """An error as the client is told of it; each door puts it into its own dialect."""

    status: int
    type: str
    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    """Seconds after which the same request may succeed."""
    should_retry: bool | None = None
    """What `x-should-retry` says; None: the header is not sent."""
    attempts: tuple[AttemptReport, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    metadata: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """What else a program may want to know; JSON's values."""
