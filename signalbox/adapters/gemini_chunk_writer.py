"""Streams of other dialects as chunks of Gemini's API. See `gemini_answer_writer.py`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.chat import (
    CitationPiece,
    FinishPiece,
    MediaPiece,
    NativePiece,
    Piece,
    ReasoningFormat,
    ReasoningPiece,
    RefusalPiece,
    TextPiece,
    ToolCallPiece,
)
from signalbox.adapters.gemini_answer_writer import (
    candidate,
    citation_source,
    envelope,
    finish_reason,
    function_call,
    logprobs_result,
    media_parts,
    signed,
    usage_fields,
)
from signalbox.adapters.protocol import Delta
from signalbox.adapters.told_arguments import JsonEnd
from signalbox.adapters.told_counts import chars_of, is_opaque
from signalbox.types import Dialect, Request

Fields = dict[str, Any]


@dataclass(slots=True)
class _Call:
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)
    end: JsonEnd = field(default_factory=JsonEnd)
    signature: str | None = None
    chars: int = 0
    """What its pieces count; told when the call is."""


@dataclass(slots=True)
class _Candidate:
    """What a chunk tells of one choice."""

    parts: list[Any] = field(default_factory=list)
    more: Fields = field(default_factory=dict)


class ChunkWriter:
    """`EventWriter` of Gemini's door. A delta becomes one chunk.

    A function call is told once it is whole: when its JSON is closed, or when its choice ends.
    """

    def __init__(self, request: Request, *, thoughts: bool) -> None:
        """`thoughts`: they are to be shown."""
        self._request = request
        self._thoughts = thoughts
        self._calls: dict[tuple[int, int], _Call] = {}
        """(choice, index) → a call that is not whole."""
        self._told: set[tuple[int, int]] = set()
        self._refused: set[int] = set()

    def write(self, delta: Delta) -> list[Delta]:
        """See `EventWriter`. What waits is counted when it is written."""
        before = self._held_chars()
        waited = bool(self._calls)
        told: dict[int, _Candidate] = {}
        for piece in delta.pieces:
            self._take(piece, told.setdefault(piece.choice, _Candidate()))
        newly_held = self._held_chars() - before
        candidates = [
            {**candidate(choice, one.parts), **one.more}
            for choice, one in sorted(told.items())
            if one.parts or one.more
        ]
        opaque = delta.opaque if not (waited or self._calls) else self._is_opaque(candidates, delta)
        counted = replace(
            delta,
            pieces=(),
            event="",
            content_chars=delta.content_chars - newly_held,
            opaque=opaque,
        )
        if not candidates:
            return [replace(counted, raw=b"", has_choices=False)]
        return [replace(counted, raw=self._chunk(candidates, delta), has_choices=True)]

    def _chunk(self, candidates: list[Fields], delta: Delta) -> bytes:
        chunk: Fields = {"candidates": candidates}
        if delta.usage is not None:
            chunk["usageMetadata"] = usage_fields(delta.usage)
        return msgspec.json.encode(
            {**chunk, **envelope(delta.model or self._request.model, self._request.id)}
        )

    def _is_opaque(self, candidates: list[Fields], delta: Delta) -> bool:
        calls = any("functionCall" in part for c in candidates for part in c["content"]["parts"])
        others = any(is_opaque(p) and not isinstance(p, ToolCallPiece) for p in delta.pieces)
        return calls or (others and delta.opaque)

    def _held_chars(self) -> int:
        return sum(call.chars for call in self._calls.values())

    def _take(self, piece: Piece, told: _Candidate) -> None:
        match piece:
            case TextPiece():
                if piece.text or piece.signature:
                    told.parts.append(signed({"text": piece.text}, piece.signature))
                if piece.logprobs:
                    told.more["logprobsResult"] = logprobs_result(piece.logprobs)
            case RefusalPiece():
                self._refused.add(piece.choice)
                told.parts.append({"text": piece.text})
            case ReasoningPiece():
                self._reason(piece, told)
            case ToolCallPiece():
                self._call(piece, told)
            case MediaPiece():
                told.parts.extend(media_parts(piece.media))
            case CitationPiece():
                source = citation_source(piece.citation)
                if source is not None:
                    known = told.more.setdefault("citationMetadata", {"citationSources": []})
                    known["citationSources"].append(source)
            case NativePiece(native=native):
                if native.dialect is Dialect.GENERATE:
                    told.parts.append(native.value)
            case FinishPiece():
                for key in [key for key in self._calls if key[0] == piece.choice]:
                    self._tell_call(key, told)
                refused = piece.choice in self._refused
                told.more["finishReason"] = finish_reason(piece.finish, refused=refused)

    def _reason(self, piece: ReasoningPiece, told: _Candidate) -> None:
        own = piece.signature if piece.format is ReasoningFormat.GEMINI else None
        if self._thoughts and (piece.text or own):
            told.parts.append(signed({"text": piece.text, "thought": True}, own))

    def _call(self, piece: ToolCallPiece, told: _Candidate) -> None:
        key = piece.choice, piece.index
        if key in self._told:
            # Its JSON was closed: whatever comes after it is none.
            return
        call = self._calls.get(key)
        if call is None:
            id = piece.id or f"call_{piece.choice}_{piece.index}"
            call = self._calls[key] = _Call(id, piece.name or "")
        call.arguments.append(piece.arguments)
        call.signature = piece.signature or call.signature
        call.chars += chars_of(piece)
        call.end.feed(piece.arguments)
        if call.end.closed:
            self._tell_call(key, told)

    def _tell_call(self, key: tuple[int, int], told: _Candidate) -> None:
        call = self._calls.pop(key)
        self._told.add(key)
        arguments = "".join(call.arguments)
        told.parts.append(function_call(call.id, call.name, arguments, call.signature))
