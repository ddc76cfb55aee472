"""Reads requests of the Gemini API, as strictly as Google does.

Source: Gemini API reference (`v1beta`), "Generating content"; guides "Function calling",
"Thinking", "Thought signatures".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from signalbox.simulator import gemini_fields as fields
from signalbox.simulator.gemini_fields import spelled
from signalbox.simulator.prompts import (
    BadRequest,
    Call,
    OfferedTool,
    Prompt,
    Turn,
    inline_media,
    linked_media,
    listing,
    number,
    one_of,
    table,
    text,
    texts,
    whole_number,
)
from signalbox.simulator.signatures import sign

WAIVED = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
"""Signatures that Google documents for histories which another model began."""

_Mode = Literal["auto", "none", "required"]
_MODES: dict[str, _Mode] = {
    "MODE_UNSPECIFIED": "auto",
    "AUTO": "auto",
    "NONE": "none",
    "ANY": "required",
    "VALIDATED": "auto",
}


def read_generate(call: Call) -> Prompt:
    """Raises BadRequest naming the place."""
    body = spelled(table(call.body, "request"), fields.REQUEST, "")
    contents = listing(body.get("contents"), "contents")
    if not contents:
        raise BadRequest("* GenerateContentRequest.contents: contents is not specified")
    config = spelled(
        table(body.get("generationConfig", {}), "generation_config"),
        fields.GENERATION,
        "generation_config",
    )
    tools = tuple(_tools(body.get("tools")))
    mode, allowed = _mode(body.get("toolConfig"))
    offered = tuple(tool for tool in tools if not allowed or tool.name in allowed)
    wants_json, schema = _output(config)
    strict = call.model.rpartition("/")[2].startswith("gemini-3")
    number(config.get("temperature"), "generation_config.temperature", 0, 2)
    return Prompt(
        model=call.model,
        turns=(*_system(body.get("systemInstruction")), *_turns(contents, strict)),
        tools=offered,
        tool_choice=mode,
        ceiling=whole_number(config.get("maxOutputTokens"), "generation_config.max_output_tokens"),
        stops=_stops(config),
        choices=whole_number(config.get("candidateCount"), "generation_config.candidate_count")
        or 1,
        json=wants_json,
        schema=schema,
        reasoning=_thinking(config.get("thinkingConfig")),
        stream=call.stream,
    )


def read_count(call: Call) -> tuple[Turn, ...]:
    """The turns of a `countTokens` request, which are its own or those of a whole request."""
    known = frozenset({"contents", "generateContentRequest"})
    body = spelled(table(call.body, "request"), known, "")
    whole = body.get("generateContentRequest")
    if whole is not None:
        inner = Call(whole, call.model, call.key, call.headers, call.query, call.ordinal)
        return read_generate(inner).turns
    return tuple(_turns(listing(body.get("contents"), "contents"), strict=False))


def content_text(value: object, path: str) -> str:
    """The text of one content."""
    content = spelled(table(value, path), fields.CONTENT, path)
    parts = listing(content.get("parts"), f"{path}.parts")
    read = (_part(part, f"{path}.parts[{i}]") for i, part in enumerate(parts))
    return " ".join(said for _, said in read)


def _system(value: object) -> Iterator[Turn]:
    if value is not None:
        yield Turn("system", content_text(value, "system_instruction"))


def _turns(contents: list[Any], strict: bool) -> Iterator[Turn]:
    waiting: list[str] = []
    loop = _loop_start(contents)
    for index, value in enumerate(contents):
        path = f"contents[{index}]"
        content = spelled(table(value, path), fields.CONTENT, path)
        role = content.get("role", "user")
        if role not in ("user", "model", "function"):
            raise BadRequest("Please use a valid role: user, model.")
        parts = listing(content.get("parts"), f"{path}.parts")
        if not parts:
            raise BadRequest(
                f"* GenerateContentRequest.{path}.parts: contents.parts must not be empty."
            )
        read = [_part(part, f"{path}.parts[{i}]") for i, part in enumerate(parts)]
        kinds = [kind for kind, _ in read]
        said = " ".join(words for _, words in read)
        if role == "model":
            _answered(waiting, [])
            waiting = [spoken for kind, spoken in read if kind == "functionCall"]
            if strict and index > loop and waiting:
                _check_signature(parts, index)
            yield Turn("assistant", said)
            continue
        results = kinds.count("functionResponse")
        names = [
            _result_name(part)
            for part, kind in zip(parts, kinds, strict=True)
            if kind == "functionResponse"
        ]
        _answered(waiting, names)
        waiting = []
        yield Turn("tool" if results == len(parts) else "user", said)
    _answered(waiting, [])


def _result_name(part: dict[str, Any]) -> str:
    found: dict[str, Any] = part.get("functionResponse") or part["function_response"]
    return str(found["name"])


def _answered(calls: Sequence[str], results: Sequence[str]) -> None:
    if len(calls) != len(results):
        raise BadRequest(
            "Please ensure that the number of function response parts is equal to the number of "
            "function call parts of the function call turn."
        )
    if sorted(calls) != sorted(results):
        raise BadRequest("Function responses name other functions than were called.")


def _loop_start(contents: list[Any]) -> int:
    """Where the client's last words are: after them only calls and results follow."""
    for index in range(len(contents) - 1, -1, -1):
        content = contents[index] if isinstance(contents[index], dict) else {}
        parts = content.get("parts")
        results = {"functionResponse", "function_response"}
        if content.get("role", "user") != "user" or not isinstance(parts, list):
            continue
        if not all(isinstance(part, dict) and results & set(part) for part in parts):
            return index
    return -1


