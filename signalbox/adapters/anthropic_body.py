"""What a client of the Messages API may send, read with care.

Format: Anthropic API reference, "Create a Message" and "Count tokens in a Message".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from signalbox.adapters.body_checks import (
    BOOLEAN,
    COUNT,
    NUMBER,
    OBJECT,
    STRING,
    STRINGS,
    Check,
    Object,
    check_fields,
    decoded_object,
    expected,
    objects,
    required,
)
from signalbox.adapters.door import BadRequest, Body, Outline

ROLES = frozenset({"user", "assistant", "system"})
TOOL_CHOICES = frozenset({"auto", "any", "tool", "none"})
DEEPEST = 8
"""Blocks inside of blocks: a document in a tool's result is three deep."""
CUSTOM = (None, "custom")
"""The `type` of a tool that the client itself runs."""

_FIELDS: Mapping[str, Check] = MappingProxyType(
    {
        "stream": BOOLEAN,
        "max_tokens": COUNT,
        "temperature": NUMBER,
        "top_p": NUMBER,
        "top_k": COUNT,
        "stop_sequences": STRINGS,
        "metadata": OBJECT,
        "thinking": OBJECT,
        "output_config": OBJECT,
        "output_format": OBJECT,
        "tool_choice": OBJECT,
        "service_tier": STRING,
        "cache_control": OBJECT,
    }
)
_BLOCKS: Mapping[str, Mapping[str, Check]] = MappingProxyType(
    {
        "text": {"text": STRING},
        "image": {"source": OBJECT},
        "document": {"source": OBJECT},
        "tool_use": {"id": STRING, "name": STRING, "input": OBJECT},
        "tool_result": {"tool_use_id": STRING},
        "thinking": {"thinking": STRING},
        "redacted_thinking": {"data": STRING},
    }
)
"""What a block of each kind must have; others are known to their provider alone."""
_OF_BLOCKS: Mapping[str, Check] = MappingProxyType(
    {"cache_control": OBJECT, "is_error": BOOLEAN, "signature": STRING, "title": STRING}
)
"""What any block may have."""
_SOURCES: Mapping[str, str] = MappingProxyType(
    {"base64": "data", "url": "url", "text": "data", "file": "file_id"}
)
"""The `type` of a source → the field that says where the content is."""
_OF_SOURCES: Mapping[str, Check] = MappingProxyType({"media_type": STRING})


def read_messages_body(data: bytes, *, counting: bool = False) -> dict[str, Any]:
    """The decoded and validated body. Raises `BadRequest`.

    `counting`: for `count_tokens`, which needs no `max_tokens`.
    """
    body = decoded_object(data)
    model = body.get("model")
    if not isinstance(model, str) or not model.strip():
        raise expected("model", "the name of a model", model)
    check_fields(body, _FIELDS)
    if not counting:
        required(body, "max_tokens", COUNT, "")
    _check_content(body.get("system"), "system", texts_only=True)
    messages = objects(body.get("messages"), "messages")
    if not messages:
        raise expected("messages", "a list of at least one message", body.get("messages"))
    for index, message in enumerate(messages):
        _check_message(message, f"messages[{index}]")
    for index, tool in enumerate(objects(body.get("tools"), "tools")):
        _check_tool(tool, f"tools[{index}]")
    _check_settings(body)
    return body


def outline_of(body: Body, *, counting: bool = False) -> Outline:
    """What a valid body says of itself."""
    user = (body.get("metadata") or {}).get("user_id")
    return Outline(
        model=body["model"],
        stream=body.get("stream") is True and not counting,
        include_usage=True,
        max_tokens=None if counting else body.get("max_tokens"),
        begun=body["messages"][-1]["role"] == "assistant",
        plain=json_format(body) is None,
        user=user,
        opening=tuple(_opening(body)),
        # Claude Code puts the id of its session into this field.
        cache_key=user if user and "session" in user else None,
    )


