"""Messages requests: what is refused, and what the gateway's own model holds of the others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import fields

from signalbox.adapters.anthropic_body import outline_of, read_messages_body
from signalbox.adapters.anthropic_request_reader import read_messages_request
from signalbox.adapters.anthropic_request_writer import write_messages_request
from signalbox.adapters.chat import (
    ChatRequest,
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
from signalbox.types import Dialect, Route
from tests.recorded_requests import recorded_requests

CACHE = {"type": "ephemeral"}


def ask(*messages: Any, **more: Any) -> dict[str, Any]:
    told = messages or ({"role": "user", "content": "Hi"},)
    return {"model": "m", "max_tokens": 10, "messages": list(told), **more}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def read(body: dict[str, Any]) -> ChatRequest:
    return read_messages_request(read_messages_body(json.dumps(body).encode()))


def parts(*blocks: Any, role: str = "user") -> tuple[Any, ...]:
    [message] = read(ask({"role": role, "content": list(blocks)})).messages
    return message.parts


# Messages


def test_instructions_stand_first_and_results_of_tools_apart() -> None:
    form = read(
        ask(
            {"role": "user", "content": "What is it?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm", "signature": "s"},
                    {"type": "redacted_thinking", "data": "xyz"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1, None]}},
                ],
            },
            user(
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "5"}],
                    "is_error": False,
                    "cache_control": CACHE,
                },
                {"type": "text", "text": "And?"},
            ),
            {"role": "system", "content": "From here on in French."},
            system=[{"type": "text", "text": "Be brief.", "cache_control": CACHE}],
        )
    )
    anthropic = ReasoningFormat.ANTHROPIC
    assert form.messages == (
        Message(Role.SYSTEM, (Text("Be brief.", cache=CACHE),)),
        Message(Role.USER, (Text("What is it?"),)),
        Message(
            Role.ASSISTANT,
            (
                Reasoning("Hm", signature="s", format=anthropic),
                Reasoning(encrypted="xyz", format=anthropic),
                ToolCall("t1", "f", '{"a":[1,null]}'),
            ),
        ),
        Message(Role.TOOL, (ToolResult("t1", (Text("5"),), is_error=False, cache=CACHE),)),
        Message(Role.USER, (Text("And?"),)),
        Message(Role.SYSTEM, (Text("From here on in French."),)),
    )


def image(**source: str) -> dict[str, Any]:
    return {"type": "image", "source": source}


def document(title: str | None = None, **source: Any) -> dict[str, Any]:
    return {"type": "document", "source": source} | ({"title": title} if title else {})


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (
            image(type="base64", media_type="image/png", data="QQ=="),
            Media(MediaKind.IMAGE, "image/png", data="QQ=="),
        ),
        (
            image(type="url", url="https://a.test/b.png"),
            Media(MediaKind.IMAGE, url="https://a.test/b.png"),
        ),
        (
            image(type="url", url="data:image/gif;base64,QQ=="),
            Media(MediaKind.IMAGE, "image/gif", data="QQ=="),
        ),
        (image(type="file", file_id="file_1"), Media(MediaKind.IMAGE, file_id="file_1")),
        (
            document("T", type="base64", media_type="application/pdf", data="QQ=="),
            Media(MediaKind.FILE, "application/pdf", data="QQ==", name="T", extra={"title": "T"}),
        ),
        (
            document(type="url", url="https://a.test/b.pdf"),
            Media(MediaKind.FILE, "application/pdf", url="https://a.test/b.pdf"),
        ),
        (
            document(type="text", media_type="text/plain", data="words"),
            Media(MediaKind.FILE, "text/plain", text="words"),
        ),
        (
            document(type="content", content="words"),
            Media(
                MediaKind.FILE,
                "text/plain",
                text="words",
                extra={"source": {"type": "content", "content": "words"}},
            ),
        ),
    ],
)
def test_pictures_and_documents(block: dict[str, Any], expected: Media) -> None:
    assert parts(block) == (expected,)


def test_what_only_anthropic_knows_is_native() -> None:
    found = {"type": "search_result", "source": "s", "title": "t", "content": []}
    used = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    mixed = document(type="content", content=[image(type="file", file_id="f")])
    assert parts(found, mixed) == (
        Native(Dialect.MESSAGES, found, True, "search_result"),
        Native(Dialect.MESSAGES, mixed, True, "document"),
    )
    assert parts(used, role="assistant") == (
        Native(Dialect.MESSAGES, used, False, "server_tool_use"),
    )


def test_a_result_holds_other_blocks_as_the_json_that_they_are() -> None:
    reference = {"type": "tool_reference", "tool_name": "f"}
    [result] = parts({"type": "tool_result", "tool_use_id": "t", "content": [reference]})
    assert result.content == (Text('{"type":"tool_reference","tool_name":"f"}'),)


def test_citations_keep_what_they_are() -> None:
    citation = {"type": "web_search_result_location", "url": "u", "title": "t", "cited_text": "c"}
    [text] = parts({"type": "text", "text": "x", "citations": [citation]})
    [told] = text.citations
    assert (told.url, told.title, told.quote, told.native) == ("u", "t", "c", citation)


# Settings


def test_tools_and_choice() -> None:
    schema = {"type": "object", "properties": {}}
    own = {"name": "f", "description": "d", "input_schema": schema, "strict": True}
    server = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    choice = {"type": "tool", "name": "f", "disable_parallel_tool_use": True}
    form = read(ask(tools=[{**own, "defer_loading": True}, server], tool_choice=choice))
    assert form.tools == (
        Tool("f", "d", schema, True),
        Native(Dialect.MESSAGES, server, True, "web_search_20250305"),
    )
    assert form.tool_choice == ToolChoice("required", name="f")
    assert form.parallel_tool_calls is False
    assert form.native == (Native(Dialect.MESSAGES, True, False, "tools[0].defer_loading"),)


@pytest.mark.parametrize(
    ("choice", "expected"),
    [("auto", ToolChoice("auto")), ("none", ToolChoice("none")), ("any", ToolChoice("required"))],
)
def test_modes_of_tool_choice(choice: str, expected: ToolChoice) -> None:
    assert read(ask(tool_choice={"type": choice})).tool_choice == expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, None),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            ReasoningWish(enabled=True, max_tokens=2000),
        ),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}},
            ReasoningWish(enabled=True, exclude=True),
        ),
        ({"thinking": {"type": "disabled"}}, ReasoningWish(enabled=False)),
        ({"output_config": {"effort": "high"}}, ReasoningWish(effort="high")),
    ],
)
def test_thinking(more: dict[str, Any], expected: ReasoningWish | None) -> None:
    assert read(ask(**more)).reasoning == expected


@pytest.mark.parametrize("old", [False, True])
def test_structured_outputs_by_both_names(old: bool) -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    more = {"output_format": wanted} if old else {"output_config": {"format": wanted}}
    assert read(ask(**more)).response_format == JsonSchema({"type": "object"})


def test_other_fields() -> None:
    form = read(
        ask(
            stream=True,
            top_k=5,
            stop_sequences=["END"],
            metadata={"user_id": "u", "team": "t"},
            service_tier="standard_only",
            cache_control=CACHE,
            mcp_servers=[{"name": "n"}],
            context_management={"edits": []},
            speed="fast",
            output_config={"task_budget": 1},
        )
    )
    assert (form.stream, form.top_k, form.stop) == (True, 5, ("END",))
    assert (form.user, form.metadata) == ("u", {"team": "t"})
    assert (form.service_tier, form.cache) == ("default", CACHE)
    assert [(native.name, native.meaning) for native in form.native] == [
        ("mcp_servers", True),
        ("context_management", False),
    ]
    assert form.unknown == {"speed": "fast", "output_config.task_budget": 1}


def test_the_outline() -> None:
    outline = outline_of(
        read_messages_body(
            json.dumps(
                ask(
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "Well"},
                    system="S",
                    metadata={"user_id": "user_1_session_2"},
                )
            ).encode()
        )
    )
    assert (outline.model, outline.max_tokens, outline.begun) == ("m", 10, True)
    assert (outline.plain, outline.stream, outline.include_usage) == (True, False, True)
    assert outline.opening == (("system", "S"), ("user", "Hi"))
    assert outline.user == outline.cache_key == "user_1_session_2"


# Recorded requests

CHANGED = {
    # It was refused for a ceiling that its thinking alone uses up; the writer makes room.
    "anthropic-400-bad-param": {"max_tokens"},
    # A field of a tool is named by its path, which is no field of a body.
    "anthropic-stream-server-tool": {"native", "unknown"},
    # `display: summarized` is what is done unasked.
    "anthropic-stream-thinking-tool": {"reasoning"},
}
"""Fields that come back in another form."""


@pytest.mark.parametrize("recorded", recorded_requests("anthropic", "/messages"))
def test_what_is_read_of_a_recorded_request_is_written_again(
    recorded: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """Read, written for Anthropic and read again, a request says the same."""
    body = recorded["body"]
    body.setdefault("max_tokens", 4096)
    form = read(body)
    written = write_messages_request(form, Route("anthropic", body["model"]))
    assert not written.unsupported
    again = read({**written.body, "model": form.model, "stream": form.stream})
    for field in fields(ChatRequest):
        if field.name not in CHANGED.get(request.node.callspec.id, set()) | written.dropped.keys():
            assert getattr(again, field.name) == getattr(form, field.name), field.name
