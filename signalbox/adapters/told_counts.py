"""What the events that are written of one delta have to count: together as much as the delta."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from signalbox.adapters.chat import (
    CitationPiece,
    FinishPiece,
    MediaPiece,
    NativePiece,
    Piece,
    ReasoningPiece,
    RefusalPiece,
    TextPiece,
    ToolCallPiece,
)
from signalbox.adapters.protocol import Delta


def chars_of(piece: Piece) -> int:
    """The characters of content of a piece, as far as they are words."""
    match piece:
        case TextPiece() | ReasoningPiece() | RefusalPiece():
            return len(piece.text)
        case ToolCallPiece():
            return len(piece.name or "") + len(piece.arguments)
        case MediaPiece() | NativePiece() | CitationPiece() | FinishPiece():
            return 0


def is_opaque(piece: Piece) -> bool:
    """Whether another route could not go on from it."""
    return isinstance(piece, ToolCallPiece | RefusalPiece | MediaPiece | NativePiece)


def silent() -> Delta:
    """An event that tells the client nothing and is there for what it counts."""
    return Delta(raw=b"", has_choices=False)


def with_counts_of(
    delta: Delta, events: Sequence[Delta], *, chars: int, opaque: bool
) -> list[Delta]:
    """The events with what `delta` says besides content, and all of the characters that it counts.

    `chars`: how many of its characters the events count, or will once what is held is written.
    `opaque`: whether one of them tells, or will, what the delta's opaque content is.
    """
    written = list(events) or [silent()]
    first = written[0]
    written[0] = replace(first, id=delta.id, made=delta.made)
    ends = [place for place, event in enumerate(written) if event.finish_reasons]
    place = ends[-1] if ends else len(written) - 1
    last = written[place]
    written[place] = replace(
        last,
        usage=delta.usage,
        finish_reasons=delta.finish_reasons,
        content_chars=last.content_chars + delta.content_chars - chars,
        opaque=last.opaque or (delta.opaque and not opaque),
    )
    return written


def retold_silent(delta: Delta, text: str) -> Delta:
    """`Adapter.retold` for a silent event."""
    chars = delta.content_chars - delta.reasoning_chars - len(delta.text) + len(text)
    return replace(delta, content_chars=chars, text=text, reasoning_chars=0)
