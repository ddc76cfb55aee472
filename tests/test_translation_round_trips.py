"""A conversation that is written in a wire's dialect and read by the door of that dialect says the
same: texts, instructions, calls, results, media, tools and wishes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from signalbox.adapters.anthropic_request_writer import write_messages_request
from signalbox.adapters.chat import (
    ChatRequest,
    JsonSchema,
    Media,
    Part,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from signalbox.adapters.doors import door_of
from signalbox.adapters.forms import chat_form
from signalbox.adapters.gemini_request_writer import write_generate_request
from signalbox.adapters.openai_request_writer import left_out, write_chat_request
from signalbox.adapters.responses_request_writer import media_left_out, write_responses_request
from signalbox.types import Dialect, Route
from tests.chat_bodies import BODIES
from tests.chat_pieces import request_of
from tests.hostile_bodies import encoded, sparse
from tests.translation_wires import made, taken, target_of, wires_of

WIRES = {
    Dialect.CHAT: "compatible",
    Dialect.RESPONSES: "responses",
    Dialect.MESSAGES: "anthropic",
    Dialect.GENERATE: "gemini 3",
}


def meaning(form: ChatRequest) -> dict[str, Any]:
    """What the request says, whatever the dialect. White space between texts is not told."""
    everything = [(message.role, part) for message in form.messages for part in message.parts]
    instructions = (Role.SYSTEM, Role.DEVELOPER)
    tools = [tool for tool in form.tools if isinstance(tool, Tool)]
    wanted = form.response_format
    return {
        "instructions": _said(part for role, part in everything if role in instructions),
        "user": _said(part for role, part in everything if role is Role.USER),
        "assistant": _said(part for role, part in everything if role is Role.ASSISTANT),
        "calls": [
            (it.name, _loaded(it.arguments)) for _, it in everything if isinstance(it, ToolCall)
        ],
        "results": sorted(
            (_said(it.content), bool(it.is_error))
            for _, it in everything
            if isinstance(it, ToolResult)
        ),
        "media": sorted(
            (it.kind.value, it.data or it.url or it.file_id or it.text or "")
            for _, part in everything
            for it in (part.content if isinstance(part, ToolResult) else [part])
            if isinstance(it, Media)
        ),
        "tools": [(it.name, it.description, _open(it.parameters or {})) for it in tools],
        "format": _open(wanted.schema) if isinstance(wanted, JsonSchema) else wanted,
        "stop": form.stop,
        "n": form.n or 1,
    }


def _open(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Anthropic's must say that there is nothing more."""
    return {name: value for name, value in schema.items() if name != "additionalProperties"}


def _said(parts: Iterable[Part]) -> str:
    texts = (part.text for part in parts if isinstance(part, Text | Refusal))
    return "".join("".join(texts).split())


def _loaded(arguments: str) -> Any:
    try:
        value = json.loads(arguments.strip() or "{}")
    except ValueError:
        value = arguments
    if isinstance(value, dict) and value.keys() in ({"arguments"}, {"input"}):
        value = next(iter(value.values()))  # what is no object was put into one
    return {} if isinstance(value, str) and not value.strip() else value


def read_again(door: Dialect, body: bytes) -> ChatRequest:
    """The body as the door's own client would have sent it."""
    fields = door_of(door).read_body(body, target_of(door))
    return chat_form(request_of(door, fields))


def compare(door: Dialect, said: dict[str, Any], again: dict[str, Any]) -> None:
    if door is Dialect.GENERATE and not said["user"] and not again["instructions"]:
        # Instructions alone are asked as the user's words.
        said, again = _joined(said), _joined(again)
    if door is Dialect.MESSAGES and not again["instructions"]:
        said, again = _joined(said), _joined(again)
    if door is Dialect.MESSAGES:  # texts of white space alone are refused there
        said["stop"] = tuple(stop for stop in said["stop"] if stop.strip())
    if door is Dialect.RESPONSES:
        said["stop"] = ()  # named as unsupported where it counts
    for field, value in said.items():
        if field in ("tools", "format"):
            continue
        assert again[field] == value, (door, field)
    assert [tool[:2] for tool in again["tools"]] == [tool[:2] for tool in said["tools"]]


def _joined(said: dict[str, Any]) -> dict[str, Any]:
    return {**said, "user": said["instructions"] + said["user"], "instructions": ""}


_CARRIED = ("model", "messages", "tools", "stop", "max_tokens", "temperature", "seed", "user")
"""Of the other fields most routes take only some."""


def carried(body: dict[str, Any]) -> dict[str, Any]:
    """The body without what rules most routes out."""
    kept = {name: value for name, value in body.items() if name in _CARRIED}
    kept["tools"] = [tool for tool in body.get("tools", []) if tool["type"] == "function"]
    kept["messages"] = [_carried_in(message) for message in body["messages"]]
    return kept


def _carried_in(message: dict[str, Any]) -> dict[str, Any]:
    kept = {name: it for name, it in message.items() if name not in ("audio", "images")}
    content = kept["content"]
    if isinstance(content, list):
        pictures = [
            it for it in content if it["type"] in ("text", "image_url") and "uuid" not in it
        ]
        kept["content"] = pictures or "nothing"
    return kept


@settings(max_examples=200)
@given(BODIES.map(carried) | BODIES)
def test_a_chat_is_the_same_in_every_dialect(body: dict[str, Any]) -> None:
    request = taken(Dialect.CHAT, encoded(body))
    assert request is not None
    said = meaning(chat_form(request))
    for door, wire in WIRES.items():
        request.memo.pop(f"gemini {wire}", None)
        sent = made(request, wire)
        if sent.body is None:
            continue
        model = {} if door is Dialect.GENERATE else {"model": "m"}
        again = {**msgspec.json.decode(sent.body), **model}
        compare(door, dict(said), meaning(read_again(door, msgspec.json.encode(again))))


def _written(form: ChatRequest) -> Mapping[str, Any] | None:
    """In the dialect that it was read from; None where its own writer refuses it."""
    _, model = wires_of(form.dialect)[WIRES[form.dialect]]
    match form.dialect:
        case Dialect.CHAT:
            return None if left_out(form).unsupported else write_chat_request(form)
        case Dialect.RESPONSES:
            return None if media_left_out(form) else write_responses_request(form)
        case Dialect.MESSAGES:
            messages = write_messages_request(form, Route("anthropic", model))
            return None if messages.unsupported else {**messages.body, "model": "m"}
        case _:
            generate = write_generate_request(form, model)
            return None if generate.unsupported else generate.body


@pytest.mark.parametrize("door", WIRES)
def test_a_body_is_the_same_in_its_own_dialect(door: Dialect) -> None:
    written = 0
    for body in sparse(door):
        request = taken(door, encoded(body))
        if request is None:
            continue
        form = chat_form(request)
        again = _written(form)
        if again is None:
            continue
        written += 1
        said = meaning(form)
        assert meaning(read_again(door, msgspec.json.encode(again))) == said, body
    assert written > 20
