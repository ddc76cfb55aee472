"""The official OpenAI SDK for Python against a gateway that runs as its own process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
import trio
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel

from tests.gateway import KEY, gateway
from tests.sdk_cases import (
    NARROW_KEY,
    RATED_KEY,
    REFUSALS,
    STORY,
    WEATHER_TOOL,
    Refused,
    World,
    ask,
    config,
    world,
)


@pytest.fixture(scope="module")
def started() -> Iterator[World]:
    with world() as running:
        yield running


@pytest.fixture
def at(started: World) -> World:
    """The gateway, and a provider that has received nothing yet."""
    started.forget()
    return started


def create(world: World, request: dict[str, Any], **options: Any) -> ChatCompletion:
    with world.gateway.client(**options) as client:
        answer = client.chat.completions.create(**request)
    assert isinstance(answer, ChatCompletion)
    return answer


def stream(world: World, request: dict[str, Any], **options: Any) -> list[ChatCompletionChunk]:
    with world.gateway.client(**options) as client:
        return list(client.chat.completions.create(**request, stream=True))


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    """Reads `choices[0]` without looking, as many clients do."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


whole_and_streamed = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


# ── answers ───────────────────────────────────────────────────────────────────────────────────


def test_an_answer_is_whole_and_priced(at: World) -> None:
    answer = create(at, ask("story"))
    assert answer.choices[0].message.content == STORY
    assert answer.choices[0].finish_reason == "stop"
    usage = answer.usage
    assert usage is not None
    # The routes cost 1 and 2 US dollars per million tokens.
    price = (usage.prompt_tokens * 1 + usage.completion_tokens * 2) / 1_000_000
    assert usage.to_dict()["cost"] == pytest.approx(price)


def test_a_stream_says_what_the_whole_answer_says(at: World) -> None:
    chunks = stream(at, ask("story"))
    assert len(chunks) > 5
    assert text_of(chunks) == STORY
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1


USAGE_STYLES = ["m", "groq-like", "unasked-usage", "usage-less"]


@pytest.mark.parametrize("model", USAGE_STYLES)
def test_usage_that_was_asked_for_comes_once_and_last(at: World, model: str) -> None:
    *before, last = stream(at, ask(model, stream_options={"include_usage": True}))
    assert [chunk.usage for chunk in before] == [None] * len(before)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens > 0


@pytest.mark.parametrize("model", USAGE_STYLES)
def test_usage_that_was_not_asked_for_never_comes(at: World, model: str) -> None:
    chunks = stream(at, ask(model))
    assert all(len(chunk.choices) == 1 and chunk.usage is None for chunk in chunks)


def test_headers_say_where_the_answer_comes_from(at: World) -> None:
    with at.gateway.client() as client:
        response = client.chat.completions.with_raw_response.create(**ask("passed-on"))
    headers, answer = response.headers, response.parse()
    assert headers["x-signalbox-model"] == headers["x-signalbox-provider"] == "standby"
    assert headers["x-signalbox-attempts"] == "3"
    assert answer.usage is not None
    assert float(headers["x-signalbox-cost"]) == pytest.approx(answer.usage.to_dict()["cost"])
    trace_id = headers["x-signalbox-trace-id"]
    assert answer._request_id == response.request_id == trace_id
    assert at.gateway.trace(trace_id)["attempts"] == 3


# The SDK stops reading at `[DONE]` and leaves its generators to the garbage collector.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
async def test_the_async_client_works_on_trio(at: World) -> None:
    words: dict[str, str] = {}

    async def talk(client: openai.AsyncOpenAI, number: str) -> None:
        chunks = await client.chat.completions.create(**ask("m", number), stream=True)
        words[number] = text_of([chunk async for chunk in chunks])

    async with (
        openai.AsyncOpenAI(base_url=f"{at.gateway.url}/v1", api_key=KEY, max_retries=0) as client,
        trio.open_nursery() as nursery,
    ):
        for number in ("one", "two", "three"):
            nursery.start_soon(talk, client, number)
    assert len(words) == 3
    assert all(f"“{number}”" in text for number, text in words.items())


# ── what goes upstream ────────────────────────────────────────────────────────────────────────


@whole_and_streamed
def test_the_provider_receives_what_the_sdk_sent(at: World, streamed: bool) -> None:
    request = ask(
        "m",
        "What is the weather in Reykjavík?",
        tools=[WEATHER_TOOL],
        tool_choice="auto",
        parallel_tool_calls=False,
        temperature=0.25,
        max_completion_tokens=200,
        logit_bias={"50256": -100},
        metadata={"team": "weather"},
        extra_body={"a_field_of_the_provider_s_own": {"nested": [1, 2.5, None, "é"]}},
        stream=streamed,
    )
    sent: list[dict[str, Any]] = []

    def keep(on_its_way: httpx2.Request) -> None:
        sent.append(json.loads(on_its_way.read()))

    http_client = openai.DefaultHttpxClient(event_hooks={"request": [keep]})
    with at.gateway.client(http_client=http_client, organization="org-1") as client:
        list(client.chat.completions.create(**request))
    [received] = at.received()
    gateway_s_own = {"stream_options": {"include_usage": True}} if streamed else {}
    assert received["body"] == sent[0] | gateway_s_own
    assert received["key"] == "sk-m-key"
    not_for_providers = ("x-stainless", "openai-organization", "x-signalbox", "cookie")
    assert [name for name in received["headers"] if name.startswith(not_for_providers)] == []


