"""OpenAI's deprecated `functions` and `function_call`, for providers that know `tools` alone.

The request is written with tools; the answer's tool calls are written as the function call that
the client of such a request looks for. Source: OpenAI's API reference, chat completions, where
`functions` says what takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from signalbox.adapters.openai_wire import DECODE_ERRORS
from signalbox.errors import ProviderProtocolError

Body = Mapping[str, Any]


def speaks_functions(body: Body) -> bool:
    """Whether the client offers functions, and no tools."""
    return bool(body.get("functions")) and not body.get("tools")


def functions_as_tools(body: dict[str, Any]) -> dict[str, Any]:
    """The body with tools in the place of functions, and messages likewise."""
    functions, choice = body.get("functions"), body.get("function_call")
    written = {n: it for n, it in body.items() if n not in ("functions", "function_call")}
    if isinstance(functions, list) and functions and not written.get("tools"):
        written["tools"] = [{"type": "function", "function": it} for it in functions]
        if isinstance(choice, dict):
            choice = {"type": "function", "function": {"name": choice.get("name")}}
        if choice is not None:
            written.setdefault("tool_choice", choice)
    messages = written.get("messages")
    if isinstance(messages, list):
        written["messages"] = _messages(messages)
    return written


def _messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Function calls get ids by their place; a result has that of the last call of its name."""
    last: dict[str, str] = {}
    return [_message(message, place, last) for place, message in enumerate(messages)]


def _message(message: dict[str, Any], place: int, last: dict[str, str]) -> dict[str, Any]:
    call = message.get("function_call")
    if message["role"] == "assistant" and isinstance(call, dict):
        id = f"call_{place}"
        last[str(call.get("name"))] = id
        kept = {name: it for name, it in message.items() if name != "function_call"}
        return {**kept, "tool_calls": [{"id": id, "type": "function", "function": call}]}
    if message["role"] == "function":
        name = str(message.get("name"))
        kept = {field: it for field, it in message.items() if field not in ("role", "name")}
        return {"role": "tool", "tool_call_id": last.get(name, f"call_{name}"), **kept}
    return message


def answer_with_functions(answer: dict[str, Any]) -> dict[str, Any]:
    """A completion, or a chunk of one, whose choices call a function instead of a tool.

    Of several calls the first is told: a message has one `function_call`.
    """
    choices = answer.get("choices")
    if not isinstance(choices, list):
        return answer
    return {**answer, "choices": [_choice(choice) for choice in choices]}


def chunk_with_functions(raw: bytes) -> bytes:
    """The same for a chunk's JSON; bytes that call no tool stay as they are. Raises
    `ProviderProtocolError` where fields that are not read otherwise are no JSON."""
    if b"tool_calls" not in raw:
        return raw
    try:
        chunk = msgspec.json.decode(raw)
    except DECODE_ERRORS as error:
        raise ProviderProtocolError(f"a chunk that cannot be read as a whole: {error}") from error
    return msgspec.json.encode(answer_with_functions(chunk))


def _choice(choice: Any) -> Any:
    if not isinstance(choice, dict):
        return choice
    written = dict(choice)
    if written.get("finish_reason") == "tool_calls":
        written["finish_reason"] = "function_call"
    for name in ("message", "delta"):
        message = written.get(name)
        if not isinstance(message, dict):
            continue
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            kept = {field: it for field, it in message.items() if field != "tool_calls"}
            call = next((it for it in calls if not it.get("index")), None)
            if call is not None and isinstance(call.get("function"), dict):
                kept["function_call"] = call["function"]
            written[name] = kept
    return written
