"""A chat in the gateway's own model, written down as the body of Anthropic's Messages.

Source: Anthropic API reference, "Create a Message". What is left out and what makes the route
impossible is named as chat completions names it, whatever the door.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from signalbox.adapters.anthropic_models import Traits, traits_of
from signalbox.adapters.anthropic_schema import OpenObject, fitted_schema
from signalbox.adapters.anthropic_thinking import Circumstances, ThinkingPlan, plan_thinking
from signalbox.adapters.anthropic_turns import FAMILY, Conversation, write_conversation
from signalbox.adapters.chat import ChatRequest, JsonObject, JsonSchema, Native, Tool, ToolChoice
from signalbox.adapters.message_hints import hints_left_out
from signalbox.types import Dialect, Route

_LACKED_HINTS = (
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "min_p",
    "metadata",
    "store",
    "verbosity",
    "prediction",
    "prompt_cache_key",
)
"""Fields of `ChatRequest` that Messages has nothing like."""
_SERVICE_TIERS = {
    "auto": "auto",
    "priority": "auto",
    "default": "standard_only",
    "standard_only": "standard_only",
}
_LEAST_TOP_P = 0.95
"""With thinking: "Extended thinking", feature compatibility."""


@dataclass(slots=True)
class Written:
    """The body, without `model` and `stream`."""

    body: dict[str, Any]
    dropped: dict[str, None] = field(default_factory=dict)
    unsupported: dict[str, None] = field(default_factory=dict)


def write_messages_request(form: ChatRequest, route: Route, *, prefilled: bool = False) -> Written:
    """`prefilled`: the answer's beginning is going to be added, so that nothing is thought."""
    traits = traits_of(route.model)
    conversation = write_conversation(form, thinks=traits.thinking != {"disabled"})
    into = Written({}, conversation.dropped, conversation.unsupported)
    _check(form, traits, conversation, route, into)
    tools = _tools(form, traits, into)
    choice = _tool_choice(form, bool(tools), traits, into)
    forced = choice is not None and choice["type"] in ("any", "tool")
    plan = plan_thinking(
        form.reasoning,
        traits,
        Circumstances(
            max_tokens=form.max_tokens or route.max_output or traits.max_tokens,
            limit=route.max_output,
            forced_tool=forced,
            begun=prefilled or (conversation.begun and traits.prefill),
            unsigned_loop=conversation.unsigned_loop,
        ),
    )
    into.dropped.update(dict.fromkeys(plan.dropped))
    body = into.body
    body["max_tokens"] = plan.max_tokens
    body["messages"] = conversation.turns or [{"role": "user", "content": ""}]
    if conversation.system:
        body["system"] = conversation.system
    if tools:
        body["tools"] = tools
    if choice is not None:
        body["tool_choice"] = choice
    if plan.thinking is not None:
        body["thinking"] = dict(plan.thinking)
    output = _output_config(form, plan, traits, into)
    if output:
        body["output_config"] = output
    _sampling(form, traits, plan, into)
    _rest(form, into)
    return into


def _check(
    form: ChatRequest, traits: Traits, conversation: Conversation, route: Route, into: Written
) -> None:
    """What Messages has no place for."""
    unsupported = {
        "n": (form.n or 1) > 1,
        "logprobs": bool(form.logprobs),
        "modalities": any(it != "text" for it in form.modalities),
        "audio": form.audio is not None,
        "messages": conversation.begun and not (traits.prefill or route.prefill),
    }
    into.unsupported.update(dict.fromkeys(name for name, it in unsupported.items() if it))
    for name in _LACKED_HINTS:
        if getattr(form, name) not in (None, {}, False):
            into.dropped[name] = None
    into.dropped |= hints_left_out(form, Dialect.MESSAGES)


# ── tools ─────────────────────────────────────────────────────────────────────────────────────


def _tools(form: ChatRequest, traits: Traits, into: Written) -> list[dict[str, Any]]:
    allowed = form.tool_choice.allowed if form.tool_choice is not None else None
    written = []
    for tool in form.tools:
        if isinstance(tool, Native):
            if tool.dialect.family == FAMILY and isinstance(tool.value, dict):
                written.append(dict(tool.value))
            else:
                _left_out(tool, "tools", into)
        elif tool.custom is not None:
            into.unsupported["tools"] = None
        elif allowed is None or tool.name in allowed:
            written.append(_tool(tool, traits, into))
    return written


