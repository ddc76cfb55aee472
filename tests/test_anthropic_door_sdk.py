"""Anthropic's official SDK for Python against a gateway whose providers speak chat completions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic.types import Message

from tests.dialect_world import dialect_world, everything_received
from tests.gateway import KEY
from tests.sdk_cases import BODY_LIMIT, NARROW_KEY, STORY, World

WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather at a place",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


@pytest.fixture(scope="module")
def started() -> Iterator[World]:
    with dialect_world() as running:
        yield running


@pytest.fixture
def at(started: World) -> World:
    started.forget()
    return started


def client(world: World, **options: Any) -> anthropic.Anthropic:
    usual: dict[str, Any] = {"api_key": KEY, "max_retries": 0, "timeout": 60.0}
    return anthropic.Anthropic(base_url=world.gateway.url, **(usual | options))


def ask(model: str, *messages: Any, **fields: Any) -> dict[str, Any]:
    told = messages or ({"role": "user", "content": "Hello"},)
    return {"model": model, "max_tokens": 300, "messages": list(told), **fields}


def create(world: World, request: dict[str, Any], **options: Any) -> Message:
    with client(world, **options) as sdk:
        answer = sdk.messages.create(**request)
    assert isinstance(answer, Message)
    return answer


def stream(world: World, request: dict[str, Any], **options: Any) -> Message:
    with client(world, **options) as sdk, sdk.messages.stream(**request) as events:
        return events.get_final_message()


both = pytest.mark.parametrize("send", [create, stream])


@both
def test_an_answer(at: World, send: Any) -> None:
    answer = send(at, ask("story"))
    [text] = answer.content
    assert (text.type, text.text, answer.stop_reason) == ("text", STORY, "end_turn")
    assert answer.id.startswith("msg_")
    assert answer.usage.input_tokens > 0
    assert answer.usage.output_tokens > 0
    [received] = at.received("story")
    assert received["body"]["messages"] == [{"role": "user", "content": "Hello"}]


def test_the_request_id_is_the_trace(at: World) -> None:
    with client(at) as sdk:
        raw = sdk.messages.with_raw_response.create(**ask("m"))
    assert raw.parse()._request_id == raw.headers["x-signalbox-trace-id"]


@both
def test_a_tool_loop(at: World, send: Any) -> None:
    question = {"role": "user", "content": "What is the weather in Reykjavík?"}
    first = send(at, ask("m", question, tools=[WEATHER], tool_choice={"type": "any"}))
    assert first.stop_reason == "tool_use"
    [call] = [block for block in first.content if block.type == "tool_use"]
    assert (call.name, list(call.input)) == ("get_weather", ["city"])
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "Rain"}
    told = [
        question,
        {"role": "assistant", "content": [block.to_dict() for block in first.content]},
        {"role": "user", "content": [result]},
    ]
    send(at, ask("m", *told, tools=[WEATHER]))
    before, after = at.received("m")
    assert before["body"]["tools"][0]["function"]["parameters"] == WEATHER["input_schema"]
    assert before["body"]["tool_choice"] == "required"
    _, assistant, tool = after["body"]["messages"]
    assert assistant["tool_calls"][0]["id"] == tool["tool_call_id"] == call.id
    assert (tool["role"], tool["content"]) == ("tool", "Rain")


def test_a_broken_stream_goes_on(at: World) -> None:
    answer = stream(at, ask("torn-and-mended"))
    assert [block.to_dict()["text"] for block in answer.content] == [STORY]
    assert answer.stop_reason == "end_turn"


@pytest.mark.parametrize("model", ["breaking", "torn"])
def test_an_error_in_the_middle_of_a_stream_is_raised(at: World, model: str) -> None:
    with pytest.raises(anthropic.APIStatusError) as raised:
        stream(at, ask(model))
    assert raised.value.type in ("api_error", "overloaded_error")
    assert raised.value.error_code


ERRORS: dict[str, tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = {
    "unknown key": (
        ask("m"),
        {"api_key": "nobody-s-key"},
        anthropic.AuthenticationError,
        "authentication_error",
    ),
    "not allowed": (
        ask("standby"),
        {"api_key": NARROW_KEY},
        anthropic.PermissionDeniedError,
        "permission_error",
    ),
    "unknown model": (ask("n"), {}, anthropic.NotFoundError, "not_found_error"),
    "wrong type": (
        ask("m", extra_body={"temperature": "hot"}),
        {},
        anthropic.BadRequestError,
        "invalid_request_error",
    ),
    "server tool": (
        ask("m", tools=[{"type": "web_search_20250305", "name": "web_search"}]),
        {},
        anthropic.BadRequestError,
        "invalid_request_error",
    ),
    "large body": (
        ask("m", {"role": "user", "content": "x" * BODY_LIMIT}),
        {},
        anthropic.APIStatusError,
        "request_too_large",
    ),
    "long prompt": (ask("long"), {}, anthropic.BadRequestError, "invalid_request_error"),
    "rate limit": (ask("limited"), {}, anthropic.RateLimitError, "rate_limit_error"),
    "unreadable": (ask("garbled"), {}, anthropic.InternalServerError, "api_error"),
    "outage": (ask("down"), {}, anthropic.APIStatusError, "overloaded_error"),
    "silence": (ask("silent"), {}, anthropic.APIStatusError, "timeout_error"),
}


@pytest.mark.parametrize("case", ERRORS)
@both
def test_errors_have_the_classes_and_types_of_the_vendor(at: World, send: Any, case: str) -> None:
    request, options, kind, type_ = ERRORS[case]
    with pytest.raises(kind) as raised:
        send(at, request, **options)
    error = raised.value
    assert isinstance(error, anthropic.APIStatusError)
    assert (error.type, error.request_id) == (type_, error.response.headers["x-request-id"])
    assert isinstance(error.body, dict)
    assert (error.body["type"], error.body["request_id"]) == ("error", error.request_id)
    if case == "long prompt":
        assert "prompt is too long" in error.message


def test_a_count_is_estimated_where_no_route_counts(at: World) -> None:
    with client(at) as sdk:
        short = sdk.messages.count_tokens(model="m", messages=ask("m")["messages"])
        raw = sdk.messages.with_raw_response.count_tokens(
            model="m", messages=ask("m")["messages"], tools=[WEATHER], system="Be brief. " * 10
        )
        with pytest.raises(anthropic.NotFoundError):
            sdk.messages.count_tokens(model="n", messages=ask("m")["messages"])
    assert raw.headers["x-signalbox-estimated"] == "true"
    assert raw.parse().input_tokens > short.input_tokens + 30
    assert everything_received(at) == []


# A provider of the same dialect


@both
def test_the_own_dialect_passes_through(at: World, send: Any) -> None:
    more = {"metadata": {"user_id": "u"}, "extra_body": {"diagnostics": {"deep": [1, None]}}}
    answer = send(at, ask("own-anthropic", **more))
    assert answer.content[0].type == "text"
    assert answer.usage.output_tokens > 0
    [received] = everything_received(at)
    assert received["path"].endswith("/messages")
    assert received["body"]["diagnostics"] == {"deep": [1, None]}
    assert received["body"]["metadata"] == {"user_id": "u"}


def test_a_provider_s_own_count_is_told(at: World) -> None:
    with client(at) as sdk:
        raw = sdk.messages.with_raw_response.count_tokens(
            model="own-anthropic", messages=ask("m")["messages"]
        )
    assert "x-signalbox-estimated" not in raw.headers
    assert raw.parse().input_tokens > 0
    [received] = everything_received(at)
    assert received["path"].endswith("/messages/count_tokens")
    trace = at.gateway.trace(raw.headers["x-request-id"])
    assert trace["status"] == 200
    assert not float(trace["cost"] or 0)
