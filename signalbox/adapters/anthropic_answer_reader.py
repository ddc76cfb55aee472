"""Anthropic's messages and streams, read into the gateway's own model.

What the blocks mean is the same in both: `read_message` for a whole one, `EventReader` for a
stream's events. Source: Anthropic API reference, Messages and "Streaming Messages".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from signalbox.adapters.anthropic_wire import (
    DECODE_ERRORS,
    Block,
    BlockDelta,
    Event,
    Kind,
    Message,
    container_id,
    finish_of,
    native_state,
    of_prompt,
    read_usage,
    text_of,
)
from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    Citation,
    CitationPiece,
    FinishPiece,
    Native,
    NativePiece,
    Part,
    Piece,
    Reasoning,
    ReasoningFormat,
    ReasoningPiece,
    Text,
    TextPiece,
    ToolCall,
    ToolCallPiece,
)
from signalbox.adapters.protocol import Answer, Delta
from signalbox.adapters.sse import MAX_EVENT_BYTES
from signalbox.errors import ProviderProtocolError
from signalbox.types import Dialect, Usage

_THINKING = ReasoningFormat.ANTHROPIC
_event_decoder = msgspec.json.Decoder(Event)
_kind_decoder = msgspec.json.Decoder(Kind)


def citation_of(native: Mapping[str, Any]) -> Citation:
    """Its span is one of the source, not of the answer's text."""
    return Citation(
        url=text_of(native.get("url")),
        title=text_of(native.get("title")) or text_of(native.get("document_title")),
        quote=text_of(native.get("cited_text")),
        dialect=Dialect.MESSAGES,
        native=native,
    )


# ── whole messages ────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Content:
    """What the blocks of a message hold."""

    parts: list[Part] = field(default_factory=list)
    chars: int = 0
    made: list[str] = field(default_factory=list)


def read_message(fields: dict[str, Any], message: Message) -> Answer:
    """`fields` is the body, `message` the same, converted."""
    content = _Content()
    for native, block in zip(fields.get("content") or (), message.content or (), strict=True):
        _read_block(native, block, content)
    usage = read_usage(message.usage)
    stop = message.stop_reason
    choice = AnswerChoice(
        parts=tuple(content.parts),
        finish=None if stop is None else finish_of(stop),
        native_finish=stop,
        stop_sequence=message.stop_sequence,
        extra=_stop_details(message.stop_details),
    )
    id = text_of(message.id)
    made = (*content.made, *container_id(message.container))
    return Answer(
        body=fields,
        content_chars=content.chars,
        finish_reason=choice.finish,
        usage=usage,
        id=id,
        made=tuple(dict.fromkeys(made)),
        told=ChatAnswer(
            (choice,),
            usage,
            id,
            text_of(message.model),
            service_tier=_service_tier(message.usage),
        ),
    )


def _read_block(native: Any, block: Block, into: _Content) -> None:
    match block.kind:
        case "text":
            text = block.text or ""
            into.parts.append(Text(text, tuple(map(citation_of, block.citations or ()))))
            into.chars += len(text)
        case "thinking":
            thought, signature = block.thinking or "", block.signature or None
            into.parts.append(Reasoning(thought, signature=signature, format=_THINKING))
            into.chars += len(thought)
            into.made += filter(None, [signature])
        case "redacted_thinking":
            into.parts.append(Reasoning(encrypted=block.data or "", format=_THINKING))
            into.chars += 1
            into.made += filter(None, [block.data])
        case "tool_use":
            arguments = _arguments(block.input)
            into.parts.append(ToolCall(block.id or "", block.name or "", arguments))
            into.chars += len(block.name or "") + (len(arguments) if block.input else 0)
        case _:
            into.parts.append(_native(native))
            into.chars += 1
            into.made += native_state(native)


def _native(block: Any) -> Native:
    name = text_of(block.get("name")) or str(block.get("type"))
    return Native(Dialect.MESSAGES, block, meaning=False, name=name)


def _arguments(value: Any) -> str:
    return msgspec.json.encode({} if value is None else value).decode()


