"""Reads requests of Anthropic's messages API, as strictly as Anthropic does.

Source: Anthropic's API reference, "Create a message"; guides "Extended thinking", "Tool use",
"PDF support", "Structured outputs".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from signalbox.simulator.prompts import (
    BadRequest,
    Call,
    OfferedTool,
    OpenCalls,
    Prompt,
    Turn,
    inline_media,
    linked_media,
    listing,
    number,
    one_of,
    table,
    text,
    texts,
    whole_number,
)
from signalbox.simulator.signatures import sign

FIELDS = frozenset(
    {
        *("model", "messages", "max_tokens", "system", "temperature", "top_p", "top_k"),
        *("stop_sequences", "stream", "metadata", "tools", "tool_choice", "thinking"),
        *("service_tier", "container", "context_management", "mcp_servers", "output_format"),
        *("output_config", "cache_control", "inference_geo", "speed", "diagnostics"),
        *("user_profile_id", "workspace_id", "betas", "compaction", "fallbacks", "thread"),
        *("billing_policy", "fallback_credit_token"),
    }
)
COUNT_FIELDS = FIELDS - {"max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences"}
LEAST_THINKING = 1024
"""The smallest `thinking.budget_tokens`."""

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_SERVER_TOOL = re.compile(r"\w+_20\d{6}|mcp_toolset")
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def read_messages(call: Call, *, counting: bool = False) -> Prompt:
    """Raises BadRequest naming the place, its parts joined by dots as Anthropic does."""
    body = table(call.body, "body")
    for name in body:
        if name not in (COUNT_FIELDS if counting else FIELDS):
            raise BadRequest("Extra inputs are not permitted", name)
    for name in ("model", "messages") if counting else ("model", "messages", "max_tokens"):
        if name not in body:
            raise BadRequest("Field required", name)
    ceiling = whole_number(body.get("max_tokens"), "max_tokens")
    reasoning = _thinking(body, ceiling)
    temperature = number(body.get("temperature"), "temperature", 0, 1)
    forced, choice, parallel = _choice(body.get("tool_choice"))
    if reasoning and temperature not in (None, 1):
        raise BadRequest(
            "`temperature` may only be set to 1 when thinking is enabled.", "temperature"
        )
    if reasoning and (forced is not None or choice == "required"):
        raise BadRequest("Thinking may not be enabled when tool_choice forces tool use.")
    schema = _schema(body)
    system = _system(body.get("system"))
    return Prompt(
        model=text(body["model"], "model"),
        turns=(*system, *_turns(listing(body["messages"], "messages"), reasoning)),
        tools=tuple(_tools(body.get("tools"))),
        tool_choice=choice,
        forced=forced,
        parallel=parallel,
        ceiling=ceiling,
        stops=_stops(body.get("stop_sequences")),
        json=schema is not None,
        schema=schema,
        reasoning=reasoning,
        stream=body.get("stream") is True,
        writes_cache="cache_control" in body or _marks_cache(body),
    )


def _thinking(body: dict[str, Any], ceiling: int | None) -> bool:
    thinking = body.get("thinking")
    if thinking is None:
        return False
    table(thinking, "thinking")
    kinds = ("enabled", "disabled", "adaptive")
    kind = one_of(thinking.get("type"), kinds, "thinking.type")
    if kind == "enabled":
        budget = whole_number(thinking.get("budget_tokens"), "thinking.enabled.budget_tokens")
        if budget is None:
            raise BadRequest("Field required", "thinking.enabled.budget_tokens")
        if budget < LEAST_THINKING:
            raise BadRequest(
                f"Input should be greater than or equal to {LEAST_THINKING}",
                "thinking.enabled.budget_tokens",
            )
        if ceiling is not None and budget >= ceiling:
            raise BadRequest("`max_tokens` must be greater than `thinking.budget_tokens`.")
    return kind != "disabled"


def _choice(
    value: object,
) -> tuple[str | None, Literal["auto", "none", "required"], bool]:
    if value is None:
        return None, "auto", True
    choice = table(value, "tool_choice")
    kind = one_of(choice.get("type"), ("auto", "any", "tool", "none"), "tool_choice.type")
    parallel = choice.get("disable_parallel_tool_use") is not True
    if kind == "tool":
        return text(choice.get("name"), "tool_choice.tool.name"), "auto", parallel
    return None, "required" if kind == "any" else "none" if kind == "none" else "auto", parallel


def _schema(body: dict[str, Any]) -> Any:
    """The schema of a structured output, from `output_config.format` or `output_format`."""
    config = body.get("output_config")
    wanted = table(config, "output_config").get("format") if config is not None else None
    place = "output_config.format"
    if wanted is None and (wanted := body.get("output_format")) is not None:
        place = "output_format"
    if wanted is None:
        return None
    one_of(table(wanted, place).get("type"), ("json_schema",), f"{place}.type")
    schema = table(wanted.get("schema"), f"{place}.schema")
    _closed(schema, f"{place}.schema")
    return schema


def _closed(schema: Any, place: str) -> None:
    """Every object of an output's schema must forbid further properties."""
    if isinstance(schema, list):
        for one in schema:
            _closed(one, place)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        raise BadRequest(
            "For 'object' type, 'additionalProperties' must be explicitly set to false", place
        )
    for word, inner in schema.items():
        if word in ("properties", "$defs") and isinstance(inner, dict):
            for one in inner.values():
                _closed(one, place)
        elif word in ("items", "anyOf", "allOf"):
            _closed(inner, place)


