"""What the real APIs refuse, the simulator refuses in their words, faults of a scenario too."""

from __future__ import annotations

import json
import random
from typing import Any

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from signalbox.simulator import KeyRule, RateLimit, Scenario, Step
from signalbox.simulator.endpoints import Endpoints
from signalbox.simulator.prompts import BadRequest, Call
from signalbox.simulator.signatures import sign
from tests.simulator_client import Client, start

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
GENERATE = "/v1beta/models/gemini-3-x:generateContent"
STREAM = "/v1beta/models/gemini-x:streamGenerateContent?alt=sse"
EMBED = "/v1beta/models/e:batchEmbedContents"
VERSION = {"anthropic-version": "2023-06-01", "x-api-key": "sk", "x-goog-api-key": "sk"}

HELLO = {"role": "user", "content": "hello"}
MESSAGE = {"model": "c", "max_tokens": 3000, "messages": [HELLO]}
CONTENT = {"role": "user", "parts": [{"text": "hello"}]}
TOOL_USE = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}
THINKING = {"type": "enabled", "budget_tokens": 1024}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": sign("thinking", "hm")}
CALLED = {"functionCall": {"name": "f", "args": {}}}
ANSWERED = {"functionResponse": {"name": "f", "response": {"result": "ok"}}}
OPEN_SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def messages(*contents: Any, **fields: Any) -> dict[str, Any]:
    turns = [
        {"role": "assistant" if index % 2 else "user", "content": content}
        for index, content in enumerate(contents)
    ]
    return MESSAGE | {"messages": turns} | fields


def contents(*parts: Any, **fields: Any) -> dict[str, Any]:
    turns = [
        {"role": "model" if index % 2 else "user", "parts": one} for index, one in enumerate(parts)
    ]
    return {"contents": turns} | fields


def declared(schema: Any) -> dict[str, Any]:
    function = {"name": "f", "parameters": schema}
    return contents([{"text": "x"}], tools=[{"functionDeclarations": [function]}])


async def send(client: Client, path: str, body: Any) -> httpx.Response:
    return await client.http.post(path, json=body, headers=VERSION)


