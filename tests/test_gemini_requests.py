"""What the Gemini adapter sends: bodies of its own dialect, and what it adds to them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import types
from msgspec.structs import replace

from signalbox.adapters.chat import ChatRequest, JsonObject, Message, Role, Text, Tool
from signalbox.adapters.gemini_request_reader import read_generate_request
from signalbox.adapters.gemini_request_writer import write_generate_request
from signalbox.adapters.openai_differences import differences_for
from signalbox.adapters.registry import FAMILIES
from signalbox.errors import UnsupportedParameter
from signalbox.types import Dialect, Extra, Secret
from tests.gemini_cases import (
    ADAPTER,
    BASE,
    CONTENTS,
    KEY,
    NATIVE,
    built,
    native,
    recorded_requests,
    route,
    sent,
    translated,
)

RECORDED = [request for request in recorded_requests() if "enerateContent" in request[1]]
by_recording = pytest.mark.parametrize(
    ("path", "body"), [it[1:] for it in RECORDED], ids=[it[0] for it in RECORDED]
)


def form(**fields: Any) -> ChatRequest:
    hello = (Message(Role.USER, (Text("Hi"),)),)
    return ChatRequest(**{"dialect": Dialect.CHAT, "model": "m", "messages": hello, **fields})


# ── address and headers ───────────────────────────────────────────────────────────────────────


def test_the_key_goes_in_a_header_and_never_in_the_address() -> None:
    wire = ADAPTER.build(NATIVE, route("gemini-3-flash"), BASE, KEY)
    assert wire.url == "https://gemini.test/v1beta/models/gemini-3-flash:generateContent"
    assert dict(wire.headers)["x-goog-api-key"] == KEY.reveal()
    assert KEY.reveal() not in wire.url + wire.body.decode()


def test_a_stream_has_an_address_of_its_own() -> None:
    wire = ADAPTER.build(replace(NATIVE, stream=True), route("tunedModels/t"), BASE, KEY)
    assert wire.url == "https://gemini.test/v1beta/tunedModels/t:streamGenerateContent?alt=sse"
    assert dict(wire.headers)["accept"] == "text/event-stream"


def test_a_models_name_cannot_leave_its_place_in_the_address() -> None:
    wire = ADAPTER.build(NATIVE, route("a?key=b#c:d"), BASE, KEY)
    assert wire.url.endswith("/models/a%3Fkey%3Db%23c%3Ad:generateContent")


def test_a_callers_own_key_goes_alone() -> None:
    where = route(headers=(("X-Goog-Api-Key", Secret("ours")), ("x-route", Secret("r"))))
    own = replace(NATIVE, byok={"google": Secret("theirs")})
    headers = dict(ADAPTER.build(own, where, BASE, Secret("theirs")).headers)
    assert (headers["x-goog-api-key"], headers["x-route"]) == ("theirs", "r")
    shared = dict(ADAPTER.build(NATIVE, where, BASE, KEY).headers)
    assert shared["x-goog-api-key"] == "ours"


# ── the same dialect ──────────────────────────────────────────────────────────────────────────


@by_recording
def test_a_recorded_body_goes_through(path: str, body: dict[str, Any]) -> None:
    assert built(native(body, stream="stream" in path)) == body


def test_what_nobody_knows_goes_through_and_the_gateways_own_does_not() -> None:
    body = {"contents": CONTENTS, "newField": {"a": [1]}, "safety_settings": []}
    own = {"extra": {"retry": 1}, "model": "models/x", "stream": True}
    assert built(native({**body, **own})) == body


def test_defaults_fill_what_the_body_leaves_open() -> None:
    body = {"contents": CONTENTS, "generation_config": {"temperature": 0.5, "topP": None}}
    defaults = {"temperature": 1, "top_p": 0.9, "max_tokens": 7, "user": "u"}
    request = replace(native(body), defaults=defaults)
    where = route("gemini-3-flash", params={"max_tokens": 9, "safetySettings": [{"a": 1}]})
    wire = ADAPTER.build(request, where, BASE, KEY)
    filled = {"temperature": 0.5, "topP": 0.9, "maxOutputTokens": 7}
    assert sent(wire) == {
        "contents": CONTENTS,
        "generation_config": filled,
        "safetySettings": [{"a": 1}],
    }
    assert wire.dropped == ("user",)
    assert body["generation_config"] == {"temperature": 0.5, "topP": None}


def test_a_routes_own_params_come_in_either_dialect() -> None:
    params = {"generationConfig": {"topK": 4}, "reasoning_effort": "low", "temperature": 0.1}
    body = built(translated(form(temperature=0.7)), route("gemini-2.5-flash", params=params))
    assert body["generationConfig"] == {
        "temperature": 0.7,
        "topK": 4,
        "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
    }


def test_a_param_that_is_none_is_named() -> None:
    with pytest.raises(UnsupportedParameter, match="tools"):
        ADAPTER.build(NATIVE, route(params={"tools": "x"}), BASE, KEY)


def test_a_begun_answer_is_a_turn_of_the_model() -> None:
    assert not ADAPTER.prefills(route())
    assert ADAPTER.prefills(route(prefill=True))
    wire = ADAPTER.build(NATIVE, route(prefill=True), BASE, KEY, prefill="So \n")
    assert sent(wire)["contents"] == [*CONTENTS, {"role": "model", "parts": [{"text": "So"}]}]
    assert sent(ADAPTER.build(NATIVE, route(), BASE, KEY))["contents"] == CONTENTS


# ── by way of the gateway's own model ─────────────────────────────────────────────────────────


@by_recording
def test_a_recorded_body_survives_the_gateways_own_model(path: str, body: dict[str, Any]) -> None:
    read = read_generate_request(body, "m", stream=False)
    written = write_generate_request(read, "gemini-2.5-flash")
    assert written.unsupported == {}
    assert meaning(written.body) == meaning(body)


def meaning(body: dict[str, Any]) -> Any:
    """The body as the SDK's types read it, without what says nothing: schemas in one form,
    thinking's summaries unasked for."""
    names = {"system_instruction": "systemInstruction", "generation_config": "generationConfig"}
    fields = {names.get(name, name): value for name, value in body.items()}
    contents = [types.Content.model_validate(c) for c in fields.get("contents", ())]
    system = fields.get("systemInstruction") or {}
    parts = system.get("parts") or []
    texts = [p["text"] for p in (parts if isinstance(parts, list) else [parts]) if p["text"]]
    return (
        [c.model_dump(exclude_none=True) for c in contents],
        texts,
        _schemas(fields.get("tools") or []),
        _schemas(
            {n: v for n, v in (fields.get("generationConfig") or {}).items() if v != ["TEXT"]}
        ),
    )