def _tool(tool: Tool, traits: Traits, into: Written) -> dict[str, Any]:
    schema = _object_schema(tool.parameters)
    written: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    if tool.strict and traits.structured:
        try:
            schema, moved = fitted_schema(_closed_when_empty(schema))
        except OpenObject:
            into.dropped["tools.strict"] = None
        else:
            written["strict"] = True
            into.dropped.update({f"tools.{name}": None for name in moved})
    elif tool.strict:
        into.dropped["tools.strict"] = None
    written["input_schema"] = schema
    if tool.cache is not None:
        written["cache_control"] = dict(tool.cache)
    return written


def _object_schema(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """A schema must say that it is one of an object."""
    if not parameters:
        return {"type": "object", "properties": {}}
    kind = parameters.get("type")
    if kind is None or (isinstance(kind, list) and "object" in kind):
        return {**parameters, "type": "object"}
    return dict(parameters)


def _closed_when_empty(schema: dict[str, Any]) -> dict[str, Any]:
    """A tool without arguments takes none, strictly."""
    if schema.get("properties") or isinstance(schema.get("additionalProperties"), dict):
        return schema
    return {**schema, "additionalProperties": False}


def _tool_choice(
    form: ChatRequest, has_tools: bool, traits: Traits, into: Written
) -> dict[str, Any] | None:
    if not has_tools:
        return None
    choice = form.tool_choice
    written = None if choice is None else _choice(choice)
    if written is not None and written["type"] in ("any", "tool") and not traits.forced_tools:
        into.unsupported["tool_choice"] = None
    if form.parallel_tool_calls is False and (written is None or written["type"] != "none"):
        return {**(written or {"type": "auto"}), "disable_parallel_tool_use": True}
    return written


def _choice(choice: ToolChoice) -> dict[str, Any]:
    if choice.mode == "required":
        return {"type": "any"} if choice.name is None else {"type": "tool", "name": choice.name}
    return {"type": choice.mode}


# ── the rest ──────────────────────────────────────────────────────────────────────────────────


def _output_config(
    form: ChatRequest, plan: ThinkingPlan, traits: Traits, into: Written
) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if plan.effort is not None:
        config["effort"] = plan.effort
    wanted = form.response_format
    if isinstance(wanted, JsonObject):
        into.unsupported["response_format"] = None  # any object at all: there is no such wish
    elif isinstance(wanted, JsonSchema):
        try:
            schema, moved = fitted_schema(wanted.schema)
        except OpenObject:
            into.unsupported["response_format"] = None
            return config
        if not traits.structured:
            into.unsupported["response_format"] = None
        into.dropped.update({f"response_format.{name}": None for name in moved})
        config["format"] = {"type": "json_schema", "schema": schema}
    return config


def _sampling(form: ChatRequest, traits: Traits, plan: ThinkingPlan, into: Written) -> None:
    """Temperatures go to 1 here, and a thinking model's is 1."""
    fixed = plan.active or not traits.sampling
    temperature, top_p = form.temperature, form.top_p
    if temperature is not None:
        if (fixed and temperature != 1) or temperature > 1:
            into.dropped["temperature"] = None
        if traits.sampling and (not fixed or temperature == 1):
            into.body["temperature"] = max(0, min(temperature, 1))
    if top_p is not None:
        excluded = traits.one_sampler and "temperature" in into.body
        if not traits.sampling or excluded or (plan.active and top_p < _LEAST_TOP_P):
            if top_p != 1:
                into.dropped["top_p"] = None
        else:
            into.body["top_p"] = top_p
    if form.top_k is not None:
        if fixed:
            into.dropped["top_k"] = None
        else:
            into.body["top_k"] = form.top_k


def _rest(form: ChatRequest, into: Written) -> None:
    body = into.body
    stops = [stop for stop in form.stop if stop.strip()]
    if len(stops) < len(form.stop):
        into.dropped["stop"] = None  # whitespace alone is refused
    if stops:
        body["stop_sequences"] = stops
    user = form.user or form.safety_identifier
    if user:
        body["metadata"] = {"user_id": user}
    if form.service_tier is not None:
        tier = _SERVICE_TIERS.get(form.service_tier)
        if tier is None:
            into.dropped["service_tier"] = None
        else:
            body["service_tier"] = tier
    if form.cache is not None:
        body["cache_control"] = dict(form.cache)
    own = form.dialect.family == FAMILY
    for name, value in form.unknown.items():
        if own:
            body.setdefault(name, value)
        else:
            into.dropped[name] = None
    for native in form.native:
        if native.dialect.family == FAMILY:
            body.setdefault(native.name, native.value)
        else:
            _left_out(native, native.name, into)


def _left_out(native: Native, name: str, into: Written) -> None:
    if native.meaning:
        into.unsupported[name] = None
    else:
        into.dropped[native.name or name] = None
