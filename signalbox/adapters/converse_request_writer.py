"""A chat in the gateway's own model, written down as the body of Bedrock's Converse.

Source: Amazon Bedrock API reference, "Converse"; user guide, "Inference request parameters",
"Structured outputs", "Prompt caching". What is left out and what makes the route impossible is
named as chat completions names it, whatever the door. What Converse has no field for and a model
has goes into `additionalModelRequestFields`, in the model's own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from signalbox.adapters.anthropic_models import traits_of
from signalbox.adapters.anthropic_schema import OpenObject, fitted_schema
from signalbox.adapters.anthropic_thinking import Circumstances, plan_thinking
from signalbox.adapters.chat import ChatRequest, JsonSchema, Native, Tool
from signalbox.adapters.converse_turns import Turns, cache_point, write_turns
from signalbox.adapters.message_hints import DESCRIPTION, hints_left_out
from signalbox.adapters.openai_differences import differences_for
from signalbox.adapters.openai_parameters import check
from signalbox.adapters.openai_reasoning import effort_of
from signalbox.adapters.openai_request_writer import write_chat_request
from signalbox.types import Dialect, Route

API = "bedrock"
_TIERS = {"priority": "priority", "default": "default", "flex": "flex"}
_NOVA_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium"}
_OPEN_EFFORTS = {"none": "low", "minimal": "low", "low": "low", "medium": "medium"}
_SCHEMA_NAME = "answer"


@dataclass(slots=True)
class Written:
    """The body; the address says the model and whether it is streamed."""

    body: dict[str, Any]
    dropped: dict[str, None] = field(default_factory=dict)
    unsupported: dict[str, None] = field(default_factory=dict)


def is_claude(model: str) -> bool:
    return "claude" in model.lower()


def write_converse_request(form: ChatRequest, route: Route, *, prefilled: bool = False) -> Written:
    """`prefilled`: the answer's beginning is going to be added, so that nothing is thought."""
    claude = is_claude(route.model)
    thinks = claude and traits_of(route.model).thinking != {"disabled"}
    turns = write_turns(form, thinks=thinks)
    into = Written({}, turns.dropped, turns.unsupported)
    _check(form, route, turns, into)
    body = into.body
    body["messages"] = turns.messages or [{"role": "user", "content": [{"text": "-"}]}]
    if turns.system:
        body["system"] = turns.system
    forced = _tools(form, turns, into)
    inference: dict[str, Any] = {}
    additional: dict[str, Any] = {}
    if form.max_tokens is not None:
        inference["maxTokens"] = form.max_tokens
    thinking = False
    if claude:
        thinking = _claude_thinks(
            form, route, turns, forced, prefilled, inference, additional, into
        )
    else:
        _others_think(form, route, additional, into)
    _sampling(form, route, thinking, inference, additional, into)
    if inference:
        body["inferenceConfig"] = inference
    if additional:
        body["additionalModelRequestFields"] = additional
    _response_format(form, route, into)
    if form.service_tier in _TIERS:
        body["serviceTier"] = {"type": _TIERS[form.service_tier]}
    elif form.service_tier not in (None, "auto"):
        into.dropped["service_tier"] = None
    return into


def _check(form: ChatRequest, route: Route, turns: Turns, into: Written) -> None:
    """The table of parameters, and what nothing here has a place for."""
    checked = check(write_chat_request(form), differences_for(API, route.provider, route.model))
    into.dropped |= dict.fromkeys(checked.dropped)
    into.unsupported |= dict.fromkeys(checked.unsupported)
    for native in form.native:
        (into.unsupported if native.meaning else into.dropped)[native.name] = None
    into.dropped |= dict.fromkeys(name for name, it in form.unknown.items() if it is not None)
    into.dropped |= hints_left_out(form, Dialect.CONVERSE, DESCRIPTION)
    if form.audio is not None:
        into.dropped["audio"] = None
    if form.cache is not None:
        into.dropped["cache_control"] = None
    goes_on = is_claude(route.model) and traits_of(route.model).prefill
    if turns.begun and not (goes_on or route.prefill):
        into.unsupported["messages"] = None


# ── tools ─────────────────────────────────────────────────────────────────────────────────────


def _tools(form: ChatRequest, turns: Turns, into: Written) -> bool:
    """Whether one must be called."""
    choice = form.tool_choice
    allowed = choice.allowed if choice is not None else None
    tools: list[dict[str, Any]] = []
    for tool in form.tools:
        if isinstance(tool, Native):
            (into.unsupported if tool.meaning else into.dropped)["tools"] = None
        elif tool.custom is None and (allowed is None or tool.name in allowed):
            tools += _tool(tool, into)
    if choice is not None and choice.mode == "none":
        if not turns.has_tools:
            return False  # there is no such word: nothing is offered
        into.unsupported["tool_choice"] = None
    if not tools:
        return False
    config: dict[str, Any] = {"tools": tools}
    forced = choice is not None and choice.mode == "required"
    if choice is not None and forced:
        named = {"tool": {"name": choice.name}}
        config["toolChoice"] = {"any": {}} if choice.name is None else named
    into.body["toolConfig"] = config
    return forced


