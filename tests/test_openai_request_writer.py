"""Conversations of other dialects as chat completion requests, and what the adapter sends."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from signalbox.adapters.chat import (
    ChatRequest,
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
from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.openai_request_writer import left_out, write_chat_request
from signalbox.adapters.protocol import WireRequest
from signalbox.errors import UnsupportedParameter
from signalbox.types import Dialect, Extra, Request
from tests.outgoing import REQUEST, ROUTE

CACHE = {"type": "ephemeral"}
IMAGE = Media(MediaKind.IMAGE, "image/png", data="aGk=")
IMAGE_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}


def said(role: Role, *parts: Part | str) -> Message:
    return Message(role, tuple(Text(p) if isinstance(p, str) else p for p in parts))


HI = said(Role.USER, "Hi")


def form(*messages: Message, dialect: Dialect = Dialect.MESSAGES, **fields: Any) -> ChatRequest:
    return ChatRequest(dialect=dialect, model="m", messages=messages or (HI,), **fields)


def messages(*sent: Message) -> list[dict[str, Any]]:
    written: list[dict[str, Any]] = write_chat_request(form(*sent))["messages"]
    return written


def test_texts_become_one_but_for_the_user_s() -> None:
    assert messages(said(Role.SYSTEM, "a", "b"), said(Role.ASSISTANT, "c", "d"), HI) == [
        {"role": "system", "content": "a\n\nb"},
        {"role": "assistant", "content": "cd"},
        {"role": "user", "content": "Hi"},
    ]
    [user] = messages(said(Role.USER, "a", IMAGE))
    assert user["content"] == [{"type": "text", "text": "a"}, IMAGE_PART]


def test_pictures_of_a_result_follow_the_last_result() -> None:
    calls = said(Role.ASSISTANT, ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}"))
    results = (
        said(Role.TOOL, ToolResult("a", (IMAGE,))),
        said(Role.TOOL, ToolResult("b", (Text("gone"),), is_error=True)),
    )
    told = messages(HI, calls, *results, HI)
    assert [message["role"] for message in told] == ["user", "assistant", "tool", "tool", "user"]
    assert told[1]["content"] is None
    assert told[3] == {"role": "tool", "tool_call_id": "b", "content": "Error: gone"}
    label, picture, text = told[4]["content"]
    assert "call a" in label["text"]
    assert (picture, text["text"]) == (IMAGE_PART, "Hi")
    assert messages(HI, calls, *results)[4]["content"][1] == IMAGE_PART


def test_a_result_that_is_structured_is_told_as_json() -> None:
    [told] = messages(said(Role.TOOL, ToolResult("a", structured={"x": 1})))
    assert told["content"] == '{"x":1}'


def test_a_plain_document_becomes_text() -> None:
    plain = Media(MediaKind.FILE, "text/plain", data="aGk=", name="a.txt")
    [told] = messages(said(Role.USER, plain, Media(MediaKind.FILE, text="x")))
    assert [part["text"] for part in told["content"]] == ["a.txt:\nhi", "x"]
    [told] = messages(said(Role.USER, Media(MediaKind.FILE, data="aGk=")))
    data = "data:application/pdf;base64,aGk="
    assert told["content"] == [
        {"type": "file", "file": {"file_data": data, "filename": "document.pdf"}}
    ]


def test_reasoning_has_details_where_it_is_more_than_text() -> None:
    [plain] = messages(said(Role.ASSISTANT, Reasoning("t"), "x"))
    assert plain == {"role": "assistant", "reasoning_content": "t", "content": "x"}
    signed = Reasoning("t", signature="s", format=ReasoningFormat.ANTHROPIC)
    [told] = messages(said(Role.ASSISTANT, signed, Reasoning(encrypted="e")))
    assert told["reasoning_content"] == "t"
    kept = {"format": "anthropic-claude-v1", "index": 0, "signature": "s"}
    assert told["reasoning_details"] == [
        {"type": "reasoning.text", "text": "t", **kept},
        {"type": "reasoning.encrypted", "data": "e", "index": 1},
    ]


def test_signatures_of_calls_go_as_google_has_them() -> None:
    [told] = messages(said(Role.ASSISTANT, ToolCall("a", "f", "{}", signature="s")))
    [call] = told["tool_calls"]
    assert call["extra_content"] == {"google": {"thought_signature": "s"}}


def test_what_is_another_dialect_s_own_is_named() -> None:
    chat = form(
        said(Role.USER, "Hi", Native(Dialect.MESSAGES, {}, meaning=False, name="hint")),
        said(Role.USER, Media(MediaKind.FILE, file_id="f1")),
        said(Role.USER, Media(MediaKind.FILE, url="https://p.test/a.pdf")),
        tools=(Native(Dialect.MESSAGES, {}, name="web_search"), Tool("f")),
        native=(Native(Dialect.MESSAGES, [], name="mcp_servers"),),
        unknown={"strange": 1},
    )
    lost = left_out(chat)
    assert set(lost.unsupported) == {
        "messages.file_id",
        "messages.url",
        "web_search",
        "mcp_servers",
    }
    assert set(lost.dropped) == {"hint", "strange"}
    written = write_chat_request(chat)
    assert written["tools"] == [{"type": "function", "function": {"name": "f"}}]
    assert not written.keys() & {"mcp_servers", "strange"}


def test_choices_of_tools() -> None:
    tools = (Tool("f"), Tool("g", custom={}))
    named = form(tools=tools, tool_choice=ToolChoice("required", "g"))
    custom = {"type": "custom", "custom": {"name": "g"}}
    assert write_chat_request(named)["tool_choice"] == custom
    allowed = form(tools=tools, tool_choice=ToolChoice("auto", allowed=("g",)))
    assert write_chat_request(allowed)["tool_choice"] == {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [custom]},
    }


# The adapter


def asked(chat: ChatRequest, **fields: Any) -> Request:
    """A request of another dialect's door whose form this is."""
    request = replace(REQUEST, door=chat.dialect, body={"model": "m"}, **fields)
    request.memo["form"] = chat
    return request