def test_a_tool_is_called_and_its_result_goes_back(at: World) -> None:
    request = ask("m", "What is the weather in Reykjavík?", tools=[WEATHER_TOOL])
    choice = create(at, request).choices[0]
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert set(json.loads(call.function.arguments)) == {"city", "unit"}

    turn = choice.message.to_dict()
    result = {"role": "tool", "tool_call_id": call.id, "content": "8 °C, rain"}
    answer = create(at, request | {"messages": [*request["messages"], turn, result]})
    assert "8 °C, rain" in (answer.choices[0].message.content or "")
    assert at.received()[-1]["body"]["messages"][1:] == [turn, result]


def test_the_deltas_of_a_tool_call_join_to_its_arguments(at: World) -> None:
    request = ask("m", "What is the weather in Reykjavík?", tools=[WEATHER_TOOL])
    with at.gateway.client() as client, client.chat.completions.stream(**request) as events:
        seen = list(events)
        choice = events.get_final_completion().choices[0]
    deltas = [e.arguments_delta for e in seen if e.type == "tool_calls.function.arguments.delta"]
    assert len(deltas) > 1
    assert set(json.loads("".join(deltas))) == {"city", "unit"}
    assert choice.finish_reason == "tool_calls"
    [call] = choice.message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("get_weather", "".join(deltas))


class Weather(BaseModel):
    city: str
    celsius: float


def test_a_schema_is_answered_with_a_value_of_it(at: World) -> None:
    with at.gateway.client() as client:
        answer = client.chat.completions.parse(**ask("m"), response_format=Weather)
    assert isinstance(answer.choices[0].message.parsed, Weather)
    wanted = at.received()[0]["body"]["response_format"]["json_schema"]
    assert set(wanted["schema"]["properties"]) == {"city", "celsius"}


# ── extensions and fallbacks ──────────────────────────────────────────────────────────────────

EXTRA = {"fallback_models": ["standby"], "retry": 0, "tags": ["from-the-sdk"]}


@whole_and_streamed
@pytest.mark.parametrize(
    "placed",
    [{"extra_body": {"extra": EXTRA}}, {"extra_headers": {"x-signalbox-extra": json.dumps(EXTRA)}}],
    ids=["body", "header"],
)
def test_extra_chooses_fallbacks_and_retries(
    at: World, placed: dict[str, Any], streamed: bool
) -> None:
    with at.gateway.client() as client:
        completions = client.chat.completions.with_raw_response
        response = completions.create(**ask("never-retried", stream=streamed), **placed)
        list(response.parse())
    assert response.headers["x-signalbox-model"] == "standby"
    received = at.received()
    assert [r["body"]["model"] for r in received] == ["never-retried", "standby"]
    assert not any("extra" in r["body"] or "x-signalbox-extra" in r["headers"] for r in received)
    trace = at.gateway.trace(response.headers["x-signalbox-trace-id"])
    assert trace["tags"] == ["from-the-sdk"]


def test_extra_may_ask_for_more_retries(at: World) -> None:
    with pytest.raises(openai.InternalServerError):
        create(at, ask("twice-retried", extra_body={"extra": {"retry": 2}}))
    assert len(at.received("twice-retried")) == 3


