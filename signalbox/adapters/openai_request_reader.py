"""A chat completion request → the gateway's own model.

OpenAI's API reference, and what the clients of OpenRouter, LiteLLM, DeepSeek and Mistral send
besides. A known field with a value of another type than documented is as good as an unknown one:
it means something to a provider of this dialect alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from signalbox.adapters.chat import (
    ChatRequest,
    JsonObject,
    JsonSchema,
    Native,
    ReasoningWish,
    Tool,
    ToolChoice,
)
from signalbox.adapters.door import Body
from signalbox.adapters.openai_message_reader import read_messages
from signalbox.adapters.openai_parameters import GATEWAY_FIELDS, OPENROUTER_ROUTING_FIELDS
from signalbox.adapters.openai_reasoning import WISH_FIELDS
from signalbox.types import Dialect

Json = Mapping[str, Any]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


_PLAIN: Mapping[str, Callable[[Any], bool]] = {
    "temperature": _is_number,
    "top_p": _is_number,
    "top_k": _is_whole,
    "min_p": _is_number,
    "n": _is_whole,
    "seed": _is_whole,
    "presence_penalty": _is_number,
    "frequency_penalty": _is_number,
    "logit_bias": _is(dict),
    "logprobs": _is(bool),
    "top_logprobs": _is_whole,
    "parallel_tool_calls": _is(bool),
    "audio": _is(dict),
    "user": _is(str),
    "metadata": _is(dict),
    "store": _is(bool),
    "service_tier": _is(str),
    "verbosity": _is(str),
    "prediction": _is(dict),
    "prompt_cache_key": _is(str),
    "safety_identifier": _is(str),
}
"""Fields that the form has under the same name and with the same value."""

_MEANT = frozenset(
    {
        "web_search_options",
        "plugins",
        "mcp_servers",
        "container",
        "container_id",
        "previous_response_id",
        "cachedContent",
        "cached_content",
        "image_config",
        "guided_json",
        "guided_regex",
        "guided_choice",
        "guided_grammar",
        "structured_outputs",
        "search_parameters",
        "search_domain_filter",
        "documents",
    }
)
"""Further fields that the request means something else without: OpenAI's web search, OpenRouter's
plugins and pictures, state at a provider, vLLM's guided decoding, the searches of xAI and
Perplexity, documents to answer from."""

FIELDS = (
    frozenset({"max_tokens", "max_completion_tokens", "stop", "tools", "tool_choice", "functions"})
    | {"function_call", "response_format", "modalities", "cache_control"}
    | frozenset(WISH_FIELDS)
    | _PLAIN.keys()
    | _MEANT
)
"""Everything of a body that is understood here."""

_ELSEWHERE = (
    frozenset({"model", "messages", "stream", "stream_options"})
    | GATEWAY_FIELDS
    | OPENROUTER_ROUTING_FIELDS
)
"""Read by others: the outline, the gateway itself."""


def read_chat_request(body: Body) -> ChatRequest:
    """The form of a body that has passed `read_chat_body`; it fails on none of these.

    `max_completion_tokens` goes before `max_tokens`, `tools` before the deprecated `functions`.
    """
    given = {name: it for name, it in body.items() if it is not None and name not in _ELSEWHERE}
    fields: dict[str, Any] = {}
    for name, fits in _PLAIN.items():
        if name in given and fits(given[name]):
            fields[name] = given.pop(name)
    fields["max_tokens"] = _first(given, "max_completion_tokens", "max_tokens")
    fields["stop"] = _stop(given)
    fields["reasoning"] = _reasoning(given)
    fields["tools"] = tuple(_tools(given))
    fields["tool_choice"] = _taken(given, _tool_choice, "tool_choice", "function_call")
    fields["response_format"] = _response_format(given)
    if _is_strings(given.get("modalities")):
        fields["modalities"] = tuple(given.pop("modalities"))
    if isinstance(given.get("cache_control"), dict):
        fields["cache"] = given.pop("cache_control")
    return ChatRequest(
        dialect=Dialect.CHAT,
        model=body["model"],
        messages=read_messages(body["messages"]),
        stream=body.get("stream") is True,
        **fields,
        native=tuple(_native(given)),
        unknown=given,
    )


def _first(given: dict[str, Any], *names: str) -> int | None:
    values = [given.pop(name) for name in names if _is_whole(given.get(name))]
    return values[0] if values else None


def _taken(given: dict[str, Any], read: Callable[[Any], Any], *names: str) -> Any:
    """What the first of the fields that can be read says; all that can be are taken out."""
    found = []
    for name in names:
        value = read(given[name]) if name in given else None
        if value is not None:
            del given[name]
            found.append(value)
    return found[0] if found else None


def _stop(given: dict[str, Any]) -> tuple[str, ...]:
    stop = given.get("stop")
    if isinstance(stop, str):
        del given["stop"]
        return (stop,) if stop else ()
    if _is_strings(stop):
        del given["stop"]
        return tuple(stop or ())
    return ()


def _native(given: dict[str, Any]) -> Iterator[Native]:
    """What is left with meaning. A tool choice or a format that is still here is not understood."""
    for name in (*_MEANT, "tool_choice", "function_call", "response_format", "modalities"):
        if name in given and given[name] not in ([], {}):
            yield Native(Dialect.CHAT, given.pop(name), name=name)


# ── tools ─────────────────────────────────────────────────────────────────────────────────────


def _tools(given: dict[str, Any]) -> Iterator[Tool | Native]:
    tools = given.get("tools")
    functions = given.get("functions")
    if _is_objects(tools):
        del given["tools"]
        yield from map(_tool, tools or ())
    if _is_objects(functions) and all(isinstance(it.get("name"), str) for it in functions or ()):
        del given["functions"]
        if not tools:
            yield from (_function(it, {}) for it in functions or ())


def _tool(tool: Json) -> Tool | Native:
    kind = tool.get("type", "function")
    if kind == "function":
        # The flat form is that of the Responses API, which some clients mix up with this one.
        function = tool.get("function", tool)
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            return _function(function, tool)
    custom = tool.get("custom")
    if kind == "custom" and isinstance(custom, dict) and isinstance(custom.get("name"), str):
        format = custom.get("format")
        return Tool(
            name=custom["name"],
            description=_text(custom.get("description")),
            custom={"format": _flat_format(format)} if isinstance(format, dict) else {},
            cache=_object(tool.get("cache_control")),
        )
    return Native(Dialect.CHAT, tool, name=kind if isinstance(kind, str) else "tools")


def _function(function: Json, tool: Json) -> Tool:
    strict = function.get("strict")
    return Tool(
        name=function["name"],
        description=_text(function.get("description")),
        parameters=_object(function.get("parameters")),
        strict=strict if isinstance(strict, bool) else None,
        cache=_object(tool.get("cache_control", function.get("cache_control"))),
    )


def _flat_format(format: Json) -> Json:
    """A custom tool's format as the Responses API writes it: the grammar's fields at the top."""
    grammar = format.get("grammar")
    if not isinstance(grammar, dict):
        return format
    return {**{n: it for n, it in format.items() if n != "grammar"}, **grammar}


def _tool_choice(choice: Any) -> ToolChoice | None:
    match choice:
        case "auto" | "none" | "required":
            return ToolChoice(choice)
        case "any":  # Mistral
            return ToolChoice("required")
        case {"type": "function", "function": {"name": str(name)}}:
            return ToolChoice("required", name)
        case {"type": "custom", "custom": {"name": str(name)}}:
            return ToolChoice("required", name)
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}:
            names = [_named(tool) for tool in tools]
            known = tuple(name for name in names if name is not None)
            if mode in ("auto", "required") and len(known) == len(names):
                return ToolChoice("required" if mode == "required" else "auto", allowed=known)
        case {"type": "auto" | "none" | "required" as mode}:
            return ToolChoice(mode)
        case {"type": "function" | "tool", "name": str(name)}:
            return ToolChoice("required", name)
        case {"name": str(name)} if "type" not in choice:  # deprecated `function_call`
            return ToolChoice("required", name)
    return None


def _named(tool: Any) -> str | None:
    match tool:
        case {"function": {"name": str(name)}} | {"custom": {"name": str(name)}}:
            return name
    return None


# ── wishes ────────────────────────────────────────────────────────────────────────────────────


def _response_format(given: dict[str, Any]) -> JsonObject | JsonSchema | None:
    read: JsonObject | JsonSchema | None = None
    match given.get("response_format"):
        case {"type": "text"}:
            pass
        case {"type": "json_object", "schema": dict(schema)}:  # Together, Fireworks
            read = JsonSchema(schema)
        case {"type": "json_object"}:
            read = JsonObject()
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)} as wanted}:
            strict = wanted.get("strict")
            read = JsonSchema(
                schema=schema,
                name=_text(wanted.get("name")),
                description=_text(wanted.get("description")),
                strict=strict if isinstance(strict, bool) else None,
            )
        case _:
            return None
    del given["response_format"]
    return read


def _reasoning(given: dict[str, Any]) -> ReasoningWish | None:
    """`reasoning` (OpenRouter) goes before `reasoning_effort`, and both before `thinking`, the
    switch of Anthropic, DeepSeek and z.ai."""
    told = given.get("reasoning")
    effort = given.get("reasoning_effort")
    wish: dict[str, Any] = {}
    if isinstance(effort, dict):  # LiteLLM
        told, effort = {**effort, **(told if isinstance(told, dict) else {})}, None
    if isinstance(effort, str):
        wish["effort"] = effort
    for name, fits in _WISHES.items():
        if isinstance(told, dict) and told.get(name) is not None and fits(told[name]):
            wish[name] = told[name]
    if isinstance(given.get("include_reasoning"), bool):
        wish.setdefault("exclude", not given["include_reasoning"])
    thinking = given.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") in ("enabled", "disabled"):
        wish.setdefault("enabled", thinking["type"] == "enabled")
        if _is_whole(thinking.get("budget_tokens")):
            wish.setdefault("max_tokens", thinking["budget_tokens"])
        del given["thinking"]
    for name in WISH_FIELDS:
        if isinstance(given.get(name), _WISH_KINDS):
            del given[name]
    return ReasoningWish(**wish) if wish else None


_WISHES: Mapping[str, Callable[[Any], bool]] = {
    "effort": _is(str),
    "max_tokens": _is_whole,
    "enabled": _is(bool),
    "exclude": _is(bool),
    "summary": _is(str),
}
_WISH_KINDS = (str, dict, bool)


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(it, str) for it in value)


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(it, dict) for it in value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _object(value: Any) -> Json | None:
    return value if isinstance(value, dict) else None