REFUSED: list[tuple[str, Any, str]] = [
    (MESSAGES, {"model": "c", "messages": [HELLO]}, "max_tokens: Field required"),
    (MESSAGES, MESSAGE | {"n": 2}, "n: Extra inputs are not permitted"),
    (MESSAGES, MESSAGE | {"temperature": 1.2}, "temperature: 1.2 is out of range"),
    (MESSAGES, MESSAGE | {"messages": [{"role": "system", "content": "x"}]}, "messages.0"),
    (MESSAGES, MESSAGE | {"messages": [{"role": "assistant", "content": "x"}]}, 'the "user" role'),
    (MESSAGES, messages("x", "y "), "trailing whitespace"),
    (MESSAGES, messages(""), "non-empty"),
    (MESSAGES, messages("x", [TOOL_USE], "y"), "without `tool_result` blocks"),
    (MESSAGES, messages("x", "y", [RESULT]), "unexpected `tool_use_id`"),
    (MESSAGES, messages("x", [TOOL_USE], [RESULT], thinking=THINKING), "expected `thinking`"),
    (
        MESSAGES,
        messages("x", [THOUGHT | {"signature": "no"}, TOOL_USE], [RESULT], thinking=THINKING),
        "Invalid `signature`",
    ),
    (MESSAGES, MESSAGE | {"thinking": THINKING, "max_tokens": 1024}, "must be greater than"),
    (MESSAGES, MESSAGE | {"thinking": THINKING, "temperature": 0.5}, "may only be set to 1"),
    (
        MESSAGES,
        MESSAGE | {"tools": [{"type": "function", "function": {"name": "f"}}]},
        "tools.0.type: expected one of custom",
    ),
    (
        MESSAGES,
        MESSAGE | {"output_config": {"format": {"type": "json_schema", "schema": OPEN_SCHEMA}}},
        "additionalProperties",
    ),
    (GENERATE, {"contents": [CONTENT], "max_tokens": 3}, 'Unknown name "max_tokens"'),
    (GENERATE, {"contents": [CONTENT | {"role": "assistant"}]}, "valid role"),
    (GENERATE, {"contents": []}, "contents is not specified"),
    (GENERATE, contents([]), "must not be empty"),
    (GENERATE, contents([{"text": "x", "inlineData": {}}]), "oneof field 'data' is already set"),
    (GENERATE, contents([{"text": "x"}], [CALLED], [ANSWERED]), "has no thought_signature"),
    (
        GENERATE,
        contents([{"text": "x"}], [CALLED | {"thoughtSignature": "bm8="}], [ANSWERED]),
        "not valid",
    ),
    (GENERATE, contents([{"text": "x"}], [CALLED], [{"text": "y"}]), "number of function response"),
    (GENERATE, declared(OPEN_SCHEMA | {"additionalProperties": False}), "additionalProperties"),
    (GENERATE, contents([{"text": "x"}], generationConfig={"n": 1}), 'Unknown name "n"'),
    (
        GENERATE,
        contents([{"text": "x"}], generationConfig={"responseSchema": {"type": "STRING"}}),
        "response_mime_type",
    ),
    (EMBED, {"requests": [{"model": "models/other", "content": CONTENT}]}, "batch's model"),
    (CHAT, {"model": "m", "messages": [{"role": "tool", "content": "x"}]}, "tool_call_id"),
    (CHAT, {"model": "m", "messages": [{"role": "bot", "content": "x"}]}, "messages[0].role"),
    (
        CHAT,
        {
            "model": "m",
            "messages": [HELLO],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "strict": True, "schema": OPEN_SCHEMA},
            },
        },
        "additionalProperties",
    ),
    (RESPONSES, {"model": "m", "input": "x", "messages": []}, "Unknown parameter: 'messages'"),
    (RESPONSES, {"model": "m", "input": "x", "max_output_tokens": 5}, "max_output_tokens"),
    (
        RESPONSES,
        {"model": "m", "input": [{"role": "assistant", "content": [{"type": "input_text"}]}]},
        "output_text",
    ),
    (
        RESPONSES,
        {"model": "m", "input": [{"type": "function_call_output", "call_id": "c", "output": ""}]},
        "No tool call found",
    ),
    (
        RESPONSES,
        {"model": "m", "input": "x", "tools": [{"type": "function", "function": {"name": "f"}}]},
        "Missing required parameter: 'tools[0].name'",
    ),
]


async def test_requests_that_the_real_apis_refuse(nursery: trio.Nursery) -> None:
    client = await start(nursery)
    for path, body, named in REFUSED:
        answer = await send(client, path, body)
        assert answer.status_code == 400, (path, named, answer.text)
        error = answer.json()["error"]
        assert named in error["message"]
        if path == MESSAGES:
            assert (answer.json()["type"], error["type"]) == ("error", "invalid_request_error")
        elif path in (GENERATE, EMBED):
            assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
        else:
            assert error["type"] == "invalid_request_error"


async def test_requests_close_to_those_are_taken(nursery: trio.Nursery) -> None:
    """What the refusals above hinge on is really that one thing."""
    client = await start(nursery)
    signed = CALLED | {"thoughtSignature": sign("call", "f")}
    for path, body in [
        (MESSAGES, messages("x", [THOUGHT, TOOL_USE], [RESULT], thinking=THINKING)),
        (MESSAGES, messages("x", [TOOL_USE], [RESULT], "y", "z", thinking=THINKING)),
        (GENERATE, contents([{"text": "x"}], [signed], [ANSWERED])),
        (GENERATE.replace("-3", ""), contents([{"text": "x"}], [CALLED], [ANSWERED])),
        (
            GENERATE,
            contents([{"text": "x"}], [CALLED], [ANSWERED], [{"text": "y"}], [{"text": "z"}]),
        ),
        (GENERATE, declared(OPEN_SCHEMA)),
    ]:
        answer = await send(client, path, body)
        assert answer.status_code == 200, answer.text


