"""The official OpenAI SDK for Node against a gateway that runs as its own process.

`node/openai_sdk.mjs` makes the calls; what the two SDKs must agree on is in `sdk_cases.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway import KEY
from tests.node_env import run_node
from tests.sdk_cases import REFUSALS, STORY, WEATHER_TOOL, Refused, World, ask, world

pytestmark = pytest.mark.npm


@pytest.fixture(scope="module")
def started() -> Iterator[World]:
    with world() as running:
        yield running


@pytest.fixture
def at(started: World) -> World:
    """The gateway, and a provider that has received nothing yet."""
    started.forget()
    return started


def call(method: str, params: Any = None, *, options: Any = None, **client: Any) -> dict[str, Any]:
    return {"method": method, "params": params, "options": options, "client": client}


def run(world: World, *calls: dict[str, Any]) -> list[dict[str, Any]]:
    """The outcomes of the calls, without retries of the SDK's own."""
    usual = {"baseURL": f"{world.gateway.url}/v1", "apiKey": KEY, "maxRetries": 0}
    addressed = [one | {"client": usual | one["client"]} for one in calls]
    outcomes = run_node("openai_sdk.mjs", addressed)
    assert isinstance(outcomes, list)
    return outcomes


def run_as_it_comes(world: World, *calls: dict[str, Any]) -> list[dict[str, Any]]:
    """The outcomes of the calls of `new OpenAI()`: its address and key are in the environment."""
    address = {"OPENAI_BASE_URL": f"{world.gateway.url}/v1", "OPENAI_API_KEY": KEY}
    outcomes = run_node("openai_sdk.mjs", calls, address)
    assert isinstance(outcomes, list)
    return outcomes


def create(world: World, request: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The one outcome of a completion; `options` are the request's."""
    [outcome] = run(world, call("create", request, options=options))
    return outcome


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


# ── answers ───────────────────────────────────────────────────────────────────────────────────


def test_an_answer_and_a_stream_say_the_same(at: World) -> None:
    whole, streamed = run(
        at, call("create", ask("story")), call("create", ask("story", stream=True))
    )
    assert whole["answer"]["choices"][0]["message"]["content"] == STORY
    assert text_of(streamed["chunks"]) == STORY
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in streamed["chunks"]]
    assert [reason for reason in reasons if reason] == ["stop"]
    assert whole["requestId"] == whole["headers"]["x-signalbox-trace-id"]


@pytest.mark.parametrize("model", ["m", "groq-like", "unasked-usage", "usage-less"])
def test_usage_comes_once_where_it_was_asked_for_and_never_otherwise(at: World, model: str) -> None:
    asked, unasked = run(
        at,
        call("create", ask(model, stream=True, stream_options={"include_usage": True})),
        call("create", ask(model, stream=True)),
    )
    *before, last = asked["chunks"]
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] > 0
    for chunk in (*before, *unasked["chunks"]):
        assert len(chunk["choices"]) == 1
        assert not chunk.get("usage")


# ── what goes upstream ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_the_provider_receives_what_the_sdk_sent(at: World, streamed: bool) -> None:
    request = ask(
        "m",
        "What is the weather in Reykjavík?",
        tools=[WEATHER_TOOL],
        tool_choice="auto",
        temperature=0.25,
        max_completion_tokens=200,
        a_field_of_the_provider_s_own={"nested": [1, 2.5, None, "é"]},
        stream=streamed,
    )
    create(at, request)
    [received] = at.received()
    gateway_s_own = {"stream_options": {"include_usage": True}} if streamed else {}
    assert received["body"] == request | gateway_s_own
    assert not any(name.startswith("x-stainless") for name in received["headers"])


