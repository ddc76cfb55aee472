"""The gateway's own model → a chat completion request, without any provider's differences.

Those are applied to what is written here: `openai_parameters.check` says what a provider does not
take, `openai_adapting.adapted` writes the rest its way. Adapters of other dialects check the same
body, so that there is one table of parameters for all.

`read_chat_request(write_chat_request(form))` is the form again, for one that was read from chat
completions, but for what the dialect says in several ways: each tool result is a message of its
own, parts are in the reader's order, and `max_tokens` stands for both names of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.chat import (
    ChatRequest,
    JsonObject,
    JsonSchema,
    Media,
    MediaKind,
    Message,
    Native,
    Part,
    ReasoningWish,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from signalbox.adapters.message_hints import (
    DESCRIPTION,
    DETAIL,
    NAME,
    hints_left_out,
)
from signalbox.adapters.openai_message_writer import write_messages
from signalbox.types import Dialect

_SAME_NAMES = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "n",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "parallel_tool_calls",
    "audio",
    "user",
    "metadata",
    "store",
    "service_tier",
    "verbosity",
    "prediction",
    "prompt_cache_key",
    "safety_identifier",
    "max_tokens",
)
_SCHEMA_NAME = "answer"
"""A schema must have a name in this dialect."""


def write_chat_request(form: ChatRequest) -> dict[str, Any]:
    """The body. What only another dialect understands is not in it; `left_out` names that."""
    body: dict[str, Any] = {
        "model": form.model,
        "messages": write_messages(form.messages, form.dialect),
    }
    if form.stream:
        body["stream"] = True
    for name in _SAME_NAMES:
        value = getattr(form, name)
        if value is not None:
            body[name] = value
    if form.stop:
        body["stop"] = list(form.stop)
    if form.modalities:
        body["modalities"] = list(form.modalities)
    if form.cache is not None:
        body["cache_control"] = form.cache
    body |= _tools(form)
    if form.response_format is not None:
        body["response_format"] = _response_format(form.response_format)
    if form.reasoning is not None:
        body |= _reasoning(form.reasoning)
    if form.dialect is Dialect.CHAT:
        body |= {native.name: native.value for native in form.native}
        body |= form.unknown
    return body


# ── what is not in the body ───────────────────────────────────────────────────────────────────


class LeftOut(msgspec.Struct, frozen=True):
    """By name."""

    unsupported: tuple[str, ...] = ()
    """Without it the request means something else."""
    dropped: tuple[str, ...] = ()


def left_out(form: ChatRequest) -> LeftOut:
    """What of a form of another dialect the body of chat completions does not hold."""
    if form.dialect is Dialect.CHAT:
        return LeftOut()
    natives = [*form.native, *(tool for tool in form.tools if isinstance(tool, Native))]
    unsupported: list[str] = []
    dropped = list(form.unknown)
    for message in form.messages:
        natives += (part for part in message.parts if isinstance(part, Native))
        unsupported += _media_without_a_place(message, form.dialect)
    for native in natives:
        (unsupported if native.meaning else dropped).append(native.name)
    dropped += hints_left_out(form, Dialect.CHAT, NAME, DETAIL, DESCRIPTION)
    return LeftOut(tuple(dict.fromkeys(unsupported)), tuple(dict.fromkeys(dropped)))


def _media_without_a_place(message: Message, dialect: Dialect) -> Iterator[str]:
    """Files of another vendor's, and what OpenAI takes as data alone."""
    for media in _media_of(message.parts):
        if media.file_id is not None and dialect.family != Dialect.CHAT.family:
            yield "messages.file_id"
        elif media.url is not None and media.kind in (MediaKind.FILE, MediaKind.AUDIO):
            yield "messages.url"


def _media_of(parts: Iterable[Part]) -> Iterator[Media]:
    for part in parts:
        if isinstance(part, Media):
            yield part
        elif isinstance(part, ToolResult):
            yield from _media_of(part.content)


def without_cache(form: ChatRequest) -> tuple[ChatRequest, bool]:
    """The form without Anthropic's `cache_control`, and whether there was any."""
    messages = tuple(_without_cache_in(message) for message in form.messages)
    tools = tuple(
        replace(tool, cache=None) if isinstance(tool, Tool) and tool.cache is not None else tool
        for tool in form.tools
    )
    stripped = replace(form, messages=messages, tools=tools, cache=None)
    return stripped, stripped != form


def _without_cache_in(message: Message) -> Message:
    return replace(message, parts=tuple(map(_uncached, message.parts)))


def _uncached(part: Part) -> Part:
    if isinstance(part, ToolResult):
        content = tuple(replace(it, cache=None) if it.cache else it for it in part.content)
        return replace(part, content=content, cache=None)
    if isinstance(part, Text | Media | ToolCall) and part.cache is not None:
        return replace(part, cache=None)
    return part


# ── tools ─────────────────────────────────────────────────────────────────────────────────────


def _tools(form: ChatRequest) -> dict[str, Any]:
    written: dict[str, Any] = {}
    tools = [
        _tool(tool) if isinstance(tool, Tool) else tool.value
        for tool in form.tools
        if isinstance(tool, Tool) or form.dialect is Dialect.CHAT
    ]
    if tools:
        written["tools"] = tools
    if form.tool_choice is not None:
        custom = {it.name for it in form.tools if isinstance(it, Tool) and it.custom is not None}
        written["tool_choice"] = _tool_choice(form.tool_choice, custom)
    return written


def _tool(tool: Tool) -> dict[str, Any]:
    kind, told = "function", _known(name=tool.name, description=tool.description)
    if tool.custom is not None:
        kind = "custom"
        format = tool.custom.get("format")
        if isinstance(format, Mapping):
            told["format"] = _nested_format(format)
    else:
        told |= _known(parameters=tool.parameters, strict=tool.strict)
    written = {"type": kind, kind: told}
    if tool.cache is not None:
        written["cache_control"] = tool.cache
    return written


def _nested_format(format: Mapping[str, Any]) -> Mapping[str, Any]:
    """A custom tool's format as this dialect writes it: with a grammar's fields in `grammar`."""
    if format.get("type") != "grammar":
        return format
    return {"type": "grammar", "grammar": {n: it for n, it in format.items() if n != "type"}}


def _tool_choice(choice: ToolChoice, custom: set[str]) -> Any:
    def named(name: str) -> dict[str, Any]:
        kind = "custom" if name in custom else "function"
        return {"type": kind, kind: {"name": name}}

    if choice.name is not None:
        return named(choice.name)
    if choice.allowed is None or choice.mode == "none":
        return choice.mode
    allowed = {"mode": choice.mode, "tools": [named(name) for name in choice.allowed]}
    return {"type": "allowed_tools", "allowed_tools": allowed}


# ── wishes ────────────────────────────────────────────────────────────────────────────────────


def _response_format(format: JsonObject | JsonSchema) -> dict[str, Any]:
    if isinstance(format, JsonObject):
        return {"type": "json_object"}
    told = _known(
        name=format.name or _SCHEMA_NAME,
        description=format.description,
        schema=format.schema,
        strict=format.strict,
    )
    return {"type": "json_schema", "json_schema": told}


def _reasoning(wish: ReasoningWish) -> dict[str, Any]:
    """OpenAI's own word where an effort is all; OpenRouter's object for anything more."""
    told = _known(
        effort=wish.effort,
        max_tokens=wish.max_tokens,
        enabled=wish.enabled,
        exclude=wish.exclude,
        summary=wish.summary,
    )
    if told.keys() == {"effort"}:
        return {"reasoning_effort": wish.effort}
    return {"reasoning": told} if told else {}


def _known(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