@whole_and_streamed
@pytest.mark.parametrize("model", ["rescued", "unreachable"])
def test_a_client_with_another_base_url_and_key_survives_an_outage(
    at: World, model: str, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"{at.gateway.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with openai.OpenAI() as client:
        if streamed:
            words = text_of(list(client.chat.completions.create(**ask(model), stream=True)))
        else:
            words = client.chat.completions.create(**ask(model)).choices[0].message.content
    assert "simulated answer" in words
    assert [r["body"]["model"] for r in at.received()][-1] == "standby"


def test_a_fallback_of_the_whole_gateway_serves_every_model(at: World) -> None:
    everywhere = '\n[routing]\nfallbacks = ["standby"]\n'
    with gateway(config(at.provider.url) + everywhere) as running, running.client() as client:
        answer = client.chat.completions.create(**ask("down"))
    assert "simulated answer" in (answer.choices[0].message.content or "")
    assert [r["body"]["model"] for r in at.received()] == ["down", "down", "standby"]


# ── errors ────────────────────────────────────────────────────────────────────────────────────


@whole_and_streamed
@pytest.mark.parametrize("refused", REFUSALS, ids=str)
def test_an_error_is_raised_as_openai_s_own(at: World, refused: Refused, streamed: bool) -> None:
    with (
        at.gateway.client(api_key=refused.key) as client,
        pytest.raises(openai.APIStatusError) as raised,
    ):
        client.chat.completions.create(
            **refused.request, stream=streamed, extra_headers=refused.headers
        )
    error = raised.value
    assert type(error).__name__ == (refused.raised.exception or "APIStatusError")
    assert error.status_code == refused.raised.status
    assert (error.type, error.code, error.param) == (
        refused.raised.type,
        refused.code,
        refused.param,
    )
    assert isinstance(error.body, dict)
    assert error.body["metadata"]["trace_id"] == error.request_id is not None


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
def test_a_stream_that_breaks_and_goes_on_is_whole(at: World, options: dict[str, Any]) -> None:
    chunks = stream(at, ask("torn-and-mended", **options))
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == STORY
    assert [c.finish_reason for c in choices if c.finish_reason] == ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [bool(options)]
    told: list[Any] = [chunk.to_dict().get("x_signalbox") for chunk in chunks]
    assert told[:-1] == [None] * (len(chunks) - 1)
    assert [seam["provider"] for seam in told[-1]["resumed"]] == ["story"]


@pytest.mark.parametrize("model", ["breaking", "torn", "torn-and-contradicted"])
def test_a_stream_that_breaks_raises_after_what_was_delivered(at: World, model: str) -> None:
    chunks: list[ChatCompletionChunk] = []
    with at.gateway.client() as client, pytest.raises(openai.APIError) as raised:
        chunks.extend(client.chat.completions.create(**ask(model), stream=True))
    assert type(raised.value) is openai.APIError
    assert (raised.value.type, raised.value.code) == ("server_error", "bad_upstream")
    delivered = text_of(chunks)
    assert delivered
    assert STORY.startswith(delivered)


def test_a_path_that_is_not_served_yet_is_not_found(at: World) -> None:
    with at.gateway.client() as client, pytest.raises(openai.NotFoundError) as moderations:
        client.moderations.create(input="Hello")
    assert moderations.value.code == "unsupported_endpoint"


def test_the_gateway_answers_before_the_sdk_s_own_timeout(at: World) -> None:
    with at.gateway.client(timeout=4.0) as client, pytest.raises(openai.APIError) as raised:
        client.chat.completions.create(**ask("mute"))
    assert isinstance(raised.value, openai.InternalServerError)
    assert (raised.value.status_code, raised.value.code) == (504, "timeout")


def test_a_key_s_own_limit_says_when_to_come_back(at: World) -> None:
    create(at, ask("m"), api_key=RATED_KEY)
    with pytest.raises(openai.RateLimitError) as raised:
        create(at, ask("m"), api_key=RATED_KEY)
    assert (raised.value.type, raised.value.code) == ("requests", "rate_limit_exceeded")
    headers = raised.value.response.headers
    assert 0 < int(headers["retry-after"]) <= 60
    assert headers["x-ratelimit-limit-requests"] == "1"
    assert len(at.received("m")) == 1


# ── the SDK's own retries ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("model", "calls_of_one_request", "status"),
    [
        ("retried-down", 2, 503),
        ("retried-garbled", 2, 502),
        ("retried-silent", 1, 504),
        ("limited-for-hours", 1, 429),
    ],
)
def test_retries_of_the_sdk_and_the_gateway_do_not_multiply(
    at: World, model: str, calls_of_one_request: int, status: int
) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        create(at, ask(model), max_retries=openai.DEFAULT_MAX_RETRIES)
    assert raised.value.status_code == status
    assert len(at.received(model)) == calls_of_one_request


def test_a_rate_limit_that_ends_soon_is_waited_for_by_the_sdk(at: World) -> None:
    answer = create(at, ask("limited-for-a-second"), max_retries=openai.DEFAULT_MAX_RETRIES)
    assert answer.choices[0].finish_reason == "stop"
    assert [r["status"] for r in at.received("limited-for-a-second")] == [429, 200]


# ── models ────────────────────────────────────────────────────────────────────────────────────


def test_models_are_listed_and_found_by_name(at: World) -> None:
    with at.gateway.client() as client:
        listed = {model.id: model for model in client.models.list()}
        for name in ("m", "vendor/with-a-slash"):
            assert client.models.retrieve(name) == listed[name]
            assert listed[name].object == "model"
        with pytest.raises(openai.NotFoundError) as raised:
            client.models.retrieve("vendor/nobody-s")
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


def test_a_key_sees_the_models_that_it_may_call(at: World) -> None:
    with at.gateway.client(api_key=NARROW_KEY) as client:
        assert [model.id for model in client.models.list()] == ["m"]