def _stop_details(details: Any) -> dict[str, Any]:
    return {"stop_details": details} if details else {}


def _service_tier(usage: Any) -> str | None:
    return text_of(usage.get("service_tier")) if isinstance(usage, dict) else None


# ── streams ───────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _OpenBlock:
    """A block between its start and its stop."""

    kind: str
    call: int = 0
    """A tool call's place among the calls."""
    whole: dict[str, Any] | None = None
    """A native one, which is told when it stops."""
    input: Any = None
    partial: list[str] = field(default_factory=list)
    """The arguments of a native one so far; of a call only whether there were any."""
    size: int = 0


def kind_of(data: bytes) -> str:
    """An event's `type`. Raises `ProviderProtocolError` where there is none."""
    try:
        return _kind_decoder.decode(data).kind
    except DECODE_ERRORS as error:
        raise ProviderProtocolError(f"not an event of a message: {error}") from error


class EventReader:
    """Reads the events of one stream; it remembers the open blocks and the usage so far."""

    def __init__(self) -> None:
        self._open: dict[int, _OpenBlock] = {}
        self._calls = 0
        self._usage: Usage | None = None
        self._model: str | None = None

    def read(self, data: bytes, kind: str, name: str) -> Delta:
        """One event's JSON, its `type` and its SSE name. Raises `ProviderProtocolError` where it
        is none of this format; an event that is not known goes through without content."""
        try:
            if not data.isascii():
                data.decode()  # fields that are not read may hold anything, and go to the client
            reader = _READERS.get(kind)
            if reader is None:
                msgspec.json.decode(data)
                return Delta(data, name or kind, has_choices=False, model=self._model)
            event = _event_decoder.decode(data)
            told = _Told()
            reader(self, event, data, told)
        except DECODE_ERRORS as error:
            raise ProviderProtocolError(f"not an event of a message: {error}") from error
        return Delta(
            raw=data,
            event=name or kind,
            content_chars=told.chars,
            finish_reasons=told.finish,
            usage=told.usage,
            text=told.text,
            reasoning_chars=told.reasoning_chars,
            opaque=told.opaque,
            id=told.id,
            made=tuple(told.made),
            model=self._model,
            pieces=tuple(told.pieces),
        )

    def _message_start(self, event: Event, data: bytes, told: _Told) -> None:
        message = event.message
        if message is None:
            raise ProviderProtocolError("message_start without a message")
        self._usage = of_prompt(read_usage(message.usage))
        self._model = text_of(message.model)
        told.usage = self._usage
        told.id = text_of(message.id)
        told.made += container_id(message.container)

    def _block_start(self, event: Event, data: bytes, told: _Told) -> None:
        block = event.content_block
        if block is None:
            raise ProviderProtocolError("content_block_start without a block")
        opened = self._open[event.index] = _OpenBlock(block.kind, input=block.input)
        if len(self._open) > _MOST_OPEN:
            raise ProviderProtocolError(f"more than {_MOST_OPEN} blocks are open at once")
        match block.kind:
            case "text":
                told.add_text(block.text)
                told.pieces += (CitationPiece(citation_of(it)) for it in block.citations or ())
            case "thinking":
                told.add_thinking(block.thinking)
                told.add_signature(block.signature)
            case "redacted_thinking":
                told.chars += 1
                told.reasoning_chars += 1
                told.made += filter(None, [block.data])
                piece = ReasoningPiece(encrypted=block.data or "", format=_THINKING, closes=True)
                told.pieces.append(piece)
            case "tool_use":
                opened.call = self._calls
                self._calls += 1
                told.opaque = True
                told.chars += len(block.name or "")
                piece_ = ToolCallPiece(opened.call, id=block.id or "", name=block.name or "")
                told.pieces.append(piece_)
            case _:
                opened.whole = msgspec.json.decode(data)["content_block"]
                told.opaque = True
                told.chars += 1

    def _block_delta(self, event: Event, data: bytes, told: _Told) -> None:
        delta, block = event.delta, self._open.get(event.index)
        if delta is None:
            raise ProviderProtocolError("content_block_delta without a delta")
        match delta.kind:
            case "text_delta":
                told.add_text(delta.text)
            case "thinking_delta":
                told.add_thinking(delta.thinking)
            case "signature_delta":
                told.add_signature(delta.signature)
            case "citations_delta":
                if delta.citation is not None:
                    told.pieces.append(CitationPiece(citation_of(delta.citation)))
            case "compaction_delta":
                if block is not None and block.whole is not None:
                    block.whole["content"] = delta.content
                    block.whole["encrypted_content"] = delta.encrypted_content
            case "input_json_delta":
                if block is None:
                    raise ProviderProtocolError("arguments of a block that was not started")
                _take_arguments(block, delta, told)

    def _block_stop(self, event: Event, data: bytes, told: _Told) -> None:
        block = self._open.pop(event.index, None)
        if block is None:
            return
        if block.kind == "thinking":
            told.pieces.append(ReasoningPiece(format=_THINKING, closes=True))
        elif block.kind == "tool_use" and not block.size:
            arguments = _arguments(block.input)
            told.chars += len(arguments) if block.input else 0
            told.opaque = True
            told.pieces.append(ToolCallPiece(block.call, arguments))
        elif block.whole is not None:
            if block.partial:
                block.whole["input"] = _input("".join(block.partial))
            told.made += native_state(block.whole)
            told.pieces.append(NativePiece(_native(block.whole)))

    def _message_delta(self, event: Event, data: bytes, told: _Told) -> None:
        if event.usage is not None:
            told.usage = self._usage = read_usage(event.usage, self._usage)
        delta = event.delta
        if delta is None:
            return
        told.made += container_id(delta.container)
        if delta.stop_reason is not None:
            finish = finish_of(delta.stop_reason)
            told.finish = ((0, finish),)
            extra = _stop_details(delta.stop_details)
            piece = FinishPiece(finish, 0, delta.stop_reason, delta.stop_sequence, extra)
            told.pieces.append(piece)


