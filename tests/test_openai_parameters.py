"""The parameter table: what is dropped, what rules a provider out, and its published page."""

from pathlib import Path
from typing import Any

import pytest

from signalbox.adapters.openai_differences import ENTRIES, differences_for
from signalbox.adapters.openai_parameters import PARAMETERS, ParameterCheck, check
from signalbox.adapters.openai_parameters_page import render
from signalbox.adapters.openai_reasoning import EFFORTS

PAGE = Path(__file__).parents[1] / "docs" / "parameters.md"


def part(kind: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text"}, {"type": kind}]}]}


def checked(
    provider: str, model: str, body: dict[str, Any], *, refuse_unsupported: bool = False
) -> ParameterCheck:
    differences = differences_for("openai", provider, model)
    return check(body, differences, refuse_unsupported=refuse_unsupported)


SCHEMA = {"response_format": {"type": "json_schema", "json_schema": {"strict": True}}}


@pytest.mark.parametrize(
    ("provider", "model", "body", "dropped", "unsupported"),
    [
        ("groq", "m", {"logit_bias": {"1": 1}, "top_k": 3}, ("logit_bias", "top_k"), ()),
        ("groq", "m", {"n": 1, "logprobs": False, "logit_bias": None}, (), ()),
        ("groq", "m", {"n": 2}, (), ("n",)),
        ("groq", "m", {"logprobs": True}, (), ("logprobs",)),
        ("groq", "llama-3.3-70b-versatile", SCHEMA, (), ("response_format",)),
        ("groq", "openai/gpt-oss-120b", SCHEMA, (), ()),
        ("groq", "llama-3.3-70b", {"reasoning_effort": "low"}, ("reasoning_effort",), ()),
        ("cerebras", "m", {"parallel_tool_calls": True}, ("parallel_tool_calls",), ()),
        ("cerebras", "m", {"parallel_tool_calls": False}, (), ("parallel_tool_calls",)),
        ("deepseek", "m", part("image_url"), (), ("messages",)),
        ("deepseek", "m", part("text"), (), ()),
        ("deepseek", "m", SCHEMA, (), ("response_format",)),
        ("deepseek", "deepseek-chat", {"temperature": 0.5}, (), ()),
        ("deepseek", "deepseek-v4-pro", {"temperature": 0.5}, ("temperature",), ()),
        ("openai", "gpt-4o", part("image_url"), (), ()),
        ("ollama", "m", {"tool_choice": "auto", "tools": [{}]}, (), ()),
        ("ollama", "m", {"tool_choice": "required"}, (), ("tool_choice",)),
        ("mistral", "m", {"temperature": 1.6}, ("temperature",), ()),
        ("mistral", "m", {"temperature": 1.5}, (), ()),
        ("perplexity", "sonar", {"functions": [{}]}, (), ("tools",)),
        ("zai", "glm-4.6", {"tools": [{"function": {"strict": True}}]}, ("tools.strict",), ()),
        ("openai", "gpt-4o", {"reasoning": {"effort": "low"}}, ("reasoning",), ()),
        ("openai", "gpt-4o", {"temperature": 0.5}, (), ()),
        ("openai", "o3-mini", {"reasoning": {"effort": "low"}, "seed": 1}, (), ()),
        ("openai", "o3-mini", {"reasoning": {"exclude": True}}, ("reasoning.exclude",), ()),
        ("openai", "o3-mini", {"temperature": 0.5, "top_p": 1}, ("temperature",), ()),
        ("openai", "o3-mini", {"temperature": 1.0}, (), ()),
        ("openai", "o3-mini", {"logprobs": True}, (), ("logprobs",)),
        ("openai", "o3", {"stop": "x"}, (), ("stop",)),
        ("openai", "o1-mini", {"tools": [{}]}, (), ("tools",)),
        ("openai", "gpt-5-mini", {"presence_penalty": 1}, ("presence_penalty",), ()),
        ("openai", "gpt-5-chat-latest", {"top_p": 0.5}, (), ()),
        ("openai", "gpt-5.2", {"top_p": 0.5}, (), ()),
        ("openai", "gpt-5.2", {"top_p": 0.5, "reasoning_effort": "low"}, ("top_p",), ()),
        ("openai", "gpt-6", {"top_p": 0.5, "reasoning_effort": "none"}, (), ()),
        ("openai", "gpt-4o", {"plugins": [{"id": "web"}]}, (), ("plugins",)),
        ("openrouter", "m", {"reasoning": {"effort": "low"}, "plugins": [{}]}, (), ()),
        ("nobody-knows", "m", {"top_k": 1, "n": 3, "own_field": 1}, (), ()),
    ],
)
def test_what_a_model_does_not_take(
    provider: str,
    model: str,
    body: dict[str, Any],
    dropped: tuple[str, ...],
    unsupported: tuple[str, ...],
) -> None:
    assert checked(provider, model, body) == ParameterCheck(dropped, unsupported)
    refusing = checked(provider, model, body, refuse_unsupported=True)
    assert refusing.dropped == ()
    assert set(refusing.unsupported) == {*dropped, *unsupported}


@pytest.mark.parametrize(
    ("taken_back", "dropped"),
    [("deepseek", ()), ("openai", ("messages.reasoning",)), ("groq", ()), ("nobody-knows", ())],
)
def test_earlier_reasoning_that_has_no_place_is_named(
    taken_back: str, dropped: tuple[str, ...]
) -> None:
    body = {"messages": [{"role": "assistant", "content": "a", "reasoning": "b"}]}
    assert checked(taken_back, "m", body).dropped == dropped


def test_an_api_of_its_own_is_found_whatever_the_provider_is_called() -> None:
    assert differences_for("azure", "groq", "o3") == differences_for("openai", "openai", "o3")
    assert differences_for("openai", "groq", "o3") != differences_for("openai", "openai", "o3")


def test_the_differences_name_only_what_there_is() -> None:
    rows = {parameter.name for parameter in PARAMETERS}
    assert len(rows) == len(PARAMETERS)
    for name, entry in ENTRIES.items():
        provider = entry.provider
        assert provider.lacks | provider.lacks_thinking | provider.takes <= rows
        for rule in entry.models:
            assert rule.lacks | rule.takes <= rows
            assert rule.takes <= provider.lacks, f"{name}, {rule.pattern}"
            style = rule.changes.get("reasoning")
            assert style is None or set(style.efforts or ()) <= set(EFFORTS)


def test_the_published_page_is_the_table() -> None:
    assert PAGE.read_text() == render(), (
        "write signalbox.adapters.openai_parameters_page.render() to docs/parameters.md"
    )