def _check_signature(parts: list[dict[str, Any]], index: int) -> None:
    """The first call of a model's turn must carry the signature that came with it."""
    for place, part in enumerate(parts):
        called = part.get("functionCall") or part.get("function_call")
        if called is None:
            continue
        signature = part.get("thoughtSignature", part.get("thought_signature"))
        name = called["name"]
        if signature is None:
            raise BadRequest(
                f"contents[{index}].parts[{place}]: the call of {name!r} has no thought_signature; "
                "this model needs the one back that it gave with the call."
            )
        if signature not in WAIVED and usual_base64(str(signature)) != sign("call", name):
            raise BadRequest("Thought signature is not valid.")
        return


def _part(value: object, path: str) -> tuple[str, str]:
    """What kind of part it is, and what it says; of a call, the function's name."""
    part = spelled(table(value, path), fields.PART, path)
    kinds = [name for name in part if name in fields.DATA]
    if len(kinds) > 1:
        raise BadRequest("Invalid value: oneof field 'data' is already set.", path)
    if not kinds:
        raise BadRequest(
            f"* {path}.data: required oneof field 'data' must have one initialized field"
        )
    kind = kinds[0]
    here = f"{path}.{kind}"
    match kind:
        case "text":
            words = text(part["text"], here)
            return ("thought", "") if part.get("thought") is True else (kind, words)
        case "inlineData":
            blob = spelled(
                table(part[kind], here), frozenset({"mimeType", "data", "displayName"}), here
            )
            mime = text(blob.get("mimeType"), f"{here}.mime_type")
            data = usual_base64(text(blob.get("data"), f"{here}.data"))
            return kind, inline_media(_media(mime), mime, data, f"{here}.data")
        case "fileData":
            known = frozenset({"mimeType", "fileUri", "displayName"})
            file = spelled(table(part[kind], here), known, here)
            mime = str(file.get("mimeType", ""))
            return kind, linked_media(_media(mime), file.get("fileUri"), f"{here}.file_uri")
        case "functionCall":
            called = spelled(table(part[kind], here), fields.CALLED, here)
            table(called.get("args", {}), f"{here}.args")
            return kind, text(called.get("name"), f"{here}.name")
        case "functionResponse":
            result = spelled(table(part[kind], here), fields.RESULT, here)
            text(result.get("name"), f"{here}.name")
            return kind, _told(table(result.get("response"), f"{here}.response"))
        case _:
            return kind, f"[{kind}]"


