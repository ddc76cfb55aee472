"""What every door is: pure functions between a client's dialect and the gateway's model.

A door reads what its client sends, and puts what comes back into its client's words. What comes
from a provider of the same dialect it leaves as it is; what comes from another one reaches it in
the gateway's own model (`chat.py`) and is first written down in the door's dialect
(`translated.py`), so that everything behind that sees one dialect alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from signalbox.adapters.chat import (
    ChatRequest,
)
from signalbox.adapters.embeddings_form import EmbeddingsRequest
from signalbox.adapters.protocol import Answer, Delta, Seam
from signalbox.errors import ApiError, SignalboxError
from signalbox.types import Dialect, Flavour, Request, Usage

Body = Mapping[str, Any]


class BadRequest(SignalboxError):
    """The client's body is not what the door takes. `param` is the field's path, if it is one."""

    def __init__(self, param: str | None, message: str) -> None:
        super().__init__(message if param is None else f"{param}: {message}")
        self.param = param


class Target(msgspec.Struct, frozen=True):
    """What the path said, in dialects whose path names the model (Gemini's, Azure's)."""

    model: str | None = None
    stream: bool | None = None
    many: bool = False
    """`batchEmbedContents`."""


NO_TARGET = Target()


class Outline(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway itself needs to know of a valid body, whatever its dialect."""

    model: str
    stream: bool = False
    include_usage: bool = False
    """The client of a stream wants to be told the usage."""
    choices: int = 1
    max_tokens: int | None = None
    """The client's ceiling for the answer."""
    begun: bool = False
    """The last message is the assistant's: the client began the answer itself."""
    plain: bool = False
    """One choice of plain text, which another route could go on with."""
    stored: bool = False
    """The answer is to be kept at the provider, so that later requests may refer to its id."""
    user: str | None = None
    opening: tuple[tuple[str, Any], ...] = ()
    """The instructions and the first user message: what all requests of a conversation share."""
    cache_key: str | None = None
    """The client's own name for that (`prompt_cache_key`)."""


class DoorEncoder(Protocol):
    """What an answer looks like to the client, piece by piece. Pure.

    One encoder serves one request; it remembers what of the stream has passed. What it is given is
    in the door's dialect. Costs are US dollars as an exact decimal string, None where unknown.
    """

    def delta(self, delta: Delta) -> bytes:
        """The bytes of a stream's event; empty where the client gets nothing of it now."""
        ...

    def resumed(self, seam: Seam) -> bytes:
        """The bytes that mark the seam; what follows is made to look like one stream."""
        ...

    def cut(self, choices: int) -> bytes:
        """Before `finish`: the answer, of so many choices, ends here as one does that has come to
        its ceiling."""
        ...

    def finish(self, provider: str, cost: str | None, usage: Usage | None) -> bytes:
        """The bytes that end a stream."""
        ...

    def error(self, error: ApiError) -> bytes:
        """The bytes that end a stream with an error."""
        ...

    def answer(self, answer: Answer, provider: str, cost: str | None) -> bytes:
        """A whole answer."""
        ...


class EventWriter(Protocol):
    """Writes the pieces of one attempt's stream down as events of the door's dialect."""

    def write(self, delta: Delta) -> list[Delta]:
        """The delta's pieces as deltas whose `raw` (and `event`) the door's client understands.

        Together they have the delta's `content_chars`, `text`, `reasoning_chars`, `opaque`,
        `finish_reasons`, `usage`, `id` and `made`. Their ids are the gateway's own.
        """
        ...


class Door(Protocol):
    """One dialect, as clients speak it. `doors.py` lists them."""

    @property
    def dialect(self) -> Dialect: ...

    @property
    def forwarded_headers(self) -> tuple[str, ...]:
        """The client's headers that go to a provider of the same dialect."""
        ...

    @property
    def keep_alive(self) -> bytes | None:
        """What keeps a silent stream alive; None: nothing may be sent, the head is held back."""
        ...

    @property
    def takes_routing_fields(self) -> bool:
        """Whether OpenRouter's routing fields may stand at the top level of the body."""
        ...

    def read_body(self, data: bytes, target: Target = NO_TARGET) -> dict[str, Any]:
        """The decoded and validated body. Raises `BadRequest`. What it returns can be encoded
        again, and `outline`, `form` and every adapter's `build` do not fail on it."""
        ...

    def outline(self, body: Body, target: Target = NO_TARGET) -> Outline: ...

    def form(self, request: Request) -> ChatRequest | EmbeddingsRequest:
        """The request in the gateway's own model; raises nothing for a body that was read."""
        ...

    def error_body(
        self, error: ApiError, trace_id: str, flavour: Flavour = Flavour.PLAIN
    ) -> dict[str, object]:
        """The error in this dialect."""
        ...

    def encoder(self, request: Request) -> DoorEncoder: ...

    def answer(self, answer: Answer, request: Request) -> Answer:
        """An answer of another dialect, `told`, with a `body` in this one."""
        ...

    def event_writer(self, request: Request) -> EventWriter: ...

    def retold(self, delta: Delta, text: str) -> Delta:
        """See `Adapter.retold`, for a delta in this dialect."""
        ...
