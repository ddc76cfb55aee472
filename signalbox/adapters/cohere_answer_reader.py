"""Cohere's answers and streams, read into the gateway's own model: v2 API reference, "Chat".

Content is a list of blocks of thinking and text. Before calls of tools stands a `tool_plan`, which
is told as reasoning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    CitationPiece,
    FinishPiece,
    Part,
    Piece,
    Reasoning,
    ReasoningPiece,
    Text,
    TextPiece,
    ToolCall,
    ToolCallPiece,
)
from signalbox.adapters.cohere_wire import FAILED, citations_of, finish_of, read_usage
from signalbox.adapters.json_objects import decode_object, object_at, objects_at, text_at
from signalbox.adapters.protocol import Answer, Delta, StreamError, StreamEvent
from signalbox.errors import Failure, FailureKind, ProviderProtocolError
from signalbox.types import Usage

MOST_OPEN = 1000
"""Calls come one after another; more than a few open ones are a fault or an attack."""


def broken_off(reason: str, words: str) -> Failure:
    """An answer that its finish reason says is not whole."""
    return Failure(
        FailureKind.SERVER_ERROR, words or f"the answer ended with {reason}", code=reason
    )


# ── whole answers ─────────────────────────────────────────────────────────────────────────────


def read_answer(fields: dict[str, Any]) -> Answer | Failure:
    """Raises `ProviderProtocolError` where it is no answer."""
    message = fields.get("message")
    if not isinstance(message, dict):
        raise ProviderProtocolError("the answer is no chat: it has no `message`")
    reason = text_at(fields, "finish_reason")
    if reason in FAILED:
        return broken_off(reason, text_at(fields, "error"))
    parts: list[Part] = []
    if plan := text_at(message, "tool_plan"):
        parts.append(Reasoning(plan))
    parts += _content(message)
    for call in objects_at(message, "tool_calls"):
        function = object_at(call, "function")
        arguments = text_at(function, "arguments")
        parts.append(ToolCall(text_at(call, "id"), text_at(function, "name"), arguments or "{}"))
    finish = finish_of(reason) if reason else None
    usage = read_usage(fields.get("usage"))
    id = text_at(fields, "id") or None
    return Answer(
        body=fields,
        content_chars=sum(map(_chars, parts)),
        finish_reason=finish,
        usage=usage,
        id=id,
        told=ChatAnswer((AnswerChoice(tuple(parts), finish, reason or None),), usage, id),
    )


def _content(message: dict[str, Any]) -> list[Part]:
    """The text's citations stand with the block that they name, or with the first text."""
    content = message.get("content")
    if isinstance(content, str):
        return [Text(content, tuple(citations_of(message)))] if content else []
    cited = citations_of(message)
    parts: list[Part] = []
    for index, block in enumerate(objects_at(message, "content")):
        if block.get("type") == "thinking":
            parts.append(Reasoning(text_at(block, "thinking")))
        elif block.get("type") == "text":
            own = [it for it in cited if (it.native or {}).get("content_index", index) == index]
            cited = [it for it in cited if it not in own]
            parts.append(Text(text_at(block, "text"), tuple(own)))
    return parts


def _chars(part: Part) -> int:
    match part:
        case Text() | Reasoning():
            return len(part.text)
        case ToolCall():
            return len(part.name) + (len(part.arguments) if part.arguments != "{}" else 0)
    return 0


# ── streams ───────────────────────────────────────────────────────────────────────────────────


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

    def add_text(self, text: str) -> None:
        if text:
            self.text += text
            self.chars += len(text)
            self.pieces.append(TextPiece(text))

    def add_thinking(self, text: str) -> None:
        if text:
            self.reasoning_chars += len(text)
            self.chars += len(text)
            self.pieces.append(ReasoningPiece(text))


@dataclass(slots=True)
class _OpenCall:
    number: int
    """Its place among the calls."""
    has_arguments: bool = False


