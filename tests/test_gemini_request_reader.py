"""Gemini requests: what is refused, and what the gateway's own model holds of the others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import fields, replace

from signalbox.adapters.chat import (
    ChatRequest,
    JsonObject,
    JsonSchema,
    Media,
    MediaKind,
    Message,
    Native,
    Reasoning,
    ReasoningFormat,
    ReasoningWish,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from signalbox.adapters.door import BadRequest, Target
from signalbox.adapters.gemini_body import counted_request, outline_of, read_count_body
from signalbox.adapters.gemini_body import read_generate_body as read_body
from signalbox.adapters.gemini_fields import snake
from signalbox.adapters.gemini_request_reader import read_generate_request
from signalbox.adapters.gemini_request_writer import write_generate_request
from signalbox.adapters.gemini_schema import json_schema
from signalbox.types import Dialect
from tests.recorded_requests import recorded_requests

TARGET = Target("models/m", stream=True)
GEMINI = ReasoningFormat.GEMINI


def ask(*contents: Any, **more: Any) -> dict[str, Any]:
    told = contents or ({"role": "user", "parts": [{"text": "Hi"}]},)
    return {"contents": list(told), **more}


def content(*parts: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "parts": list(parts)}


def read(body: dict[str, Any]) -> ChatRequest:
    decoded = read_body(json.dumps(body).encode(), TARGET)
    return read_generate_request(decoded, "m", stream=False)


def config(**fields: Any) -> ChatRequest:
    return read(ask(generationConfig=fields))


def in_snake_case(value: Any) -> Any:
    if isinstance(value, dict):
        return {snake(name): in_snake_case(inner) for name, inner in value.items()}
    return [in_snake_case(inner) for inner in value] if isinstance(value, list) else value


LOOP = ask(
    content({"text": "Weather?"}),
    content(
        {"text": "Hm", "thought": True},
        {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "f", "args": {"a": 2}}},
        {"functionCall": {"name": "g", "id": "own"}},
        role="model",
    ),
    content(
        {"functionResponse": {"name": "g", "id": "own", "response": {"error": "away"}}},
        {"functionResponse": {"name": "f", "response": {"result": "1"}}},
        {"functionResponse": {"name": "f", "response": {"b": 2}}},
        {"text": "So?"},
    ),
    systemInstruction={"parts": {"text": "Be brief."}},
)


@pytest.mark.parametrize("body", [LOOP, in_snake_case(LOOP)], ids=["camelCase", "snake_case"])
def test_a_tool_loop_without_ids(body: dict[str, Any]) -> None:
    assert read(body).messages == (
        Message(Role.SYSTEM, (Text("Be brief."),)),
        Message(Role.USER, (Text("Weather?"),)),
        Message(
            Role.ASSISTANT,
            (
                Reasoning("Hm", format=GEMINI),
                ToolCall("call_0", "f", '{"a":1}', signature="c2ln"),
                ToolCall("call_1", "f", '{"a":2}'),
                ToolCall("own", "g", "{}"),
            ),
        ),
        Message(
            Role.TOOL,
            (
                ToolResult(
                    "own", (Text("away"),), "g", is_error=True, structured={"error": "away"}
                ),
                ToolResult("call_0", (Text("1"),), "f", structured={"result": "1"}),
                ToolResult("call_1", (Text('{"b":2}'),), "f", structured={"b": 2}),
            ),
        ),
        Message(Role.USER, (Text("So?"),)),
    )


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"inlineData": {"mimeType": "image/png", "data": "QQ=="}},
            Media(MediaKind.IMAGE, "image/png", data="QQ=="),
        ),
        (
            {"inlineData": {"mimeType": "audio/wav", "data": "QQ==", "displayName": "n"}},
            Media(MediaKind.AUDIO, "audio/wav", data="QQ==", name="n"),
        ),
        (
            {
                "fileData": {"mimeType": "video/mp4", "fileUri": "https://v.test/a"},
                "videoMetadata": {"fps": 2},
            },
            Media(
                MediaKind.VIDEO,
                "video/mp4",
                url="https://v.test/a",
                extra={"videoMetadata": {"fps": 2}},
            ),
        ),
        (
            {
                "fileData": {
                    "mimeType": "application/pdf",
                    "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a1",
                }
            },
            Media(
                MediaKind.FILE,
                "application/pdf",
                file_id="https://generativelanguage.googleapis.com/v1beta/files/a1",
            ),
        ),
        ({"text": "", "thoughtSignature": "c2ln"}, Text("", signature="c2ln")),
        (
            {"executableCode": {"code": "1"}},
            Native(Dialect.GENERATE, {"executableCode": {"code": "1"}}, True, "executableCode"),
        ),
    ],
)
@pytest.mark.parametrize("spelling", [lambda part: part, in_snake_case])
def test_parts(part: dict[str, Any], expected: Any, spelling: Any) -> None:
    [message] = read(ask(content(spelling(part)))).messages
    assert message.parts == (expected,)


def test_what_a_tool_of_google_s_did_may_be_left_out() -> None:
    part = {"codeExecutionResult": {"outcome": "OUTCOME_OK"}}
    [message] = read(ask(content(part, role="model"))).messages
    assert message.parts == (Native(Dialect.GENERATE, part, False, "codeExecutionResult"),)


# Settings


def test_tools() -> None:
    schema = {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}}
    plain = {"type": "object", "properties": {"b": {"type": "string"}}}
    form = read(
        ask(
            tools=[
                {
                    "functionDeclarations": [
                        {"name": "f", "description": "d", "parameters": schema},
                        {"name": "g", "parametersJsonSchema": plain, "behavior": "BLOCKING"},
                        {"name": "h"},
                    ]
                },
                {"google_search": {}},
            ],
            toolConfig={
                "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]},
                "retrievalConfig": {"languageCode": "de"},
            },
        )
    )
    assert form.tools == (
        Tool("f", "d", {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}),
        Tool("g", None, plain),
        Tool("h"),
        Native(Dialect.GENERATE, {"googleSearch": {}}, True, "googleSearch"),
    )
    assert form.tool_choice == ToolChoice("required", name="f")
    assert {(native.name, native.meaning) for native in form.native} == {
        ("toolConfig.retrievalConfig", False),
        ("tools[0].functionDeclarations[1].behavior", False),
    }


@pytest.mark.parametrize(
    ("mode", "names", "expected"),
    [
        ("AUTO", None, ToolChoice("auto")),
        ("NONE", None, ToolChoice("none")),
        ("ANY", None, ToolChoice("required")),
        ("ANY", ["f", "g"], ToolChoice("required", allowed=("f", "g"))),
        ("VALIDATED", ["f"], ToolChoice("auto", allowed=("f",))),
        ("MODE_UNSPECIFIED", None, None),
    ],
)
def test_modes_of_calling(mode: str, names: Any, expected: ToolChoice | None) -> None:
    calling = {"mode": mode, "allowedFunctionNames": names}
    assert read(ask(toolConfig={"functionCallingConfig": calling})).tool_choice == expected


def test_schemas_become_json_schema() -> None:
    assert json_schema(
        {
            "type": "OBJECT",
            "property_ordering": ["type"],
            "properties": {
                "type": {"type": "ARRAY", "items": {"type": "INTEGER"}, "min_items": "2"},
                "anyOf": {"anyOf": [{"type": "STRING", "enum": ["A"]}], "nullable": True},
                "nullable": {"type": "STRING", "enum": ["A"], "nullable": True, "example": "A"},
            },
        }
    ) == {
        "type": "object",
        "properties": {
            "type": {"type": "array", "items": {"type": "integer"}, "minItems": 2},
            "anyOf": {"anyOf": [{"type": "string", "enum": ["A"]}, {"type": "null"}]},
            "nullable": {"type": ["string", "null"], "enum": ["A", None], "examples": ["A"]},
        },
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"thinkingBudget": 0}, ReasoningWish(enabled=False, exclude=True)),
        ({"thinkingBudget": -1}, ReasoningWish(enabled=True, exclude=True)),
        (
            {"thinkingBudget": 512, "includeThoughts": True},
            ReasoningWish(enabled=True, max_tokens=512, exclude=False),
        ),
        ({"thinkingLevel": "LOW"}, ReasoningWish(effort="low", exclude=True)),
    ],
)
def test_thinking(fields: dict[str, Any], expected: ReasoningWish) -> None:
    assert config(thinkingConfig=fields).reasoning == expected


def test_what_is_generated() -> None:
    form = config(
        temperature=0.5,
        topP=0.9,
        topK=40.0,
        candidateCount=2,
        maxOutputTokens=9,
        stopSequences=["END"],
        seed=7,
        presencePenalty=0.1,
        frequencyPenalty=0.2,
        responseLogprobs=True,
        logprobs=3,
        responseModalities=["TEXT", "AUDIO"],
        speechConfig={"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}},
        mediaResolution="LOW",
    )
    assert (form.temperature, form.top_p, form.top_k, form.n) == (0.5, 0.9, 40, 2)
    assert (form.max_tokens, form.stop, form.seed) == (9, ("END",), 7)
    assert (form.presence_penalty, form.frequency_penalty) == (0.1, 0.2)
    assert (form.logprobs, form.top_logprobs) == (True, 3)
    assert (form.modalities, form.audio) == (("text", "audio"), {"voice": "Kore"})
    assert form.unknown == {"generationConfig.mediaResolution": "LOW"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"responseMimeType": "application/json"}, JsonObject()),
        (
            {"responseMimeType": "application/json", "responseSchema": {"type": "STRING"}},
            JsonSchema({"type": "string"}),
        ),
        (
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "string"}},
            JsonSchema({"type": "string"}),
        ),
        ({"responseMimeType": "text/plain"}, None),
    ],
)
def test_structured_outputs(fields: dict[str, Any], expected: Any) -> None:
    assert config(**fields).response_format == expected


def test_other_fields() -> None:
    form = read(
        ask(
            cached_content="cachedContents/1",
            safetySettings=[{"category": "c"}],
            labels={"team": "t"},
            store=True,
            generationConfig={"responseMimeType": "text/x.enum"},
        )
    )
    assert [(native.name, native.meaning) for native in form.native] == [
        ("cachedContent", True),
        ("safetySettings", False),
        ("generationConfig.responseMimeType", True),
    ]
    assert (form.metadata, form.unknown) == ({"team": "t"}, {"store": True})


def test_the_outline() -> None:
    body = ask(
        content({"text": "Hi"}),
        content({"text": "Well"}, role="model"),
        generationConfig={"max_output_tokens": 7, "candidateCount": 2},
    )
    outline = outline_of(body, TARGET)
    assert (outline.model, outline.stream, outline.begun) == ("m", True, True)
    assert (outline.choices, outline.plain, outline.max_tokens) == (2, False, 7)
    assert outline.opening == (("user", [{"text": "Hi"}]),)
    assert outline_of(ask(), TARGET).plain


@pytest.mark.parametrize("name", ["generateContentRequest", "generate_content_request"])
def test_a_count_may_be_of_a_whole_request(name: str) -> None:
    whole = ask(tools=[{"functionDeclarations": [{"name": "f"}]}])
    data = json.dumps({name: {"model": "models/m", **whole}}).encode()
    assert counted_request(read_count_body(data, TARGET))["tools"] == whole["tools"]
    with pytest.raises(BadRequest):
        read_count_body(json.dumps({name: []}).encode(), TARGET)


# Recorded requests


def plain(form: ChatRequest) -> ChatRequest:
    """Without what is the same unsaid: text alone is generated, one candidate is."""
    return replace(form, modalities=tuple(m for m in form.modalities if m != "text"), n=None)


@pytest.mark.parametrize("recorded", recorded_requests("gemini", "enerateContent"))
def test_what_is_read_of_a_recorded_request_is_written_again(recorded: dict[str, Any]) -> None:
    """Read, written for Gemini and read again, a request says the same."""
    model = recorded["path"].partition("models/")[2].partition(":")[0]
    form = read(recorded["body"])
    written = write_generate_request(form, model)
    assert not written.unsupported
    assert not written.dropped
    again = plain(read(written.body))
    for field in fields(ChatRequest):
        assert getattr(again, field.name) == getattr(plain(form), field.name), field.name