@dataclass(slots=True)
class _Told:
    """What one event says; see `Delta`."""

    pieces: list[Piece] = field(default_factory=list)
    text: str = ""
    chars: int = 0
    reasoning_chars: int = 0
    opaque: bool = False
    finish: tuple[tuple[int, str], ...] = ()
    usage: Usage | None = None
    id: str | None = None
    made: list[str] = field(default_factory=list)

    def add_text(self, text: str | None) -> None:
        if text:
            self.text += text
            self.chars += len(text)
            self.pieces.append(TextPiece(text))

    def add_thinking(self, text: str | None) -> None:
        if text:
            self.reasoning_chars += len(text)
            self.chars += len(text)
            self.pieces.append(ReasoningPiece(text, format=_THINKING))

    def add_signature(self, signature: str | None) -> None:
        if signature:
            self.made.append(signature)
            self.pieces.append(ReasoningPiece(signature=signature, format=_THINKING))


_MOST_OPEN = 1000
"""Blocks come one after another; more than a few open ones are a fault or an attack."""

_READERS = {
    "message_start": EventReader._message_start,
    "content_block_start": EventReader._block_start,
    "content_block_delta": EventReader._block_delta,
    "content_block_stop": EventReader._block_stop,
    "message_delta": EventReader._message_delta,
}


def _take_arguments(block: _OpenBlock, delta: BlockDelta, told: _Told) -> None:
    """More of the arguments; the first piece is mostly empty."""
    partial = delta.partial_json or ""
    block.size += len(partial)
    if block.size > MAX_EVENT_BYTES:
        raise ProviderProtocolError(f"arguments of more than {MAX_EVENT_BYTES} characters")
    if not partial:
        return
    told.opaque = True
    told.chars += len(partial)
    if block.kind == "tool_use":
        told.pieces.append(ToolCallPiece(block.call, partial))
    else:
        block.partial.append(partial)


def _input(text: str) -> Any:
    """Of a server tool's call: cut off in its middle it stays text."""
    try:
        return msgspec.json.decode(text)
    except DECODE_ERRORS:
        return text
