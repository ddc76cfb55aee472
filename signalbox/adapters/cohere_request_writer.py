"""A chat in the gateway's own model, written down as the body of Cohere's chat, v2.

Source: Cohere v2 API reference, "Chat"; guides "Tool Use", "Structured Outputs", "Reasoning
Capabilities". Messages are near to OpenAI's and are made from them. What is left out and what makes
the route impossible is named as chat completions names it, whatever the door.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from signalbox.adapters.chat import ChatRequest, JsonObject, JsonSchema, Native, Tool
from signalbox.adapters.cohere_models import thinks
from signalbox.adapters.message_hints import DETAIL, hints_left_out
from signalbox.adapters.openai_differences import differences_for
from signalbox.adapters.openai_message_writer import write_messages
from signalbox.adapters.openai_parameters import check
from signalbox.adapters.openai_request_writer import (
    left_out,
    without_cache,
    write_chat_request,
)
from signalbox.types import Dialect, Route

API = "cohere"
MOST_STOPS = 5
_HIGHEST_P = 0.99
_LOWEST_P = 0.01
_MOST_K = 500
_HIGHEST_PENALTY = 1.0
_CHOICES = {"none": "NONE", "required": "REQUIRED"}
_BUDGETS = {"minimal": 1_024, "low": 2_048, "medium": 8_192}
"""Tokens to think with; a higher effort has no bound."""
_SHARES = {"minimal": 0.1, "low": 0.2, "medium": 0.5}
"""Of the answer's ceiling, where there is one."""


@dataclass(slots=True)
class Written:
    """The body, without `model` and `stream`."""

    body: dict[str, Any]
    dropped: dict[str, None] = field(default_factory=dict)
    unsupported: dict[str, None] = field(default_factory=dict)


def write_cohere_request(form: ChatRequest, route: Route) -> Written:
    into = Written({})
    form, cached = without_cache(form)
    if cached:
        into.dropped["cache_control"] = None
    _check(form, route, into)
    body = into.body
    body["messages"] = _messages(form, route, into)
    _tools(form, into)
    _response_format(form, into)
    _thinking(form, route, into)
    _sampling(form, into)
    if form.max_tokens is not None:
        body["max_tokens"] = form.max_tokens
    if len(form.stop) > MOST_STOPS:
        into.unsupported["stop"] = None
    if form.stop:
        body["stop_sequences"] = list(form.stop)
    if form.seed is not None:
        body["seed"] = form.seed
    return into


def _check(form: ChatRequest, route: Route, into: Written) -> None:
    """The table of parameters, and what a body of chat completions does not hold."""
    differences = differences_for(API, route.provider, route.model)
    checked = check(write_chat_request(form), differences)
    lost = left_out(form)
    into.dropped |= dict.fromkeys((*lost.dropped, *checked.dropped))
    into.unsupported |= dict.fromkeys((*lost.unsupported, *checked.unsupported))
    natives = [(native, native.name) for native in form.native]
    natives += [(tool, "tools") for tool in form.tools if isinstance(tool, Native)]
    for message in form.messages:
        natives += [(part, "messages") for part in message.parts if isinstance(part, Native)]
    for native, name in natives:
        if native.meaning:
            into.unsupported[name] = None
        else:
            into.dropped[native.name or name] = None
    into.dropped |= dict.fromkeys(name for name, it in form.unknown.items() if it is not None)
    into.dropped |= hints_left_out(form, Dialect.COHERE_CHAT, DETAIL)
    if form.audio is not None:
        into.dropped["audio"] = None


# ── messages ──────────────────────────────────────────────────────────────────────────────────


def _messages(form: ChatRequest, route: Route, into: Written) -> list[dict[str, Any]]:
    thinking = thinks(route.model)
    written: list[dict[str, Any]] = []
    for message in write_messages(form.messages, Dialect.COHERE_CHAT):
        match message["role"]:
            case "system" | "developer":
                # Instructions come first: its API refuses those between turns.
                place = sum(1 for each in written if each["role"] == "system")
                written.insert(place, {"role": "system", "content": message["content"]})
            case "assistant":
                said = _assistant(message, thinking=thinking)
                if said.keys() != {"role"}:
                    written.append(said)
            case "tool":
                known = ("role", "tool_call_id", "content")
                written.append({name: message[name] for name in known})
            case _:
                written.append({"role": "user", "content": message["content"]})
    if written and written[-1]["role"] == "assistant" and not route.prefill:
        into.unsupported["messages"] = None
    return written


