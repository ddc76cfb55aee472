"""What a client of the Responses API may send, read with care.

Format: OpenAI API reference, "Create a model response".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from signalbox.adapters.door import BadRequest, Body, Outline

ROLES = frozenset({"system", "developer", "user", "assistant"})
CALLS: Mapping[str, str] = MappingProxyType(
    {"function_call": "arguments", "custom_tool_call": "input"}
)
"""Items that call a client's tool → the field that holds what it is called with."""
RESULTS = frozenset({"function_call_output", "custom_tool_call_output"})
_DEEP = "the body is nested too deep"


def read_responses_body(data: bytes) -> dict[str, Any]:
    """The decoded and validated body. Raises `BadRequest`.

    An item without a type is told one, as the API does: a reference has an id alone, and all others
    are messages.
    """
    try:
        body = msgspec.json.decode(data)
    except RecursionError:
        raise BadRequest(None, _DEEP) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(None, f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest(None, f"the body must be a JSON object, got {_kind(body)}")
    model = body.get("model")
    if not isinstance(model, str) or not model.strip():
        raise _expected("model", "the name of a model", model)
    _check_input(body)
    _check_tools(body.get("tools"), "tools")
    for name, (allowed, expected) in _FIELDS.items():
        value = body.get(name)
        if value is not None and not allowed(value):
            raise _expected(name, expected, value)
    _check_text(body.get("text"))
    _check_reasoning(body.get("reasoning"))
    return body


def responses_outline(body: Body) -> Outline:
    """What a valid body says of itself. Without `store` the API keeps the answer."""
    items = items_of(body)
    cache_key = body.get("prompt_cache_key")
    text = body.get("text") or {}
    background = body.get("background") is True
    return Outline(
        model=body["model"],
        stream=body.get("stream") is True,
        include_usage=True,
        max_tokens=body.get("max_output_tokens"),
        begun=bool(items) and items[-1].get("role") == "assistant",
        plain=(text.get("format") or {"type": "text"}) == {"type": "text"}
        and not wants_logprobs(body)
        and not background,
        stored=body.get("store") is not False,
        user=body.get("user"),
        opening=tuple(_opening(body, items)),
        cache_key=cache_key if isinstance(cache_key, str) else None,
    )


def items_of(body: Body) -> list[Mapping[str, Any]]:
    """The input as items; a text is the user's message."""
    given = body.get("input")
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    return given or []


def wants_logprobs(body: Body) -> bool:
    return "message.output_text.logprobs" in (body.get("include") or ())


def _opening(body: Body, items: list[Mapping[str, Any]]) -> Iterable[tuple[str, Any]]:
    """The instructions and the first user message; later turns have the same."""
    if body.get("instructions"):
        yield "system", body["instructions"]
    for item in items:
        role = item.get("role")
        if role in ("system", "developer", "user"):
            yield role, item.get("content")
        if role == "user":
            break


# ── items ─────────────────────────────────────────────────────────────────────────────────────


def _check_input(body: dict[str, Any]) -> None:
    given = body.get("input")
    if given is None:
        # A stored prompt, conversation or answer may say all that there is to say.
        if not any(body.get(name) for name in ("prompt", "conversation", "previous_response_id")):
            raise _expected("input", "a string or a list of items", given)
        return
    if isinstance(given, str):
        return
    if not isinstance(given, list):
        raise _expected("input", "a string or a list of items", given)
    for index, item in enumerate(given):
        path = f"input[{index}]"
        if not isinstance(item, dict):
            raise _expected(path, "an object", item)
        if item.get("type") is None:
            is_reference = "role" not in item and isinstance(item.get("id"), str)
            item["type"] = "item_reference" if is_reference else "message"
        _check_item(item, path)


def _check_item(item: Mapping[str, Any], path: str) -> None:
    kind = item.get("type")
    if not isinstance(kind, str):
        raise _expected(f"{path}.type", "a string", kind)
    if kind == "message":
        role = item.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise _expected(f"{path}.role", f"one of {', '.join(sorted(ROLES))}", role)
        _check_parts(item.get("content"), f"{path}.content")
    elif kind in CALLS:
        for name in ("call_id", "name", CALLS[kind]):
            _check_string(item, name, path)
    elif kind in RESULTS:
        _check_string(item, "call_id", path)
        _check_parts(item.get("output"), f"{path}.output")
    elif kind == "item_reference":
        _check_string(item, "id", path)
    elif kind == "reasoning":
        for name in ("summary", "content"):
            if item.get(name) is not None:
                _check_list_of_parts(item[name], f"{path}.{name}")


def is_item(item: object) -> bool:
    """Whether a body that has this among its input items could be read."""
    if not isinstance(item, dict):
        return False
    try:
        _check_item(item, "input[]")
    except BadRequest:
        return False
    return True


def _check_string(item: Mapping[str, Any], name: str, path: str) -> None:
    if not isinstance(item.get(name), str):
        raise _expected(f"{path}.{name}", "a string", item.get(name))


def _check_parts(content: object, path: str) -> None:
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        raise _expected(path, "a string or a list of parts", content)
    _check_list_of_parts(content, path)


def _check_list_of_parts(content: object, path: str) -> None:
    if not isinstance(content, list):
        raise _expected(path, "a list of parts", content)
    for index, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise _expected(f"{path}[{index}]", "an object with a `type`", part)


# ── other fields ──────────────────────────────────────────────────────────────────────────────


def _check_tools(tools: object, path: str) -> None:
    if tools is None:
        return
    if not isinstance(tools, list):
        raise _expected(path, "a list of objects", tools)
    for index, tool in enumerate(tools):
        place = f"{path}[{index}]"
        if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
            raise _expected(place, "an object with a `type`", tool)
        if tool["type"] not in ("function", "custom"):
            continue
        _check_string(tool, "name", place)
        for name in ("parameters", "format"):
            if tool.get(name) is not None and not isinstance(tool[name], dict):
                raise _expected(f"{place}.{name}", "an object", tool[name])


def _check_text(text: Mapping[str, Any] | None) -> None:
    if text is None:
        return
    wanted = text.get("format")
    if wanted is None:
        return
    if not isinstance(wanted, dict) or not isinstance(wanted.get("type"), str):
        raise _expected("text.format", "an object with a `type`", wanted)
    if wanted["type"] == "json_schema" and not isinstance(wanted.get("schema"), dict):
        raise _expected("text.format.schema", "an object", wanted.get("schema"))


def _check_reasoning(reasoning: Mapping[str, Any] | None) -> None:
    for name in ("effort", "summary"):
        value = (reasoning or {}).get(name)
        if value is not None and not isinstance(value, str):
            raise _expected(f"reasoning.{name}", "a string", value)


def _expected(param: str, expected: str, got: object) -> BadRequest:
    return BadRequest(param, f"expected {expected}, got {_kind(got)}")


def _kind(value: object) -> str:
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    for kind, name in ((bool, "a boolean"), (dict, "an object"), (list, "a list")):
        if isinstance(value, kind):
            return name
    return "nothing" if value is None else f"the number {value}"[:60]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_list_of_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_Check = tuple[Callable[[object], bool], str]
_BOOLEAN: _Check = (lambda v: isinstance(v, bool), "true or false")
_STRING: _Check = (lambda v: isinstance(v, str), "a string")
_OBJECT: _Check = (lambda v: isinstance(v, dict), "an object")
_NUMBER: _Check = (_is_number, "a number")
_STRING_OR_OBJECT: _Check = (lambda v: isinstance(v, str | dict), "a string or an object")

_FIELDS: Mapping[str, _Check] = MappingProxyType(
    {
        "stream": _BOOLEAN,
        "store": _BOOLEAN,
        "background": _BOOLEAN,
        "instructions": _STRING,
        "previous_response_id": _STRING,
        "conversation": _STRING_OR_OBJECT,
        "prompt": _OBJECT,
        "max_output_tokens": (_is_count, "a whole number of 1 or more"),
        "temperature": _NUMBER,
        "top_p": _NUMBER,
        "top_logprobs": (
            lambda v: _is_count(v) or (v == 0 and not isinstance(v, bool)),
            "a whole number of 0 or more",
        ),
        "tool_choice": _STRING_OR_OBJECT,
        "parallel_tool_calls": _BOOLEAN,
        "text": _OBJECT,
        "reasoning": _OBJECT,
        "include": (_is_list_of_strings, "a list of strings"),
        "metadata": _OBJECT,
        "truncation": _STRING,
        "service_tier": _STRING,
        "user": _STRING,
        "safety_identifier": _STRING,
        "prompt_cache_key": _STRING,
    }
)
