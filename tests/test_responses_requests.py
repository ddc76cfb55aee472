"""Requests of the Responses API: what a client may send, what it means, how it is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.adapters.chat import (
    ChatRequest,
    JsonSchema,
    Media,
    MediaKind,
    Native,
    Reasoning,
    ReasoningFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from signalbox.adapters.door import BadRequest
from signalbox.adapters.provider_state import references, without_reasoning
from signalbox.adapters.responses import ResponsesAdapter
from signalbox.adapters.responses_door import ResponsesDoor
from signalbox.adapters.responses_request_writer import write_responses_request
from signalbox.errors import UnsupportedParameter
from signalbox.types import Dialect, Extra, Request, Route, Secret
from tests.recordings import RECORDED
from tests.responses_wire import REQUEST, ROUTE, TRANSLATED

DOOR = ResponsesDoor()
USER = {"type": "message", "role": "user", "content": "Hi"}


def read(**fields: Any) -> dict[str, Any]:
    return DOOR.read_body(json.dumps({"model": "m", "input": "Hi", **fields}).encode())


def form(**fields: Any) -> ChatRequest:
    found = DOOR.form(replace(REQUEST, body=read(**fields)))
    assert isinstance(found, ChatRequest)
    return found


def wrong(**fields: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read(**fields)
    return caught.value


def sent(request: Request, provider: str = "openai", **route: Any) -> dict[str, Any]:
    wire = ResponsesAdapter(provider).build(
        request, replace(ROUTE, **route), "http://p.test/v1/", Secret("sk-1")
    )
    assert wire.url == "http://p.test/v1/responses"
    assert dict(wire.headers)["authorization"] == "Bearer sk-1"
    body = json.loads(wire.body)
    assert isinstance(body, dict)
    return body


def chat(**fields: Any) -> Request:
    return replace(TRANSLATED, body={**TRANSLATED.body, **fields}, stream=True)


# ── reading ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"input": None}, "input"),
        ({"input": 3}, "input"),
        ({"input": ["Hi"]}, "input[0]"),
        ({"input": [{"role": "bard", "content": ""}]}, "input[0].role"),
        ({"input": [{"type": 3}]}, "input[0].type"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{}]}]}, "input[0].content[0]"),
        ({"input": [{"type": "item_reference"}]}, "input[0].id"),
        ({"input": [{"type": "function_call_output", "output": ""}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call", "call_id": "1", "name": "f"}]}, "input[0].arguments"),
        ({"input": [{"type": "reasoning", "summary": "s"}]}, "input[0].summary"),
        ({"tools": {}}, "tools"),
        ({"tools": [{}]}, "tools[0]"),
        ({"tools": [{"type": "function", "name": "f", "parameters": 1}]}, "tools[0].parameters"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"reasoning": {"effort": 3}}, "reasoning.effort"),
        ({"include": [1]}, "include"),
        ({"store": "yes"}, "store"),
        ({"temperature": True}, "temperature"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(fields: dict[str, Any], param: str) -> None:
    error = wrong(**fields)
    assert error.param == param
    assert "expected" in str(error)


def test_an_answer_is_stored_unless_that_is_forbidden() -> None:
    assert DOOR.outline(read()).stored
    assert DOOR.outline(read(store=True)).stored
    assert not DOOR.outline(read(store=False)).stored


def test_a_conversation_becomes_turns() -> None:
    items = [
        {"role": "developer", "content": "Be kind."},
        USER,
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Which?"}],
            "encrypted_content": "blob",
        },
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "A"}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {
            "type": "custom_tool_call_output",
            "call_id": "c2",
            "output": [{"type": "input_image", "image_url": "data:image/png;base64,aGk="}],
        },
        {"type": "item_reference", "id": "fc_1"},
        USER,
    ]
    messages = form(input=items, instructions="Be short.").messages
    assert [m.role for m in messages] == [
        Role.SYSTEM,
        Role.DEVELOPER,
        Role.USER,
        Role.ASSISTANT,
        Role.TOOL,
        Role.USER,
    ]
    assert messages[3].parts == (
        Reasoning("Which?", True, None, "blob", "rs_1", ReasoningFormat.OPENAI),
        Text("A"),
        ToolCall("c1", "f", "{}"),
        ToolCall("c2", "g", "x", custom=True),
    )
    picture = Media(MediaKind.IMAGE, "image/png", data="aGk=")
    assert messages[4].parts == (
        ToolResult("c1", (Text("1"),)),
        ToolResult("c2", (picture,), custom=True),
    )


def test_what_only_this_dialect_has_is_native_and_keeps_its_name() -> None:
    found = form(
        tools=[{"type": "web_search"}, {"type": "function", "name": "f"}],
        input=[USER, {"type": "item_reference", "id": "msg_1"}],
        previous_response_id="resp_1",
        background=True,
        tool_choice={"type": "web_search"},
        store=True,
        truncation="auto",
        novelty=1,
    )
    assert [t.name for t in found.tools] == ["web_search", "f"]
    names = [native.name for native in found.native]
    assert names == ["previous_response_id", "background", "tool_choice"]
    [_, turn] = found.messages
    assert isinstance(turn.parts[0], Native)
    assert found.unknown == {"novelty": 1, "store": True, "truncation": "auto"}


def test_wishes_are_read() -> None:
    schema = {"type": "object"}
    found = form(
        text={"format": {"type": "json_schema", "name": "n", "schema": schema}, "verbosity": "low"},
        reasoning={"effort": "low", "summary": "auto"},
        tool_choice={
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "function", "name": "f"}],
        },
        include=["message.output_text.logprobs"],
        top_logprobs=2,
        max_output_tokens=9,
    )
    assert found.response_format == JsonSchema(schema, "n")
    assert found.verbosity == "low"
    assert found.tool_choice == ToolChoice("required", allowed=("f",))
    assert (found.logprobs, found.top_logprobs, found.max_tokens) == (True, 2, 9)
    assert found.reasoning is not None
    assert (found.reasoning.effort, found.reasoning.summary) == ("low", "auto")


# ── there and back ────────────────────────────────────────────────────────────────────────────

TEXTS = st.text(max_size=5)
IDS = st.text("abc", min_size=1, max_size=4)
PART = st.one_of(
    TEXTS.map(lambda t: {"type": "input_text", "text": t}),
    st.just({"type": "input_image", "image_url": "https://a.test/b.png", "detail": "low"}),
    st.just({"type": "input_image", "file_id": "file-1", "detail": "auto"}),
    st.just({"type": "input_file", "filename": "a.pdf", "file_data": "data:a/b;base64,aGk="}),
    st.just({"type": "input_file", "file_url": "https://a.test/b.pdf"}),
)
ITEM = st.one_of(
    st.builds(lambda c: {**USER, "content": c}, TEXTS | st.lists(PART, min_size=1, max_size=3)),
    st.builds(lambda t: {"role": "assistant", "content": t}, TEXTS),
    st.builds(
        lambda i, n, a: {"type": "function_call", "call_id": i, "name": n, "arguments": a or "{}"},
        IDS,
        IDS,
        TEXTS,
    ),
    st.builds(
        lambda i, o: {"type": "function_call_output", "call_id": i, "output": o},
        IDS,
        st.text(min_size=1, max_size=4),
    ),
    st.builds(
        lambda i, t, e: {
            "type": "reasoning",
            "id": i,
            "summary": [{"type": "summary_text", "text": text} for text in t],
            "encrypted_content": e,
        },
        IDS,
        st.lists(st.text(min_size=1, max_size=3), max_size=2),
        IDS,
    ),
)


def comparable(found: ChatRequest) -> ChatRequest:
    """Texts that follow each other are one text."""
    messages = []
    for message in found.messages:
        parts: list[Any] = []
        for part in message.parts:
            if parts and isinstance(part, Text) and isinstance(parts[-1], Text):
                parts[-1] = Text(parts[-1].text + part.text)
            else:
                parts.append(part)
        messages.append(replace(message, parts=tuple(parts)))
    kept = {name: v for name, v in found.unknown.items() if name not in ("store", "truncation")}
    return replace(found, messages=tuple(messages), unknown=kept)


def back(found: ChatRequest) -> ChatRequest:
    body = DOOR.read_body(json.dumps(write_responses_request(found)).encode())
    again = DOOR.form(replace(REQUEST, body=body))
    assert isinstance(again, ChatRequest)
    return again


@settings(max_examples=150)
@given(st.lists(ITEM, min_size=1, max_size=6), st.booleans())
def test_what_is_written_means_what_was_read(items: list[dict[str, Any]], stream: bool) -> None:
    found = form(input=items, stream=stream, temperature=0.5, tool_choice="required")
    ids = [i["id"] for i in items if "id" in i]
    if len(ids) == len(set(ids)):
        assert comparable(back(found)) == comparable(found)


def recorded_bodies() -> list[Any]:
    paths = sorted((RECORDED / "open").glob("*-responses-*.json"))
    stored = [(path.stem, json.loads(path.read_text())["request"]["body"]) for path in paths]
    found = [pytest.param(body, id=name) for name, body in stored if body]
    absent = pytest.param(None, marks=pytest.mark.skip(reason="no recordings"), id="absent")
    return found or [absent]


@pytest.mark.parametrize("body", recorded_bodies())
def test_a_recorded_request_is_carried_whole(body: dict[str, Any]) -> None:
    found = form(**body)
    again = back(found)
    strict = {t.name: bool(t.strict) for t in found.tools if isinstance(t, Tool)}
    assert strict == {t.name: t.strict for t in again.tools if isinstance(t, Tool)}
    same = replace(comparable(again), tools=())
    assert same == replace(comparable(found), tools=())
    request = replace(REQUEST, body=read(**body))
    assert sent(request, model=body["model"]) == {**read(**body), "model": body["model"]}


NAMES = (
    "type role content id call_id name arguments input output summary text format schema tools "
    "mode effort image_url file_data input_audio data annotations"
)
TOP = (
    "input tools tool_choice text reasoning include store truncation background conversation "
    "prompt metadata instructions previous_response_id"
)
ITEM_KINDS = "message reasoning function_call function_call_output item_reference web_search_call"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES.split()),
            inner,
            max_size=5,
        )
    ),
    max_leaves=10,
)
FIELDS = st.sampled_from(TOP.split())
KINDS = st.sampled_from(ITEM_KINDS.split())


@settings(max_examples=300)
@given(st.dictionaries(FIELDS, JSON, max_size=4), st.lists(st.tuples(KINDS, JSON), max_size=3))
def test_any_json_is_read_or_named_wrong(fields: dict[str, Any], items: list[Any]) -> None:
    made = [
        {"role": "user", "content": "", "call_id": "", "name": "", "arguments": "", "output": ""}
        | (value if isinstance(value, dict) else {})
        | {"type": kind}
        for kind, value in items
    ]
    body = {"model": "m", "input": made or "Hi", **fields}
    try:
        read_body = DOOR.read_body(json.dumps(body).encode())
    except BadRequest:
        return
    outline = DOOR.outline(read_body)
    assert outline.model == "m"
    found = DOOR.form(replace(REQUEST, body=read_body))
    assert isinstance(found, ChatRequest)
    json.dumps(write_responses_request(found))
    references(read_body, Dialect.RESPONSES)
    without_reasoning(read_body, dialect=Dialect.RESPONSES)
    sent(replace(REQUEST, body=read_body))


# ── writing ───────────────────────────────────────────────────────────────────────────────────


def test_the_same_dialect_goes_out_as_it_came() -> None:
    body = read(novelty=[1], extra={"tags": []}, session_id="s", previous_response_id="r")
    request = replace(REQUEST, body=body, defaults={"max_tokens": 7, "temperature": 0.1})
    assert sent(request, params={"service_tier": "flex"}) == {
        "model": "m-2024",
        "input": "Hi",
        "novelty": [1],
        "previous_response_id": "r",
        "max_output_tokens": 7,
        "temperature": 0.1,
        "service_tier": "flex",
    }


def test_a_chat_is_written_with_all_that_it_says() -> None:
    tool = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    body = sent(
        chat(
            tools=[{"type": "function", "function": tool}],
            tool_choice={"type": "function", "function": {"name": "f"}},
            max_completion_tokens=100,
            reasoning_effort="low",
            response_format={"type": "json_object"},
            user="u",
        )
    )
    assert body["tools"] == [{"type": "function", **tool, "strict": False}]
    assert body["tool_choice"] == {"type": "function", "name": "f"}
    assert body["max_output_tokens"] == 100
    assert body["reasoning"] == {"effort": "low", "summary": "auto"}
    assert body["text"] == {"format": {"type": "json_object"}}
    assert (body["user"], body["store"], body["stream"]) == ("u", False, True)


def test_what_the_api_has_no_field_for_is_named() -> None:
    adapter = ResponsesAdapter("openai")
    assert adapter.unsupported(chat(stop=["."]), ROUTE) == ("stop",)
    assert adapter.unsupported(chat(n=2), ROUTE) == ("n",)
    hints = chat(seed=3, presence_penalty=0.5, novelty=1)
    assert adapter.unsupported(hints, ROUTE) == ()
    assert set(adapter.dropped(hints, ROUTE)) == {"seed", "presence_penalty", "novelty"}
    strict = replace(hints, extra=Extra(refuse_unsupported=True))
    assert set(adapter.unsupported(strict, ROUTE)) == {"seed", "presence_penalty", "novelty"}
    with pytest.raises(UnsupportedParameter):
        sent(chat(n=2))


@pytest.mark.parametrize("provider", ["groq", "openrouter", "ollama", "vllm"])
def test_who_keeps_nothing_cannot_be_referred_to(provider: str) -> None:
    adapter, route = ResponsesAdapter(provider), Route(provider=provider, model="m")
    request = replace(REQUEST, body=read(previous_response_id="r", store=True))
    assert adapter.unsupported(request, route) == ("previous_response_id",)
    assert adapter.dropped(request, route) == ("store",)
    assert adapter.unsupported(replace(REQUEST, body=read()), route) == ()


def test_a_beginning_is_the_last_item() -> None:
    wire = ResponsesAdapter("vllm").build(REQUEST, ROUTE, "http://p", None, prefill="Gre ")
    last = {"type": "message", "role": "assistant", "content": "Gre"}
    assert json.loads(wire.body)["input"] == [USER, last]
