"""Answers and streams of Bedrock's Converse, read into the gateway's own model.

Source: Amazon Bedrock API reference, "Converse", "ConverseStream", `ContentBlock`, `TokenUsage`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    Citation,
    CitationPiece,
    FinishPiece,
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
from signalbox.adapters.json_objects import (
    MOST_TOKENS,
    decode_object,
    object_at,
    objects_at,
    text_at,
)
from signalbox.adapters.protocol import Answer, Delta
from signalbox.errors import Failure, FailureKind, ProviderProtocolError
from signalbox.types import Dialect, Usage

MOST_OPEN = 1000
"""Blocks come one after another; more calls than that are a fault or an attack."""
_SIGNED = ReasoningFormat.ANTHROPIC
"""The one maker of models there whose thinking is signed."""
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
FAILED = frozenset({"malformed_model_output", "malformed_tool_use"})
"""Stop reasons of answers that are none."""


def finish_of(reason: str) -> str:
    """In OpenAI's words; one that is new is an end like any other."""
    return _FINISH.get(reason, "stop")


def broken_off(reason: str) -> Failure:
    return Failure(FailureKind.SERVER_ERROR, f"the answer ended with {reason}", code=reason)


def read_usage(reported: object) -> Usage | None:
    """`usage` in disjoint classes: `inputTokens` leaves the cache out already."""
    prompt, completion = _count(reported, "inputTokens"), _count(reported, "outputTokens")
    read = _count(reported, "cacheReadInputTokens")
    written = _count(reported, "cacheWriteInputTokens")
    hours = [
        _count(each, "inputTokens") or 0
        for each in objects_at(reported, "cacheDetails")
        if text_at(each, "ttl") == "1h"
    ]
    hour = min(sum(hours), written) if written is not None and any(hours) else None
    if written is not None and hour is not None:
        written -= hour
    if not any((prompt, completion, read, written, hour)):
        return None
    return Usage(
        prompt=prompt,
        cached_read=read,
        cache_write=written,
        completion=completion,
        cache_write_1h=hour,
    )


def _count(value: object, name: str) -> int | None:
    found = value.get(name) if isinstance(value, dict) else None
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= MOST_TOKENS:
        return None
    return found


def _citation(native: dict[str, Any]) -> Citation:
    quotes = objects_at(native, "sourceContent")
    return Citation(
        url=text_at(object_at(native, "location", "web"), "url") or None,
        title=text_at(native, "title") or None,
        quote=text_at(quotes[0], "text") or None if quotes else None,
        dialect=Dialect.CONVERSE,
        native=native,
    )


# ── whole answers ─────────────────────────────────────────────────────────────────────────────


def read_answer(fields: dict[str, Any]) -> Answer | Failure:
    """Raises `ProviderProtocolError` where it is no answer."""
    message = object_at(fields, "output", "message")
    if not message:
        raise ProviderProtocolError("the answer is no conversation: it has no `output.message`")
    reason = text_at(fields, "stopReason")
    if reason in FAILED:
        return broken_off(reason)
    parts = [part for block in objects_at(message, "content") for part in _parts(block)]
    usage = read_usage(fields.get("usage"))
    finish = finish_of(reason) if reason else None
    thoughts = [part for part in parts if isinstance(part, Reasoning)]
    made = (mark for part in thoughts for mark in (part.signature, part.encrypted) if mark)
    return Answer(
        body=fields,
        content_chars=sum(map(_chars, parts)),
        finish_reason=finish,
        usage=usage,
        made=tuple(dict.fromkeys(made)),
        told=ChatAnswer((AnswerChoice(tuple(parts), finish, reason or None),), usage),
    )


def _parts(block: dict[str, Any]) -> list[Part]:
    parts: list[Part] = []
    if "text" in block:
        parts.append(Text(text_at(block, "text")))
    for cited in objects_at(block, "citationsContent"):
        text = "".join(text_at(each, "text") for each in objects_at(cited, "content"))
        parts.append(Text(text, tuple(map(_citation, objects_at(cited, "citations")))))
    for thought in objects_at(block, "reasoningContent"):
        said = object_at(thought, "reasoningText")
        signature = text_at(said, "signature") or None
        encrypted = text_at(thought, "redactedContent") or None
        mark = _SIGNED if signature or encrypted else None
        text = text_at(said, "text")
        parts.append(Reasoning(text, signature=signature, encrypted=encrypted, format=mark))
    for call in objects_at(block, "toolUse"):
        given = call.get("input")
        arguments = msgspec.json.encode({} if given is None else given).decode()
        parts.append(ToolCall(text_at(call, "toolUseId"), text_at(call, "name"), arguments))
    return parts


