"""Reads the requests of OpenAI's responses API, as strictly as OpenAI does.

Source: OpenAI's API reference, "Create a model response".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from signalbox.simulator.openai_requests import strict_schema
from signalbox.simulator.prompts import (
    BadRequest,
    Call,
    OfferedTool,
    OpenCalls,
    Prompt,
    Turn,
    linked_media,
    listing,
    number,
    one_of,
    only,
    table,
    text,
    whole_number,
)
from signalbox.simulator.responses_store import ResponsesStore, Stored

FIELDS = frozenset(
    {
        *("background", "background_options", "context_management", "conversation", "include"),
        *("input", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model"),
        *("moderation", "parallel_tool_calls", "previous_response_id", "prompt", "access_programs"),
        *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning"),
        *("safety_identifier", "service_tier", "store", "stream", "stream_options", "temperature"),
        *("text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user", "image"),
    }
)
LEAST_CEILING = 16
_UNKNOWN = "Unknown parameter: '{name}'."


@dataclass(frozen=True, slots=True)
class ResponsesRequest:
    prompt: Prompt
    input: list[Any]
    before: Stored | None
    encrypts: bool
    """Whether reasoning is to be given out encrypted."""
    summarises: bool
    """And whether as a summary."""
    stores: bool
    background: bool
    echoed: dict[str, Any] = field(default_factory=dict)
    """What the answer repeats of the request."""


def read_responses(call: Call, store: ResponsesStore) -> ResponsesRequest:
    """Raises BadRequest naming the field that is wrong."""
    body = table(call.body, "body")
    only(body, FIELDS, _UNKNOWN)
    before = _before(body.get("previous_response_id"), call.key, store)
    given = body.get("input")
    items = listing([] if given is None else given, "input") if not isinstance(given, str) else []
    turns = list(_Items(call.key, store, before).turns(items))
    if isinstance(given, str):
        turns = [Turn("user", given)]
        items = [{"type": "message", "role": "user", "content": given}]
    if not turns:
        raise BadRequest("expected at least one item", "input")
    instructions = body.get("instructions")
    if instructions is not None:
        turns.insert(0, Turn("system", text(instructions, "instructions")))
    forced, choice = _choice(body.get("tool_choice"))
    wants_json, schema = _format(body.get("text"))
    reasoning = table(body.get("reasoning") or {}, "reasoning")
    include = body.get("include") or ()
    stores = body.get("store") is not False
    prompt = Prompt(
        model=call.model or text(body.get("model"), "model"),
        turns=tuple(turns),
        tools=tuple(_tools(body.get("tools") or [])),
        tool_choice=choice,
        forced=forced,
        parallel=body.get("parallel_tool_calls") is not False,
        ceiling=whole_number(body.get("max_output_tokens"), "max_output_tokens", LEAST_CEILING),
        json=wants_json,
        schema=schema,
        reasoning=bool(reasoning) and reasoning.get("effort") != "none",
        stream=body.get("stream") is True,
    )
    number(body.get("temperature"), "temperature", 0, 2)
    repeated = ("instructions", "metadata", "temperature", "tools", "tool_choice", "top_p", "user")
    return ResponsesRequest(
        prompt=prompt,
        input=items,
        before=before,
        encrypts="reasoning.encrypted_content" in include,
        summarises=reasoning.get("summary") is not None,
        stores=stores,
        background=body.get("background") is True,
        echoed={name: body[name] for name in repeated if body.get(name) is not None},
    )


def _before(value: object, key: str | None, store: ResponsesStore) -> Stored | None:
    if value is None:
        return None
    answer_id = text(value, "previous_response_id")
    found = store.get(answer_id, key)
    if found is None:
        raise BadRequest(
            f"Previous response with id '{answer_id}' not found.",
            "previous_response_id",
            code="previous_response_not_found",
        )
    return found


class _Items:
    """Reads the input's items into turns."""

    def __init__(self, key: str | None, store: ResponsesStore, before: Stored | None) -> None:
        self._key = key
        self._store = store
        self._calls = OpenCalls()
        for item in before.items() if before is not None else ():
            if item.get("type") == "function_call":
                self._calls.names[item["call_id"]] = item["name"]

    def turns(self, items: list[Any]) -> Iterator[Turn]:
        for index, value in enumerate(items):
            path = f"input[{index}]"
            item = table(value, path)
            match item.get("type", "message"):
                case "message":
                    yield self._message(item, path)
                case "function_call":
                    call_id = text(item.get("call_id"), f"{path}.call_id")
                    self._calls.names[call_id] = text(item.get("name"), f"{path}.name")
                    text(item.get("arguments"), f"{path}.arguments")
                    yield Turn("assistant", "")
                case "function_call_output":
                    yield self._output(item, path)
                case "reasoning":
                    listing(item.get("summary"), f"{path}.summary")
                    self._known(item, path)
                case "item_reference":
                    self._known(item, path)
                case kind:
                    known = ("message", "function_call", "function_call_output", "reasoning")
                    one_of(kind, (*known, "item_reference"), f"{path}.type")

    def _known(self, item: dict[str, Any], path: str) -> None:
        """An item that carries nothing itself must be one that was given out."""
        if item.get("encrypted_content") is not None:
            return
        item_id = text(item.get("id"), f"{path}.id")
        if not self._store.has_item(item_id, self._key):
            raise BadRequest(f"Item with id '{item_id}' not found.", "input", status=404)

    def _output(self, item: dict[str, Any], path: str) -> Turn:
        call_id = text(item.get("call_id"), f"{path}.call_id")
        if not self._calls.close(call_id):
            raise BadRequest(
                f"No tool call found for function call output with call_id {call_id}.", "input"
            )
        output = item.get("output")
        if isinstance(output, list):
            return Turn("tool", _parts(output, "user", f"{path}.output"))
        return Turn("tool", text(output, f"{path}.output"))

    def _message(self, item: dict[str, Any], path: str) -> Turn:
        roles = ("user", "assistant", "system", "developer")
        role = one_of(item.get("role"), roles, f"{path}.role")
        content = item.get("content")
        here = f"{path}.content"
        said = _parts(content, role, here) if isinstance(content, list) else text(content, here)
        match role:
            case "system" | "developer":
                return Turn("system", said)
            case "assistant":
                return Turn("assistant", said)
            case _:
                return Turn("user", said)