def json_format(body: Body) -> Mapping[str, Any] | None:
    """The form that the answer is to have, under its newer or its older name."""
    config = body.get("output_config") or {}
    return config.get("format") or body.get("output_format")


def _opening(body: Body) -> Iterable[tuple[str, Any]]:
    """The instructions and the first user message; later turns have the same."""
    if body.get("system"):
        yield "system", body["system"]
    for message in body["messages"]:
        yield message["role"], message["content"]
        if message["role"] == "user":
            break


def _check_message(message: Object, path: str) -> None:
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise expected(f"{path}.role", f"one of {', '.join(sorted(ROLES))}", role)
    content = message.get("content")
    if content is None:
        raise expected(f"{path}.content", "a string or a list of blocks", content)
    _check_content(content, f"{path}.content", texts_only=role == "system")


def _check_content(content: object, path: str, *, texts_only: bool = False, depth: int = 0) -> None:
    if content is None or isinstance(content, str):
        return
    if depth > DEEPEST:
        raise BadRequest(path, "blocks are nested too deep")
    for index, block in enumerate(objects(content, path, "a string or a list of blocks")):
        _check_block(block, f"{path}[{index}]", texts_only=texts_only, depth=depth)


def _check_block(block: Object, path: str, *, texts_only: bool, depth: int) -> None:
    kind = required(block, "type", STRING, path)
    if texts_only and kind != "text":
        raise expected(f"{path}.type", "text", kind)
    for name, check in _BLOCKS.get(kind, {}).items():
        required(block, name, check, path)
    check_fields(block, _OF_BLOCKS, path)
    match kind:
        case "text":
            objects(block.get("citations"), f"{path}.citations")
        case "image" | "document":
            _check_source(block["source"], f"{path}.source", depth)
        case "tool_result":
            _check_content(block.get("content"), f"{path}.content", depth=depth + 1)


def _check_source(source: Object, path: str, depth: int) -> None:
    kind = required(source, "type", STRING, path)
    check_fields(source, _OF_SOURCES, path)
    if kind in _SOURCES:
        required(source, _SOURCES[kind], STRING, path)
    elif kind == "content":
        if source.get("content") is None:
            raise expected(f"{path}.content", "a string or a list of blocks", None)
        _check_content(source["content"], f"{path}.content", depth=depth + 1)


def _check_tool(tool: Object, path: str) -> None:
    check_fields(tool, {"type": STRING, "cache_control": OBJECT}, path)
    if tool.get("type") in CUSTOM:
        required(tool, "name", STRING, path)
        required(tool, "input_schema", OBJECT, path)
        check_fields(tool, {"description": STRING, "strict": BOOLEAN}, path)


def _check_settings(body: Object) -> None:
    choice = body.get("tool_choice")
    if choice is not None:
        kind = choice.get("type")
        if not isinstance(kind, str) or kind not in TOOL_CHOICES:
            what = f"one of {', '.join(sorted(TOOL_CHOICES))}"
            raise expected("tool_choice.type", what, kind)
        if kind == "tool":
            required(choice, "name", STRING, "tool_choice")
        check_fields(choice, {"disable_parallel_tool_use": BOOLEAN}, "tool_choice")
    thinking = body.get("thinking")
    if thinking is not None:
        required(thinking, "type", STRING, "thinking")
        check_fields(thinking, {"budget_tokens": COUNT, "display": STRING}, "thinking")
    config = body.get("output_config") or {}
    check_fields(config, {"effort": STRING, "format": OBJECT}, "output_config")
    wanted = json_format(body)
    if wanted is not None:
        path = "output_config.format" if config.get("format") else "output_format"
        required(wanted, "type", STRING, path)
        if wanted["type"] == "json_schema":
            required(wanted, "schema", OBJECT, path)
    check_fields(body.get("metadata") or {}, {"user_id": STRING}, "metadata")
