"""Google's official SDK for Python against a gateway whose providers speak chat completions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from tests.dialect_world import dialect_world, everything_received
from tests.doors import door_client
from tests.gateway import KEY
from tests.sdk_cases import BODY_LIMIT, NARROW_KEY, STORY, World

WEATHER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="get_weather",
            description="The weather at a place",
            parameters=types.Schema(
                type=types.Type.OBJECT,
                properties={"city": types.Schema(type=types.Type.STRING)},
                required=["city"],
            ),
        )
    ]
)
NO_CALLING = types.AutomaticFunctionCallingConfig(disable=True)


@pytest.fixture(scope="module")
def started() -> Iterator[World]:
    with dialect_world() as running:
        yield running


@pytest.fixture
def at(started: World) -> World:
    started.forget()
    return started


def client(world: World, key: str = KEY) -> genai.Client:
    options = types.HttpOptions(base_url=world.gateway.url, timeout=60_000)
    return genai.Client(api_key=key, http_options=options)


Answer = list[types.GenerateContentResponse]


def create(world: World, model: str, contents: Any, key: str = KEY, **config: Any) -> Answer:
    with client(world, key) as sdk:
        given = types.GenerateContentConfig(**config)
        return [sdk.models.generate_content(model=model, contents=contents, config=given)]


def stream(world: World, model: str, contents: Any, key: str = KEY, **config: Any) -> Answer:
    with client(world, key) as sdk:
        given = types.GenerateContentConfig(**config)
        return list(
            sdk.models.generate_content_stream(model=model, contents=contents, config=given)
        )


def parts_of(answer: Answer) -> list[types.Part]:
    return [
        part
        for chunk in answer
        for candidate in chunk.candidates or ()
        if candidate.content
        for part in candidate.content.parts or ()
    ]


def text_of(answer: Answer) -> str:
    return "".join(part.text or "" for part in parts_of(answer))


def finish_of(answer: Answer) -> list[types.FinishReason]:
    found = (c.finish_reason for chunk in answer for c in chunk.candidates or ())
    return [reason for reason in found if reason is not None]


both = pytest.mark.parametrize("send", [create, stream])


@both
def test_an_answer(at: World, send: Any) -> None:
    answer = send(at, "story", "Hello", system_instruction="Be brief.")
    assert text_of(answer) == STORY
    assert finish_of(answer) == [types.FinishReason.STOP]
    usage = answer[-1].usage_metadata
    assert usage is not None
    assert usage.prompt_token_count
    assert usage.candidates_token_count
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
    [received] = at.received("story")
    assert received["body"]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
    ]
    assert received["body"].get("stream", False) is (send is stream)


@both
def test_a_tool_loop(at: World, send: Any) -> None:
    question = types.UserContent("What is the weather in Reykjavík?")
    forced = types.ToolConfig(
        function_calling_config=types.FunctionCallingConfig(
            mode=types.FunctionCallingConfigMode.ANY
        )
    )
    config: dict[str, Any] = {"tools": [WEATHER], "automatic_function_calling": NO_CALLING}
    first = send(at, "m", question, tool_config=forced, **config)
    [call] = [part.function_call for part in parts_of(first) if part.function_call]
    assert (call.name, list(call.args or ())) == ("get_weather", ["city"])
    assert finish_of(first) == [types.FinishReason.STOP]
    result = types.Part.from_function_response(name="get_weather", response={"result": "Rain"})
    told = [question, types.ModelContent(parts_of(first)), types.UserContent([result])]
    send(at, "m", told, **config)
    before, after = at.received("m")
    function = before["body"]["tools"][0]["function"]
    assert function["parameters"]["properties"] == {"city": {"type": "string"}}
    assert before["body"]["tool_choice"] == "required"
    _, assistant, tool = after["body"]["messages"]
    assert assistant["tool_calls"][0]["id"] == tool["tool_call_id"] == call.id
    assert (tool["role"], tool["content"]) == ("tool", "Rain")


def test_a_broken_stream_goes_on(at: World) -> None:
    answer = stream(at, "torn-and-mended", "Hello")
    assert text_of(answer) == STORY
    assert finish_of(answer) == [types.FinishReason.STOP]


@pytest.mark.parametrize("model", ["breaking", "torn"])
def test_an_error_in_the_middle_of_a_stream_is_raised(at: World, model: str) -> None:
    with pytest.raises(errors.ServerError) as raised:
        stream(at, model, "Hello")
    assert raised.value.status in ("UNAVAILABLE", "INTERNAL", "DEADLINE_EXCEEDED")


ERRORS: dict[str, tuple[str, dict[str, Any], type[errors.APIError], int, str]] = {
    "unknown key": ("m", {"key": "nobody-s-key"}, errors.ClientError, 401, "UNAUTHENTICATED"),
    "not allowed": ("standby", {"key": NARROW_KEY}, errors.ClientError, 403, "PERMISSION_DENIED"),
    "unknown model": ("n", {}, errors.ClientError, 404, "NOT_FOUND"),
    "search": (
        "m",
        {"tools": [types.Tool(google_search=types.GoogleSearch())]},
        errors.ClientError,
        400,
        "INVALID_ARGUMENT",
    ),
    "long prompt": ("long", {}, errors.ClientError, 400, "INVALID_ARGUMENT"),
    "large body": (
        "m",
        {"system_instruction": "x" * BODY_LIMIT},
        errors.ClientError,
        413,
        "INVALID_ARGUMENT",
    ),
    "rate limit": ("limited", {}, errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
    "unreadable": ("garbled", {}, errors.ServerError, 502, "UNAVAILABLE"),
    "outage": ("down", {}, errors.ServerError, 503, "UNAVAILABLE"),
    "silence": ("silent", {}, errors.ServerError, 504, "DEADLINE_EXCEEDED"),
}


@pytest.mark.parametrize("case", ERRORS)
@both
def test_errors_have_the_classes_and_statuses_of_the_vendor(
    at: World, send: Any, case: str
) -> None:
    model, config, kind, code, status = ERRORS[case]
    with pytest.raises(kind) as raised:
        send(at, model, "Hello", **config)
    error = raised.value
    assert (error.code, error.status) == (code, status)
    [info, *others] = error.details["error"]["details"]
    assert info["reason"].isupper()
    assert info["metadata"]["trace_id"]
    retries = [other["retryDelay"] for other in others if "retryDelay" in other]
    assert all(retry.endswith("s") for retry in retries)
    assert bool(retries) == (case == "rate limit")


def test_what_is_wrong_is_named_by_its_path(at: World) -> None:
    with door_client(at.gateway.url) as http:
        path = "/v1beta/models/m:generateContent"
        answer = http.post(path, json={"contents": [5]}, headers={"x-goog-api-key": KEY})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert error["details"][1]["fieldViolations"][0]["field"] == "contents[0]"


def test_a_count_is_estimated_where_no_route_counts(at: World) -> None:
    with client(at) as sdk:
        short = sdk.models.count_tokens(model="m", contents="Hello")
        long = sdk.models.count_tokens(model="m", contents="Hello " * 40)
    assert short.total_tokens is not None
    assert long.total_tokens is not None
    assert 40 < long.total_tokens - short.total_tokens < 80
    assert everything_received(at) == []


# A provider of the same dialect


@both
def test_the_own_dialect_passes_through(at: World, send: Any) -> None:
    answer = send(at, "own-gemini", "Hello", safety_settings=[], labels=None, top_k=3)
    assert text_of(answer)
    [received] = everything_received(at)
    method = "streamGenerateContent" if send is stream else "generateContent"
    assert received["path"].partition("?")[0].endswith(f"models/own-gemini:{method}")
    assert received["body"]["generationConfig"] == {"topK": 3.0}


def test_a_provider_s_own_count_is_told(at: World) -> None:
    with client(at) as sdk:
        counted = sdk.models.count_tokens(model="own-gemini", contents="Hello")
    assert counted.total_tokens
    assert counted.sdk_http_response is not None
    headers = counted.sdk_http_response.headers or {}
    assert "x-signalbox-estimated" not in headers
    [received] = everything_received(at)
    assert "countTokens" in received["path"]
