"""A conversation in the form of Anthropic's Messages: instructions apart, turns that alternate.

Source: Anthropic API reference, Messages: `system`, `messages`; "Handle tool calls": all results of
a turn's calls stand first in one user turn that directly follows it; "Extended thinking": thinking
stands first in the assistant's turn.

What no turn can carry is named in `Conversation.unsupported`, what was left out in `dropped`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from signalbox.adapters.chat import (
    ChatRequest,
    Media,
    MediaKind,
    Message,
    Native,
    Part,
    Reasoning,
    ReasoningFormat,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from signalbox.adapters.tool_ids import ANTHROPIC
from signalbox.types import Dialect

FAMILY = Dialect.MESSAGES.family
Block = dict[str, Any]

_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_IMAGE_HEADS = (("iVBOR", "image/png"), ("R0lG", "image/gif"), ("UklGR", "image/webp"))
_PDF = "application/pdf"
_DOCUMENT_FIELDS = ("title", "context", "citations")
THINKING_BLOCKS = ("thinking", "redacted_thinking")
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(slots=True)
class Conversation:
    system: list[Block] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)
    """`{role, content: [block, …]}`, no two neighbours of one role."""
    dropped: dict[str, None] = field(default_factory=dict)
    unsupported: dict[str, None] = field(default_factory=dict)

    @property
    def begun(self) -> bool:
        """It ends in the assistant's words."""
        return bool(self.turns) and self.turns[-1]["role"] == "assistant"

    @property
    def unsigned_loop(self) -> bool:
        """It ends in results of a turn of calls that does not begin with its own thinking."""
        if len(self.turns) < 2 or self.turns[-1]["role"] != "user":
            return False
        if not _has(self.turns[-1], "tool_result") or not _has(self.turns[-2], "tool_use"):
            return False
        return self.turns[-2]["content"][0]["type"] not in THINKING_BLOCKS


def write_conversation(form: ChatRequest, *, thinks: bool) -> Conversation:
    """`thinks`: the model knows thinking; without it what was thought is left out."""
    conversation = Conversation()
    for message in form.messages:
        blocks = [block for part in message.parts for block in _blocks(part, form, conversation)]
        if not thinks:
            blocks = [block for block in blocks if block.get("type") not in THINKING_BLOCKS]
        if message.role in (Role.SYSTEM, Role.DEVELOPER):
            conversation.system += blocks
        elif blocks:
            _add(conversation.turns, _role(message), blocks)
    for turn in conversation.turns:
        turn["content"] = _ordered(turn["role"], turn["content"])
    if not conversation.turns and conversation.system:
        # Instructions alone, which other dialects answer, are asked as the user's words.
        conversation.turns = [{"role": "user", "content": conversation.system}]
        conversation.system = []
    if conversation.begun:
        _without_trailing_space(conversation.turns[-1]["content"])
    return conversation


def _role(message: Message) -> str:
    return "assistant" if message.role is Role.ASSISTANT else "user"


def _add(turns: list[dict[str, Any]], role: str, blocks: list[Block]) -> None:
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _ordered(role: str, blocks: list[Block]) -> list[Block]:
    first = ("tool_result",) if role == "user" else THINKING_BLOCKS
    if blocks[0].get("type") in first and role != "user":
        return blocks  # thinking between calls stays where it was
    return sorted(blocks, key=lambda block: block.get("type") not in first)


def _without_trailing_space(blocks: list[Block]) -> None:
    """Anthropic refuses a last turn of the assistant that ends in whitespace."""
    last = blocks[-1]
    if last.get("type") == "text":
        blocks[-1] = {**last, "text": last["text"].rstrip()}


def _has(turn: Mapping[str, Any], kind: str) -> bool:
    return any(block.get("type") == kind for block in turn["content"])


# ── blocks ────────────────────────────────────────────────────────────────────────────────────


def _blocks(part: Part, form: ChatRequest, into: Conversation) -> Iterable[Block]:
    match part:
        case Text():
            if part.text.strip():
                yield _text(part)
        case Refusal():
            if part.text.strip():
                yield {"type": "text", "text": part.text}
        case Media():
            yield from _media(part, form, into)
        case Reasoning():
            yield from _reasoning(part, into)
        case ToolCall():
            id = ANTHROPIC.fitted(part.id)
            call = {"type": "tool_use", "id": id, "name": part.name, "input": _input(part)}
            yield _cached(call, part.cache)
        case ToolResult():
            yield _result(part, form, into)
        case Native():
            if part.dialect.family == FAMILY and isinstance(part.value, dict):
                yield dict(part.value)
            else:
                names = into.unsupported if part.meaning else into.dropped
                names["messages" if part.meaning else part.name or "messages"] = None


