"""The settings of a `generateContent` request: tools, what is generated, how much it is thought on.

What it is given has passed `gemini_body`. Format: Google, Gemini API reference, "Generating
content: GenerationConfig", "Caching: Tool".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from signalbox.adapters.chat import (
    JsonObject,
    JsonSchema,
    Native,
    ReasoningWish,
    Tool,
    ToolChoice,
)
from signalbox.adapters.door import Body
from signalbox.adapters.gemini_body import ENUM_TYPE, JSON_TYPE
from signalbox.adapters.gemini_fields import Object, as_list, camel, fields_of, given
from signalbox.adapters.gemini_schema import json_schema
from signalbox.types import Dialect

DIALECT = Dialect.GENERATE

_NUMBERS = {
    "maxOutputTokens": "max_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "candidateCount": "n",
    "seed": "seed",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "responseLogprobs": "logprobs",
    "logprobs": "top_logprobs",
}
_CONFIG_READ = frozenset(
    {
        *_NUMBERS,
        *("topK", "stopSequences", "responseMimeType", "responseSchema", "responseJsonSchema"),
        *("responseModalities", "thinkingConfig", "speechConfig"),
    }
)
_READ = frozenset({"contents", "systemInstruction", "tools", "toolConfig", "generationConfig"})
_NATIVE = {"cachedContent": True, "safetySettings": False}
"""Known fields that no other dialect has → whether the request means something else without."""
_OF_FUNCTIONS = frozenset({"name", "description", "parameters", "parametersJsonSchema"})
_MODES = {"AUTO": "auto", "VALIDATED": "auto", "NONE": "none", "ANY": "required"}
DYNAMIC = -1
"""The budget of thinking that is left to the model."""


def read_settings(body: Body) -> dict[str, Any]:
    """All fields of the `ChatRequest` but its messages."""
    config = fields_of(given(body, "generationConfig") or {})
    top_k = config.get("topK")
    fields = {name: config.get(field) for field, name in _NUMBERS.items()}
    modalities = tuple(kind.lower() for kind in config.get("responseModalities") or ())
    return {
        **fields,
        "top_k": None if top_k is None else int(top_k),
        "stop": tuple(config.get("stopSequences") or ()),
        "tools": tuple(_tools(body)),
        "tool_choice": _tool_choice(body),
        "response_format": _response_format(config),
        "reasoning": _reasoning_wish(fields_of(config.get("thinkingConfig") or {})),
        "modalities": modalities,
        "audio": _audio(config) if "audio" in modalities else None,
        "metadata": body.get("labels") or None,
        "unknown": dict(_unknown(body, config)),
        "native": tuple(_natives(body, config)),
    }


def _tools(body: Body) -> Iterator[Tool | Native]:
    for tool in as_list(body.get("tools")):
        for name, value in fields_of(tool).items():
            if name != "functionDeclarations":
                yield Native(DIALECT, {name: value}, name=name)
                continue
            for function in as_list(value):
                yield _tool(fields_of(function))


def _tool(function: Mapping[str, Any]) -> Tool:
    parameters = function.get("parametersJsonSchema")
    if parameters is None and "parameters" in function:
        parameters = json_schema(function["parameters"])
    return Tool(function["name"], function.get("description"), parameters)


def _tool_choice(body: Body) -> ToolChoice | None:
    config = given(given(body, "toolConfig") or {}, "functionCallingConfig") or {}
    mode = _MODES.get((config.get("mode") or "").upper())
    names = tuple(given(config, "allowedFunctionNames") or ())
    match mode:
        case "required" if len(names) == 1:
            return ToolChoice("required", name=names[0])
        case "required":
            return ToolChoice("required", allowed=names or None)
        case "auto":
            return ToolChoice("auto", allowed=names or None)
        case "none":
            return ToolChoice("none")
    return None


def _response_format(config: Mapping[str, Any]) -> JsonObject | JsonSchema | None:
    """A schema alone is a wish for JSON too."""
    schema = config.get("responseJsonSchema")
    if schema is None and config.get("responseSchema") is not None:
        schema = json_schema(config["responseSchema"])
    kind = config.get("responseMimeType")
    if kind != JSON_TYPE and (kind or schema is None):
        return None
    return JsonObject() if schema is None else JsonSchema(schema)


def _reasoning_wish(thinking: Mapping[str, Any]) -> ReasoningWish | None:
    """Thoughts are shown only to whom asks for them."""
    if not thinking:
        return None
    budget, level = thinking.get("thinkingBudget"), thinking.get("thinkingLevel")
    shown = thinking.get("includeThoughts") is True
    known = level is not None and level.upper() != "THINKING_LEVEL_UNSPECIFIED"
    return ReasoningWish(
        effort=level.lower() if level is not None and known else None,
        max_tokens=budget if budget is not None and budget > 0 else None,
        enabled=None if budget is None else budget != 0,
        exclude=not shown,
    )


def shows_thoughts(body: Body) -> bool:
    """Whether the client asks to be shown the model's thoughts."""
    config = given(body, "generationConfig") or {}
    return given(given(config, "thinkingConfig") or {}, "includeThoughts") is True


def _audio(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The voice, by its name, as OpenAI has it."""
    speech: Any = config.get("speechConfig")
    for name in ("voiceConfig", "prebuiltVoiceConfig", "voiceName"):
        speech = given(speech, name) if isinstance(speech, dict) else None
    return {"voice": speech} if isinstance(speech, str) else None


def _unknown(body: Body, config: Object) -> Iterator[tuple[str, Any]]:
    """Fields that are left to the provider, also inside of objects that are read."""
    known = _READ | _NATIVE.keys() | {"labels", "model"}
    for name, value in body.items():
        if camel(name) not in known and value is not None:
            yield name, value
    for name, value in config.items():
        if name not in _CONFIG_READ:
            yield f"generationConfig.{name}", value


def _natives(body: Body, config: Object) -> Iterator[Native]:
    for name, meaning in _NATIVE.items():
        value = given(body, name)
        if value:
            yield Native(DIALECT, value, meaning, name)
    if "speechConfig" in config and _audio(config) is None:
        yield Native(DIALECT, config["speechConfig"], False, "generationConfig.speechConfig")
    if (config.get("responseMimeType") or JSON_TYPE) not in (JSON_TYPE, "text/plain"):
        kind = config["responseMimeType"]
        wanted = {"responseMimeType": kind}
        if kind == ENUM_TYPE and "responseSchema" in config:
            wanted["responseSchema"] = config["responseSchema"]
        yield Native(DIALECT, wanted, True, "generationConfig.responseMimeType")
    for name, value in fields_of(given(body, "toolConfig") or {}).items():
        if name != "functionCallingConfig":
            yield Native(DIALECT, value, False, f"toolConfig.{name}")
    for place, tool in enumerate(as_list(body.get("tools"))):
        for index, function in enumerate(as_list(given(tool, "functionDeclarations"))):
            for name, value in fields_of(function).items():
                if name not in _OF_FUNCTIONS:
                    path = f"tools[{place}].functionDeclarations[{index}].{name}"
                    yield Native(DIALECT, value, False, path)
