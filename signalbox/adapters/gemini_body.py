"""What a client of Gemini's API may send, read with care: `generateContent` and `countTokens`.

Format: Google, Gemini API reference, "Generating content" and "Counting tokens". The path names the
model and says whether the answer is a stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from signalbox.adapters.body_checks import (
    BOOLEAN,
    COUNT,
    NUMBER,
    OBJECT,
    STRING,
    STRINGS,
    WHOLE,
    Check,
    decoded_object,
    expected,
    objects,
)
from signalbox.adapters.door import BadRequest, Body, Outline, Target
from signalbox.adapters.gemini_fields import Object, as_list, given, spelled
from signalbox.adapters.openai_body import MOST_CHOICES

ROLES = frozenset({"user", "model", "function", "tool", "system"})
JSON_TYPE = "application/json"
ENUM_TYPE = "text/x.enum"

_OBJECT_OR_LIST: Check = (lambda v: isinstance(v, dict | list), "an object or a list of objects")
_FIELDS: Mapping[str, Check] = MappingProxyType(
    {
        "systemInstruction": OBJECT,
        "tools": _OBJECT_OR_LIST,
        "toolConfig": OBJECT,
        "generationConfig": OBJECT,
        "safetySettings": _OBJECT_OR_LIST,
        "cachedContent": STRING,
        "labels": OBJECT,
    }
)
_OF_CONFIG: Mapping[str, Check] = MappingProxyType(
    {
        "candidateCount": COUNT,
        "maxOutputTokens": COUNT,
        "temperature": NUMBER,
        "topP": NUMBER,
        "topK": NUMBER,
        "seed": WHOLE,
        "presencePenalty": NUMBER,
        "frequencyPenalty": NUMBER,
        "stopSequences": STRINGS,
        "responseMimeType": STRING,
        "responseSchema": OBJECT,
        "responseJsonSchema": OBJECT,
        "responseModalities": STRINGS,
        "responseLogprobs": BOOLEAN,
        "logprobs": COUNT,
        "thinkingConfig": OBJECT,
        "speechConfig": OBJECT,
    }
)
_OF_THINKING: Mapping[str, Check] = MappingProxyType(
    {"thinkingBudget": WHOLE, "thinkingLevel": STRING, "includeThoughts": BOOLEAN}
)
_OF_PARTS: Mapping[str, Check] = MappingProxyType(
    {
        "text": STRING,
        "thought": BOOLEAN,
        "thoughtSignature": STRING,
        "inlineData": OBJECT,
        "fileData": OBJECT,
        "functionCall": OBJECT,
        "functionResponse": OBJECT,
    }
)
_INSIDE: Mapping[str, tuple[Mapping[str, Check], tuple[str, ...]]] = MappingProxyType(
    {
        "inlineData": ({"data": STRING, "mimeType": STRING, "displayName": STRING}, ("data",)),
        "fileData": (
            {"fileUri": STRING, "mimeType": STRING, "displayName": STRING},
            ("fileUri",),
        ),
        "functionCall": ({"name": STRING, "args": OBJECT, "id": STRING}, ("name",)),
        "functionResponse": ({"name": STRING, "response": OBJECT, "id": STRING}, ("name",)),
    }
)
"""Part of a message → the fields in it, and those that must be there."""
_OF_FUNCTIONS: Mapping[str, Check] = MappingProxyType(
    {
        "name": STRING,
        "description": STRING,
        "parameters": OBJECT,
        "parametersJsonSchema": OBJECT,
    }
)
_OF_CALLING: Mapping[str, Check] = MappingProxyType(
    {"mode": STRING, "allowedFunctionNames": STRINGS}
)


def read_generate_body(data: bytes, target: Target) -> dict[str, Any]:
    """The decoded and validated body. Raises `BadRequest`."""
    body = decoded_object(data)
    check_generate_body(body, target)
    return body


def read_count_body(data: bytes, target: Target) -> dict[str, Any]:
    """As `read_generate_body`, for `countTokens`: contents alone, or a whole request inside of
    `generateContentRequest`."""
    body = decoded_object(data)
    whole = given(body, "generateContentRequest")
    if whole is None:
        check_generate_body(body, target)
    elif not isinstance(whole, dict):
        raise expected(spelled(body, "generateContentRequest"), "an object", whole)
    else:
        check_generate_body(whole, target)
    return body


def counted_request(body: Body) -> Mapping[str, Any]:
    """What a `countTokens` body asks to be counted, as a `generateContent` body."""
    return given(body, "generateContentRequest") or body


def check_generate_body(body: Object, target: Target) -> None:
    if not target.model or not target.model.strip():
        raise BadRequest("model", "expected the name of a model in the path")
    _check(body, _FIELDS, "")
    contents = objects(body.get("contents"), "contents")
    if not contents:
        raise expected("contents", "a list of at least one content", body.get("contents"))
    for index, content in enumerate(contents):
        _check_content(content, f"contents[{index}]")
    system = given(body, "systemInstruction")
    if system is not None:
        _check_content(system, spelled(body, "systemInstruction"))
    for index, tool in enumerate(objects(as_list(body.get("tools")), "tools")):
        _check_tool(tool, f"tools[{index}]")
    tool_config = given(body, "toolConfig") or {}
    _check(tool_config, {"functionCallingConfig": OBJECT}, spelled(body, "toolConfig"))
    calling = given(tool_config, "functionCallingConfig") or {}
    _check(calling, _OF_CALLING, f"{spelled(body, 'toolConfig')}.functionCallingConfig")
    _check_config(given(body, "generationConfig") or {}, spelled(body, "generationConfig"))


def outline_of(body: Body, target: Target, *, counting: bool = False) -> Outline:
    """What a valid body says of itself."""
    config = given(body, "generationConfig") or {}
    choices = given(config, "candidateCount") or 1
    modalities = given(config, "responseModalities") or ["TEXT"]
    assert target.model is not None
    return Outline(
        model=target.model.removeprefix("models/"),
        stream=bool(target.stream) and not counting,
        include_usage=True,
        choices=choices,
        max_tokens=None if counting else given(config, "maxOutputTokens"),
        begun=body["contents"][-1].get("role") == "model",
        plain=choices == 1
        and (given(config, "responseMimeType") or "text/plain") == "text/plain"
        and not given(config, "responseLogprobs")
        and [kind.upper() for kind in modalities] == ["TEXT"],
        opening=tuple(_opening(body)),
    )


def _opening(body: Body) -> Iterable[tuple[str, Any]]:
    """The instructions and the first user message; later turns have the same."""
    system = given(body, "systemInstruction")
    if system is not None:
        yield "system", system.get("parts")
    for content in body["contents"]:
        role = content.get("role") or "user"
        yield role, content.get("parts")
        if role == "user":
            break


def _check_content(content: Object, path: str) -> None:
    role = content.get("role")
    if role is not None and (not isinstance(role, str) or (role and role not in ROLES)):
        raise expected(f"{path}.role", "user or model", role)
    for index, part in enumerate(objects(as_list(content.get("parts")), f"{path}.parts")):
        _check_part(part, f"{path}.parts[{index}]")


def _check_part(part: Object, path: str, *, inner: bool = False) -> None:
    """`inner`: it stands in what a function answered, which holds data alone."""
    _check(part, _OF_PARTS, path)
    for name, (fields, needed) in _INSIDE.items():
        value = given(part, name)
        if value is None:
            continue
        inside = f"{path}.{spelled(part, name)}"
        _check(value, fields, inside)
        for field in needed:
            if given(value, field) is None:
                raise expected(f"{inside}.{field}", "a string", None)
    response = given(part, "functionResponse") or {}
    if inner or not response:
        return
    place = f"{path}.{spelled(part, 'functionResponse')}.parts"
    for index, more in enumerate(objects(as_list(response.get("parts")), place)):
        _check_part(more, f"{place}[{index}]", inner=True)


def _check_tool(tool: Object, path: str) -> None:
    name = spelled(tool, "functionDeclarations")
    declared = as_list(given(tool, "functionDeclarations"))
    for index, function in enumerate(objects(declared, f"{path}.{name}")):
        place = f"{path}.{name}[{index}]"
        _check(function, _OF_FUNCTIONS, place)
        if function.get("name") is None:
            raise expected(f"{place}.name", "a string", None)


def _check_config(config: Object, path: str) -> None:
    _check(config, _OF_CONFIG, path)
    choices = given(config, "candidateCount") or 1
    if choices > MOST_CHOICES:
        what = f"a whole number from 1 to {MOST_CHOICES}"
        raise expected(f"{path}.{spelled(config, 'candidateCount')}", what, choices)
    thinking = given(config, "thinkingConfig") or {}
    _check(thinking, _OF_THINKING, f"{path}.{spelled(config, 'thinkingConfig')}")


def _check(value: Object, checks: Mapping[str, Check], path: str) -> None:
    """Checks the fields that are there, in either spelling."""
    for name, (allowed, what) in checks.items():
        field = given(value, name)
        if field is not None and not allowed(field):
            spelling = spelled(value, name)
            raise expected(f"{path}.{spelling}" if path else spelling, what, field)