def _cached(block: Block, cache: Mapping[str, Any] | None) -> Block:
    return block if cache is None else {**block, "cache_control": dict(cache)}


def _text(part: Text) -> Block:
    block: Block = {"type": "text", "text": part.text}
    native = [
        dict(it.native)
        for it in part.citations
        if it.native is not None and it.dialect is not None and it.dialect.family == FAMILY
    ]
    if native:
        block["citations"] = native
    return _cached(block, part.cache)


def _reasoning(part: Reasoning, into: Conversation) -> Iterable[Block]:
    """Only what the provider itself signed or encrypted goes back to it."""
    own = part.format in (None, ReasoningFormat.ANTHROPIC)
    if own and part.encrypted:
        yield {"type": "redacted_thinking", "data": part.encrypted}
    elif own and part.signature:
        yield {"type": "thinking", "thinking": part.text, "signature": part.signature}
    else:
        into.dropped["messages.reasoning"] = None


def _input(call: ToolCall) -> dict[str, Any]:
    """An object, whatever the arguments are: what is none is put into one."""
    if call.custom:
        return {"input": call.arguments}
    if not call.arguments.strip():
        return {}
    try:
        value = msgspec.json.decode(call.arguments)
    except DECODE_ERRORS:
        value = call.arguments
    return value if isinstance(value, dict) else {"arguments": value}


def _result(part: ToolResult, form: ChatRequest, into: Conversation) -> Block:
    content: list[Block] = []
    for item in part.content:
        if not isinstance(item, Text):
            content += _media(item, form, into)
        elif item.text.strip():
            content.append(_text(item))
    if not content and part.structured is not None:
        text = msgspec.json.encode(part.structured).decode()
        content = [{"type": "text", "text": text}]
    block: Block = {"type": "tool_result", "tool_use_id": ANTHROPIC.fitted(part.call_id)}
    if content:
        block["content"] = content
    if part.is_error is not None:
        block["is_error"] = part.is_error
    return _cached(block, part.cache)


def _media(part: Media, form: ChatRequest, into: Conversation) -> Iterable[Block]:
    kind, source = _source(part)
    if source is None:
        into.unsupported["messages"] = None
        return
    block: Block = {"type": kind, "source": source}
    if kind == "document":
        if part.name:
            block["title"] = part.name
        if form.dialect.family == FAMILY:
            block |= {name: part.extra[name] for name in _DOCUMENT_FIELDS if name in part.extra}
    yield _cached(block, part.cache)


def _source(part: Media) -> tuple[str, Block | None]:
    """(type of the block, where its content is); None where there is no way to say it."""
    mime = (part.mime_type or "").partition(";")[0].strip().lower()
    if part.kind is MediaKind.IMAGE or mime in _IMAGES:
        return "image", _image(part, mime)
    if part.kind is MediaKind.FILE:
        return "document", _document(part, mime)
    return "", None


def _image(part: Media, mime: str) -> Block | None:
    if part.data is None:
        return _elsewhere(part)
    if mime in ("", "image/*", "image/jpg"):
        mime = next((m for head, m in _IMAGE_HEADS if part.data.startswith(head)), "image/jpeg")
    if mime not in _IMAGES:
        return None
    return {"type": "base64", "media_type": mime, "data": part.data}


def _document(part: Media, mime: str) -> Block | None:
    if part.text is not None:
        return {"type": "text", "media_type": "text/plain", "data": part.text}
    if part.data is None:
        return _elsewhere(part) if mime in ("", _PDF) or part.url is None else None
    if mime == _PDF or (not mime and part.data.startswith("JVBER")):
        return {"type": "base64", "media_type": _PDF, "data": part.data}
    if mime.startswith("text/") or mime == "application/json":
        try:
            text = base64.b64decode(part.data, validate=False).decode()
        except (binascii.Error, ValueError):
            return None
        return {"type": "text", "media_type": "text/plain", "data": text}
    return None


def _elsewhere(part: Media) -> Block | None:
    if part.url is not None:
        return {"type": "url", "url": part.url}
    return None if part.file_id is None else {"type": "file", "file_id": part.file_id}