def _parts(content: list[Any], role: str, path: str) -> str:
    return " ".join(_part(part, role, f"{path}[{i}]") for i, part in enumerate(content))


def _part(value: object, role: str, path: str) -> str:
    part = table(value, path)
    if role == "assistant":
        kind = one_of(part.get("type"), ("output_text", "refusal"), f"{path}.type")
        name = "refusal" if kind == "refusal" else "text"
        return text(part.get(name), f"{path}.{name}")
    kinds = ("input_text", "input_image", "input_file")
    kind = one_of(part.get("type"), kinds, f"{path}.type")
    if kind == "input_text":
        return text(part.get("text"), f"{path}.text")
    name, url, data = (
        ("image", "image_url", "image_url")
        if kind == "input_image"
        else ("file", "file_url", "file_data")
    )
    for place in (data, url):
        if part.get(place) is not None:
            return linked_media(name, part[place], f"{path}.{place}")
    return f"[{name}: {text(part.get('file_id'), f'{path}.file_id')}]"


def _tools(tools: object) -> Iterator[OfferedTool]:
    for index, value in enumerate(listing(tools, "tools")):
        path = f"tools[{index}]"
        tool = table(value, path)
        if text(tool.get("type"), f"{path}.type") != "function":
            continue
        if "name" not in tool:
            raise BadRequest(
                f"Missing required parameter: '{path}.name'.",
                f"{path}.name",
                code="missing_required_parameter",
            )
        schema = tool.get("parameters")
        if tool.get("strict"):
            strict_schema(schema, f"{path}.parameters")
        yield OfferedTool(text(tool["name"], f"{path}.name"), schema)


def _choice(value: object) -> tuple[str | None, Literal["auto", "none", "required"]]:
    if isinstance(value, dict):
        if value.get("type") == "function":
            return text(value.get("name"), "tool_choice.name"), "auto"
        return None, "required" if value.get("mode") == "required" else "auto"
    match value:
        case "none" | "required":
            return None, value
        case "auto" | None:
            return None, "auto"
        case _:
            raise BadRequest("expected auto, none or required", "tool_choice")


def _format(value: object) -> tuple[bool, Any]:
    """Whether JSON is wanted, and of which schema."""
    wanted = table(value or {}, "text").get("format")
    if wanted is None:
        return False, None
    path = "text.format"
    kinds = ("text", "json_object", "json_schema")
    match one_of(table(wanted, path).get("type"), kinds, f"{path}.type"):
        case "json_schema":
            text(wanted.get("name"), f"{path}.name")
            schema = table(wanted.get("schema"), f"{path}.schema")
            if wanted.get("strict"):
                strict_schema(schema, f"{path}.schema")
            return True, schema
        case "json_object":
            return True, None
        case _:
            return False, None
