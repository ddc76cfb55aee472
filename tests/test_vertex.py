"""Vertex AI: Gemini's and Anthropic's dialects at its addresses, with a bearer token."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from signalbox.adapters.protocol import Adapter, Answer, WireRequest
from signalbox.adapters.registry import ProviderAdapters, adapters_of
from signalbox.adapters.vertex import is_claude
from signalbox.config import ProviderSettings
from signalbox.errors import FailureKind, UnsupportedParameter
from signalbox.types import AccessToken, Dialect, Extra, Request, Route, Secret

BASE = "https://europe-west4-aiplatform.googleapis.com/v1"
PLACE = f"{BASE}/projects/my-project/locations/europe-west4"
GEMINI, CLAUDE = "gemini-2.5-flash", "claude-sonnet-4-5@20250929"
TOKEN = AccessToken("ya29.token-0123456789")
TURNS = [{"role": "user", "parts": [{"text": "x"}]}]
BODIES: dict[Dialect, dict[str, Any]] = {
    Dialect.GENERATE: {"contents": TURNS, "labels": {"unknown": "kept"}},
    Dialect.GENERATE_COUNT: {"contents": TURNS},
    Dialect.MESSAGES: {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
        "unknown": {"kept": 1},
    },
    Dialect.MESSAGES_COUNT: {"model": "m", "messages": [{"role": "user", "content": "x"}]},
    Dialect.CHAT: {"model": "m", "messages": [{"role": "user", "content": "x"}]},
}


def asked(door: Dialect, *, stream: bool = False, **changes: Any) -> Request:
    return Request(
        id="t1",
        received_at=0.0,
        door=door,
        body={**BODIES[door], **changes},
        model="m",
        stream=stream,
        include_usage=False,
        extra=Extra(),
        key_id="k",
        key_name="k",
    )


def provider() -> ProviderAdapters:
    return adapters_of(
        ProviderSettings("v", "vertex", BASE, (), project="my-project", location="europe-west4")
    )


def adapter(door: Dialect, model: str) -> Adapter:
    found = provider().for_door(door, model)
    assert found is not None
    return found


def built(request: Request, model: str, key: Secret | None = TOKEN) -> WireRequest:
    return adapter(request.door, model).build(request, Route("v", model), BASE, key)


def body_of(wire: WireRequest) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(wire.body)
    return body


@pytest.mark.parametrize(
    ("door", "stream", "model", "path"),
    [
        (Dialect.GENERATE, False, GEMINI, f"publishers/google/models/{GEMINI}:generateContent"),
        (
            Dialect.GENERATE,
            True,
            f"models/{GEMINI}",
            f"publishers/google/models/{GEMINI}:streamGenerateContent?alt=sse",
        ),
        (Dialect.GENERATE, False, "endpoints/12", "endpoints/12:generateContent"),
        (Dialect.CHAT, False, GEMINI, f"publishers/google/models/{GEMINI}:generateContent"),
        (Dialect.GENERATE_COUNT, False, GEMINI, f"publishers/google/models/{GEMINI}:countTokens"),
        (Dialect.MESSAGES, False, CLAUDE, f"publishers/anthropic/models/{CLAUDE}:rawPredict"),
        (Dialect.MESSAGES, True, CLAUDE, f"publishers/anthropic/models/{CLAUDE}:streamRawPredict"),
        (Dialect.CHAT, True, CLAUDE, f"publishers/anthropic/models/{CLAUDE}:streamRawPredict"),
        (
            Dialect.MESSAGES_COUNT,
            False,
            CLAUDE,
            "publishers/anthropic/models/count-tokens:rawPredict",
        ),
    ],
)
def test_addresses_and_headers(door: Dialect, stream: bool, model: str, path: str) -> None:
    wire = built(asked(door, stream=stream), model)
    assert (wire.method, wire.url) == ("POST", f"{PLACE}/{path}")
    headers = dict(wire.headers)
    assert headers["authorization"] == f"Bearer {TOKEN.reveal()}"
    assert not {"x-api-key", "x-goog-api-key", "anthropic-version"} & headers.keys()
    assert headers["accept"] == ("text/event-stream" if stream else "application/json")
    assert TOKEN.reveal().encode() not in wire.body


def test_a_gemini_body_goes_through() -> None:
    assert body_of(built(asked(Dialect.GENERATE), GEMINI)) == BODIES[Dialect.GENERATE]


def test_a_turn_without_its_role_gets_one() -> None:
    turns = [{"parts": [{"text": "x"}]}, {"role": "model", "parts": [{"text": "y"}]}]
    body = body_of(built(asked(Dialect.GENERATE, contents=turns), GEMINI))
    assert [turn["role"] for turn in body["contents"]] == ["user", "model"]
    assert body["contents"][0]["parts"] == [{"text": "x"}]


def test_a_whole_request_is_counted_as_one() -> None:
    whole = {"model": "models/m", "contents": TURNS, "systemInstruction": {"parts": []}}
    wire = built(asked(Dialect.GENERATE_COUNT, contents=None, generateContentRequest=whole), GEMINI)
    assert body_of(wire) == {"contents": TURNS, "systemInstruction": {"parts": []}}


def test_what_only_the_other_api_has_is_dropped_by_name_or_refused() -> None:
    request = asked(Dialect.GENERATE, store=True)
    wire = built(request, GEMINI)
    assert wire.dropped == ("store",)
    assert "store" not in body_of(wire)
    route, gemini = Route("v", GEMINI), adapter(Dialect.GENERATE, GEMINI)
    assert gemini.dropped(request, route) == ("store",)
    strict = replace(request, extra=Extra(refuse_unsupported=True))
    assert gemini.unsupported(strict, route) == ("store",)
    searching = asked(Dialect.GENERATE, tools=[{"fileSearch": {}}])
    assert gemini.unsupported(searching, route) == ("tools",)
    with pytest.raises(UnsupportedParameter, match="tools"):
        gemini.build(searching, route, BASE, TOKEN)


def test_a_claude_body_names_the_version_and_not_the_model() -> None:
    body = body_of(built(asked(Dialect.MESSAGES, stream=True), CLAUDE))
    expected = {
        **BODIES[Dialect.MESSAGES],
        "stream": True,
        "anthropic_version": "vertex-2023-10-16",
    }
    del expected["model"]
    assert body == expected


def test_counting_names_the_model_in_the_body() -> None:
    body = body_of(built(asked(Dialect.MESSAGES_COUNT), f"publishers/anthropic/models/{CLAUDE}"))
    assert (body["model"], body["anthropic_version"]) == (CLAUDE, "vertex-2023-10-16")


def test_other_credentials() -> None:
    request = asked(Dialect.GENERATE)
    key = dict(built(request, GEMINI, Secret("AIza0123456789")).headers)
    assert key["x-goog-api-key"] == "AIza0123456789"
    assert "authorization" not in key
    token = dict(built(request, GEMINI, Secret("ya29.static")).headers)
    assert token["authorization"] == "Bearer ya29.static"
    own = Route("v", GEMINI, headers=(("Authorization", Secret("Bearer route")),))
    sent = adapter(Dialect.GENERATE, GEMINI).build(request, own, BASE, TOKEN).headers
    assert dict(sent)["authorization"] == "Bearer route"
    assert "x-goog-api-key" not in dict(sent)
    assert "authorization" not in dict(built(request, GEMINI, None).headers)


def test_claudes_errors_come_in_two_forms() -> None:
    claude = adapter(Dialect.MESSAGES, CLAUDE)
    google = {"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}
    for body in (google, [google]):
        failure = claude.decode_error(429, (), json.dumps(body).encode(), 0.0)
        assert failure.kind is FailureKind.RATE_LIMITED
        assert "Quota exceeded" in failure.message
    vendor = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    failure = claude.decode_error(529, (), json.dumps(vendor).encode(), 0.0)
    assert failure.kind is FailureKind.OVERLOADED
    assert claude.decode_error(502, (), b"<html>", 0.0).kind is FailureKind.SERVER_ERROR


def test_answers_are_the_inner_dialects() -> None:
    answer = {
        "id": "msg_vrtx_1",
        "type": "message",
        "role": "assistant",
        "model": CLAUDE,
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    read = adapter(Dialect.MESSAGES, CLAUDE).decode_answer(
        json.dumps(answer).encode(), asked(Dialect.MESSAGES)
    )
    assert isinstance(read, Answer)
    assert (read.content_chars, read.finish_reason) == (2, "stop")


def test_which_models_are_anthropics() -> None:
    assert is_claude(CLAUDE)
    assert is_claude("publishers/anthropic/models/claude-opus-4-1@20250805")
    assert not is_claude(GEMINI)
    assert provider().for_door(Dialect.EMBEDDINGS, GEMINI) is None