def build(provider: str, request: Request) -> tuple[WireRequest, dict[str, Any]]:
    wire = OpenAIAdapter(provider).build(request, ROUTE, "http://p.test/v1", None)
    return wire, msgspec.json.decode(wire.body)


def test_a_foreign_request_goes_out_the_provider_s_way() -> None:
    chat = form(
        said(Role.DEVELOPER, "x"),
        said(Role.ASSISTANT, Reasoning("t"), "y"),
        HI,
        max_tokens=5,
        seed=1,
        top_k=3,
        reasoning=ReasoningWish(effort="low"),
    )
    wire, body = build("mistral", asked(chat, stream=True))
    assert body["messages"] == [
        {"role": "system", "content": "x"},
        {"role": "assistant", "content": "y"},
        {"role": "user", "content": "Hi"},
    ]
    assert (body["random_seed"], body["max_tokens"], body["stream"]) == (1, 5, True)
    assert body["model"] == ROUTE.model
    assert set(wire.dropped) == {"top_k", "reasoning_effort", "messages.reasoning_content"}
    _, body = build("openai", asked(chat, stream=True))
    assert body["stream_options"] == {"include_usage": True}
    _, body = build("openai", asked(chat))
    assert not body.keys() & {"stream", "stream_options"}


def test_cache_control_goes_where_it_is_taken() -> None:
    chat = form(
        said(Role.USER, Text("Hi", cache=CACHE)),
        said(Role.TOOL, ToolResult("a", (Text("x", cache=CACHE),), cache=CACHE)),
        tools=(Tool("f", cache=CACHE),),
        cache=CACHE,
    )
    wire, body = build("openai", asked(chat))
    assert b"cache_control" not in wire.body
    assert body["messages"][0]["content"] == "Hi"
    assert "cache_control" in wire.dropped
    wire, body = build("openrouter", asked(chat))
    assert wire.body.count(b"cache_control") == 4
    assert wire.dropped == ()


@pytest.mark.parametrize("refuse", [False, True])
def test_what_cannot_be_carried_is_refused_by_name(refuse: bool) -> None:
    hint = form(
        unknown={"strange": 1}, tools=(Native(Dialect.MESSAGES, {}, meaning=False, name="n"),)
    )
    request = asked(hint, extra=Extra(refuse_unsupported=refuse))
    adapter = OpenAIAdapter("openai")
    names = ("strange", "n")
    assert adapter.unsupported(request, ROUTE) == (names if refuse else ())
    assert adapter.dropped(request, ROUTE) == (() if refuse else names)
    meant = asked(form(native=(Native(Dialect.MESSAGES, [], name="mcp_servers"),)))
    assert adapter.unsupported(meant, ROUTE) == ("mcp_servers",)
    with pytest.raises(UnsupportedParameter, match="mcp_servers"):
        build("openai", meant)