def _schemas(value: Any) -> Any:
    """Google's own form of a schema and JSON Schema are the same but for these."""
    renamed = {
        "parameters": "parametersJsonSchema",
        "responseSchema": "responseJsonSchema",
        "google_search": "googleSearch",
        "file_search_store_names": "fileSearchStoreNames",
    }
    if isinstance(value, dict):
        return {
            renamed.get(name, name): each.lower() if name == "type" else _schemas(each)
            for name, each in value.items()
            if (name, each) not in (("candidateCount", 1),)
        }
    return [_schemas(each) for each in value] if isinstance(value, list) else value


def test_settings_have_gemini_s_names() -> None:
    said = form(
        max_tokens=9,
        temperature=2.5,
        top_p=0.5,
        top_k=4,
        stop=("a", "b"),
        n=2,
        seed=2**40 + 3,
        service_tier="flex",
    )
    wire = ADAPTER.build(translated(said), route(), BASE, KEY)
    assert sent(wire)["generationConfig"] == {
        "temperature": 2.0,
        "topP": 0.5,
        "topK": 4,
        "maxOutputTokens": 9,
        "stopSequences": ["a", "b"],
        "candidateCount": 2,
        "seed": 3,
    }
    assert sent(wire)["serviceTier"] == "flex"
    assert wire.dropped == ("temperature",)


def test_hints_that_gemini_lacks_are_named() -> None:
    hints = {
        "user": "u",
        "metadata": {"a": "b"},
        "store": True,
        "logit_bias": {"1": 2},
        "min_p": 0.1,
        "verbosity": "low",
        "prediction": {"type": "content"},
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "unknown": {"other": 1},
    }
    said = form(**hints)
    names = {*hints, "other"} - {"unknown"}
    assert set(ADAPTER.dropped(translated(said), route())) == names
    assert set(built(translated(said))) == {"contents"}
    strict = translated(said, extra=Extra(refuse_unsupported=True))
    assert set(ADAPTER.unsupported(strict, route())) == names
    with pytest.raises(UnsupportedParameter):
        ADAPTER.build(strict, route(), BASE, KEY)