class EventReader:
    """Reads the events of one stream; it remembers the open calls and what was being thought."""

    def __init__(self) -> None:
        self._calls: dict[int, _OpenCall] = {}
        self._begun = 0
        self._thinks = False

    def read(self, data: bytes, name: str) -> StreamEvent:
        """One event's JSON and its SSE name. Raises `ProviderProtocolError` where it is none of
        this format; an event that is not known says nothing."""
        event = decode_object(data)
        kind = text_at(event, "type") or name
        delta = object_at(event, "delta")
        if kind == "message-end" and (reason := text_at(delta, "finish_reason")) in FAILED:
            return StreamError(broken_off(reason, text_at(delta, "error")))
        told = _Told()
        reader = _READERS.get(kind)
        if reader is not None:
            reader(self, event, told)
        return Delta(
            raw=data,
            event=name or kind,
            content_chars=told.chars,
            finish_reasons=told.finish,
            usage=told.usage,
            text=told.text,
            reasoning_chars=told.reasoning_chars,
            opaque=told.opaque,
            has_choices=reader is not None,
            id=told.id,
            pieces=tuple(told.pieces),
        )

    def _message_start(self, event: dict[str, Any], told: _Told) -> None:
        told.id = text_at(event, "id") or None

    def _content(self, event: dict[str, Any], told: _Told) -> None:
        for block in objects_at(object_at(event, "delta", "message"), "content"):
            told.add_thinking(text_at(block, "thinking"))
            told.add_text(text_at(block, "text"))
        self._thinks = bool(told.reasoning_chars) and not told.text

    def _content_end(self, event: dict[str, Any], told: _Told) -> None:
        if self._thinks:
            told.pieces.append(ReasoningPiece(closes=True))
        self._thinks = False

    def _plan(self, event: dict[str, Any], told: _Told) -> None:
        told.add_thinking(text_at(object_at(event, "delta", "message"), "tool_plan"))

    def _call_start(self, event: dict[str, Any], told: _Told) -> None:
        for call in objects_at(object_at(event, "delta", "message"), "tool_calls"):
            function = object_at(call, "function")
            name, arguments = text_at(function, "name"), text_at(function, "arguments")
            opened = _OpenCall(self._begun, bool(arguments))
            self._calls[_index(event)] = opened
            self._begun += 1
            if self._begun > MOST_OPEN:
                raise ProviderProtocolError(f"more than {MOST_OPEN} calls of tools")
            told.opaque = True
            told.chars += len(name) + len(arguments)
            id = text_at(call, "id")
            told.pieces.append(ToolCallPiece(opened.number, arguments, id=id, name=name))

    def _call_delta(self, event: dict[str, Any], told: _Told) -> None:
        for call in objects_at(object_at(event, "delta", "message"), "tool_calls"):
            arguments = text_at(object_at(call, "function"), "arguments")
            if not arguments:
                continue
            opened = self._calls.get(_index(event))
            if opened is None:
                raise ProviderProtocolError("arguments of a call that was not started")
            opened.has_arguments = True
            told.opaque = True
            told.chars += len(arguments)
            told.pieces.append(ToolCallPiece(opened.number, arguments))

    def _call_end(self, event: dict[str, Any], told: _Told) -> None:
        opened = self._calls.pop(_index(event), None)
        if opened is not None and not opened.has_arguments:
            told.opaque = True
            told.pieces.append(ToolCallPiece(opened.number, "{}"))

    def _citation(self, event: dict[str, Any], told: _Told) -> None:
        message = object_at(event, "delta", "message")
        told.pieces += map(CitationPiece, citations_of(message))

    def _message_end(self, event: dict[str, Any], told: _Told) -> None:
        delta = object_at(event, "delta")
        told.usage = read_usage(delta.get("usage"))
        reason = text_at(delta, "finish_reason")
        if reason:
            finish = finish_of(reason)
            told.finish = ((0, finish),)
            told.pieces.append(FinishPiece(finish, native_finish=reason))


_READERS = {
    "message-start": EventReader._message_start,
    "content-start": EventReader._content,
    "content-delta": EventReader._content,
    "content-end": EventReader._content_end,
    "tool-plan-delta": EventReader._plan,
    "tool-call-start": EventReader._call_start,
    "tool-call-delta": EventReader._call_delta,
    "tool-call-end": EventReader._call_end,
    "citation-start": EventReader._citation,
    "message-end": EventReader._message_end,
}


def _index(event: dict[str, Any]) -> int:
    index = event.get("index")
    return index if isinstance(index, int) and not isinstance(index, bool) else 0