def _assistant(message: Mapping[str, Any], *, thinking: bool) -> dict[str, Any]:
    """What a model that does not think says and thinks before its calls is its plan."""
    thought = message.get("reasoning_content") or ""
    text = _text(message.get("content")) + (message.get("refusal") or "")
    calls = message.get("tool_calls") or []
    written: dict[str, Any] = {"role": "assistant"}
    if calls and not thinking:
        plan = "\n".join(filter(None, (thought, text)))
        if plan:
            written["tool_plan"] = plan
    elif thinking and thought:
        blocks = [{"type": "thinking", "thinking": thought}]
        written["content"] = blocks + ([{"type": "text", "text": text}] if text else [])
    elif text:
        written["content"] = text
    if calls:
        written["tool_calls"] = [_call(call) for call in calls]
    return written


def _text(content: object) -> str:
    """Of an assistant's message; what else its parts hold, the table of parameters names."""
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content if isinstance(content, str) else ""


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = function.get("arguments") or "{}"
    called = {"name": function.get("name", ""), "arguments": arguments}
    return {"id": call["id"], "type": "function", "function": called}


# ── settings ──────────────────────────────────────────────────────────────────────────────────


def _tools(form: ChatRequest, into: Written) -> None:
    """One tool that must be called is the only one that is offered, and one must be."""
    choice = form.tool_choice
    tools = [tool for tool in form.tools if isinstance(tool, Tool) and tool.custom is None]
    if choice is not None and choice.allowed is not None:
        tools = [tool for tool in tools if tool.name in choice.allowed]
    if choice is not None and choice.name is not None:
        tools = [tool for tool in tools if tool.name == choice.name]
        if not tools:
            into.unsupported["tool_choice"] = None
    if not tools:
        return
    into.body["tools"] = [_tool(tool) for tool in tools]
    if any(tool.strict for tool in tools):
        into.body["strict_tools"] = True
    if choice is not None and choice.mode in _CHOICES:
        into.body["tool_choice"] = _CHOICES[choice.mode]


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = dict(tool.parameters or {"type": "object", "properties": {}})
    return {"type": "function", "function": function}


def _response_format(form: ChatRequest, into: Written) -> None:
    wanted = form.response_format
    if wanted is None:
        return
    if "tools" in into.body:
        into.unsupported["response_format"] = None  # "Structured Outputs": not with tools
    if isinstance(wanted, JsonObject):
        into.body["response_format"] = {"type": "json_object"}
    elif isinstance(wanted, JsonSchema):
        schema = dict(wanted.schema)
        into.body["response_format"] = {"type": "json_object", "json_schema": schema}


def _thinking(form: ChatRequest, route: Route, into: Written) -> None:
    wish = form.reasoning
    if wish is None or not thinks(route.model):
        return  # that of a model without it is named by the table
    if wish.exclude:
        into.dropped["reasoning.exclude"] = None
    if wish.enabled is False or wish.effort == "none":
        into.body["thinking"] = {"type": "disabled"}
    elif wish.enabled or wish.effort or wish.max_tokens:
        thinking: dict[str, Any] = {"type": "enabled"}
        budget = wish.max_tokens or _budget(wish.effort, form.max_tokens)
        if budget:
            thinking["token_budget"] = budget
        into.body["thinking"] = thinking


def _budget(effort: str | None, ceiling: int | None) -> int | None:
    if effort not in _BUDGETS:
        return None
    return max(1, int(ceiling * _SHARES[effort])) if ceiling else _BUDGETS[effort]


def _sampling(form: ChatRequest, into: Written) -> None:
    """What lies outside of its ranges goes to their ends, and is named where that changes much."""
    body = into.body
    if form.temperature is not None:
        body["temperature"] = min(form.temperature, 1)
    if form.top_p is not None:
        body["p"] = max(_LOWEST_P, min(form.top_p, _HIGHEST_P))
    if form.top_k is not None:
        body["k"] = max(0, min(form.top_k, _MOST_K))
        if body["k"] != form.top_k:
            into.dropped["top_k"] = None
    for name in ("frequency_penalty", "presence_penalty"):
        value = getattr(form, name)
        if not value:
            continue
        fitted = max(0.0, min(value, _HIGHEST_PENALTY))
        # Its API refuses both penalties at once.
        if fitted != value or "frequency_penalty" in body:
            into.dropped[name] = None
        if fitted and "frequency_penalty" not in body:
            body[name] = fitted


def refusing(written: Written) -> Written:
    """With hints that count as meaning."""
    unsupported = {**written.dropped, **written.unsupported}
    return replace(written, dropped={}, unsupported=unsupported)