@pytest.mark.parametrize(
    ("model", "kept"), [("gemini-2.0-flash", True), ("gemini-2.5-pro", False), ("gemma-3", False)]
)
def test_penalties_and_logprobs_are_the_older_models(model: str, kept: bool) -> None:
    said = form(presence_penalty=0.5, logprobs=True, top_logprobs=30)
    where = route(model)
    assert ADAPTER.unsupported(translated(said), where) == (() if kept else ("logprobs",))
    assert ADAPTER.dropped(translated(said), where) == (() if kept else ("presence_penalty",))
    if kept:
        config = built(translated(said), where)["generationConfig"]
        assert config == {"presencePenalty": 0.5, "responseLogprobs": True, "logprobs": 20}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"n": 9}, "n"),
        ({"stop": ("a",) * 6}, "stop"),
        ({"modalities": ("text", "image")}, "modalities"),
        ({"modalities": ("audio",)}, "modalities"),
    ],
)
def test_what_cannot_be_carried_is_named(fields: dict[str, Any], name: str) -> None:
    assert ADAPTER.unsupported(translated(form(**fields)), route()) == (name,)
    with pytest.raises(UnsupportedParameter, match=name):
        ADAPTER.build(translated(form(**fields)), route(), BASE, KEY)


USES: dict[str, dict[str, Any]] = {
    "user": {"user": "u"},
    "safety_identifier": {"safety_identifier": "s"},
    "metadata": {"metadata": {"a": "b"}},
    "store": {"store": True},
    "prompt_cache_key": {"prompt_cache_key": "k"},
    "prediction": {"prediction": {"type": "content"}},
    "verbosity": {"verbosity": "low"},
    "logit_bias": {"logit_bias": {"1": 2}},
    "min_p": {"min_p": 0.1},
    "top_k": {"top_k": 3},
    "seed": {"seed": 3},
    "stop": {"stop": ("a",)},
    "n": {"n": 2},
    "presence_penalty": {"presence_penalty": 0.1},
    "frequency_penalty": {"frequency_penalty": 0.1},
    "logprobs": {"logprobs": True},
    "tools": {"tools": (Tool("f"),)},
    "strict tools": {"tools": (Tool("f", strict=True),)},
    "custom tools": {"tools": (Tool("f", custom={}),)},
    "parallel_tool_calls: true": {"tools": (Tool("f"),), "parallel_tool_calls": True},
    "parallel_tool_calls: false": {"tools": (Tool("f"),), "parallel_tool_calls": False},
    "modalities": {"modalities": ("text", "image")},
    "response_format: json_object": {"response_format": JsonObject()},
}
"""Rows of the published table → a use of each."""


@pytest.mark.parametrize("model", ["gemini-3-flash", "gemini-2.0-flash", "gemini-3-pro-image"])
@pytest.mark.parametrize("row", USES)
def test_the_published_table_says_what_the_adapter_does(row: str, model: str) -> None:
    request, where = translated(form(**USES[row])), route(model)
    left = [*ADAPTER.dropped(request, where), *ADAPTER.unsupported(request, where)]
    assert bool(left) == (row in differences_for("gemini", "google", model).lacks)


def test_pictures_and_voices_come_from_models_that_make_them() -> None:
    drawn = built(translated(form(modalities=("text", "image"))), route("gemini-3-pro-image"))
    assert drawn["generationConfig"] == {"responseModalities": ["TEXT", "IMAGE"]}
    spoken = form(modalities=("text", "audio"), audio={"voice": "Kore", "format": "pcm16"})
    voice = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Kore"}}}
    assert built(translated(spoken), route("gemini-2.5-flash-preview-tts"))["generationConfig"] == {
        "responseModalities": ["AUDIO"],
        "speechConfig": voice,
    }
    mp3 = translated(form(modalities=("audio",), audio={"voice": "Kore", "format": "mp3"}))
    assert ADAPTER.unsupported(mp3, route("gemini-2.5-flash-preview-tts")) == ("audio",)


def test_two_models_may_share_a_route_and_differ_in_params() -> None:
    request = native({"contents": CONTENTS})
    warm, cold = (built(request, route(params={"temperature": t})) for t in (1, 0))
    assert warm["generationConfig"] != cold["generationConfig"]


def test_the_original_is_never_changed() -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "a"}]}], "generationConfig": {}}
    before = json.dumps(body)
    request = replace(native(body), defaults={"temperature": 1})
    assert built(request) == built(request)
    assert json.dumps(body) == before


def test_the_family_is_registered() -> None:
    assert "gemini" in FAMILIES
