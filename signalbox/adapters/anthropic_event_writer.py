"""Streams of other dialects as events of Anthropic's Messages API.

Format: Anthropic API reference, Messages, "Streaming Messages". A message is a row of blocks, told
one after the other: each starts, grows and stops before the next one starts. Other dialects may
tell parts of several tool calls in turn; what comes while a call is not whole waits for it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.anthropic_answer_writer import (
    OWN_REASONING,
    begun_message,
    citation_fields,
    media_text,
    message_id,
    stop_reason,
    text_block,
    tool_use,
    usage_fields,
)
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
from signalbox.adapters.told_arguments import JsonEnd
from signalbox.adapters.told_counts import chars_of, is_opaque, silent, with_counts_of
from signalbox.types import Dialect, Request, Usage

Fields = dict[str, Any]


@dataclass(slots=True)
class _Call:
    """The tool call whose block is open."""

    index: int
    arguments: JsonEnd = field(default_factory=JsonEnd)

    @property
    def whole(self) -> bool:
        return self.arguments.closed


class MessageEventWriter:
    """`EventWriter` of the Messages door. Only the first choice is told.

    `message_start` counts no tokens, since nobody has counted them by then; `message_delta` has the
    final numbers, which clients take in their place. Where the usage comes after it, it is the
    encoder that puts them in.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._begun = False
        self._blocks = 0
        self._open = ""
        """The type of the block that is open."""
        self._call: _Call | None = None
        self._closed_calls: set[int] = set()
        self._waiting: deque[Piece] = deque()
        self._refused = False
        self._usage: Usage | None = None
        self._events: list[Delta] = []

    def write(self, delta: Delta) -> list[Delta]:
        """See `EventWriter`. What waits is counted when it is written."""
        self._events = []
        self._usage = delta.usage or self._usage
        pieces = [piece for piece in delta.pieces if piece.choice == 0]
        if pieces:
            self._begin(delta)
        for piece in pieces:
            self._take(piece)
        return with_counts_of(
            delta,
            self._events,
            chars=sum(map(chars_of, pieces)),
            opaque=any(event.opaque for event in self._events)
            or any(map(is_opaque, self._waiting)),
        )

    def _begin(self, delta: Delta) -> None:
        if self._begun:
            return
        self._begun = True
        model = delta.model or self._request.model
        message = begun_message(message_id(self._request), model)
        self._tell("message_start", {"message": message})

    def _take(self, piece: Piece) -> None:
        """Writes the piece, or keeps it until the call that is open is whole."""
        if isinstance(piece, FinishPiece):
            self._work_off()
            self._finish(piece)
        elif self._is_of_another(piece):
            self._waiting.append(piece)
        else:
            self._write(piece)
            if self._waiting and self._call is not None and self._call.whole:
                self._retry()

    def _is_of_another(self, piece: Piece) -> bool:
        call = self._call
        if call is None or (isinstance(piece, ToolCallPiece) and piece.index == call.index):
            return False
        return bool(self._waiting) or not call.whole

    def _retry(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for piece in waiting:
            self._take(piece)

    def _work_off(self) -> None:
        """Nothing more can make a call whole: what waits is written as it is."""
        while self._waiting:
            self._stop()
            self._retry()

    def _write(self, piece: Piece) -> None:
        match piece:
            case TextPiece(text=text):
                if text:
                    self._block("text", text_block(""))
                    self._grow({"type": "text_delta", "text": text}, len(text), text=text)
            case RefusalPiece(text=text):
                self._refused = True
                self._block("text", text_block(""))
                self._grow({"type": "text_delta", "text": text}, len(text), opaque=True)
            case CitationPiece():
                self._cite(piece)
            case ReasoningPiece():
                self._reason(piece)
            case ToolCallPiece():
                self._call_tool(piece)
            case MediaPiece():
                shown = media_text(piece.media)
                if shown:
                    self._block("text", text_block(""))
                    self._grow({"type": "text_delta", "text": shown}, 0, opaque=True)
            case NativePiece(native=native):
                if native.dialect is Dialect.MESSAGES:
                    self._whole_block(native.value, opaque=True)

    # ── blocks ────────────────────────────────────────────────────────────────────────────────

    def _cite(self, piece: CitationPiece) -> None:
        citation = citation_fields(piece.citation)
        if citation is not None:
            self._block("text", text_block(""))
            self._grow({"type": "citations_delta", "citation": citation}, 0)

    def _reason(self, piece: ReasoningPiece) -> None:
        own = piece.format in OWN_REASONING
        if piece.text:
            self._think()
            count = len(piece.text)
            self._grow({"type": "thinking_delta", "thinking": piece.text}, count, reasoning=count)
        if piece.signature and own:
            self._think()
            self._grow({"type": "signature_delta", "signature": piece.signature}, 0)
        if piece.encrypted and own:
            self._whole_block({"type": "redacted_thinking", "data": piece.encrypted})
        if piece.closes and self._open == "thinking":
            self._stop()

    def _think(self) -> None:
        self._block("thinking", {"type": "thinking", "thinking": "", "signature": ""})

    def _call_tool(self, piece: ToolCallPiece) -> None:
        if piece.index in self._closed_calls:
            # Its JSON was whole: whatever comes after it is none.
            self._events.append(replace(silent(), content_chars=chars_of(piece)))
            return
        if self._call is None or self._call.index != piece.index:
            self._stop()
            self._call = _Call(piece.index)
            id = piece.id or f"toolu_{self._request.id}_{piece.index}"
            name = piece.name or ""
            self._block("tool_use", tool_use(id, name), len(name), opaque=True)
        if piece.arguments:
            self._call.arguments.feed(piece.arguments)
            more = {"type": "input_json_delta", "partial_json": piece.arguments}
            self._grow(more, len(piece.arguments), opaque=True)

    def _block(self, kind: str, block: Fields, chars: int = 0, *, opaque: bool = False) -> None:
        """Starts a block of this kind, unless it is the one that is open."""
        if self._open == kind:
            return
        self._stop()
        self._open = kind
        self._tell(
            "content_block_start",
            {"index": self._blocks, "content_block": block},
            content_chars=chars,
            opaque=opaque,
        )

    def _whole_block(self, block: Fields, *, opaque: bool = False) -> None:
        self._stop()
        self._block(str(block.get("type")), block, opaque=opaque)
        self._stop()

    def _grow(
        self, more: Fields, chars: int, *, text: str = "", reasoning: int = 0, opaque: bool = False
    ) -> None:
        self._tell(
            "content_block_delta",
            {"index": self._blocks, "delta": more},
            content_chars=chars,
            text=text,
            reasoning_chars=reasoning,
            opaque=opaque,
        )

    def _stop(self) -> None:
        if not self._open:
            return
        self._tell("content_block_stop", {"index": self._blocks})
        if self._call is not None:
            self._closed_calls.add(self._call.index)
            self._call = None
        self._open = ""
        self._blocks += 1

    def _finish(self, piece: FinishPiece) -> None:
        self._stop()
        reason = stop_reason(piece.finish, piece.stop_sequence, refused=self._refused)
        usage = {"output_tokens": 0} if self._usage is None else usage_fields(self._usage)
        delta = {"stop_reason": reason, "stop_sequence": piece.stop_sequence}
        self._tell(
            "message_delta", {"delta": delta, "usage": usage}, finish_reasons=((0, piece.finish),)
        )

    def _tell(self, event: str, fields: Fields, **counts: Any) -> None:
        raw = msgspec.json.encode({"type": event, **fields})
        self._events.append(Delta(raw=raw, event=event, **counts))
