"""What a client of the Messages API is sent.

Events of a provider of the same dialect go out as they came, with their names and pings. Held back
is the end (`message_delta` with its stop reason, `message_stop`) until it is certain. After a seam
only content and the end come: the blocks that it belongs to are then started, numbered and stopped
here, so that all attempts are one message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from signalbox.adapters.anthropic_answer_writer import begun_message, usage_fields
from signalbox.adapters.anthropic_errors_told import error_body
from signalbox.adapters.protocol import Answer, Delta, Seam
from signalbox.adapters.sse import sse_comment, sse_event
from signalbox.errors import ApiError
from signalbox.types import Usage

Fields = dict[str, Any]

KINDS_OF_DELTAS = {
    "text_delta": "text",
    "citations_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
}
_EMPTY_BLOCKS: Mapping[str, Fields] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


def named_event(name: str, data: bytes) -> bytes:
    return b"event: " + name.encode() + b"\n" + sse_event(data)


PING = named_event("ping", b'{"type": "ping"}')


class MessageEncoder:
    """`DoorEncoder` for messages. One serves one request.

    The last event before the end tells of all seams in `x_signalbox.resumed`.
    """

    def __init__(self, trace_id: str, model: str) -> None:
        self._trace_id = trace_id
        self._model = model
        self._begun = False
        self._blocks = 0
        """How many have started; the next one's index."""
        self._open: dict[int, str] = {}
        """The blocks that have not stopped, by the index that the client knows: their types."""
        self._held: Delta | None = None
        self._seams: list[Seam] = []
        self._carried: int | None = None
        """The text block that was open at the seam, until the next attempt goes on with it."""
        self._indexes: dict[int, int] = {}
        """After a seam: the attempt's index of a block → the client's."""

    def delta(self, delta: Delta) -> bytes:
        """The event's bytes, as far as they may go out now."""
        if not delta.raw:
            return b""
        name = delta.event or _type_of(delta.raw)
        if delta.finish_reasons:
            self._held = delta
            return self._text(delta.text)
        if name == "message_stop":
            return b""
        if self._seams:
            return self._after_seam(name, msgspec.json.decode(delta.raw), delta.text)
        self._note(name, delta.raw)
        return named_event(name, delta.raw)

    def resumed(self, seam: Seam) -> bytes:
        """A comment that names the seam. Thinking that was begun stops there: what follows is
        another thought, signed by itself."""
        self._seams.append(seam)
        self._indexes.clear()
        stopped = b"".join(self._stop(i) for i, kind in [*self._open.items()] if kind != "text")
        self._carried = next(iter(self._open), None)
        told = (
            f"resumed at {seam.provider} {seam.model} "
            f"after {seam.after_chars} characters ({seam.how})"
        )
        return stopped + sse_comment(" ".join(told.split()).encode())

    def cut(self, choices: int) -> bytes:
        """Open blocks are stopped by `finish`."""
        told = {"stop_reason": "max_tokens", "stop_sequence": None}
        raw = msgspec.json.encode({"type": "message_delta", "delta": told})
        return self.delta(Delta(raw, "message_delta", finish_reasons=((0, "length"),)))

    def finish(self, provider: str, cost: str | None, usage: Usage | None) -> bytes:
        """What was held, and the end. The provider's own usage is kept and `cost` added; where it
        said nothing, or `usage` is an estimate or covers several attempts, it is made of that."""
        begun = b"" if self._begun else self._start()
        stopped = b"".join(map(self._stop, [*self._open]))
        event = self._last_event()
        told = _object(event.get("usage"))
        reported = self._held is not None and self._held.usage is not None and not self._seams
        if usage is not None and (usage.estimated or not reported):
            told = {**told, **usage_fields(usage)}
        if cost is not None:
            told["cost"] = msgspec.Raw(cost.encode())
        event["usage"] = {"output_tokens": 0, **told}
        if self._seams:
            event["x_signalbox"] = {"resumed": self._seams}
        end = named_event("message_stop", b'{"type":"message_stop"}')
        return begun + stopped + named_event("message_delta", msgspec.json.encode(event)) + end

    def error(self, error: ApiError) -> bytes:
        return named_event("error", msgspec.json.encode(error_body(error, self._trace_id)))

    def answer(self, answer: Answer, provider: str, cost: str | None) -> bytes:
        """The provider's JSON with `usage.cost` put in, where the cost is known."""
        usage = answer.body.get("usage")
        if cost is None or not isinstance(usage, dict):
            return msgspec.json.encode(answer.body)
        priced = {**usage, "cost": msgspec.Raw(cost.encode())}
        return msgspec.json.encode({**answer.body, "usage": priced})

    # ── blocks ────────────────────────────────────────────────────────────────────────────────

    def _note(self, name: str, raw: bytes) -> None:
        """Remembers which blocks the client has open."""
        match name:
            case "message_start":
                self._begun = True
            case "content_block_start":
                event = msgspec.json.decode(raw)
                index = _index(event)
                self._open[index] = _type(event.get("content_block"))
                self._blocks = max(self._blocks, index + 1)
            case "content_block_stop":
                self._open.pop(_index(msgspec.json.decode(raw)), None)

    def _start(self) -> bytes:
        self._begun = True
        message = begun_message(f"msg_{self._trace_id}", self._model)
        return _event("message_start", {"message": message})

    def _stop(self, index: int) -> bytes:
        del self._open[index]
        return _event("content_block_stop", {"index": index})

    def _new_block(self, block: Fields) -> bytes:
        stopped = b"".join(map(self._stop, [*self._open]))
        self._carried = None
        index, self._blocks = self._blocks, self._blocks + 1
        self._open[index] = _type(block)
        return stopped + _event("content_block_start", {"index": index, "content_block": block})

    def _last_event(self) -> Fields:
        if self._held is not None:
            event: Fields = msgspec.json.decode(self._held.raw)
            return event
        return {"type": "message_delta", "delta": {"stop_reason": None, "stop_sequence": None}}

    # ── after a seam ──────────────────────────────────────────────────────────────────────────

    def _after_seam(self, name: str, event: Fields, text: str) -> bytes:
        part = event.get("delta") or event.get("content_block")
        before = b"" if _type(part) in ("text", "text_delta") else self._text(text)
        match name:
            case "content_block_start":
                return before + self._start_after_seam(event)
            case "content_block_delta":
                return before + self._grow_after_seam(event)
            case "content_block_stop":
                index = self._indexes.get(_index(event), -1)
                return before + (self._stop(index) if index in self._open else b"")
            case "message_start" if not self._begun:
                self._begun = True
                return before + _event(name, event)
        return before

    def _start_after_seam(self, event: Fields) -> bytes:
        block, index = _object(event.get("content_block")), _index(event)
        text = block.get("text") or ""
        if _type(block) == "text" and self._carried is not None:
            self._indexes[index], self._carried = self._carried, None
            return self._told_text(self._indexes[index], text) if text else b""
        started = self._new_block(block)
        self._indexes[index] = self._blocks - 1
        return started

    def _grow_after_seam(self, event: Fields) -> bytes:
        """The start of the block may not have come: what says nothing new is left out."""
        index = _index(event)
        kind = KINDS_OF_DELTAS.get(_type(event.get("delta")))
        started = b""
        if self._indexes.get(index) not in self._open:
            if kind is None:
                return b""
            if kind == "text" and self._carried is not None:
                self._indexes[index], self._carried = self._carried, None
            else:
                started = self._new_block(_EMPTY_BLOCKS[kind])
                self._indexes[index] = self._blocks - 1
        event["index"] = self._indexes[index]
        return started + _event("content_block_delta", event)

    def _text(self, text: str) -> bytes:
        """Text whose own event has no place for it (see `anthropic_events.retold`), in the block
        that is open for text."""
        if not text:
            return b""
        for index, kind in self._open.items():
            if kind == "text":
                return self._told_text(index, text)
        return self._new_block(_EMPTY_BLOCKS["text"]) + self._told_text(self._blocks - 1, text)

    def _told_text(self, index: int, text: str) -> bytes:
        delta = {"type": "text_delta", "text": text}
        return _event("content_block_delta", {"index": index, "delta": delta})


def _event(name: str, fields: Fields) -> bytes:
    return named_event(name, msgspec.json.encode({"type": name, **fields}))


def _type_of(raw: bytes) -> str:
    return _type(msgspec.json.decode(raw)) or "message"


# A provider's event has passed its decoder, which lets fields go that it does not need itself.


def _object(value: object) -> Fields:
    return value if isinstance(value, dict) else {}


def _type(value: object) -> str:
    kind = _object(value).get("type")
    return kind if isinstance(kind, str) else ""


def _index(event: object) -> int:
    index = _object(event).get("index")
    return index if isinstance(index, int) and not isinstance(index, bool) else 0
