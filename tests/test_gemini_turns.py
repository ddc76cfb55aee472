"""Messages, tools and thinking as Gemini is told of them."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from signalbox.adapters.chat import (
    ChatRequest,
    JsonObject,
    JsonSchema,
    Media,
    MediaKind,
    Message,
    Native,
    Part,
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
from signalbox.adapters.gemini_turns import NO_SIGNATURE
from signalbox.types import Dialect
from tests.gemini_cases import ADAPTER, built, route, translated

NEW, OLD = route("gemini-3-pro-preview"), route("gemini-2.5-flash")
GEMINI = ReasoningFormat.GEMINI


def chat(*messages: tuple[Role, tuple[Part, ...] | str], **fields: Any) -> ChatRequest:
    said = (
        Message(role, (Text(parts),) if isinstance(parts, str) else parts)
        for role, parts in messages
    )
    return ChatRequest(dialect=Dialect.CHAT, model="m", messages=tuple(said), **fields)


def user(*parts: Part, **fields: Any) -> ChatRequest:
    return chat((Role.USER, parts), **fields)


def turns(form: ChatRequest, where: Any = NEW) -> list[dict[str, Any]]:
    contents: list[dict[str, Any]] = built(translated(form), where)["contents"]
    return contents


def texts(*said: str) -> list[dict[str, Any]]:
    return [{"text": text} for text in said]


def test_instructions_come_first_and_neighbours_are_one_turn() -> None:
    form = chat(
        (Role.SYSTEM, "S"),
        (Role.USER, "a"),
        (Role.USER, "b"),
        (Role.DEVELOPER, "D"),
        (Role.ASSISTANT, "c"),
        (Role.ASSISTANT, ""),
        (Role.USER, "d"),
    )
    body = built(translated(form))
    assert body["systemInstruction"] == {"parts": texts("S", "D")}
    assert body["contents"] == [
        {"role": "user", "parts": texts("a", "b")},
        {"role": "model", "parts": texts("c")},
        {"role": "user", "parts": texts("d")},
    ]


@pytest.mark.parametrize("where", [NEW, route("gemma-3-27b-it")])
def test_instructions_alone_are_what_is_said(where: Any) -> None:
    body = built(translated(chat((Role.SYSTEM, "S"))), where)
    assert body == {"contents": [{"role": "user", "parts": texts("S")}]}


def test_a_model_without_instructions_is_told_them_in_the_first_turn() -> None:
    form = chat((Role.SYSTEM, "S"), (Role.USER, "a"))
    assert turns(form, route("gemma-3-27b-it")) == [{"role": "user", "parts": texts("S", "a")}]


# ── tools ─────────────────────────────────────────────────────────────────────────────────────

LOOP = chat(
    (Role.USER, "go"),
    (
        Role.ASSISTANT,
        (
            ToolCall("1", "f", '{"x": 1}', signature="sig"),
            ToolCall("2", "g", ""),
            ToolCall("3", "f", "[1"),
        ),
    ),
    (Role.TOOL, (ToolResult("3", (Text("three"),), is_error=True),)),
    (Role.TOOL, (ToolResult("1", (Text("one"), Text("more"))),)),
    (Role.TOOL, (ToolResult("2", structured={"any": [2]}),)),
    (Role.USER, "on"),
)


def test_a_tool_loop_with_ids() -> None:
    _, called, answered = turns(LOOP)
    assert called == {
        "role": "model",
        "parts": [
            {
                "functionCall": {"id": "1", "name": "f", "args": {"x": 1}},
                "thoughtSignature": "sig",
            },
            {"functionCall": {"id": "2", "name": "g", "args": {}}},
            {"functionCall": {"id": "3", "name": "f", "args": {"arguments": "[1"}}},
        ],
    }
    results = [("1", "f", {"output": "one\nmore"}), ("2", "g", {"any": [2]})]
    results.append(("3", "f", {"error": "three"}))
    assert answered["parts"] == [
        *(
            {"functionResponse": {"id": id, "name": name, "response": response}}
            for id, name, response in results
        ),
        {"text": "on"},
    ]


def test_older_models_take_no_ids() -> None:
    _, called, answered = turns(LOOP, OLD)
    assert all("id" not in part["functionCall"] for part in called["parts"])
    names = [part["functionResponse"]["name"] for part in answered["parts"][:3]]
    assert names == ["f", "g", "f"]
    assert all("id" not in part["functionResponse"] for part in answered["parts"][:3])


def test_a_call_of_another_model_gets_the_documented_placeholder() -> None:
    foreign = chat(
        (Role.USER, "go"),
        (Role.ASSISTANT, (Text("hm"), ToolCall("1", "f", "{}"), ToolCall("2", "f", "{}"))),
        (Role.TOOL, (ToolResult("1"), ToolResult("2"))),
    )
    signatures = [part.get("thoughtSignature") for part in turns(foreign)[1]["parts"]]
    assert signatures == [None, NO_SIGNATURE, None]
    assert all("thoughtSignature" not in part for part in turns(foreign, OLD)[1]["parts"])


def test_a_signature_goes_back_on_its_own_part() -> None:
    form = chat(
        (Role.USER, "go"),
        (Role.ASSISTANT, (Text("a"), Text("", signature="end"))),
        (Role.USER, "on"),
        (Role.ASSISTANT, (Reasoning("hm", signature="t", format=GEMINI), Text("b", signature="s"))),
    )
    assert [turn["parts"] for turn in turns(form)[1::2]] == [
        [{"text": "a"}, {"text": "", "thoughtSignature": "end"}],
        [
            {"text": "hm", "thought": True, "thoughtSignature": "t"},
            {"text": "b", "thoughtSignature": "s"},
        ],
    ]


def test_a_signature_that_came_as_reasoning_finds_its_call() -> None:
    calls = (ToolCall("1", "f", "{}"), ToolCall("2", "g", "{}"))
    loose = (
        Reasoning(encrypted="for-2", id="2", format=GEMINI),
        Reasoning(encrypted="for-1", format=GEMINI),
    )
    form = chat((Role.USER, "go"), (Role.ASSISTANT, (*loose, *calls)))
    parts = turns(form)[1]["parts"]
    assert [part["thoughtSignature"] for part in parts] == ["for-1", "for-2"]


def test_foreign_reasoning_stays_away_and_is_named() -> None:
    foreign = Reasoning("secret", signature="x", format=ReasoningFormat.ANTHROPIC)
    form = chat((Role.USER, "a"), (Role.ASSISTANT, (foreign, Text("b"))))
    assert turns(form)[1]["parts"] == texts("b")
    assert ADAPTER.dropped(translated(form), NEW) == ("messages.reasoning",)


SCHEMA = {"type": "object", "properties": {"x": {"const": 1}}, "required": ["x"]}
TOOLS = (Tool("f", "does", SCHEMA, strict=True), Tool("g"))


def test_tools_are_declared_with_their_schemas() -> None:
    body = built(translated(user(Text("a"), tools=TOOLS)))
    written = {"type": "object", "properties": {"x": {"enum": [1]}}, "required": ["x"]}
    first = {"name": "f", "description": "does", "parametersJsonSchema": written}
    assert body["tools"] == [{"functionDeclarations": [first, {"name": "g"}]}]
    assert "toolConfig" not in body
    assert ADAPTER.dropped(translated(user(Text("a"), tools=TOOLS)), NEW) == ("tools.strict",)


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("required", "f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (
            ToolChoice("required", allowed=("f", "g")),
            {"mode": "ANY", "allowedFunctionNames": ["f", "g"]},
        ),
        (
            ToolChoice("auto", allowed=("g",)),
            {"mode": "VALIDATED", "allowedFunctionNames": ["g"]},
        ),
    ],
)
def test_the_choice_of_tools(choice: ToolChoice, config: dict[str, Any]) -> None:
    body = built(translated(user(Text("a"), tools=TOOLS, tool_choice=choice)))
    assert body["toolConfig"] == {"functionCallingConfig": config}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"tools": (Tool("c", custom={}),)}, "tools"),
        ({"tools": (Native(Dialect.MESSAGES, {"type": "bash"}),)}, "tools"),
        ({"tools": TOOLS, "parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"native": (Native(Dialect.MESSAGES, [], name="mcp_servers"),)}, "mcp_servers"),
    ],
)
def test_what_only_others_have_is_named(fields: dict[str, Any], name: str) -> None:
    assert ADAPTER.unsupported(translated(user(Text("a"), **fields)), NEW) == (name,)


def test_its_own_tools_go_back_as_they_came() -> None:
    search: dict[str, Any] = {"googleSearch": {}}
    form = user(Text("a"), tools=(Native(Dialect.GENERATE, search), Tool("g")))
    declared = {"functionDeclarations": [{"name": "g"}]}
    assert built(translated(form))["tools"] == [declared, search]


def test_structured_answers() -> None:
    json_mode = built(translated(user(Text("a"), response_format=JsonObject())))
    assert json_mode["generationConfig"] == {"responseMimeType": "application/json"}
    form = user(Text("a"), response_format=JsonSchema(SCHEMA, "n"))
    config = built(translated(form))["generationConfig"]
    assert config["responseJsonSchema"]["required"] == ["x"]
    assert config["responseMimeType"] == "application/json"
    both = replace(form, tools=TOOLS)
    assert ADAPTER.unsupported(translated(both), NEW) == ()
    assert ADAPTER.unsupported(translated(both), OLD) == ("response_format",)


# ── media ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("media", "part"),
    [
        (
            Media(MediaKind.IMAGE, "image/png", data="aWk="),
            {"inlineData": {"mimeType": "image/png", "data": "aWk="}},
        ),
        (
            Media(MediaKind.AUDIO, "audio/wav", data="aWk="),
            {"inlineData": {"mimeType": "audio/wav", "data": "aWk="}},
        ),
        (
            Media(MediaKind.FILE, data="aWk=", name="a.pdf"),
            {"inlineData": {"mimeType": "application/pdf", "data": "aWk="}},
        ),
        (Media(MediaKind.FILE, text="plain"), {"text": "plain"}),
        (
            Media(MediaKind.IMAGE, url="https://x.test/a.PNG?b=c.gif"),
            {"fileData": {"mimeType": "image/png", "fileUri": "https://x.test/a.PNG?b=c.gif"}},
        ),
        (
            Media(MediaKind.VIDEO, url="https://www.youtube.com/watch?v=1"),
            {"fileData": {"mimeType": "video/mp4", "fileUri": "https://www.youtube.com/watch?v=1"}},
        ),
        (
            Media(MediaKind.AUDIO, "audio/mp3", url="gs://bucket/a"),
            {"fileData": {"mimeType": "audio/mp3", "fileUri": "gs://bucket/a"}},
        ),
        (
            Media(MediaKind.FILE, file_id="files/abc"),
            {
                "fileData": {
                    "mimeType": "application/pdf",
                    "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc",
                }
            },
        ),
    ],
)
def test_media(media: Media, part: dict[str, Any]) -> None:
    assert turns(user(media))[0]["parts"] == [part]


@pytest.mark.parametrize(
    ("media", "where"),
    [
        (Media(MediaKind.IMAGE, url="http://x.test/a.png"), NEW),
        (Media(MediaKind.VIDEO, url="https://x.test/a.mp4"), NEW),
        (Media(MediaKind.FILE, file_id="file-openai"), NEW),
        (Media(MediaKind.IMAGE, url="https://x.test/a.png"), route("gemini-2.0-flash")),
    ],
)
def test_what_gemini_does_not_fetch_is_named(media: Media, where: Any) -> None:
    assert ADAPTER.unsupported(translated(user(media)), where) == ("messages",)


def test_pictures_that_a_tool_gave() -> None:
    picture = Media(MediaKind.IMAGE, "image/png", data="aWk=")
    blob = {"inlineData": {"mimeType": "image/png", "data": "aWk="}}
    form = chat(
        (Role.ASSISTANT, (ToolCall("1", "f", "{}"),)),
        (Role.TOOL, (ToolResult("1", (Text("see"), picture)),)),
    )
    response = {"name": "f", "response": {"output": "see"}}
    new = {"functionResponse": {"id": "1", **response, "parts": [blob]}}
    assert turns(form)[-1]["parts"] == [new]
    assert turns(form, OLD)[-1]["parts"] == [{"functionResponse": response}, blob]


# ── thinking ──────────────────────────────────────────────────────────────────────────────────

HIGH, NONE = ReasoningWish(effort="high"), ReasoningWish(effort="none")


@pytest.mark.parametrize(
    ("model", "wish", "config"),
    [
        ("gemini-2.5-flash", HIGH, {"thinkingBudget": 24576, "includeThoughts": True}),
        ("gemini-2.5-flash", NONE, {"thinkingBudget": 0}),
        ("gemini-2.5-pro", NONE, {"thinkingBudget": 128}),
        (
            "models/gemini-2.5-pro",
            ReasoningWish(max_tokens=99_999),
            {"thinkingBudget": 32768, "includeThoughts": True},
        ),
        (
            "gemini-2.5-flash-lite",
            ReasoningWish(max_tokens=10, exclude=True),
            {"thinkingBudget": 512},
        ),
        (
            "gemini-2.5-pro",
            ReasoningWish(effort="max"),
            {"thinkingBudget": 32768, "includeThoughts": True},
        ),
        (
            "gemini-2.5-flash",
            ReasoningWish(enabled=True),
            {"thinkingBudget": -1, "includeThoughts": True},
        ),
        ("gemini-2.5-flash", ReasoningWish(enabled=False), {"thinkingBudget": 0}),
        ("gemini-3-pro-preview", HIGH, {"thinkingLevel": "high", "includeThoughts": True}),
        (
            "gemini-3-pro-preview",
            ReasoningWish(effort="medium"),
            {"thinkingLevel": "high", "includeThoughts": True},
        ),
        ("gemini-3-pro-preview", NONE, {"thinkingLevel": "low"}),
        ("gemini-3-flash-preview", NONE, {"thinkingLevel": "minimal"}),
        (
            "gemini-3.1-pro-preview",
            ReasoningWish(max_tokens=2000),
            {"thinkingLevel": "low", "includeThoughts": True},
        ),
        (
            "gemini-3.8-flash",
            ReasoningWish(effort="xhigh", exclude=True),
            {"thinkingLevel": "high"},
        ),
        ("gemini-flash-latest", ReasoningWish(enabled=True), {"includeThoughts": True}),
    ],
)
def test_how_much_to_think(model: str, wish: ReasoningWish, config: dict[str, Any]) -> None:
    body = built(translated(user(Text("a"), reasoning=wish)), route(model))
    assert body["generationConfig"] == {"thinkingConfig": config}


@pytest.mark.parametrize("model", ["gemini-2.0-flash", "gemma-3-27b-it", "gemini-2.5-flash-image"])
def test_a_model_that_does_not_think_is_not_told_to(model: str) -> None:
    asked = translated(user(Text("a"), reasoning=HIGH))
    assert "generationConfig" not in built(asked, route(model))
    assert ADAPTER.dropped(asked, route(model)) == ("reasoning",)
    assert ADAPTER.dropped(translated(user(Text("a"), reasoning=NONE)), route(model)) == ()


def test_without_a_wish_the_model_decides() -> None:
    assert "generationConfig" not in built(translated(user(Text("a"))), OLD)