def usual_base64(value: str) -> str:
    """Protocol buffers' JSON takes bytes in either alphabet of base64."""
    return value.replace("-", "+").replace("_", "/")


def _told(response: dict[str, Any]) -> str:
    """A function's result: under `output` or `result`, else all of it."""
    for name in ("output", "result", "error"):
        if isinstance(response.get(name), str):
            return str(response[name])
    return str(response)


def _media(mime: str) -> str:
    kind = mime.partition("/")[0]
    return kind if kind in ("image", "audio", "video") else "file"


def _tools(value: object) -> Iterator[OfferedTool]:
    for index, one in enumerate(listing(value, "tools") if value is not None else ()):
        tool = spelled(table(one, f"tools[{index}]"), fields.TOOL, f"tools[{index}]")
        path = f"tools[{index}].function_declarations"
        for place, declared in enumerate(listing(tool.get("functionDeclarations", []), path)):
            here = f"{path}[{place}]"
            function = spelled(table(declared, here), fields.FUNCTION, here)
            name = text(function.get("name"), f"{here}.name")
            if "parametersJsonSchema" in function and "parameters" in function:
                raise BadRequest("only one of parameters and parameters_json_schema", here)
            schema = function.get("parametersJsonSchema")
            if "parameters" in function:
                check = function["parameters"]
                fields.check_schema(check, f"{here}.parameters")
                schema = fields.plain_schema(check)
            yield OfferedTool(name, schema)


def _mode(value: object) -> tuple[_Mode, tuple[str, ...]]:
    if value is None:
        return "auto", ()
    known = frozenset(
        {"functionCallingConfig", "retrievalConfig", "includeServerSideToolInvocations"}
    )
    path = "tool_config.function_calling_config"
    config = spelled(table(value, "tool_config"), known, "tool_config")
    names = frozenset({"mode", "allowedFunctionNames", "streamFunctionCallArguments"})
    calling = spelled(table(config.get("functionCallingConfig", {}), path), names, path)
    mode = _MODES[one_of(calling.get("mode", "AUTO"), _MODES, f"{path}.mode")]
    allowed = texts(calling.get("allowedFunctionNames"), f"{path}.allowed_function_names")
    if allowed and calling.get("mode") not in ("ANY", "VALIDATED"):
        raise BadRequest("Allowed function names are only for mode ANY or VALIDATED.")
    return mode, allowed


def _output(config: dict[str, Any]) -> tuple[bool, Any]:
    """Whether JSON is wanted, and of which schema."""
    path = "generation_config"
    mime = config.get("responseMimeType", "text/plain")
    known = ("text/plain", "application/json", "text/x.enum")
    one_of(mime, known, f"{path}.response_mime_type")
    schema = config.get("responseJsonSchema", config.get("_responseJsonSchema"))
    if "responseSchema" in config:
        if schema is not None:
            raise BadRequest("only one of response_schema and response_json_schema", path)
        fields.check_schema(config["responseSchema"], f"{path}.response_schema")
        schema = fields.plain_schema(config["responseSchema"])
    if schema is not None and mime == "text/plain":
        raise BadRequest(
            "* GenerateContentRequest.generation_config.response_schema: only allowed when "
            "response_mime_type is `application/json`."
        )
    return mime == "application/json", schema


def _stops(config: dict[str, Any]) -> tuple[str, ...]:
    stops = texts(config.get("stopSequences"), "generation_config.stop_sequences")
    if len(stops) > 5:
        raise BadRequest("At most 5 stop sequences are allowed.")
    return stops


def _thinking(value: object) -> bool:
    if value is None:
        return False
    path = "generation_config.thinking_config"
    config = spelled(table(value, path), fields.THINKING, path)
    if "thinkingBudget" in config and "thinkingLevel" in config:
        raise BadRequest("You can only set only one of thinking budget and thinking level.")
    return config.get("includeThoughts") is True