def test_a_tool_is_called_whole_and_in_deltas(at: World) -> None:
    request = ask("m", "What is the weather in Reykjavík?", tools=[WEATHER_TOOL])
    whole, collected = run(at, call("create", request), call("collectStream", request))
    for outcome in (whole, collected):
        choice = outcome["answer"]["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        [made] = choice["message"]["tool_calls"]
        assert made["function"]["name"] == "get_weather"
        assert set(json.loads(made["function"]["arguments"])) == {"city", "unit"}
    assert len(collected["argumentDeltas"]) > 1


# ── extensions and fallbacks ──────────────────────────────────────────────────────────────────

EXTRA = {"fallback_models": ["standby"], "retry": 0}


@pytest.mark.parametrize(
    ("fields", "options"),
    [({"extra": EXTRA}, {}), ({}, {"headers": {"x-signalbox-extra": json.dumps(EXTRA)}})],
    ids=["body", "header"],
)
def test_extra_chooses_fallbacks_and_retries(
    at: World, fields: dict[str, Any], options: dict[str, Any]
) -> None:
    outcome = create(at, ask("never-retried", **fields), **options)
    assert outcome["headers"]["x-signalbox-model"] == "standby"
    received = at.received()
    assert [r["body"]["model"] for r in received] == ["never-retried", "standby"]
    assert not any("extra" in r["body"] or "x-signalbox-extra" in r["headers"] for r in received)


@pytest.mark.parametrize("model", ["rescued", "unreachable"])
def test_a_client_with_another_base_url_and_key_survives_an_outage(at: World, model: str) -> None:
    whole, streamed = run_as_it_comes(
        at, call("create", ask(model)), call("create", ask(model, stream=True))
    )
    assert "simulated answer" in whole["answer"]["choices"][0]["message"]["content"]
    assert "simulated answer" in text_of(streamed["chunks"])
    assert len(at.received("standby")) == 2


# ── errors ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def errors(started: World) -> dict[tuple[str, bool], dict[str, Any]]:
    """What the SDK threw, by the case and whether it was streamed; one process for all."""
    started.forget()
    cases = [(refused, streamed) for refused in REFUSALS for streamed in (False, True)]
    outcomes = run(
        started,
        *(
            call(
                "create",
                {**refused.request, "stream": streamed},
                options={"headers": dict(refused.headers)},
                apiKey=refused.key,
            )
            for refused, streamed in cases
        ),
    )
    return {
        (refused.what, streamed): outcome["error"]
        for (refused, streamed), outcome in zip(cases, outcomes, strict=True)
    }


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("refused", REFUSALS, ids=str)
def test_an_error_is_thrown_as_openai_s_own(
    errors: dict[tuple[str, bool], dict[str, Any]], refused: Refused, streamed: bool
) -> None:
    error = errors[refused.what, streamed]
    assert error.pop("requestId") == error.pop("traceId") is not None
    assert error == {
        "class": refused.raised.exception or "APIError",
        "status": refused.raised.status,
        "type": refused.raised.type,
        "code": refused.code,
        "param": refused.param,
    }


@pytest.mark.parametrize("model", ["breaking", "torn"])
def test_a_stream_that_breaks_throws_after_what_was_delivered(at: World, model: str) -> None:
    outcome = create(at, ask(model, stream=True))
    assert outcome["error"]["class"] == "APIError"
    assert (outcome["error"]["type"], outcome["error"]["code"]) == ("server_error", "bad_upstream")
    delivered = text_of(outcome["chunks"])
    assert delivered
    assert STORY.startswith(delivered)


def test_a_path_that_is_not_served_yet_is_not_found(at: World) -> None:
    [outcome] = run(at, call("moderate", {"input": "Hello"}))
    assert outcome["error"]["class"] == "NotFoundError"
    assert outcome["error"]["code"] == "unsupported_endpoint"


# ── the SDK's own retries ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("model", "calls_of_one_request", "status"),
    [("retried-down", 2, 503), ("retried-garbled", 2, 502), ("retried-silent", 1, 504)],
)
def test_retries_of_the_sdk_and_the_gateway_do_not_multiply(
    at: World, model: str, calls_of_one_request: int, status: int
) -> None:
    [outcome] = run_as_it_comes(at, call("create", ask(model)))
    assert outcome["error"]["status"] == status
    assert len(at.received(model)) == calls_of_one_request


def test_a_rate_limit_that_ends_soon_is_waited_for_by_the_sdk(at: World) -> None:
    [outcome] = run_as_it_comes(at, call("create", ask("limited-for-a-second")))
    assert outcome["answer"]["choices"][0]["finish_reason"] == "stop"
    assert [r["status"] for r in at.received("limited-for-a-second")] == [429, 200]


# ── models ────────────────────────────────────────────────────────────────────────────────────


def test_models_are_listed_and_found_by_name(at: World) -> None:
    listed, found, missing = run(
        at,
        call("listModels"),
        call("retrieveModel", {"model": "vendor/with-a-slash"}),
        call("retrieveModel", {"model": "vendor/nobody-s"}),
    )
    assert found["model"] in listed["models"]
    assert missing["error"]["class"] == "NotFoundError"
    assert missing["error"]["code"] == "model_not_found"
