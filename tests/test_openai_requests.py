"""The OpenAI adapter: what it sends."""

from typing import Any

import pytest
from msgspec.structs import replace

from signalbox.adapters.openai import OpenAIAdapter
from signalbox.errors import UnsupportedParameter
from signalbox.types import Extra, ProviderPreferences, Secret
from tests.outgoing import REQUEST, ROUTE, build


def test_the_body_goes_out_as_it_came_but_for_the_model() -> None:
    wire, body = build("openai", unknown_field={"a": [1, 2.5]}, temperature=0, extra={"retry": 1})
    assert (wire.method, wire.url) == ("POST", "http://p.test/v1/chat/completions")
    assert body == {
        "model": "m-2024",
        "messages": [{"role": "user", "content": "Hi"}],
        "unknown_field": {"a": [1, 2.5]},
        "temperature": 0,
    }
    assert wire.dropped == ()
    assert "extra" not in REQUEST.body


def test_headers_are_the_gateway_s_own_and_the_route_s() -> None:
    request = replace(
        REQUEST, forward_headers=(("OpenAI-Beta", "x"), ("authorization", "Bearer client"))
    )
    route = replace(ROUTE, headers=(("X-Api-Version", Secret("7")), ("User-Agent", Secret("me"))))
    wire = OpenAIAdapter("openai").build(request, route, "http://p.test", Secret("sk-1"))
    assert dict(wire.headers) == {
        "openai-beta": "x",
        "authorization": "Bearer sk-1",
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "me",
        "x-api-version": "7",
    }


def test_a_provider_without_keys_gets_no_authorization() -> None:
    wire = OpenAIAdapter("ollama").build(REQUEST, ROUTE, "http://p.test/v1", None)
    assert "authorization" not in dict(wire.headers)


@pytest.mark.parametrize("owner", ["openai", "groq"])
def test_a_caller_s_own_key_is_the_only_credential_at_its_provider(owner: str) -> None:
    key, headers = (
        Secret("sk-own"),
        {"Authorization": "Bearer ours", "Api-Key": "ours", "x-id": "7"},
    )
    route = replace(ROUTE, headers=tuple((n, Secret(value)) for n, value in headers.items()))
    request = replace(REQUEST, byok={owner: key})
    sent = dict(OpenAIAdapter("openai").build(request, route, "http://p.test/v1", key).headers)
    own = owner == route.provider
    assert sent["authorization"] == f"Bearer {'sk-own' if own else 'ours'}"
    assert (sent.get("api-key"), sent["x-id"]) == (None if own else "ours", "7")


def test_route_params_fill_in_only_what_the_client_left_open() -> None:
    route = replace(ROUTE, params={"temperature": 0.1, "top_p": 0.5, "reasoning_effort": "low"})
    _, body = build("openai", route, temperature=1, top_p=None)
    assert (body["temperature"], body["top_p"], body["reasoning_effort"]) == (1, 0.5, "low")


def test_streamed_usage_is_always_asked_for_where_it_is_taken() -> None:
    _, body = build("openai", stream=True, stream_options={"include_obfuscation": False})
    assert body["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    _, body = build("openai", stream=True, stream_options={"include_usage": False})
    assert body["stream_options"] == {"include_usage": True}
    _, body = build("mistral", stream=True, stream_options={"include_usage": True})
    assert "stream_options" not in body
    _, body = build("openai")
    assert "stream_options" not in body


OPENROUTER_FIELDS: dict[str, Any] = {
    "models": ["a"],
    "provider": {"order": ["x"]},
    "preset": "p",
    "usage": {"include": True},
    "session_id": "s",
    "route": "fallback",
    "reasoning": {"effort": "low"},
    "include_reasoning": True,
    "transforms": ["middle-out"],
}


def test_openrouter_s_fields_reach_openrouter_only() -> None:
    _, body = build("openrouter", **OPENROUTER_FIELDS)
    assert body.keys() >= OPENROUTER_FIELDS.keys()
    wire, body = build("openai", **OPENROUTER_FIELDS)
    assert not body.keys() & OPENROUTER_FIELDS.keys()
    assert wire.dropped == ("transforms",)
    assert body["reasoning_effort"] == "low"


def test_what_a_provider_lacks_is_renamed_dropped_or_refused() -> None:
    wire, body = build("mistral", seed=1, max_completion_tokens=9, user="u", temperature=1.9)
    assert (body["random_seed"], body["max_tokens"], body["temperature"]) == (1, 9, 1.5)
    assert not body.keys() & {"seed", "max_completion_tokens", "user"}
    assert wire.dropped == ("user", "temperature")
    with pytest.raises(UnsupportedParameter, match="n: groq does not take it"):
        build("groq", n=2)


def test_unsupported_hints_are_refused_on_request() -> None:
    body = {**REQUEST.body, "logit_bias": {"1": 2}}
    for extra in (
        Extra(refuse_unsupported=True),
        Extra(provider=ProviderPreferences(require_parameters=True)),
    ):
        request = replace(REQUEST, body=body, extra=extra)
        with pytest.raises(UnsupportedParameter, match="logit_bias"):
            OpenAIAdapter("groq").build(request, ROUTE, "http://p.test", None)
