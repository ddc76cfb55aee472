"""What passes through the gateway, and what does not: to the provider, and back to the client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from signalbox import __version__
from signalbox.simulator import Step
from tests.doors import door_client
from tests.gateway import KEY, Gateway, Provider, config_for, gateway, simulated_provider
from tests.simulator_client import chat

CONFIG = """
[[models.routed.routes]]
provider = "primary"
model = "theirs"
headers = { x-team = "a" }
params = { top_p = 0.5, seed = 1 }
[presets.p]
extra = { retry = 1 }
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Provider]:
    with simulated_provider() as started:
        yield started


@pytest.fixture(scope="module")
def running(simulator: Provider) -> Iterator[Gateway]:
    with gateway(config_for(simulator, more=CONFIG)) as started:
        yield started


@pytest.fixture(scope="module")
def http(running: Gateway) -> Iterator[httpx.Client]:
    with door_client(running.url) as client:
        yield client


@pytest.fixture
def provider(simulator: Provider) -> Provider:
    simulator.plays()
    return simulator


def post(http: httpx.Client, body: dict[str, Any], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named = {"authorization": f"Bearer {KEY}"} | named
    answer = http.post("/v1/chat/completions", json=body, headers=named)
    assert answer.status_code == 200
    return answer


def sent(provider: Provider) -> dict[str, Any]:
    [received] = provider.received_when_ended()
    return received


def events(answer: httpx.Response) -> list[str]:
    """The data of a stream's events."""
    *whole, rest = answer.text.split("\n\n")
    assert rest == ""
    return [event.removeprefix("data: ") for event in whole]


# To the provider

UNUSUAL: dict[str, Any] = {
    "temperature": 0,
    "seed": 2**63,
    "top_p": 1e-05,
    "metadata": {"ключ": "值", "empty": {}},
    "logit_bias": {"50256": -100},
    "not_in_any_document": [None, True, {"a": 1.0}],
    "stop": None,
}


def test_the_body_goes_to_the_provider_as_it_came(http: httpx.Client, provider: Provider) -> None:
    post(http, chat(**UNUSUAL))
    assert sent(provider)["body"] == chat(**UNUSUAL)


def test_a_stream_asks_for_usage_and_changes_nothing_else(
    http: httpx.Client, provider: Provider
) -> None:
    options = {"include_obfuscation": False}
    post(http, chat(stream=True, stream_options=options, **UNUSUAL))
    asked = options | {"include_usage": True}
    assert sent(provider)["body"] == chat(stream=True, stream_options=asked, **UNUSUAL)


def test_the_gateway_s_and_openrouter_s_own_fields_stay_here(
    http: httpx.Client, provider: Provider
) -> None:
    theirs: dict[str, Any] = {
        "models": ["m"],
        "provider": {"order": ["a"]},
        "route": "fallback",
        "preset": "p",
    }
    theirs |= {"usage": {"include": True}, "session_id": "s"}
    post(http, chat(extra={"retry": 1}, **theirs))
    assert sent(provider)["body"] == chat()


def test_a_route_names_its_model_and_adds_what_the_client_left_open(
    http: httpx.Client, provider: Provider
) -> None:
    post(http, chat(seed=7) | {"model": "routed"})
    assert sent(provider)["body"] == chat(seed=7, top_p=0.5) | {"model": "theirs"}
    assert sent(provider)["headers"]["x-team"] == "a"


@pytest.mark.parametrize("stream", [False, True])
def test_the_provider_sees_the_gateway_s_headers_and_one_of_the_client_s(
    running: Gateway, http: httpx.Client, provider: Provider, stream: bool
) -> None:
    answer = post(
        http,
        chat(stream=stream),
        openai_beta="assistants=v2",
        openai_organization="org-1",
        openai_project="proj-1",
        cookie="session=1",
        x_stainless_lang="python",
        x_stainless_timeout="600",
        x_forwarded_for="10.0.0.1",
        x_api_key=KEY,
        accept_encoding="gzip, br",
        user_agent="theirs",
        http_referer="https://app.example",
        x_title="App",
        x_signalbox_extra='{"tags": ["a"]}',
    )
    headers = sent(provider)["headers"]
    assert headers.pop("host") in provider.url
    assert int(headers.pop("content-length")) > 0
    assert headers == {
        "authorization": "Bearer sk-primary-1",
        "content-type": "application/json",
        "accept": "text/event-stream" if stream else "application/json",
        "accept-encoding": "identity",
        "user-agent": f"signalbox/{__version__}",
        "openai-beta": "assistants=v2",
    }
    trace = running.trace(answer.headers["x-request-id"])
    assert trace["labels"] == {"referer": "https://app.example", "title": "App"}
    assert trace["tags"] == ["a"]


# Back to the client

ODD_ANSWER = {
    "id": "theirs-1",
    "object": "chat.completion",
    "created": 1,
    "model": "theirs-2026",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "é\u2028", "reasoning_content": "hm"},
            "finish_reason": "stop",
            "native": 1e-05,
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "queue_time": 0.5},
    "x_theirs": {"big": 2**63, "none": None},
}