async def test_anthropics_version_is_asked_for(nursery: trio.Nursery) -> None:
    client = await start(nursery)
    answer = await client.http.post(MESSAGES, json=MESSAGE)
    assert (answer.status_code, "anthropic-version" in answer.text) == (400, True)


async def test_scripted_errors_in_each_apis_words(nursery: trio.Nursery) -> None:
    limits = RateLimit(remaining_requests=0, reset_requests="2026-01-01T00:00:00Z")
    steps = [Step(error="overloaded"), Step(status=429, ratelimit=limits), Step(status=401)]
    client = await start(nursery, *steps)
    busy, limited, wrong = [await send(client, MESSAGES, MESSAGE) for _ in steps]
    assert (busy.status_code, busy.json()["error"]["type"]) == (529, "overloaded_error")
    assert limited.json()["error"]["type"] == "rate_limit_error"
    assert limited.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert limited.headers["anthropic-ratelimit-requests-reset"] == "2026-01-01T00:00:00Z"
    assert wrong.json()["error"]["type"] == "authentication_error"
    client = await start(nursery, *steps)
    body = {"contents": [CONTENT]}
    busy, limited, wrong = [await send(client, GENERATE, body) for _ in steps]
    assert (busy.status_code, busy.json()["error"]["status"]) == (503, "UNAVAILABLE")
    assert limited.json()["error"]["details"][0]["retryDelay"] == "20.000s"
    assert not any("ratelimit" in name for name in limited.headers)
    assert wrong.json()["error"]["status"] == "UNAUTHENTICATED"


async def test_limits_are_of_the_key_in_each_apis_header(nursery: trio.Nursery) -> None:
    scenario = Scenario(keys={"sk": KeyRule(rpm=1)})
    client = await start(nursery, scenario=scenario)
    first, second = [await send(client, MESSAGES, MESSAGE) for _ in range(2)]
    assert (first.status_code, second.status_code) == (200, 429)
    assert first.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert 59 <= int(second.headers["retry-after"]) <= 60
    over = await send(client, GENERATE, {"contents": [CONTENT]})
    assert over.json()["error"]["details"][0]["retryDelay"].startswith(("59", "60"))
    assert "retry-after" not in over.headers


def events(answer: httpx.Response) -> list[tuple[str | None, Any]]:
    """(event name, data) of every event."""
    found = []
    for block in answer.text.replace("\r\n", "\n").split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "data" in lines:
            try:
                data = json.loads(lines["data"])
            except json.JSONDecodeError:
                data = lines["data"]
            found.append((lines.get("event"), data))
    return found


ASKED: dict[str, tuple[str, Any]] = {
    "messages": (MESSAGES, MESSAGE | {"stream": True}),
    "generate": (STREAM, {"contents": [CONTENT]}),
    "responses": (RESPONSES, {"model": "m", "input": "hello", "stream": True}),
    "completions": ("/v1/completions", {"model": "m", "prompt": "hello", "stream": True}),
}


async def test_errors_inside_the_streams(nursery: trio.Nursery) -> None:
    step = Step(text="one two six", error_after=2, error="overloaded")
    client = await start(nursery, step, step, step, step)
    last: dict[str, tuple[str | None, Any]] = {}
    for name, (path, body) in ASKED.items():
        answer = await send(client, path, body)
        assert ('"one"' in answer.text, '" six"' in answer.text) == (True, False)
        last[name] = events(answer)[-1]
    named, data = last["messages"]
    assert (named, data["error"]["type"]) == ("error", "overloaded_error")
    assert last["generate"] == (None, {"error": last["generate"][1]["error"]})
    assert last["generate"][1]["error"]["code"] == 503
    named, data = last["responses"]
    assert (named, data["response"]["error"]["code"]) == ("response.failed", "overloaded")
    assert last["completions"] == (None, "[DONE]")


