"""Routes whose model is known not to take, or not to give, what a request is about; and what the
model's own defaults come to at each door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors.outputs import Refusal
from signalbox.adapters.catalogue import Catalogue
from signalbox.adapters.catalogue_facts import EMBEDDING, IMAGE, TEXT, facts_of
from signalbox.adapters.chat import ReasoningWish
from signalbox.adapters.door import Target
from signalbox.adapters.doors import door_of
from signalbox.adapters.forms import chat_form
from signalbox.adapters.modalities import beyond, content_field, media_of
from signalbox.adapters.models import ModelTable
from signalbox.config import load_settings
from signalbox.types import Dialect, ModelPlan, Request, Route
from tests.catalogues import catalogue, model, tokens, vendor
from tests.outgoing import REQUEST
from tests.rig import plan, scripted_rig
from tests.scripted_upstream import answer

PNG = "iVBORw0KGgo="
TEXT_ONLY, SEES, VECTORS = (
    frozenset({TEXT}),
    frozenset({TEXT, IMAGE}),
    frozenset({EMBEDDING}),
)
PICTURES: dict[Dialect, dict[str, Any]] = {
    Dialect.CHAT: {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
                ],
            }
        ]
    },
    Dialect.RESPONSES: {
        "input": [
            {
                "role": "user",
                "content": [{"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}],
            }
        ]
    },
    Dialect.MESSAGES: {
        "max_tokens": 9,
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "content": [
                            {
                                "type": "image",
                                "source": {
                                    "type": "base64",
                                    "media_type": "image/png",
                                    "data": PNG,
                                },
                            }
                        ],
                    }
                ],
            }
        ],
    },
    Dialect.GENERATE: {
        "contents": [
            {"role": "user", "parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]}
        ]
    },
}
WORDS: dict[Dialect, dict[str, Any]] = {
    Dialect.CHAT: {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
    Dialect.RESPONSES: {"input": "Hi"},
    Dialect.MESSAGES: {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
    Dialect.GENERATE: {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
}
FIELDS = {
    Dialect.CHAT: "messages",
    Dialect.RESPONSES: "input",
    Dialect.MESSAGES: "messages",
    Dialect.GENERATE: "contents",
}


def at_door(door: Dialect, body: dict[str, Any], **fields: Any) -> Request:
    read = door_of(door).read_body(json.dumps({"model": "m", **body}).encode(), Target("m"))
    return replace(REQUEST, door=door, body=read, model="m", **fields)


def route(inputs: frozenset[str] | None, outputs: frozenset[str] | None = None) -> Route:
    return Route("p", "m", inputs=inputs, outputs=outputs)


@pytest.mark.parametrize("door", PICTURES)
def test_a_picture_is_beyond_a_model_that_reads_text_alone(door: Dialect) -> None:
    picture, words = at_door(door, PICTURES[door]), at_door(door, WORDS[door])
    assert media_of(picture) == {IMAGE}
    assert beyond(picture, route(TEXT_ONLY)) == (FIELDS[door],) == (content_field(door),)
    assert beyond(picture, route(SEES)) == ()
    assert beyond(picture, route(None)) == (), "what is not known is tried"
    assert beyond(words, route(TEXT_ONLY, TEXT_ONLY)) == ()


@pytest.mark.parametrize("door", WORDS)
def test_a_model_of_vectors_is_no_chat_model(door: Dialect) -> None:
    request = at_door(door, WORDS[door])
    assert beyond(request, route(TEXT_ONLY, VECTORS)) == (FIELDS[door],)
    assert beyond(request, route(TEXT_ONLY, TEXT_ONLY)) == ()


@pytest.mark.parametrize(
    ("door", "body", "field"),
    [
        (Dialect.EMBEDDINGS, {"input": "Hi"}, "input"),
        (Dialect.EMBED, {"content": {"parts": [{"text": "Hi"}]}}, "content"),
    ],
)
def test_a_chat_model_gives_no_vectors(door: Dialect, body: dict[str, Any], field: str) -> None:
    request = at_door(door, body)
    assert beyond(request, route(TEXT_ONLY, TEXT_ONLY)) == (field,)
    assert beyond(request, route(TEXT_ONLY, VECTORS)) == ()


async def test_a_picture_goes_to_the_route_that_sees(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    rig = scripted_rig(tmp_path, answer("A signal."))
    request = replace(rig.request(), body={"model": "m", **PICTURES[Dialect.CHAT]})
    blind, seeing = Route("a", "m", inputs=TEXT_ONLY), Route("b", "m", inputs=SEES)
    async with rig.running():
        await rig.ask(request, plan(ModelPlan("m", (blind, seeing))))
        [refusal] = await rig.ask(request, plan(ModelPlan("m", (blind,))))
    assert [call.url.split("/")[2] for call in rig.calls] == ["b"]
    assert isinstance(refusal, Refusal)
    assert (refusal.error.status, refusal.error.code) == (400, "unsupported_parameter")
    assert refusal.error.param == "messages"


# ── what is known, and what the configuration says ────────────────────────────────────────────


@pytest.mark.parametrize(
    ("vendor_name", "name", "inputs", "outputs"),
    [
        ("openai", "gpt-4o-2024-08-06", {"text", "image", "file"}, {"text"}),
        ("openai", "text-embedding-3-small", {"text"}, {"embeddings"}),
        ("openai", "o3-mini", {"text"}, {"text"}),
        ("openrouter", "anthropic/claude-3-haiku", {"text", "image"}, {"text"}),
        ("google", "gemini-2.5-flash-lite", {"text", "image", "file", "audio", "video"}, {"text"}),
        ("deepseek", "deepseek-chat", {"text"}, {"text"}),
        ("openai", "a-model-of-tomorrow", None, None),
        ("nobody", "gpt-4o", None, None),
    ],
)
def test_facts_of_models(
    vendor_name: str, name: str, inputs: set[str] | None, outputs: set[str] | None
) -> None:
    facts = facts_of(vendor_name, name)
    assert (facts.inputs, facts.outputs) == (inputs, outputs)


TABLE = """
[providers.openai]
keys = [{ value = "sk-openai-1234" }]
[models.seeing]
routes = [{ provider = "openai", model = "o3-mini", inputs = ["text", "image"] }]
[models.blind]
routes = [{ provider = "openai", model = "o3-mini" }]
"""


@pytest.mark.parametrize(("name", "expected"), [("seeing", ()), ("blind", ("messages",))])
def test_the_configuration_goes_above_what_is_known(
    name: str, expected: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "signalbox.toml").write_text(TABLE)
    known: Catalogue = catalogue(vendor("openai", model("o3-mini", tokens("1"))))
    plan_ = ModelTable(load_settings(None, {}, tmp_path), known).resolve(name)
    assert isinstance(plan_, ModelPlan)
    assert beyond(at_door(Dialect.CHAT, PICTURES[Dialect.CHAT]), plan_.routes[0]) == expected


# ── a model's defaults ────────────────────────────────────────────────────────────────────────

DEFAULTS = {
    "temperature": 0.25,
    "max_tokens": 77,
    "stop": ["END"],
    "reasoning_effort": "low",
    "seed": 7,
}
OWN_TEMPERATURE: dict[Dialect, dict[str, Any]] = {
    Dialect.RESPONSES: {"temperature": 0.0},
    Dialect.MESSAGES: {"temperature": 0.0},
    Dialect.GENERATE: {"generationConfig": {"temperature": 0.0}},
}


@pytest.mark.parametrize("door", OWN_TEMPERATURE)
def test_a_models_defaults_fill_in_what_the_client_leaves_open(door: Dialect) -> None:
    request = at_door(door, WORDS[door], defaults=DEFAULTS)
    before = json.dumps(request.body)
    form = chat_form(request)
    assert (form.temperature, form.seed, form.stop) == (0.25, 7, ("END",))
    assert form.max_tokens == (9 if door is Dialect.MESSAGES else 77)
    assert isinstance(form.reasoning, ReasoningWish)
    assert form.reasoning.effort == "low"
    assert form.messages == chat_form(at_door(door, WORDS[door])).messages
    assert (form.dialect, form.model) == (door, "m")
    assert json.dumps(request.body) == before


@pytest.mark.parametrize("door", OWN_TEMPERATURE)
def test_what_the_client_says_goes_above_a_default(door: Dialect) -> None:
    request = at_door(door, {**WORDS[door], **OWN_TEMPERATURE[door]}, defaults=DEFAULTS)
    assert chat_form(request).temperature == 0.0
