"""A chat completion's body, written the way that one provider's model takes it.

Translations lose nothing and are not told; what has to be left out was named by
`openai_parameters.check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from signalbox.adapters.openai_functions import functions_as_tools
from signalbox.adapters.openai_parameters import (
    GATEWAY_FIELDS,
    OPENROUTER_ROUTING_FIELDS,
    REASONING_BACK,
    Differences,
    ParameterCheck,
)
from signalbox.adapters.openai_reasoning import WISH_FIELDS, reasoning_fields

Body = Mapping[str, Any]


def adapted(body: Body, differences: Differences, checked: ParameterCheck) -> dict[str, Any]:
    """A new body; `body` stays as it is. `checked`: what `check` said of the same two."""
    left_out = _LEFT_OUT_BY_ROUTERS if differences.routes_itself else _LEFT_OUT
    if checked.dropped:
        left_out = left_out.union(checked.dropped)
    written = {name: value for name, value in body.items() if name not in left_out}
    if "temperature" in checked.dropped and "temperature" not in differences.lacking(body):
        written["temperature"] = differences.max_temperature
    fields, _ = reasoning_fields(body, differences.reasoning)
    # What the client says in the provider's own words goes before a translation.
    written = {**fields, **written}
    for ours, theirs in differences.renames.items():
        if ours in written:
            value = written.pop(ours)
            written[theirs] = written.get(theirs) if value is None else value
    if "tools.strict" in checked.dropped:
        written["tools"] = [_without_strict(tool, "function") for tool in written["tools"]]
    if "response_format.strict" in checked.dropped:
        written["response_format"] = _without_strict(written["response_format"], "json_schema")
    if not differences.functions:
        written = functions_as_tools(written)
    if written.get("messages") and _changes_messages(differences):
        written["messages"] = _messages(written["messages"], differences)
    return written


_LEFT_OUT_BY_ROUTERS = GATEWAY_FIELDS.union(WISH_FIELDS)
_LEFT_OUT = _LEFT_OUT_BY_ROUTERS | OPENROUTER_ROUTING_FIELDS


def _changes_messages(differences: Differences) -> bool:
    return bool(
        differences.roles
        or differences.one_instruction_role
        or differences.reasoning_back is not None
        or differences.tool_ids is not None
        or differences.refuses_empty
        or differences.refuses_begun
    )


def _without_strict(value: Any, holder: str) -> Any:
    inner = value.get(holder) if isinstance(value, dict) else None
    if not isinstance(inner, dict):
        return value
    return {**value, holder: {name: it for name, it in inner.items() if name != "strict"}}


def _messages(messages: list[dict[str, Any]], differences: Differences) -> list[dict[str, Any]]:
    roles = dict(differences.roles)
    if differences.one_instruction_role and any(m.get("role") == "developer" for m in messages):
        roles["system"] = "developer"
    written = [_message(message, differences, roles) for message in messages]
    if differences.refuses_empty:
        *before, last = written
        # The last one is where an answer that was begun goes on.
        written = [*(message for message in before if not _is_empty(message)), last]
    if differences.refuses_begun and differences.prefill and _is_begun(written[-1]):
        written[-1] = {**differences.prefill.message, **written[-1]}
    return written


def _message(
    message: dict[str, Any], differences: Differences, roles: Mapping[str, str]
) -> dict[str, Any]:
    role = message.get("role")
    if isinstance(role, str) and role in roles:
        message = {**message, "role": roles[role]}
    if role == "assistant" and differences.reasoning_back is not None:
        message = _with_reasoning(message, differences.reasoning_back)
    ids = differences.tool_ids
    if ids is None:
        return message
    if isinstance(message.get("tool_call_id"), str):
        message = {**message, "tool_call_id": ids.fitted(message["tool_call_id"])}
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        message = {**message, "tool_calls": [_call(call, differences) for call in calls]}
    return message


def _call(call: Any, differences: Differences) -> Any:
    if differences.tool_ids is None or not isinstance(call, dict):
        return call
    if not isinstance(call.get("id"), str):
        return call
    return {**call, "id": differences.tool_ids.fitted(call["id"])}


def _with_reasoning(message: dict[str, Any], taken: frozenset[str]) -> dict[str, Any]:
    """The message with what it thought in the fields that the provider takes, and in no other."""
    text = message.get("reasoning_content") or message.get("reasoning")
    kept = {n: it for n, it in message.items() if n not in REASONING_BACK or n in taken}
    if text is not None:
        for name in taken - {"reasoning_details"}:
            kept.setdefault(name, text)
    return kept


def _is_empty(message: Mapping[str, Any]) -> bool:
    return message.get("role") == "assistant" and not (
        message.get("content") or message.get("tool_calls")
    )


def _is_begun(message: Mapping[str, Any]) -> bool:
    return message.get("role") == "assistant" and not message.get("tool_calls")