@pytest.mark.parametrize("name", ASKED)
async def test_faults_of_streams(nursery: trio.Nursery, name: str) -> None:
    path, body = ASKED[name]
    text = "one two six"
    steps = [
        Step(text=text, cut_after=1, how="eof"),
        Step(text=text, malformed_after=1),
        Step(text=text, no_finish=True),
        Step(empty=True),
        Step(text=text, finish="length"),
    ]
    client = await start(nursery, *steps)
    cut, malformed, endless, empty, long = [await send(client, path, body) for _ in steps]
    assert ('"one"' in cut.text, '" two"' in cut.text) == (True, False)
    assert sum(isinstance(data, str) and data != "[DONE]" for _, data in events(malformed)) == 1
    assert '" six"' in malformed.text
    finish = {
        "messages": '"stop_reason":"end_turn"',
        "generate": '"finishReason":"STOP"',
        "responses": '"type":"response.completed"',
        "completions": '"finish_reason":"stop"',
    }[name]
    assert (finish in malformed.text, finish in endless.text, finish in empty.text) == (
        True,
        False,
        True,
    )
    shortened = {
        "messages": '"stop_reason":"max_tokens"',
        "generate": '"finishReason":"MAX_TOKENS"',
        "responses": '"reason":"max_output_tokens"',
        "completions": '"finish_reason":"length"',
    }
    assert shortened[name] in long.text
    broken = await start(nursery, Step(text=text, cut_after=1))
    with pytest.raises(httpx.RemoteProtocolError):
        await send(broken, path, body)


async def test_gemini_streams_have_crlf_and_a_usage_in_every_chunk(nursery: trio.Nursery) -> None:
    client = await start(nursery)
    answer = await send(client, *ASKED["generate"])
    assert answer.text.count("\n") == answer.text.count("\r\n") > 4
    assert all("usageMetadata" in data for _, data in events(answer))
    whole = await send(client, STREAM.partition("?")[0], ASKED["generate"][1])
    assert len(whole.json()) > 2


async def test_the_cache_is_told_of_in_each_apis_usage(nursery: trio.Nursery) -> None:
    client = await start(nursery, *[Step(cached=4)] * 3)
    marked = [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]
    used = (await send(client, MESSAGES, messages(marked))).json()["usage"]
    assert used["cache_read_input_tokens"] == 4
    assert used["cache_creation_input_tokens"] > 0
    told = (await send(client, GENERATE, {"contents": [CONTENT]})).json()["usageMetadata"]
    assert told["cachedContentTokenCount"] == 4
    said = (await send(client, RESPONSES, {"model": "m", "input": "hello"})).json()["usage"]
    assert said["input_tokens_details"]["cached_tokens"] == 4


PLACES = [
    *("/v1/chat/completions", "/v1/completions", "/v1/embeddings", MESSAGES, RESPONSES),
    *("/v1/messages/count_tokens", GENERATE, STREAM, EMBED, "/v1beta/models/m:embedContent"),
    "/v1beta/models/m:countTokens",
]
WORDS = [
    *("model", "messages", "role", "content", "type", "text", "user", "assistant", "tool", "input"),
    *("contents", "parts", "functionCall", "functionResponse", "name", "args", "tools", "thinking"),
    *(
        "tool_use",
        "tool_result",
        "generationConfig",
        "responseSchema",
        "id",
        "max_tokens",
        "system",
    ),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats(0, 2) | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5)
    ),
    max_leaves=25,
)
BODIES = st.dictionaries(st.sampled_from(WORDS), JSON, max_size=6) | JSON


@given(st.sampled_from(PLACES), BODIES)
def test_any_json_is_answered_or_refused_as_a_bad_request(path: str, body: Any) -> None:
    place = Endpoints().find(path.partition("?")[0])
    assert place.endpoint is not None
    call = Call(body, place.model, "sk", VERSION, {"alt": "sse"}, 1, place.stream)
    try:
        said = place.endpoint.answer(call, Step(), random.Random(1))
    except BadRequest as refused:
        status = place.errors.invalid(refused).status
    else:
        status = said.status
        json.dumps(said.body)
    assert status in (200, 400, 404)
