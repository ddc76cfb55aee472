"""The vendors' own SDKs list a gateway's models and ask what they may do, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import httpx
import pytest
from google import genai
from google.genai import types

from tests.doors import door_client
from tests.gateway import KEY, Gateway, config_for, gateway, simulated_provider

MORE = """
[models.n]
routes = [{ provider = "primary", model = "n", input = 1, output = 1, context_length = 1000 }]
"""
ASK = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def running() -> Iterator[Gateway]:
    with simulated_provider() as provider, gateway(config_for(provider, more=MORE)) as started:
        yield started


@pytest.fixture
def http(running: Gateway) -> Iterator[httpx.Client]:
    with door_client(running.url) as client:
        client.headers["authorization"] = f"Bearer {KEY}"
        yield client


def test_openai(running: Gateway) -> None:
    with running.client() as client:
        assert {model.id for model in client.models.list()} >= {"m", "n"}
        assert client.models.retrieve("n").owned_by == "primary"


def test_anthropic_page_by_page(running: Gateway) -> None:
    with anthropic.Anthropic(api_key=KEY, base_url=running.url, max_retries=0) as client:
        found = list(client.models.list(limit=1))
        assert {model.id for model in found} >= {"m", "n"}
        assert client.models.retrieve("n").max_input_tokens == 1000
        with pytest.raises(anthropic.NotFoundError) as refused:
            client.models.retrieve("nobody")
        assert isinstance(refused.value.body, dict)
        assert refused.value.body["type"] == "error"


@pytest.mark.parametrize("version", ["v1beta", "v1"])
def test_google_page_by_page(running: Gateway, version: str) -> None:
    options = types.HttpOptions(base_url=running.url, api_version=version)
    with genai.Client(api_key=KEY, http_options=options) as client:
        found = list(client.models.list(config={"page_size": 1, "query_base": True}))
        assert {model.name for model in found} >= {"models/m", "models/n"}
        assert client.models.get(model="n").input_token_limit == 1000
        with pytest.raises(genai.errors.ClientError) as refused:
            client.models.get(model="nobody")
        assert refused.value.code == 404


def test_openrouter_s_paths(http: httpx.Client) -> None:
    whole = http.post("/api/v1/chat/completions", json=ASK).json()
    assert whole["choices"][0]["native_finish_reason"] == whole["choices"][0]["finish_reason"]
    assert whole["usage"]["cost_details"]["upstream_inference_cost"] == whole["usage"]["cost"]
    asked = http.post("/api/v1/chat/completions", json={**ASK, "stream": True})
    assert '"is_byok":false' in asked.text
    trace_id = asked.headers["x-request-id"]
    for head in ("/api/v1", "/v1"):
        found = http.get(f"{head}/generation", params={"id": f"gen-{trace_id}"}).json()["data"]
        assert (found["model"], found["provider_name"]) == ("m", "primary")
        assert found["total_cost"] > 0
        spent = http.get(f"{head}/key").json()["data"]
        assert spent["usage"] == spent["usage_daily"] > found["total_cost"]
        assert http.get(f"{head}/credits").json()["data"]["total_usage"] == spent["usage"]
        [route] = http.get(f"{head}/models/n/endpoints").json()["data"]["endpoints"]
        assert route["context_length"] == 1000
    refused = http.post("/api/v1/chat/completions", json={**ASK, "model": "nobody"})
    assert refused.status_code == refused.json()["error"]["code"] == 404
    assert http.get("/api/v1/generation?id=x").json()["error"]["code"] == 400
