"""The parameter table: what is dropped, what rules a provider out, and its published page."""

from pathlib import Path
from typing import Any

import pytest

from signalbox.adapters.openai_parameters import (
    DIFFERENCES,
    PARAMETERS,
    ParameterCheck,
    check,
    render,
)

PAGE = Path(__file__).parents[1] / "docs" / "parameters.md"


def part(kind: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text"}, {"type": kind}]}]}


@pytest.mark.parametrize(
    ("provider", "body", "dropped", "unsupported"),
    [
        ("groq", {"logit_bias": {"1": 1}, "top_k": 3}, ("logit_bias", "top_k"), ()),
        ("groq", {"n": 1, "logprobs": False, "logit_bias": None}, (), ()),
        ("groq", {"n": 2}, (), ("n",)),
        ("groq", {"logprobs": True}, (), ("logprobs",)),
        ("cerebras", {"parallel_tool_calls": True}, ("parallel_tool_calls",), ()),
        ("cerebras", {"parallel_tool_calls": False}, (), ("parallel_tool_calls",)),
        ("deepseek", part("image_url"), (), ("messages",)),
        ("deepseek", part("text"), (), ()),
        ("openai", part("image_url"), (), ()),
        ("ollama", {"tool_choice": "auto", "tools": [{}]}, (), ()),
        ("ollama", {"tool_choice": "required"}, (), ("tool_choice",)),
        ("mistral", {"temperature": 1.6}, ("temperature",), ()),
        ("mistral", {"temperature": 1.5}, (), ()),
        ("openai", {"reasoning": {"effort": "low"}}, ("reasoning",), ()),
        ("openai", {"plugins": [{"id": "web"}]}, (), ("plugins",)),
        ("openrouter", {"reasoning": {"effort": "low"}, "plugins": [{}]}, (), ()),
        ("nobody-knows", {"top_k": 1, "n": 3, "own_field": 1}, (), ()),
    ],
)
def test_what_a_provider_does_not_take(
    provider: str, body: dict[str, Any], dropped: tuple[str, ...], unsupported: tuple[str, ...]
) -> None:
    assert check(body, provider) == ParameterCheck(dropped, unsupported)
    refusing = check(body, provider, refuse_unsupported=True)
    assert refusing.dropped == ()
    assert set(refusing.unsupported) == {*dropped, *unsupported}


def test_the_differences_name_only_rows_of_the_table() -> None:
    rows = {parameter.name for parameter in PARAMETERS}
    assert len(rows) == len(PARAMETERS)
    for differences in DIFFERENCES.values():
        assert differences.lacks <= rows


def test_the_published_page_is_the_table() -> None:
    assert PAGE.read_text() == render(), (
        "write signalbox.adapters.openai_parameters.render() to docs/parameters.md"
    )
