"""What every adapter is: pure functions between a provider's wire format and the gateway's model.

An adapter never does I/O. It builds the request from the untouched original, reads a whole answer,
reads a stream event by event, and names what an error means. Whatever bytes come, a decoder raises
`ProviderProtocolError` and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from signalbox.errors import Failure
from signalbox.types import Request, Route, Secret, Usage

Headers = Sequence[tuple[str, str]]
"""Header fields in order; names are lower case."""


@dataclass(frozen=True, slots=True)
class WireRequest:
    """One HTTP request to a provider. `headers` holds the key; it is never recorded as it is."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    dropped: tuple[str, ...] = ()
    """Names of hint parameters that this provider does not take and that were left out."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `body` is the provider's JSON, unchanged, in the adapter's dialect."""

    body: dict[str, object]
    content_chars: int
    """Characters of content (text, reasoning, refusal, tool calls, audio) of all choices."""
    finish_reason: str | None
    """The first choice's finish reason, in OpenAI's words."""
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Delta:
    """One event of a stream that is neither an error nor the end.

    `raw` is the JSON exactly as the provider sent it, in the adapter's dialect.
    """

    raw: bytes
    content_chars: int = 0
    """Characters of content that this event adds; 0 for a role, an empty delta, usage."""
    finish_reasons: tuple[tuple[int, str], ...] = ()
    """(choice index, reason) for every finish reason in this event."""
    usage: Usage | None = None
    has_choices: bool = True
    """False for a chunk without choices (usage alone, Azure's first chunk)."""


@dataclass(frozen=True, slots=True)
class StreamError:
    """The provider reported an error inside the stream. Nothing after it counts."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class StreamFinished:
    """The stream's own end mark (`[DONE]`) came. Not every provider sends one."""


StreamEvent = Delta | StreamError | StreamFinished


class StreamDecoder(Protocol):
    """Turns bytes, cut anywhere, into events. Raises only `ProviderProtocolError`."""

    def feed(self, data: bytes) -> list[StreamEvent]: ...

    def end(self) -> list[StreamEvent]:
        """The bytes ended: what a last event without its blank line still held."""
        ...


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What an answer's headers say about the key's limits. None: not said.

    Resets are seconds from now.
    """

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests: float | None = None
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens: float | None = None


class Adapter(Protocol):
    """One provider's wire format."""

    dialect: str

    def build(
        self, request: Request, route: Route, base_url: str, key: Secret | None
    ) -> WireRequest:
        """The wire request. Raises `UnsupportedParameter` where the route cannot carry a field."""
        ...

    def decode_answer(self, body: bytes) -> Answer | Failure:
        """A 200's whole body. A 200 that is an error object is a `Failure`."""
        ...

    def stream_decoder(self) -> StreamDecoder: ...

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        """What a status of 400 and more means. `now` is the wall clock, for absolute resets."""
        ...

    def rate_limits(self, headers: Headers, now: float) -> RateLimits: ...
