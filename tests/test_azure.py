"""Azure OpenAI: its addresses, its header, and OpenAI's dialect between them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from signalbox.adapters.azure import AzureAdapter, azure_url
from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.protocol import Answer, Delta
from signalbox.adapters.registry import adapters_of
from signalbox.config import ProviderSettings
from signalbox.errors import Failure
from signalbox.types import AccessToken, Dialect, Extra, Request, Route, Secret
from tests.configs import load
from tests.recordings import Exchange, recorded_exchanges

RESOURCE = "https://example.openai.azure.com"
KEY = Secret("azure-key")
REQUEST = Request(
    id="t1",
    received_at=0.0,
    door=Dialect.CHAT,
    body={"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 9},
    model="m",
    stream=False,
    include_usage=False,
    extra=Extra(),
    key_id="k",
    key_name="k",
)


@pytest.mark.parametrize(
    ("base_url", "path", "version", "expected"),
    [
        (RESOURCE, "chat/completions", None, "/openai/v1/chat/completions"),
        (f"{RESOURCE}/openai/v1/", "responses", None, "/openai/v1/responses"),
        (
            RESOURCE,
            "chat/completions",
            "2024-10-21",
            "/openai/deployments/my%2Fo3/chat/completions?api-version=2024-10-21",
        ),
        (
            f"{RESOURCE}/openai",
            "embeddings",
            "2024-10-21",
            "/openai/deployments/my%2Fo3/embeddings?api-version=2024-10-21",
        ),
        (
            RESOURCE,
            "responses",
            "2025-04-01-preview",
            "/openai/responses?api-version=2025-04-01-preview",
        ),
    ],
)
def test_the_address_of_an_endpoint(
    base_url: str, path: str, version: str | None, expected: str
) -> None:
    assert azure_url(base_url, path, "my/o3", version) == RESOURCE + expected


def test_the_request_is_openais_with_azures_address_and_key() -> None:
    settings = ProviderSettings("anything", "azure", RESOURCE, (), api_version="2024-10-21")
    adapter = adapters_of(settings).for_door(Dialect.CHAT, "o3")
    assert adapter is not None
    wire = adapter.build(REQUEST, Route("anything", "o3"), RESOURCE, KEY)
    assert wire.url == f"{RESOURCE}/openai/deployments/o3/chat/completions?api-version=2024-10-21"
    headers = dict(wire.headers)
    assert headers["api-key"] == "azure-key"
    assert "authorization" not in headers
    body = json.loads(wire.body)
    # What is known of OpenAI's models holds here too, whatever the provider is called.
    assert (body["model"], body["max_completion_tokens"]) == ("o3", 9)


def test_a_routes_own_credentials_stay() -> None:
    adapter = AzureAdapter(OpenAIAdapter("azure", "azure"))
    token = Route("azure", "m", headers=(("Authorization", Secret("Bearer entra")),))
    wire = adapter.build(REQUEST, token, RESOURCE, KEY)
    assert dict(wire.headers)["authorization"] == "Bearer entra"
    assert "api-key" not in dict(wire.headers)
    keyless = adapter.build(REQUEST, Route("azure", "m"), RESOURCE, None)
    assert not {"api-key", "authorization"} & dict(keyless.headers).keys()


def test_a_token_of_entras_goes_out_as_a_bearer_token() -> None:
    adapter = AzureAdapter(OpenAIAdapter("azure", "azure"))
    wire = adapter.build(REQUEST, Route("azure", "m"), RESOURCE, AccessToken("entra-token"))
    assert dict(wire.headers)["authorization"] == "Bearer entra-token"
    assert "api-key" not in dict(wire.headers)


def test_the_first_chunk_without_choices_and_filter_results_are_read() -> None:
    decoder = AzureAdapter(OpenAIAdapter("azure", "azure")).stream_decoder(REQUEST)
    first = {"id": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    second = {
        "id": "c",
        "choices": [
            {"index": 0, "delta": {"content": "a"}, "content_filter_results": {"hate": {}}}
        ],
    }
    events = decoder.feed(
        b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in (first, second))
    )
    assert [event.has_choices for event in events if isinstance(event, Delta)] == [False, True]
    assert isinstance(events[1], Delta)
    assert b"content_filter_results" in events[1].raw


@pytest.mark.parametrize("exchange", recorded_exchanges(lambda e: e.provider == "azure"))
def test_recorded_answers_are_read(exchange: Exchange) -> None:
    adapter = AzureAdapter(OpenAIAdapter("azure", "azure"))
    if exchange.status >= 400:
        failure = adapter.decode_error(exchange.status, exchange.headers, exchange.body, 0.0)
        assert isinstance(failure, Failure)
        assert failure.status == exchange.status
    else:
        answer = adapter.decode_answer(exchange.body, REQUEST)
        assert isinstance(answer, Answer)
        assert answer.finish_reason == "content_filter"
        assert answer.body == json.loads(exchange.body)


def test_the_configuration_names_the_version(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        f"""
        [providers.mine]
        api = "azure"
        base_url = "{RESOURCE}"
        api_version = "2024-10-21"
        keys = [{{ value = "azure-key-0123456789" }}]
        """,
    )
    provider = settings.providers["mine"]
    assert (provider.api, provider.api_version) == ("azure", "2024-10-21")
    assert provider.usable
