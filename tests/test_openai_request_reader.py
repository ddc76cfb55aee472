"""Chat completion requests in the gateway's own model, and written down again."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings

from signalbox.adapters.chat import (
    ChatRequest,
    JsonSchema,
    Media,
    MediaKind,
    Message,
    Native,
    Part,
    Reasoning,
    ReasoningFormat,
    ReasoningWish,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from signalbox.adapters.door import BadRequest
from signalbox.adapters.openai_body import read_chat_body
from signalbox.adapters.openai_request_reader import read_chat_request
from signalbox.adapters.openai_request_writer import write_chat_request
from signalbox.types import Dialect
from tests.chat_bodies import BODIES, ODD_BODIES
from tests.recorded_requests import recorded_requests

USER = {"role": "user", "content": "Hi"}


def read(**body: Any) -> ChatRequest:
    return read_chat_request({"model": "m", "messages": [USER], **body})


def parts(message: dict[str, Any]) -> tuple[Part, ...]:
    [told] = read(messages=[message]).messages
    return told.parts


def part(**fields: Any) -> Part:
    [told] = parts({"role": "user", "content": [fields]})
    return told


def assistant(**fields: Any) -> tuple[Part, ...]:
    return parts({"role": "assistant", **fields})


_OTHERWISE = {
    "max_completion_tokens": "max_tokens",
    "max_tokens": "max_tokens",
    "reasoning_effort": "reasoning",
    "reasoning": "reasoning_effort",
    "thinking": "reasoning",
}
"""Fields that are written under another name, or are one of two."""


# There and back


_TWICE = {"type": "reasoning.text", "text": "a"}


@settings(max_examples=150)
@example({"model": "m", "messages": [{"role": "assistant", "reasoning_details": [_TWICE, _TWICE]}]})
@given(BODIES)
def test_what_is_written_is_read_as_the_same(body: dict[str, Any]) -> None:
    form = read_chat_request(body)
    written = msgspec.json.encode(write_chat_request(form))
    assert read_chat_request(read_chat_body(written)) == form


@settings(max_examples=150)
@given(BODIES)
def test_every_field_of_a_body_is_written_again(body: dict[str, Any]) -> None:
    written = write_chat_request(read_chat_request(body))
    for name, value in body.items():
        if name == "messages" or value in (False, {"type": "text"}, {}):
            continue
        again = written.get(_OTHERWISE.get(name, name), written.get(name))
        assert again is not None, name
        if name not in (*_OTHERWISE, *_OTHERWISE.values(), "stop"):
            assert again == value


@settings(max_examples=200)
@given(ODD_BODIES)
def test_no_body_that_is_taken_is_more_than_the_reader_bears(body: dict[str, Any]) -> None:
    with contextlib.suppress(BadRequest):
        read_body = read_chat_body(json.dumps(body).encode())
        form = read_chat_request(read_body)
        msgspec.json.encode(write_chat_request(form))


def _texts(value: Any) -> list[str]:
    """Every text, number and name in a JSON value."""
    if isinstance(value, dict):
        return [it for name, inner in value.items() for it in (name, *_texts(inner))]
    if isinstance(value, list):
        return [it for inner in value for it in _texts(inner)]
    return [json.dumps(value)]


@pytest.mark.parametrize("recorded", recorded_requests("*", "chat/completions"))
def test_a_recorded_request_carries_everything(recorded: dict[str, Any]) -> None:
    try:
        body = read_chat_body(json.dumps({"model": "m", **recorded["body"]}).encode())
    except BadRequest:
        # Recorded for the provider's own refusal of it.
        assert any(isinstance(it["content"], dict) for it in recorded["body"]["messages"])
        return
    written = write_chat_request(read_chat_request(body))
    for name, value in body.items():
        if name not in ("stream_options", "provider") and value not in (None, False):
            assert name in written or _OTHERWISE.get(name) in written, name
    kept = set(_texts(written))
    for message, again in zip(body["messages"], written["messages"], strict=True):
        assert message["role"] == again["role"]
        for told in _texts(message):
            assert told in kept or told in ('""', "null", "[]", "content"), told


# Messages


def test_contents() -> None:
    assert parts({"role": "user", "content": "Hi"}) == (Text("Hi"),)
    assert parts({"role": "user", "content": ""}) == ()
    cache = {"type": "ephemeral"}
    assert part(type="text", text="x", cache_control=cache) == Text("x", cache=cache)
    assert parts({"role": "user", "content": "x", "cache_control": cache}) == (
        Text("x", cache=cache),
    )


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (
            {
                "type": "image_url",
                "image_url": {"url": "DATA:image/PNG;base64,aGk=", "detail": "low"},
            },
            Media(MediaKind.IMAGE, "image/png", data="aGk=", detail="low"),
        ),
        (
            {"type": "image_url", "image_url": "https://p.test/a"},
            Media(MediaKind.IMAGE, url="https://p.test/a"),
        ),
        (
            {"type": "file", "file": {"filename": "a", "file_data": "data:,a%20b"}},
            Media(MediaKind.FILE, data="YSBi", name="a"),
        ),
        (
            {"type": "file", "file": {"file_data": "https://p.test/a.pdf"}},
            Media(MediaKind.FILE, url="https://p.test/a.pdf"),
        ),
        ({"type": "file", "file": {"file_data": "aGk="}}, Media(MediaKind.FILE, data="aGk=")),
        ({"type": "file", "file": {"file_id": "f1"}}, Media(MediaKind.FILE, file_id="f1")),
        ({"type": "file", "file_id": "f1"}, Media(MediaKind.FILE, file_id="f1")),
        (
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
            Media(MediaKind.AUDIO, "audio/mpeg", data="aGk="),
        ),
        ({"type": "input_audio", "input_audio": "aGk="}, Media(MediaKind.AUDIO, data="aGk=")),
        (
            {"type": "video_url", "video_url": {"url": "https://p.test/v"}},
            Media(MediaKind.VIDEO, url="https://p.test/v"),
        ),
        (
            {"type": "document_url", "document_url": "https://p.test/d", "document_name": "d"},
            Media(MediaKind.FILE, url="https://p.test/d", name="d"),
        ),
        ({"type": "thinking", "thinking": [{"text": "a"}, {"text": "b"}]}, Reasoning("ab")),
        (
            {"type": "image_url", "image_url": {}},
            Native(Dialect.CHAT, {"type": "image_url", "image_url": {}}, name="image_url"),
        ),
    ],
)
def test_parts(sent: dict[str, Any], told: Part) -> None:
    assert part(**sent) == told


def test_the_assistant_s_calls() -> None:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"id": "b", "type": "custom", "custom": {"name": "g", "input": ""}},
        {"function": {"name": "h", "arguments": {"x": 1}}},
    ]
    assert assistant(content=None, tool_calls=calls) == (
        ToolCall("a", "f", "{}"),
        ToolCall("b", "g", "", custom=True),
        ToolCall("call_0_2", "h", '{"x":1}'),
    )


def test_a_signature_comes_back_with_its_call_in_either_form() -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    signed = {**call, "extra_content": {"google": {"thought_signature": "s"}}}
    detail = {
        "type": "reasoning.encrypted",
        "data": "s",
        "id": "a",
        "format": "google-gemini-v1",
    }
    told = (ToolCall("a", "f", "{}", signature="s"),)
    assert assistant(tool_calls=[signed]) == told
    assert assistant(tool_calls=[call], reasoning_details=[detail]) == told


def test_deprecated_functions_are_tools() -> None:
    form = read(
        functions=[{"name": "f", "parameters": {}}],
        function_call={"name": "f"},
        messages=[
            USER,
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "f", "arguments": "1"},
            },
            {"role": "function", "name": "f", "content": "4"},
        ],
    )
    assert form.tools == (Tool("f", parameters={}),)
    assert form.tool_choice == ToolChoice("required", "f")
    assert [message.parts for message in form.messages[1:]] == [
        (ToolCall("call_1", "f", "1"),),
        (ToolResult("call_1", (Text("4"),), name="f"),),
    ]
    assert form.messages[2].role is Role.TOOL
    assert (form.native, form.unknown) == ((), {})


def test_the_same_thinking_is_counted_once() -> None:
    detail = {
        "type": "reasoning.text",
        "text": "t",
        "signature": "s",
        "format": "anthropic-claude-v1",
    }
    block = {"type": "thinking", "thinking": "t", "signature": "s"}
    signed = Reasoning("t", signature="s", format=ReasoningFormat.ANTHROPIC)
    names = {"reasoning_content": "t", "reasoning": "t"}
    assert assistant(content="x", **names) == (Reasoning("t"), Text("x"))
    assert assistant(reasoning_details=[detail], thinking_blocks=[block], **names) == (signed,)
    assert assistant(thinking_blocks=[block], **names) == (signed,)
    assert assistant(reasoning_content=[block]) == (signed,)
    assert assistant(content=[block], **names) == (signed,)
    secret = {"type": "reasoning.encrypted", "data": "e"}
    assert assistant(reasoning_details=[secret], reasoning="t") == (
        Reasoning("t"),
        Reasoning(encrypted="e"),
    )


def test_both_halves_of_a_block_are_one() -> None:
    halves = [
        {"type": "reasoning.summary", "summary": "s", "id": "r", "index": 0},
        {"type": "reasoning.encrypted", "data": "e", "id": "r", "index": 0},
    ]
    whole = Reasoning("s", summary=True, encrypted="e", id="r")
    assert assistant(reasoning_details=halves) == (whole,)
    halves[1]["index"] = 1
    assert len(assistant(reasoning_details=halves)) == 2


def test_the_rest_of_an_earlier_answer() -> None:
    told = assistant(content="x", refusal="no", audio={"id": "a"}, annotations=[], strange=1)
    assert told == (
        Text("x"),
        Media(MediaKind.AUDIO, id="a"),
        Refusal("no"),
        Native(Dialect.CHAT, {"strange": 1}, meaning=False, name="messages[].strange"),
    )


def test_a_tool_s_result_may_have_parts() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://p.test/a"}}
    content = [{"type": "text", "text": "x"}, image, {"type": "y"}]
    message = {"role": "tool", "tool_call_id": "a", "content": content}
    media = Media(MediaKind.IMAGE, url="https://p.test/a")
    assert parts(message) == (ToolResult("a", (Text("x"), media, Text('{"type":"y"}'))),)


# The rest


@pytest.mark.parametrize(
    ("body", "wish"),
    [
        ({"reasoning_effort": "low"}, ReasoningWish(effort="low")),
        (
            {"reasoning_effort": {"effort": "low", "summary": "auto"}},
            ReasoningWish("low", summary="auto"),
        ),
        (
            {"reasoning": {"effort": "high", "exclude": True}, "reasoning_effort": "low"},
            ReasoningWish("high", exclude=True),
        ),
        ({"reasoning": {"max_tokens": 9}}, ReasoningWish(max_tokens=9)),
        ({"include_reasoning": False}, ReasoningWish(exclude=True)),
        ({"include_reasoning": True}, ReasoningWish(exclude=False)),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 5}},
            ReasoningWish(enabled=True, max_tokens=5),
        ),
        ({"reasoning": {}}, None),
    ],
)
def test_how_much_it_is_to_think(body: dict[str, Any], wish: ReasoningWish | None) -> None:
    form = read(**body)
    assert form.reasoning == wish
    assert form.unknown == {}


def test_which_fields_are_known() -> None:
    form = read(
        max_tokens=5,
        max_completion_tokens=7,
        stop="x",
        plugins=[{"id": "web"}],
        seed="no number",
        strange=1,
        provider={"order": ["x"]},
        extra={"retry": 1},
        user=None,
    )
    assert (form.max_tokens, form.stop, form.seed) == (7, ("x",), None)
    assert form.native == (Native(Dialect.CHAT, [{"id": "web"}], name="plugins"),)
    assert form.unknown == {"seed": "no number", "strange": 1}


def test_formats_and_tools_that_are_not_known_have_meaning() -> None:
    form = read(
        response_format={"type": "grammar"}, tool_choice={"type": "x"}, tools=[{"type": "y"}]
    )
    assert {native.name for native in form.native} == {"response_format", "tool_choice"}
    assert form.tools == (Native(Dialect.CHAT, {"type": "y"}, name="y"),)
    schema = read(response_format={"type": "json_object", "schema": {"a": 1}})
    assert schema.response_format == JsonSchema({"a": 1})


def test_a_message_s_name_and_role_stay() -> None:
    [told] = read(messages=[{"role": "developer", "content": "x", "name": "n"}]).messages
    assert told == Message(Role.DEVELOPER, (Text("x"),), name="n")
