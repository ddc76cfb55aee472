"""A lower ceiling than the client's, as every provider is told of it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.adapters.door import Target
from signalbox.adapters.doors import door_of
from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.output_ceilings import (
    LEAST_THINKING,
    UNASKED_COMPLETION,
    ceiling_of,
    has_ceiling,
    thinks,
    with_ceiling,
)
from signalbox.adapters.translated import TranslatedAdapter
from signalbox.types import Dialect, Price, Request, Route
from tests.chat_pieces import request_of
from tests.dialect_streams import APIS, Api
from tests.hostile_bodies import PLAIN

DOORS = [door for door in PLAIN if has_ceiling(door)]
CAP = 5000
FIELDS = {
    Dialect.CHAT: ("max_completion_tokens",),
    Dialect.COMPLETIONS: ("max_tokens",),
    Dialect.RESPONSES: ("max_output_tokens",),
    Dialect.MESSAGES: ("max_tokens",),
    Dialect.GENERATE: ("generationConfig", "maxOutputTokens"),
}
NAMES = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens"})


def asked(door: Dialect, ceiling: int | None = None, **fields: Any) -> Request:
    """With the client's ceiling in the door's own words."""
    body = {**PLAIN[door], **fields}
    if ceiling is not None:
        *holders, name = FIELDS[door]
        body |= {holders[0]: {name: ceiling}} if holders else {name: ceiling}
    read = door_of(door).read_body(json.dumps(body).encode(), Target("m", stream=False))
    return replace(request_of(door, read), stream=False, include_usage=False)


def told(request: Request, api: Api, most: int, **route: Any) -> dict[str, Any]:
    """The body that the provider gets."""
    adapter = api.provider.adapters.for_door(request.door, api.model)
    assert adapter is not None
    way = Route(api.name, api.model, Price(Decimal(1), Decimal(1)), **route)
    translated = isinstance(adapter, TranslatedAdapter)
    capped, limited = with_ceiling(request, way, most, translated=translated)
    wire = adapter.build(capped, limited, "http://p/v1", None)
    body: dict[str, Any] = json.loads(wire.body)
    return body


def ceilings(body: Any) -> list[int]:
    """Wherever they stand."""
    if not isinstance(body, dict):
        return []
    own = [value for name, value in body.items() if name in NAMES]
    return own + [it for value in body.values() for it in ceilings(value)]


@pytest.mark.parametrize("api", APIS.values(), ids=lambda api: api.name)
@pytest.mark.parametrize("door", [door for door in DOORS if door is not Dialect.COMPLETIONS])
@pytest.mark.parametrize(
    ("ceiling", "sent"), [(None, CAP), (CAP + 1, CAP), (CAP, CAP), (3000, 3000)]
)
def test_every_provider_is_told_the_lower_one(
    ceiling: int | None, sent: int, door: Dialect, api: Api
) -> None:
    if door is Dialect.MESSAGES and ceiling is None:
        sent = min(CAP, PLAIN[door]["max_tokens"])
    assert ceilings(told(asked(door, ceiling), api, CAP)) == [sent]


@pytest.mark.parametrize("door", DOORS)
def test_a_body_that_goes_through_is_changed_in_that_field_alone(door: Dialect) -> None:
    request = asked(door, CAP + 1)
    capped, _ = with_ceiling(request, Route("p", "m"), CAP, translated=False)
    assert capped.body == asked(door, CAP).body
    assert ceiling_of(capped) == CAP
    lower = asked(door, 10)
    assert with_ceiling(lower, Route("p", "m"), CAP, translated=False)[0] is lower


@pytest.mark.parametrize(
    ("config", "left"),
    [
        (
            {"generation_config": {"max_output_tokens": 9000}},
            {"generation_config": {"max_output_tokens": CAP}},
        ),
        (
            {"generationConfig": {"topK": 3}},
            {"generationConfig": {"topK": 3, "maxOutputTokens": CAP}},
        ),
    ],
)
def test_gemini_spells_it_in_two_ways(config: dict[str, Any], left: dict[str, Any]) -> None:
    capped, _ = with_ceiling(
        asked(Dialect.GENERATE, **config), Route("p", "m"), CAP, translated=False
    )
    assert {name: capped.body[name] for name in left} == left


def test_both_names_of_a_chats_ceiling_are_lowered() -> None:
    request = asked(Dialect.CHAT, max_tokens=9000, max_completion_tokens=100)
    assert ceiling_of(request) == 9000
    capped, _ = with_ceiling(request, Route("p", "m"), CAP, translated=False)
    assert (capped.body["max_tokens"], capped.body["max_completion_tokens"]) == (CAP, 100)


@pytest.mark.parametrize(
    ("provider", "model", "name"),
    [
        ("openai", "gpt-4o", "max_tokens"),
        ("openai", "gpt-5", "max_completion_tokens"),
        ("mistral", "m", "max_tokens"),
        ("anyone", "m", "max_tokens"),
    ],
)
def test_a_ceiling_that_no_client_gave_has_the_name_that_the_model_knows(
    provider: str, model: str, name: str
) -> None:
    request, route = with_ceiling(
        asked(Dialect.CHAT), Route(provider, model), CAP, translated=False
    )
    body = json.loads(OpenAIAdapter(provider).build(request, route, "http://p/v1", None).body)
    assert {each: body[each] for each in NAMES & body.keys()} == {name: CAP}


def test_the_routes_own_parameter_gives_way() -> None:
    params = {"max_tokens": 9000, "seed": 1}
    body = told(asked(Dialect.RESPONSES), APIS["chat"], CAP, params=params)
    assert ceilings(body) == [CAP]
    assert body["seed"] == 1


def test_the_models_default_is_a_ceiling() -> None:
    request = replace(asked(Dialect.RESPONSES), defaults={"max_tokens": 70})
    assert ceiling_of(request) == 70
    assert with_ceiling(request, Route("p", "m"), CAP, translated=False)[0] is request


def test_a_legacy_completion_stays_as_short_as_its_api_has_it() -> None:
    request = asked(Dialect.COMPLETIONS)
    through, _ = with_ceiling(request, Route("p", "m"), CAP, translated=False)
    assert through.body["max_tokens"] == UNASKED_COMPLETION
    assert ceilings(told(request, APIS["messages"], CAP)) == [CAP]


# ── thinking ──────────────────────────────────────────────────────────────────────────────────

EFFORTS = st.sampled_from(["low", "medium", "high"])


@given(
    most=st.integers(LEAST_THINKING, 40_000),
    ceiling=st.integers(1, 60_000),
    effort=EFFORTS,
    budget=st.none() | st.integers(1024, 50_000),
    model=st.sampled_from(["claude-sonnet-4-5", "claude-3-7-sonnet", "claude-opus-4-6"]),
)
def test_thinking_fits_under_the_ceiling(
    most: int, ceiling: int, effort: str, budget: int | None, model: str
) -> None:
    """Anthropic refuses a budget that is not below `max_tokens`; a translated one adds to it."""
    wish = {"effort": effort} if budget is None else {"max_tokens": budget}
    request = asked(Dialect.CHAT, ceiling, reasoning=wish)
    assert thinks(request)
    body = told(request, replace(APIS["messages"], model=model), most)
    assert body["max_tokens"] <= most
    thinking = body.get("thinking", {})
    if thinking.get("type") == "enabled":
        assert 1024 <= thinking["budget_tokens"] < body["max_tokens"]


@given(most=st.integers(LEAST_THINKING, 40_000), budget=st.integers(1024, 50_000))
def test_thinking_that_goes_through_fits_under_the_ceiling(most: int, budget: int) -> None:
    thinking = {"type": "enabled", "budget_tokens": budget}
    request = asked(Dialect.MESSAGES, 60_000, thinking=thinking)
    body = told(request, replace(APIS["messages"], model="claude-sonnet-4-5"), most)
    assert body["max_tokens"] == most
    assert 1024 <= body["thinking"]["budget_tokens"] < most
    assert body["thinking"]["budget_tokens"] <= budget
