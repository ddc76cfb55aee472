"""What of a client's wish to think a provider's Responses API is told.

It shows thinking in a summary that is asked for; the clients of other dialects expect to see what
they wished for without asking twice.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from signalbox.adapters.responses import ResponsesAdapter
from signalbox.types import Dialect, Request
from tests.responses_wire import ROUTE, TRANSLATED

HI = {"role": "user", "content": "Hi"}
OFTEN = {"effort": "low", "summary": "auto"}


def request(door: Dialect, **fields: Any) -> Request:
    body: dict[Dialect, dict[str, Any]] = {
        Dialect.CHAT: {"messages": [HI]},
        Dialect.MESSAGES: {"messages": [HI], "max_tokens": 10_000},
        Dialect.GENERATE: {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
        Dialect.RESPONSES: {"input": "Hi"},
    }
    return replace(TRANSLATED, door=door, body={"model": "m", **body[door], **fields})


def told(
    wish: Request, provider: str = "openai", model: str = "o3-pro", **params: Any
) -> dict[str, Any] | None:
    route = replace(ROUTE, provider=provider, model=model, params=params)
    adapter = ResponsesAdapter(provider)
    body = json.loads(adapter.build(wish, route, "http://p.test/v1", None).body)
    found: dict[str, Any] | None = body.get("reasoning")
    return found


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({}, None),
        ({"reasoning_effort": "low"}, OFTEN),
        ({"reasoning": {"effort": "low"}}, OFTEN),
        ({"reasoning": {"enabled": True}}, {"effort": "medium", "summary": "auto"}),
        ({"thinking": {"type": "enabled"}}, {"effort": "medium", "summary": "auto"}),
        (
            {"reasoning_effort": {"effort": "low", "summary": "concise"}},
            {**OFTEN, "summary": "concise"},
        ),
        ({"reasoning": {"effort": "low", "exclude": True}}, {"effort": "low"}),
        ({"reasoning": {"effort": "low", "exclude": True, "summary": "auto"}}, {"effort": "low"}),
        ({"reasoning_effort": "low", "include_reasoning": False}, {"effort": "low"}),
        ({"include_reasoning": True}, {"summary": "auto"}),
        ({"reasoning": {"effort": "low", "summary": "concise"}}, {**OFTEN, "summary": "concise"}),
    ],
)
def test_a_chat_is_shown_what_it_wished_for(
    fields: dict[str, Any], reasoning: dict[str, Any] | None
) -> None:
    wish = request(Dialect.CHAT, **fields)
    assert told(wish) == reasoning
    assert ResponsesAdapter("openai").dropped(wish, replace(ROUTE, model="o3-pro")) == ()


def test_who_does_not_think_is_asked_for_no_summary() -> None:
    off = request(Dialect.CHAT, reasoning_effort="none")
    assert told(off, model="gpt-5.1") == {"effort": "none"}
    assert told(off, model="o3-pro") == {"effort": "low"}, "it cannot but think"


def test_a_model_that_cannot_think_is_not_told_to() -> None:
    wish = request(Dialect.CHAT, reasoning_effort="low")
    assert told(wish, model="gpt-4o") is None
    route = replace(ROUTE, model="gpt-4o")
    assert ResponsesAdapter("openai").dropped(wish, route) == ("reasoning_effort",)


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2_000}}, OFTEN),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, OFTEN),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2_000, "display": "omitted"}},
            {"effort": "low"},
        ),
        ({"output_config": {"effort": "low"}}, {"effort": "low"}),
    ],
)
def test_a_message_is_shown_thinking_where_it_is_enabled(
    fields: dict[str, Any], reasoning: dict[str, Any]
) -> None:
    assert told(request(Dialect.MESSAGES, **fields)) == reasoning


@pytest.mark.parametrize(
    ("thinking", "reasoning"),
    [
        ({"thinkingLevel": "LOW", "includeThoughts": True}, OFTEN),
        ({"thinkingLevel": "LOW"}, {"effort": "low"}),
    ],
)
def test_google_s_client_is_shown_thoughts_where_it_includes_them(
    thinking: dict[str, Any], reasoning: dict[str, Any]
) -> None:
    wish = request(Dialect.GENERATE, generationConfig={"thinkingConfig": thinking})
    assert told(wish) == reasoning
    assert ResponsesAdapter("openai").dropped(wish, replace(ROUTE, model="o3-pro")) == ()


def test_the_same_dialect_asks_for_itself() -> None:
    wish = request(Dialect.RESPONSES, reasoning={"effort": "low"})
    assert told(wish) == {"effort": "low"}


def test_a_configuration_keeps_an_unverified_organisation_from_asking() -> None:
    wish = request(Dialect.CHAT, reasoning_effort="low")
    assert told(wish, reasoning={"exclude": True}) == {"effort": "low"}
    asks = request(Dialect.CHAT, reasoning={"effort": "low", "exclude": False})
    assert told(asks, reasoning={"exclude": True}) == OFTEN


def test_a_configuration_s_effort_asks_for_no_summary() -> None:
    assert told(request(Dialect.RESPONSES), reasoning_effort="low") == {"effort": "low"}
    assert told(request(Dialect.CHAT), reasoning_effort="low") == {"effort": "low"}


@pytest.mark.parametrize("provider", ["groq", "ollama", "vllm"])
def test_who_shows_all_thinking_is_asked_for_no_summary(provider: str) -> None:
    model = "openai/gpt-oss-20b"
    shown = request(Dialect.CHAT, reasoning_effort="low")
    assert told(shown, provider, model) == {"effort": "low"}
    hidden = request(Dialect.CHAT, reasoning={"effort": "low", "exclude": True})
    assert told(hidden, provider, model) == {"effort": "low"}
    route = replace(ROUTE, provider=provider, model=model)
    assert ResponsesAdapter(provider).dropped(hidden, route) == ("reasoning.exclude",)
