"""Chats in the gateway's own model, and what is written of them for Anthropic's models."""

from __future__ import annotations

from typing import Any

from signalbox.adapters.anthropic_request_writer import Written, write_messages_request
from signalbox.adapters.chat import (
    ChatRequest,
    Message,
    Part,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from signalbox.types import Dialect, Route

OLD, BUDGET, EITHER, NEW, NEWEST = (
    "claude-3-5-haiku-20241022",
    "claude-sonnet-4-5-20250929",
    "claude-opus-4-6",
    "claude-opus-5",
    "claude-opus-5-5",
)
TIDE = Tool("tide", "When", {"type": "object", "properties": {"port": {"type": "string"}}})


def user(*parts: Part | str) -> Message:
    return said(Role.USER, *parts)


def said(role: Role, *parts: Part | str) -> Message:
    return Message(role, tuple(Text(p) if isinstance(p, str) else p for p in parts))


def form(*messages: Message, **fields: Any) -> ChatRequest:
    return ChatRequest(
        dialect=Dialect.CHAT, model="m", messages=messages or (user("Hi"),), **fields
    )


def write(chat: ChatRequest, model: str = BUDGET, **route: Any) -> Written:
    return write_messages_request(chat, Route("anthropic", model, **route))


def turns(*messages: Message, model: str = BUDGET) -> list[tuple[str, list[dict[str, Any]]]]:
    body = write(form(*messages), model).body
    return [(turn["role"], turn["content"]) for turn in body["messages"]]


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


CALLS = said(Role.ASSISTANT, ToolCall("a", "tide", '{"port": "Leith"}'), ToolCall("b", "now", ""))
RESULTS = (
    said(Role.TOOL, ToolResult("a", (Text("4"),))),
    said(Role.TOOL, ToolResult("b", (), is_error=True)),
)
A_USE = {"type": "tool_use", "id": "a", "name": "tide", "input": {"port": "Leith"}}
B_USE = {"type": "tool_use", "id": "b", "name": "now", "input": {}}
A_RESULT = {"type": "tool_result", "tool_use_id": "a", "content": [text("4")]}
B_RESULT = {"type": "tool_result", "tool_use_id": "b", "is_error": True}