def _chars(part: Part) -> int:
    match part:
        case Text():
            return len(part.text)
        case Reasoning():
            return len(part.text) or bool(part.encrypted)
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
    made: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _OpenCall:
    number: int
    has_arguments: bool = False


class EventReader:
    """Reads the events of one stream; it remembers the open blocks."""

    def __init__(self) -> None:
        self._calls: dict[int, _OpenCall] = {}
        self._thoughts: set[int] = set()
        self._begun = 0

    def read(self, payload: bytes, kind: str) -> Delta | Failure:
        """One event's JSON and its type. Raises `ProviderProtocolError` where it is none; an event
        that is not known says nothing."""
        event = decode_object(payload)
        if kind == "messageStop" and (reason := text_at(event, "stopReason")) in FAILED:
            return broken_off(reason)
        told = _Told()
        match kind:
            case "contentBlockStart":
                self._start(event, told)
            case "contentBlockDelta":
                self._delta(event, told)
            case "contentBlockStop":
                self._stop(event, told)
            case "messageStop":
                reason = text_at(event, "stopReason")
                finish = finish_of(reason)
                told.finish = ((0, finish),)
                told.pieces.append(FinishPiece(finish, native_finish=reason or None))
            case "metadata":
                told.usage = read_usage(event.get("usage"))
        return Delta(
            raw=payload,
            event=kind,
            content_chars=told.chars,
            finish_reasons=told.finish,
            usage=told.usage,
            text=told.text,
            reasoning_chars=told.reasoning_chars,
            opaque=told.opaque,
            has_choices=kind != "metadata",
            made=tuple(told.made),
            pieces=tuple(told.pieces),
        )

    def _start(self, event: dict[str, Any], told: _Told) -> None:
        for call in objects_at(object_at(event, "start"), "toolUse"):
            opened = self._calls[_index(event)] = _OpenCall(self._begun)
            self._begun += 1
            if self._begun > MOST_OPEN:
                raise ProviderProtocolError(f"more than {MOST_OPEN} calls of tools")
            name = text_at(call, "name")
            told.opaque = True
            told.chars += len(name)
            id = text_at(call, "toolUseId")
            told.pieces.append(ToolCallPiece(opened.number, id=id, name=name))

    def _delta(self, event: dict[str, Any], told: _Told) -> None:
        delta = object_at(event, "delta")
        if text := text_at(delta, "text"):
            told.text = text
            told.chars += len(text)
            told.pieces.append(TextPiece(text))
        for thought in objects_at(delta, "reasoningContent"):
            self._thought(thought, _index(event), told)
        for call in objects_at(delta, "toolUse"):
            self._arguments(text_at(call, "input"), _index(event), told)
        told.pieces += (CitationPiece(_citation(it)) for it in objects_at(delta, "citation"))

    def _thought(self, thought: dict[str, Any], index: int, told: _Told) -> None:
        text, signature = text_at(thought, "text"), text_at(thought, "signature")
        encrypted = text_at(thought, "redactedContent")
        if len(self._thoughts) < MOST_OPEN:
            self._thoughts.add(index)
        if text:
            told.chars += len(text)
            told.reasoning_chars += len(text)
            told.pieces.append(ReasoningPiece(text))
        if signature:
            told.made.append(signature)
            told.pieces.append(ReasoningPiece(signature=signature, format=_SIGNED))
        if encrypted:
            told.chars += 1
            told.reasoning_chars += 1
            told.made.append(encrypted)
            told.pieces.append(ReasoningPiece(encrypted=encrypted, format=_SIGNED))

    def _arguments(self, arguments: str, index: int, told: _Told) -> None:
        if not arguments:
            return
        opened = self._calls.get(index)
        if opened is None:
            raise ProviderProtocolError("arguments of a call that was not started")
        opened.has_arguments = True
        told.opaque = True
        told.chars += len(arguments)
        told.pieces.append(ToolCallPiece(opened.number, arguments))

    def _stop(self, event: dict[str, Any], told: _Told) -> None:
        index = _index(event)
        if index in self._thoughts:
            self._thoughts.discard(index)
            told.pieces.append(ReasoningPiece(closes=True))
        opened = self._calls.pop(index, None)
        if opened is not None and not opened.has_arguments:
            told.opaque = True
            told.pieces.append(ToolCallPiece(opened.number, "{}"))


def _index(event: dict[str, Any]) -> int:
    index = event.get("contentBlockIndex")
    return index if isinstance(index, int) and not isinstance(index, bool) else 0
