"""Events of a Messages stream rewritten in place: what is not changed keeps its own bytes.

Used by the adapter of Anthropic's providers and by the door of Anthropic's clients. What these
functions are given has passed a decoder of this dialect or was written by its event writer.
Source: Anthropic API reference, Messages, "Streaming Messages".
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from signalbox.adapters.protocol import Delta

PING = b'{"type": "ping"}'
"""Says nothing; stands where an event has nothing left to say."""

_START = "content_block_start"
_DELTA = "content_block_delta"
_THINKING_DELTAS = ("thinking_delta", "signature_delta")
_THINKING_BLOCKS = ("thinking", "redacted_thinking")
_EMPTY_THINKING = {"type": "thinking", "thinking": "", "signature": ""}


def text_event(index: int, text: str) -> bytes:
    """More text of the block at `index`, as the JSON of a `content_block_delta`."""
    delta = {"type": "text_delta", "text": text}
    return msgspec.json.encode({"type": _DELTA, "index": index, "delta": delta})


def retold(delta: Delta, text: str) -> Delta:
    """See `Adapter.retold`.

    Text stands in a `text_delta` or in the start of a text block. Any other event has no place for
    it: its `raw` stays, and what `Delta.text` says is to be written before it, as a block or a
    delta of its own. Deltas of thinking become pings; the start of a thinking block stays where it
    is, empty, and so does its stop: an encoder that leaves blocks out numbers the rest anew.
    """
    event = msgspec.json.decode(delta.raw)
    part = event.get("delta") or event.get("content_block")
    kind = part.get("type") if isinstance(part, dict) else None
    content_chars = delta.content_chars - delta.reasoning_chars - len(delta.text) + len(text)
    raw, name = delta.raw, delta.event
    if event.get("type") in (_START, _DELTA) and isinstance(part, dict):
        if kind in ("text_delta", "text"):
            part["text"] = text
            raw = msgspec.json.encode(event)
        elif event["type"] == _DELTA and kind in _THINKING_DELTAS:
            raw, name = PING, "ping"
        elif kind in _THINKING_BLOCKS:
            raw = msgspec.json.encode({**event, "content_block": _EMPTY_THINKING})
    return replace(
        delta, raw=raw, event=name, content_chars=content_chars, text=text, reasoning_chars=0
    )
