"""The parts of OpenAI's completions format that the gateway reads: API reference, "Completions".

    {"object": "text_completion", "choices": [{"index", "text", "logprobs", "finish_reason"}], …}

A stream's chunks have the same shape. What is not read goes through as bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.openai_chunks import Fields, read_fields
from signalbox.adapters.protocol import Delta

TEXT_COMPLETION = "text_completion"
_FINISH_REASONS = {"eos": "stop"}
"""Together's word."""
_objects = msgspec.json.Decoder(list[Fields])
_NULL = msgspec.Raw(b"null")


class Choice(msgspec.Struct, gc=False):
    index: int | None = None
    text: str | None = None
    reasoning: str | None = None
    """OpenRouter's, where a model that thinks serves a completion."""
    finish_reason: str | None = None
    error: Any = None

    @property
    def finish(self) -> str | None:
        reason = self.finish_reason
        return _FINISH_REASONS.get(reason, reason) if reason else None

    @property
    def chars(self) -> int:
        return len(self.text or "") + len(self.reasoning or "")


class Envelope(msgspec.Struct, gc=False):
    """A chunk or a completion, or an error in the place of one."""

    id: Any = None
    choices: list[Choice] | None = None
    usage: Any = None
    error: Any = None
    message: Any = None
    detail: Any = None
    kind: Any = msgspec.field(default=None, name="object")

    @property
    def is_error(self) -> bool:
        """As in chats: under `error`, flat, or in a choice."""
        if self.error or self.kind == "error":
            return True
        if self.choices is None:
            return bool(self.message or self.detail)
        return any(choice.error or choice.finish_reason == "error" for choice in self.choices)


def retold(delta: Delta, text: str) -> Delta:
    """See `Adapter.retold`. A chunk without choices has no place for `text` and stays."""
    if not delta.has_choices:
        return delta
    return replace(
        delta,
        raw=_with_text(delta.raw, text),
        content_chars=delta.content_chars - delta.reasoning_chars - len(delta.text) + len(text),
        text=text,
        reasoning_chars=0,
    )


def _with_text(data: bytes, text: str) -> bytes:
    """The chunk with `text` for the first choice's text, and without its reasoning."""
    fields = read_fields(data)
    choices = _objects.decode(fields["choices"])
    for choice in choices:
        if not msgspec.json.decode(choice.get("index", _NULL), type=int | None):
            choice.pop("reasoning", None)
            choice["text"] = msgspec.Raw(msgspec.json.encode(text))
            text = ""
    return msgspec.json.encode({**fields, "choices": choices})