def test_an_answer_comes_back_with_provider_and_cost_put_in(
    http: httpx.Client, provider: Provider
) -> None:
    provider.plays(Step(body=ODD_ANSWER))
    usage = ODD_ANSWER["usage"]
    assert isinstance(usage, dict)
    assert post(http, chat()).json() == {
        **ODD_ANSWER,
        "provider": "primary",
        "usage": {**usage, "cost": 0.000007},  # 3 at 1 and 2 at 2 USD per million
    }


def test_a_stream_s_events_keep_their_bytes(
    running: Gateway, http: httpx.Client, provider: Provider
) -> None:
    provider.plays(Step(text="¿Qué tal? 😀"))
    answer = post(http, chat(stream=True))
    payloads = running.trace(answer.headers["x-request-id"])["payloads"]
    [theirs] = [p["body"] for p in payloads if p["kind"] == "upstream_response"]
    received = [event.removeprefix("data: ") for event in theirs.split("\n\n") if event]
    *chunks, usage, done = received
    assert json.loads(usage)["choices"] == []
    assert events(answer) == [*chunks, done]


@pytest.mark.parametrize(
    "step",
    [
        Step(text="one two", crlf=True),
        Step(text="one two", bom=True, comments=True),
        Step(text="one two", split="byte"),
    ],
)
def test_how_a_provider_frames_its_events_does_not_show(
    http: httpx.Client, provider: Provider, step: Step
) -> None:
    def choices() -> list[Any]:
        *chunks, done = events(post(http, chat(stream=True)))
        assert done == "[DONE]"
        return [json.loads(chunk)["choices"] for chunk in chunks]

    provider.plays(step, Step(text="one two"))
    assert choices() == choices()


# Usage


def usages(answer: httpx.Response) -> list[dict[str, Any]]:
    """The chunks that say something about usage."""
    chunks = [json.loads(event) for event in events(answer) if event != "[DONE]"]
    return [chunk for chunk in chunks if chunk.get("usage")]


@pytest.mark.parametrize("style", ["normal", "in_choice", "none", "thrice"])
@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": False}}])
def test_who_did_not_ask_gets_no_usage(
    http: httpx.Client, provider: Provider, style: Any, options: dict[str, Any]
) -> None:
    provider.plays(Step(usage=style))
    answer = post(http, chat(stream=True, **options))
    assert usages(answer) == []
    assert events(answer)[-1] == "[DONE]"


@pytest.mark.parametrize("style", ["normal", "in_choice", "none", "thrice"])
def test_who_asked_gets_one_usage_chunk_at_the_end(
    running: Gateway, http: httpx.Client, provider: Provider, style: Any
) -> None:
    provider.plays(Step(usage=style, text="one two three"))
    answer = post(http, chat(stream=True, stream_options={"include_usage": True}))
    *_, last, done = events(answer)
    [chunk] = usages(answer)
    assert (json.loads(last), done) == (chunk, "[DONE]")
    assert chunk["choices"] == []
    assert chunk["provider"] == "primary"
    usage = chunk["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    cost = (usage["prompt_tokens"] * 1 + usage["completion_tokens"] * 2) / 1_000_000
    assert usage["cost"] == pytest.approx(cost)
    trace = running.trace(answer.headers["x-request-id"])
    assert trace["usage"]["estimated"] is (style == "none")
    assert float(trace["cost"]) == usage["cost"]
