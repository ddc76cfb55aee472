"""What every adapter is: pure functions between a provider's wire format and the gateway's model.

An adapter never does I/O. It builds the request from the untouched original, reads a whole answer,
reads a stream event by event, and names what an error means. Whatever bytes come, a decoder raises
`ProviderProtocolError` and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from signalbox.adapters.chat import (
    ChatAnswer,
    Piece,
)
from signalbox.adapters.embeddings_form import EmbeddingsAnswer
from signalbox.errors import Failure
from signalbox.types import Dialect, Request, Route, Secret, Usage

Headers = Sequence[tuple[str, str]]
"""Header fields in order; names are lower case."""


class WireRequest(msgspec.Struct, frozen=True):
    """One HTTP request to a provider. `headers` holds the key; it is never recorded as it is."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    dropped: tuple[str, ...] = ()
    """Names of hint parameters that this provider does not take and that were left out."""
    more: tuple[bytes, ...] = ()
    """Further bodies for the same URL, where one call does not hold all of the request. They go
    out one after the other, and a `JoiningAdapter` makes one answer of theirs."""


class Answer(msgspec.Struct, frozen=True):
    """A whole answer. `body` is the provider's JSON, unchanged, in the adapter's dialect."""

    body: dict[str, object]
    content_chars: int
    """Characters of content (text, reasoning, refusal, tool calls, audio) of all choices."""
    finish_reason: str | None
    """The first choice's finish reason, in OpenAI's words."""
    usage: Usage | None
    id: str | None = None
    made: tuple[str, ...] = ()
    """What it gives out that only this provider will understand: ids, encrypted reasoning."""
    choices: int = 1
    """How many alternatives it holds; all of them are whole."""
    tool_states: tuple[tuple[str, bytes], ...] = ()
    """What the provider wants back with a tool call, by its id (`tool_memory.py`)."""
    told: ChatAnswer | EmbeddingsAnswer | None = None
    """The same in the gateway's own model; there where the door speaks another dialect."""


class Delta(msgspec.Struct, frozen=True):
    """One event of a stream that is neither an error nor the end.

    `raw` is the JSON exactly as the provider sent it, in the adapter's dialect.
    """

    raw: bytes
    event: str = ""
    """The SSE event's name, in dialects that name their events."""
    content_chars: int = 0
    """Characters of content that this event adds; 0 for a role, an empty delta, usage."""
    finish_reasons: tuple[tuple[int, str], ...] = ()
    """(choice index, reason) for every finish reason in this event."""
    usage: Usage | None = None
    text: str = ""
    """The text of the first choice that is in `content_chars`."""
    reasoning_chars: int = 0
    """Characters of the first choice's reasoning text that are in `content_chars`."""
    opaque: bool = False
    """It holds content that another route could not go on from: a tool call, a refusal, audio."""
    has_choices: bool = True
    """False for a chunk without choices (usage alone, Azure's first chunk)."""
    id: str | None = None
    """The answer's."""
    made: tuple[str, ...] = ()
    """As `Answer.made`."""
    tool_states: tuple[tuple[str, bytes], ...] = ()
    """As `Answer.tool_states`."""
    model: str | None = None
    """What the provider calls the model; where `pieces` are there."""
    pieces: tuple[Piece, ...] = ()
    """The same in the gateway's own model; there where the door speaks another dialect."""


class StreamError(msgspec.Struct, frozen=True):
    """The provider reported an error inside the stream. Nothing after it counts."""

    failure: Failure


class StreamFinished(msgspec.Struct, frozen=True):
    """The stream's own end mark (`[DONE]`) came. Not every provider sends one."""


StreamEvent = Delta | StreamError | StreamFinished


class StreamDecoder(Protocol):
    """Turns bytes, cut anywhere, into events. Raises only `ProviderProtocolError`."""

    def feed(self, data: bytes) -> list[StreamEvent]: ...

    def end(self) -> list[StreamEvent]:
        """The bytes ended: what a last event without its blank line still held."""
        ...


class Seam(msgspec.Struct, frozen=True):
    """Where another attempt goes on with a stream that broke."""

    provider: str
    model: str
    """The route's name for the model."""
    how: str
    """`prefill`, `splice` or `restart`."""
    after_chars: int
    """Characters of text that the client had been sent."""


class RateLimits(msgspec.Struct, frozen=True):
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
    """One endpoint of a provider: its wire format, both ways.

    It serves requests of every door. Of one whose door speaks the same dialect the body goes
    through; any other is written from its form (`forms.chat_form`), and then every `Delta` has its
    `pieces` and every `Answer` is `told`.
    """

    @property
    def dialect(self) -> Dialect: ...

    def unsupported(self, request: Request, route: Route) -> tuple[str, ...]:
        """Fields with meaning that the route cannot carry, by the names that `build` would raise
        one of. Hints are among them where the request makes them count."""
        ...

    def dropped(self, request: Request, route: Route) -> tuple[str, ...]:
        """Hints that `build` would leave out, as `WireRequest.dropped` names them."""
        ...

    def build(
        self,
        request: Request,
        route: Route,
        base_url: str,
        key: Secret | None,
        *,
        prefill: str | None = None,
    ) -> WireRequest:
        """The wire request. Raises `UnsupportedParameter` where the route cannot carry a field.

        `prefill` is the beginning of the answer, which the model is to go on from; its trailing
        whitespace is left out.
        """
        ...

    def prefills(self, route: Route) -> bool:
        """Whether the route is believed to take a `prefill`."""
        ...

    def echoes_prefill(self, route: Route) -> bool:
        """Whether an answer may repeat the `prefill` before it goes on from it."""
        ...

    def retold(self, delta: Delta, text: str) -> Delta:
        """The delta with `text` for its text and without reasoning; all else as it was."""
        ...

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure:
        """A 200's whole body. A 200 that is an error object is a `Failure`."""
        ...

    def stream_decoder(self, request: Request) -> StreamDecoder: ...

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        """What a status of 400 and more means. `now` is the wall clock, for absolute resets."""
        ...

    def rate_limits(self, headers: Headers, now: float) -> RateLimits: ...


@runtime_checkable
class JoiningAdapter(Protocol):
    """An adapter whose `build` may give `more`."""

    def decode_answers(self, bodies: Sequence[bytes], request: Request) -> Answer | Failure:
        """The whole bodies of the 200s to all calls, in their order, as one answer."""
        ...


_EVENT_STREAM = frozenset({"text/event-stream"})


@runtime_checkable
class OwnStreamAdapter(Protocol):
    """An adapter whose streams are no server-sent events."""

    @property
    def stream_types(self) -> frozenset[str]:
        """The media types of its streams, in lower case."""
        ...


def stream_types(adapter: Adapter) -> frozenset[str]:
    """What a stream of the adapter's endpoint is labelled."""
    if isinstance(adapter, OwnStreamAdapter):
        return adapter.stream_types
    return _EVENT_STREAM