def _system(value: object) -> Iterator[Turn]:
    if value is None:
        return
    if isinstance(value, list):
        said = [_block_text(block, f"system.{i}") for i, block in enumerate(value)]
        value = " ".join(said)
    yield Turn("system", text(value, "system"))


def _block_text(value: object, place: str) -> str:
    block = table(value, place)
    one_of(block.get("type"), ("text",), f"{place}.type")
    found = text(block.get("text"), f"{place}.text")
    if not found:
        raise BadRequest("text content blocks must be non-empty", place)
    return found


def _stops(value: object) -> tuple[str, ...]:
    found = texts(value, "stop_sequences")
    for index, word in enumerate(found):
        if not word.strip():
            raise BadRequest(
                "each stop sequence must contain non-whitespace", f"stop_sequences.{index}"
            )
    return found


def _marks_cache(value: Any) -> bool:
    """Whether `cache_control` is anywhere in the system prompt, the tools or the messages."""
    if isinstance(value, list):
        return any(_marks_cache(one) for one in value)
    if not isinstance(value, dict):
        return False
    inside = (value.get(name) for name in ("system", "messages", "tools", "content"))
    return value.get("cache_control") is not None or any(_marks_cache(one) for one in inside)


def _tools(value: object) -> Iterator[OfferedTool]:
    for index, tool in enumerate(listing(value, "tools") if value is not None else ()):
        place = f"tools.{index}"
        kind = table(tool, place).get("type")
        if isinstance(kind, str) and _SERVER_TOOL.fullmatch(kind):
            continue
        one_of("custom" if kind is None else kind, ("custom",), f"{place}.type")
        for name in tool:
            if name in ("function", "parameters"):
                raise BadRequest("Extra inputs are not permitted", f"{place}.custom.{name}")
        name = text(tool.get("name"), f"{place}.custom.name")
        if not _TOOL_NAME.fullmatch(name):
            raise BadRequest(
                f"String should match pattern '^{_TOOL_NAME.pattern}$'", f"{place}.custom.name"
            )
        schema = table(tool.get("input_schema"), f"{place}.custom.input_schema")
        if schema.get("type") != "object":
            raise BadRequest("Input should be 'object'", f"{place}.custom.input_schema.type")
        yield OfferedTool(name, schema)


def _turns(messages: list[Any], reasoning: bool) -> Iterator[Turn]:
    if not messages:
        raise BadRequest("at least one message is required", "messages")
    waiting = OpenCalls()
    loop = _loop_start(messages)
    for index, message in enumerate(messages):
        place = f"messages.{index}"
        role = table(message, place).get("role")
        if role not in ("user", "assistant"):
            raise BadRequest(
                f'Unexpected role "{role}". Allowed roles are "user" or "assistant"; a system '
                "prompt is the top-level `system`.",
                place,
            )
        if index == 0 and role != "user":
            raise BadRequest('first message must use the "user" role', "messages")
        blocks = _blocks(message, place, last=index == len(messages) - 1)
        if role == "user":
            yield _user_turn(blocks, waiting, place)
            continue
        if reasoning and index > loop:
            _must_begin_with_thought(blocks, f"{place}.content.0")
        yield Turn("assistant", _said(blocks, waiting, place))
    if waiting.names:
        _unanswered(waiting, f"messages.{len(messages) - 1}")


def _loop_start(messages: list[Any]) -> int:
    """Where the client's last words are: after them only tool calls and results follow."""
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index] if isinstance(messages[index], dict) else {}
        content = message.get("content")
        kinds = (
            {b.get("type") for b in content if isinstance(b, dict)}
            if isinstance(content, list)
            else set()
        )
        if message.get("role") == "user" and "tool_result" not in kinds:
            return index
    return -1


