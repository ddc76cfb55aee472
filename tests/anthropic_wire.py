"""Streams and messages of Anthropic's dialect, and what the adapter and the vendor's SDK make of
them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from msgspec.structs import replace
from pydantic import TypeAdapter

from signalbox.adapters.anthropic import AnthropicAdapter
from signalbox.adapters.chat import (
    CitationPiece,
    FinishPiece,
    NativePiece,
    Part,
    Piece,
    Reasoning,
    ReasoningPiece,
    Text,
    TextPiece,
    ToolCall,
    ToolCallPiece,
)
from signalbox.adapters.protocol import Delta, StreamEvent, WireRequest
from signalbox.types import Dialect, Request, Route, Secret
from tests.outgoing import REQUEST
from tests.recordings import own_exchanges, recorded_exchanges

ADAPTER = AnthropicAdapter("anthropic")
OWN = own_exchanges("anthropic")
RECORDED = recorded_exchanges(lambda e: e.provider == "anthropic")
MESSAGES = replace(
    REQUEST,
    door=Dialect.MESSAGES,
    body={
        "model": "vendor/m",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Hi"}],
    },
)
_event = TypeAdapter[Any](RawMessageStreamEvent)


def build(
    request: Request = MESSAGES,
    model: str = "claude-sonnet-4-5",
    prefill: str | None = None,
    route: Route | None = None,
) -> tuple[WireRequest, dict[str, Any]]:
    """The request as it goes out, and its body, decoded."""
    route = route or Route("anthropic", model)
    wire = ADAPTER.build(request, route, "http://p.test/v1/", Secret("sk-ant-1"), prefill=prefill)
    return wire, json.loads(wire.body)


def decode(*pieces: bytes) -> list[StreamEvent]:
    decoder = ADAPTER.stream_decoder(MESSAGES)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.end()


def deltas(events: list[StreamEvent]) -> list[Delta]:
    return [event for event in events if isinstance(event, Delta)]


def sdk_message(stream: bytes) -> dict[str, Any]:
    """What the vendor's SDK makes of a stream."""
    lines = [line for line in stream.decode().splitlines() if line.startswith("data:")]
    message: Any = None
    arguments: dict[int, bytes] = {}
    for line in lines:
        data = line.removeprefix("data:")
        if json.loads(data)["type"] != "ping":
            event = _event.validate_json(data)
            message = accumulate_event(event=event, current_snapshot=message, json_bufs=arguments)
    assert message is not None
    whole: dict[str, Any] = message.model_dump(mode="json")
    return whole


@dataclass
class Said:
    """What is to be the same, whoever reads the answer."""

    text: str = ""
    thinking: str = ""
    signatures: list[str] = field(default_factory=list)
    redacted: list[str] = field(default_factory=list)
    tools: list[tuple[str, str, Any]] = field(default_factory=list)
    citations: list[Any] = field(default_factory=list)
    native: list[tuple[str, Any]] = field(default_factory=list)
    finish: str | None = None


def said_by_sdk(message: dict[str, Any]) -> Said:
    said = Said(finish=message["stop_reason"])
    for block in message["content"]:
        match block["type"]:
            case "text":
                said.text += block["text"]
                said.citations += [it["type"] for it in block.get("citations") or ()]
            case "thinking":
                said.thinking += block["thinking"]
                said.signatures.append(block["signature"])
            case "redacted_thinking":
                said.redacted.append(block["data"])
            case "tool_use":
                said.tools.append((block["id"], block["name"], block["input"]))
            case kind:
                said.native.append((kind, block.get("input")))
    return said


def said_by_parts(parts: tuple[Part, ...], finish: str | None) -> Said:
    said = Said(finish=finish)
    for part in parts:
        match part:
            case Text():
                said.text += part.text
                said.citations += [(it.native or {})["type"] for it in part.citations]
            case Reasoning(encrypted=str(data)):
                said.redacted.append(data)
            case Reasoning():
                said.thinking += part.text
                said.signatures.append(part.signature or "")
            case ToolCall():
                said.tools.append((part.id, part.name, json.loads(part.arguments)))
            case _:
                value = getattr(part, "value", {})
                said.native.append((value["type"], value.get("input")))
    return said


def said_by_pieces(pieces: list[Piece]) -> Said:
    """The pieces put together."""
    said = Said()
    calls: dict[int, list[str]] = {}
    for piece in pieces:
        match piece:
            case TextPiece():
                said.text += piece.text
            case CitationPiece():
                said.citations.append((piece.citation.native or {})["type"])
            case ReasoningPiece():
                said.thinking += piece.text
                said.signatures += filter(None, [piece.signature])
                said.redacted += filter(None, [piece.encrypted])
            case ToolCallPiece(id=str(id), name=str(name)):
                assert piece.index == len(calls)
                calls[piece.index] = [id, name, piece.arguments]
            case ToolCallPiece():
                calls[piece.index][2] += piece.arguments
            case NativePiece():
                value = piece.native.value
                said.native.append((value["type"], value.get("input")))
            case FinishPiece():
                assert said.finish is None
                said.finish = piece.native_finish
    said.tools = [(id, name, json.loads(arguments)) for id, name, arguments in calls.values()]
    return said
