"""What the simulator answers where no fault is asked for."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI, RateLimitError
from openai.types.chat import (
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageParam,
    ChatCompletionStreamOptionsParam,
)

from signalbox.simulator import (
    Match,
    Rule,
    Scenario,
    Step,
)
from signalbox.simulator.schema_example import MAX_VALUES, schema_example
from tests.simulator_client import Chat, chat, simulator_process, start


@pytest.fixture(scope="module")
def sdk() -> Iterator[OpenAI]:
    """OpenAI's client at a simulator that runs as a process of its own."""
    with simulator_process() as url, OpenAI(api_key="k", base_url=url, max_retries=0) as client:
        yield client


def test_the_official_sdk_reads_plain_and_streamed_answers(sdk: OpenAI) -> None:
    hello: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
    plain = sdk.chat.completions.create(model="m", messages=hello)
    options: ChatCompletionStreamOptionsParam = {"include_usage": True}
    with sdk.chat.completions.create(
        model="m", messages=hello, n=2, stream=True, stream_options=options
    ) as stream:
        chunks = list(stream)
    assert plain.model == "m"
    assert "simulated" in str(plain.choices[0].message.content)
    assert "“hello”" in str(plain.choices[0].message.content)
    assert plain.choices[0].finish_reason == "stop"
    texts = ["", ""]
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        texts[choice.index] += choice.delta.content or ""
    assert all("simulated" in text for text in texts)
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1].choices == []


WEATHER: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
                "unit": {"enum": ["c", "f"]},
            },
            "required": ["city", "days", "unit"],
        },
    },
}


def test_the_official_sdk_reads_tool_calls_whole_and_in_fragments(sdk: OpenAI) -> None:
    ask: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Oslo's weather?"}]
    whole = sdk.chat.completions.create(model="m", messages=ask, tools=[WEATHER])
    # The SDK's own helper folds the deltas.
    with sdk.chat.completions.stream(model="m", messages=ask, tools=[WEATHER]) as stream:
        folded = stream.get_final_completion()
    for answer in (whole.choices[0], folded.choices[0]):
        assert answer.finish_reason == "tool_calls"
        assert answer.message.tool_calls is not None
        call = answer.message.tool_calls[0]
        assert call.type == "function"
        assert call.function.name == "get_weather"
        arguments = json.loads(call.function.arguments)
        assert set(arguments) == {"city", "days", "unit"}
        assert 1 <= arguments["days"] <= 7


def test_the_official_sdk_raises_what_a_scripted_error_means(sdk: OpenAI) -> None:
    once = Scenario(rules=(Rule(match=Match(model="busy"), steps=(Step(status=429),)),))
    httpx.post(f"{sdk.base_url}../_simulator/scenario", content=once.to_json())
    with pytest.raises(RateLimitError):
        sdk.chat.completions.create(model="busy", messages=[{"role": "user", "content": "hi"}])


async def test_a_tool_result_is_answered_in_words(nursery: trio.Nursery) -> None:
    client = await start(nursery)
    body = chat("weather?", tools=[WEATHER])
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body["messages"].append({"role": "assistant", "tool_calls": [call]})
    body["messages"].append({"role": "tool", "tool_call_id": "call_1", "content": "rain"})
    choice = (await client.post(body)).json()["choices"][0]
    assert "“rain”" in choice["message"]["content"]


@pytest.mark.parametrize(
    ("fields", "content", "finish"),
    [
        ({"max_tokens": 2}, "one two", "length"),
        ({"max_completion_tokens": 1, "max_tokens": 3}, "one", "length"),
        ({"stop": "two"}, "one ", "stop"),
        ({"stop": ["four", "three"]}, "one two ", "stop"),
        ({}, "one two three four", "stop"),
    ],
)
async def test_limits_and_stop_words_cut_the_answer(
    nursery: trio.Nursery, fields: Chat, content: str, finish: str
) -> None:
    client = await start(nursery, Step(text="one two three four"))
    choice = (await client.post(chat(**fields))).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (content, finish)


async def test_equal_seed_body_and_ordinal_give_equal_bytes(nursery: trio.Nursery) -> None:
    one, same, other = [await start(nursery, seed=seed) for seed in (7, 7, 8)]
    for body in (chat(stream=True), chat(stream=True), chat()):
        first = await one.raw(body)
        assert first == await same.raw(body)
        assert first != await other.raw(body)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"messages": [{}]}', "model"),
        (b'{"model": "m", "messages": "hi"}', "messages"),
        (b'{"model": "m", "messages": [{}], "n": 0}', "n"),
        (b'{"model": "m", "messages": [{"content": "\\ud800"}]}', "not JSON"),
    ],
)
async def test_a_wrong_body_is_a_400_that_names_the_fault(
    nursery: trio.Nursery, content: bytes, named: str
) -> None:
    client = await start(nursery)
    answer = await client.http.post("/v1/chat/completions", content=content)
    assert answer.status_code == 400
    assert named in answer.json()["error"]["message"]


async def test_bytes_that_are_not_http_are_refused_and_harm_nobody(nursery: trio.Nursery) -> None:
    client = await start(nursery)
    assert (await client.raw_bytes(b"\x00\r\n\r\n")).data.startswith(b"HTTP/1.1 400 ")
    assert (
        await client.raw_bytes(b"HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    ).data.startswith(b"HTTP/1.1 404 ")
    assert (await client.http.get("/healthz")).json() == {"status": "ok"}


TYPES = ["object", "array", "string", "integer", "number", "boolean", "null"]
KEYWORDS = ["type", "properties", "items", "required", "$ref", "anyOf", "allOf", "enum", "default"]
BOUNDS = ["minimum", "maximum", "exclusiveMinimum", "minItems", "minLength", "maxLength"]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([*TYPES, "#", "#/properties/a", "date"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYWORDS, *BOUNDS, "format", "a"]), inner, max_size=5)
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_the_schema_an_example_is_found_and_bounded(schema: Any) -> None:
    assert len(json.dumps(schema_example(schema, random.Random(0)))) < 200_000


def test_a_schema_that_refers_to_itself_many_times_is_cut_off() -> None:
    node: Chat = {"type": "object", "properties": {f"p{i}": {"$ref": "#"} for i in range(30)}}
    assert json.dumps(schema_example(node, random.Random(0))).count(":") <= MAX_VALUES * 30
