"""Reads the requests of OpenAI's chat completions, as strictly as OpenAI does.

Top-level fields that OpenAI does not know are taken: the providers that speak this format have
their own. Source: OpenAI's API reference, "Create chat completion".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

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
    one_of,
    table,
    text,
)

MAX_CHOICES = 128
"""OpenAI's own bound of `n`."""


class StreamOptions(Struct, frozen=True):
    include_usage: bool | None = None


class ChatRequest(Struct, frozen=True):
    """The fields of a chat-completions request that change the simulated answer."""

    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    model: Annotated[str, Meta(min_length=1)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None = None
    stop: str | list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    reasoning_effort: str | None = None
    reasoning: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None


def read_chat(call: Call) -> Prompt:
    """Raises BadRequest naming the field that is wrong."""
    body = call.body
    if call.model and isinstance(body, dict):
        body = body | {"model": call.model}
    try:
        request = msgspec.convert(body, ChatRequest)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from error
    forced, choice = _choice(request.tool_choice)
    wants_json, schema = _format(request.response_format)
    return Prompt(
        model=request.model,
        turns=tuple(_turns(request.messages)),
        tools=tuple(_tools(request.tools or [])),
        tool_choice=choice,
        forced=forced,
        parallel=request.parallel_tool_calls is not False,
        ceiling=request.max_completion_tokens or request.max_tokens,
        stops=(request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ()),
        choices=request.n or 1,
        json=wants_json,
        schema=schema,
        reasoning=_reasons(request),
        stream=bool(request.stream),
        include_usage=request.stream_options is not None
        and bool(request.stream_options.include_usage),
    )


def _reasons(request: ChatRequest) -> bool:
    """Whether reasoning is asked for, in OpenAI's, OpenRouter's or DeepSeek's way."""
    if request.reasoning is not None:
        off = request.reasoning.get("enabled") is False or request.reasoning.get("exclude") is True
        return not off and request.reasoning.get("effort") != "none"
    if request.thinking is not None:
        return request.thinking.get("type") == "enabled"
    return request.reasoning_effort not in (None, "none")


def _turns(messages: list[dict[str, Any]]) -> Iterator[Turn]:
    open_calls = OpenCalls()
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        roles = ("system", "developer", "user", "assistant", "tool", "function")
        role = one_of(message.get("role"), roles, f"{path}.role")
        if role == "tool":
            if not open_calls.close(text(message.get("tool_call_id"), f"{path}.tool_call_id")):
                raise BadRequest(
                    "messages with role 'tool' must be a response to a preceding message with "
                    "'tool_calls'",
                    f"{path}.role",
                )
        elif open_calls.names:
            raise BadRequest(
                "an assistant message with 'tool_calls' must be followed by tool messages "
                f"responding to each 'tool_call_id'; missing: {', '.join(open_calls.names)}",
                path,
            )
        if role == "assistant":
            open_calls.names = dict(_called(message, path))
        content = _content(message, role, path)
        match role:
            case "system" | "developer":
                yield Turn("system", content)
            case "tool" | "function":
                yield Turn("tool", content)
            case "assistant":
                yield Turn("assistant", content)
            case _:
                yield Turn("user", content)


def _called(message: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    calls = message.get("tool_calls")
    if calls is None:
        return
    for index, call in enumerate(listing(calls, f"{path}.tool_calls")):
        here = f"{path}.tool_calls[{index}]"
        kind = one_of(table(call, here).get("type"), ("function", "custom"), f"{here}.type")
        called = table(call.get(kind), f"{here}.{kind}")
        name = text(called.get("name"), f"{here}.{kind}.name")
        if kind == "function":
            text(called.get("arguments"), f"{here}.function.arguments")
        yield text(call.get("id"), f"{here}.id"), name


def _content(message: dict[str, Any], role: str, path: str) -> str:
    content = message.get("content")
    here = f"{path}.content"
    if isinstance(content, list):
        return " ".join(_part(part, role, f"{here}[{i}]") for i, part in enumerate(content))
    if content is None and role in ("assistant", "function"):
        return ""
    return text(content, here)


def _part(value: object, role: str, path: str) -> str:
    part = table(value, path)
    kinds = ["text", "refusal"] if role == "assistant" else ["text"]
    if role == "user":
        kinds += ["image_url", "input_audio", "file", "video_url"]
    kind = one_of(part.get("type"), kinds, f"{path}.type")
    match kind:
        case "text" | "refusal":
            return text(part.get(kind), f"{path}.{kind}")
        case "image_url" | "video_url":
            media = table(part.get(kind), f"{path}.{kind}")
            return linked_media(kind[:-4], media.get("url"), f"{path}.{kind}.url")
        case "input_audio":
            audio = table(part.get("input_audio"), f"{path}.input_audio")
            mime = f"audio/{text(audio.get('format'), f'{path}.input_audio.format')}"
            return inline_media("audio", mime, audio.get("data"), f"{path}.input_audio.data")
        case _:
            file = table(part.get("file"), f"{path}.file")
            if (file_id := file.get("file_id")) is not None:
                return f"[file: {text(file_id, f'{path}.file.file_id')}]"
            return linked_media("file", file.get("file_data"), f"{path}.file.file_data")


def _tools(tools: list[dict[str, Any]]) -> Iterator[OfferedTool]:
    for index, tool in enumerate(tools):
        path = f"tools[{index}]"
        if tool.get("type") != "function":
            continue
        function = table(tool.get("function"), f"{path}.function")
        schema = function.get("parameters")
        if schema is not None:
            table(schema, f"{path}.function.parameters")
        if function.get("strict"):
            strict_schema(schema, f"{path}.function.parameters")
        yield OfferedTool(text(function.get("name"), f"{path}.function.name"), schema)


def _choice(
    choice: str | dict[str, Any] | None,
) -> tuple[str | None, Literal["auto", "none", "required"]]:
    if isinstance(choice, dict):
        function = choice.get("function")
        if isinstance(function, dict):
            return text(function.get("name"), "tool_choice.function.name"), "auto"
        return None, "auto"
    match choice:
        case "none" | "required":
            return None, choice
        case "auto" | None:
            return None, "auto"
        case _:
            raise BadRequest("expected auto, none or required", "tool_choice")


def _format(wanted: dict[str, Any] | None) -> tuple[bool, Any]:
    """Whether JSON is wanted, and of which schema."""
    if wanted is None:
        return False, None
    match one_of(
        wanted.get("type"), ("text", "json_object", "json_schema"), "response_format.type"
    ):
        case "json_schema":
            described = table(wanted.get("json_schema"), "response_format.json_schema")
            text(described.get("name"), "response_format.json_schema.name")
            schema = described.get("schema")
            if described.get("strict"):
                strict_schema(schema, "response_format.json_schema.schema")
            return True, {} if schema is None else schema
        case "json_object":
            return True, None
        case _:
            return False, None


def strict_schema(schema: object, path: str) -> None:
    """Holds a schema to what OpenAI asks of one with `strict`: every object closed, every property
    required. Raises BadRequest with the place. Source: guide "Structured model outputs"."""
    stack = [(schema, path)]
    while stack:
        value, here = stack.pop()
        if isinstance(value, list):
            stack += [(one, f"{here}[{i}]") for i, one in enumerate(value)]
        if not isinstance(value, dict):
            continue
        properties = value.get("properties")
        if value.get("type") == "object":
            if value.get("additionalProperties") is not False:
                raise BadRequest(
                    "Invalid schema: 'additionalProperties' is required to be supplied and to be "
                    "false",
                    here,
                )
            names = list(properties) if isinstance(properties, dict) else []
            required = value.get("required")
            missing = set(names) - set(required if isinstance(required, list) else [])
            if missing:
                raise BadRequest(
                    "Invalid schema: 'required' is required to be supplied and to be an array "
                    f"including every key in properties; missing {sorted(missing)}",
                    here,
                )
        if isinstance(properties, dict):
            stack += [(one, f"{here}.properties.{name}") for name, one in properties.items()]
        for word in ("items", "anyOf", "$defs"):
            inner = value.get(word)
            if word == "$defs" and isinstance(inner, dict):
                stack += [(one, f"{here}.$defs.{name}") for name, one in inner.items()]
            else:
                stack.append((inner, f"{here}.{word}"))