def _tool(tool: Tool, into: Written) -> list[dict[str, Any]]:
    schema = dict(tool.parameters or {})
    schema.setdefault("type", "object")
    spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": schema}}
    if tool.description:
        spec["description"] = tool.description
    if tool.strict and "tools.strict" not in into.dropped:
        spec["strict"] = True
    written = [{"toolSpec": spec}]
    return written if tool.cache is None else [*written, cache_point(tool.cache)]


# ── settings ──────────────────────────────────────────────────────────────────────────────────


def _claude_thinks(
    form: ChatRequest,
    route: Route,
    turns: Turns,
    forced: bool,
    prefilled: bool,
    inference: dict[str, Any],
    additional: dict[str, Any],
    into: Written,
) -> bool:
    """In Anthropic's words; whether it thinks."""
    traits = traits_of(route.model)
    plan = plan_thinking(
        form.reasoning,
        traits,
        Circumstances(
            max_tokens=form.max_tokens or route.max_output or traits.max_tokens,
            limit=route.max_output,
            forced_tool=forced,
            begun=prefilled or (turns.begun and traits.prefill),
            unsigned_loop=turns.unsigned_loop,
        ),
    )
    into.dropped |= dict.fromkeys(plan.dropped)
    inference["maxTokens"] = plan.max_tokens
    if plan.thinking is not None:
        additional["thinking"] = dict(plan.thinking)
    if plan.effort is not None:
        additional["output_config"] = {"effort": plan.effort}
    return plan.active


def _others_think(
    form: ChatRequest, route: Route, additional: dict[str, Any], into: Written
) -> None:
    """Nova's `reasoningConfig` and gpt-oss's `reasoning_effort`; of others nothing is known."""
    wish = form.reasoning
    if wish is None or not (wish.effort or wish.max_tokens or wish.enabled is not None):
        return
    off = wish.enabled is False or wish.effort == "none"
    effort = wish.effort or (
        effort_of(wish.max_tokens, form.max_tokens) if wish.max_tokens else "medium"
    )
    model = route.model.lower()
    if "nova-2" in model:
        config = {"type": "disabled"}
        if not off:
            level = _NOVA_EFFORTS.get(effort, "high")
            config = {"type": "enabled", "maxReasoningEffort": level}
        additional["reasoningConfig"] = config
    elif "gpt-oss" in model:
        additional["reasoning_effort"] = "low" if off else _OPEN_EFFORTS.get(effort, "high")
    else:
        into.dropped["reasoning_effort" if wish.effort else "reasoning"] = None


def _sampling(
    form: ChatRequest,
    route: Route,
    thinking: bool,
    inference: dict[str, Any],
    additional: dict[str, Any],
    into: Written,
) -> None:
    traits = traits_of(route.model) if is_claude(route.model) else None
    fixed = thinking or (traits is not None and not traits.sampling)
    if form.temperature is not None:
        if fixed:
            into.dropped |= {} if form.temperature == 1 else {"temperature": None}
        else:
            inference["temperature"] = max(0, min(form.temperature, 1))
    if form.top_p is not None:
        excluded = traits is not None and traits.one_sampler and "temperature" in inference
        if fixed or excluded:
            into.dropped |= {} if form.top_p == 1 else {"top_p": None}
        else:
            inference["topP"] = form.top_p
    if form.top_k is not None and traits is not None:
        if fixed:
            into.dropped["top_k"] = None
        else:
            additional["top_k"] = form.top_k
    stops = [stop for stop in form.stop if stop.strip()]
    if len(stops) < len(form.stop):
        into.dropped["stop"] = None  # whitespace alone is refused
    if stops:
        inference["stopSequences"] = stops


def _response_format(form: ChatRequest, route: Route, into: Written) -> None:
    wanted = form.response_format
    if not isinstance(wanted, JsonSchema):
        return  # any object at all: the table names it
    schema: Mapping[str, Any] = wanted.schema
    if is_claude(route.model):
        if not traits_of(route.model).structured:
            into.unsupported["response_format"] = None
        try:
            schema, moved = fitted_schema(schema)
        except OpenObject:
            into.unsupported["response_format"] = None
            return
        into.dropped |= {f"response_format.{name}": None for name in moved}
    told = {"schema": msgspec.json.encode(schema).decode(), "name": wanted.name or _SCHEMA_NAME}
    if wanted.description:
        told["description"] = wanted.description
    structure = {"jsonSchema": told}
    into.body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": structure}}
