"""Events of a response rewritten in place: what is not changed keeps its own bytes."""

from __future__ import annotations

import re

import msgspec
from msgspec.structs import replace

from signalbox.adapters.openai_chunks import read_fields
from signalbox.adapters.protocol import Delta
from signalbox.adapters.responses_assembler import TEXT_DELTA
from signalbox.adapters.sse import sse_event

_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,100}")


def named_event(name: str, data: bytes) -> bytes:
    """One event as the API frames it; a name that is none is left out."""
    head = f"event: {name}\n".encode() if _NAME.fullmatch(name) else b""
    return head + sse_event(data)


def retold(delta: Delta, text: str) -> Delta:
    """See `Adapter.retold`. Only a text's own event has a place for it; with any other, the encoder
    says it in an event of its own."""
    raw = delta.raw
    if delta.event == TEXT_DELTA:
        fields = read_fields(raw)
        raw = msgspec.json.encode({**fields, "delta": text, "logprobs": []})
    return replace(
        delta,
        raw=raw,
        content_chars=delta.content_chars - delta.reasoning_chars - len(delta.text) + len(text),
        text=text,
        reasoning_chars=0,
    )