def _must_begin_with_thought(blocks: list[dict[str, Any]], place: str) -> None:
    kinds = [block.get("type") for block in blocks]
    if "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking"):
        raise BadRequest(
            f"expected `thinking` or `redacted_thinking` as the first block, found `{kinds[0]}`: "
            "with thinking on, the turn that uses a tool begins with what was thought before.",
            f"{place}.type",
        )


def _blocks(message: dict[str, Any], place: str, *, last: bool) -> list[dict[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    blocks = [
        table(block, f"{place}.content.{i}")
        for i, block in enumerate(listing(content, f"{place}.content"))
    ]
    final = last and message["role"] == "assistant"
    if not blocks and not final:
        raise BadRequest("all messages must have non-empty content", place)
    ending = blocks[-1].get("text") if blocks else None
    if final and isinstance(ending, str) and ending != ending.rstrip():
        raise BadRequest("final assistant content cannot end with trailing whitespace", "messages")
    return blocks


def _user_turn(blocks: list[dict[str, Any]], waiting: OpenCalls, place: str) -> Turn:
    said, results = [], 0
    for index, block in enumerate(blocks):
        here = f"{place}.content.{index}"
        if block.get("type") == "tool_result":
            call_id = text(block.get("tool_use_id"), f"{here}.tool_use_id")
            if not waiting.close(call_id):
                raise BadRequest(
                    f"unexpected `tool_use_id` found in `tool_result` blocks: {call_id}. Each "
                    "`tool_result` block must have a corresponding `tool_use` block in the "
                    "previous message.",
                    here,
                )
            results += 1
            content = block.get("content")
            inner = content if isinstance(content, list) else []
            said += [content] if isinstance(content, str) else []
            said += [_media_or_text(one, f"{here}.content.{i}") for i, one in enumerate(inner)]
        else:
            if waiting.names:
                _unanswered(waiting, place)
            said.append(_media_or_text(block, here))
    if waiting.names:
        _unanswered(waiting, place)
    only_results = results == len(blocks)
    return Turn("tool" if only_results else "user", " ".join(said))


def _unanswered(waiting: OpenCalls, place: str) -> None:
    raise BadRequest(
        "`tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(waiting.names)}.",
        place,
    )


def _media_or_text(value: object, place: str) -> str:
    block = table(value, place)
    kinds = ("text", "image", "document", "search_result", "tool_reference")
    kind = one_of(block.get("type"), kinds, f"{place}.type")
    if kind == "text":
        return _block_text(block, place)
    if kind in ("search_result", "tool_reference"):
        return f"[{kind}]"
    source = table(block.get("source"), f"{place}.source")
    here = f"{place}.source"
    name = "image" if kind == "image" else "file"
    forms = (
        ("base64", "url", "file")
        if kind == "image"
        else ("base64", "url", "file", "text", "content")
    )
    match one_of(source.get("type"), forms, f"{here}.type"):
        case "base64":
            known = _IMAGES if kind == "image" else ("application/pdf",)
            mime = one_of(source.get("media_type"), known, f"{here}.base64.media_type")
            return inline_media(name, mime, source.get("data"), f"{here}.base64.data")
        case "url":
            return linked_media(name, source.get("url"), f"{here}.url.url")
        case "file":
            return f"[{name}: {text(source.get('file_id'), f'{here}.file.file_id')}]"
        case "text":
            return text(source.get("data"), f"{here}.text.data")
        case _:
            return f"[{name}]"


def _said(blocks: list[dict[str, Any]], waiting: OpenCalls, place: str) -> str:
    said = []
    for index, block in enumerate(blocks):
        here = f"{place}.content.{index}"
        match block.get("type"):
            case "text":
                said.append(_block_text(block, here))
            case "thinking":
                thought = text(block.get("thinking"), f"{here}.thinking")
                if block.get("signature") != sign("thinking", thought):
                    raise BadRequest("Invalid `signature` in `thinking` block", here)
            case "redacted_thinking":
                text(block.get("data"), f"{here}.data")
            case "tool_use":
                call_id = text(block.get("id"), f"{here}.tool_use.id")
                if not _CALL_ID.fullmatch(call_id):
                    raise BadRequest(
                        f"String should match pattern '^{_CALL_ID.pattern}$'", f"{here}.tool_use.id"
                    )
                if call_id in waiting.names:
                    raise BadRequest("`tool_use` ids must be unique", place)
                table(block.get("input"), f"{here}.tool_use.input")
                waiting.names[call_id] = text(block.get("name"), f"{here}.tool_use.name")
            case kind:
                one_of(kind, ("text", "thinking", "redacted_thinking", "tool_use"), f"{here}.type")
    return " ".join(said)
