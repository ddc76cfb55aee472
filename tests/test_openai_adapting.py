"""A body written the way that one provider's model takes it, and answers read back."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.adapters import tool_ids
from signalbox.adapters.openai_adapting import adapted
from signalbox.adapters.openai_differences import ENTRIES, differences_for
from signalbox.adapters.openai_functions import answer_with_functions, chunk_with_functions
from signalbox.adapters.openai_parameters import check
from signalbox.adapters.openai_reasoning import EFFORTS, WISH_FIELDS, effort_of

WORDS = st.sampled_from(["id", "function", "name", "effort", "max_tokens", "exclude", "enabled"])


def sent(provider: str, model: str, body: dict[str, Any]) -> dict[str, Any]:
    differences = differences_for("openai", provider, model)
    before = msgspec.json.encode(body)
    written = adapted(body, differences, check(body, differences))
    assert msgspec.json.encode(body) == before, "the original must stay as it is"
    return written


def roles(written: dict[str, Any]) -> list[str]:
    return [message["role"] for message in written["messages"]]


@pytest.mark.parametrize(
    ("provider", "model", "body", "expected"),
    [
        ("openai", "gpt-4o", {"max_tokens": 5}, {"max_tokens": 5}),
        ("openai", "o4-mini", {"max_tokens": 5}, {"max_completion_tokens": 5}),
        ("openai", "gpt-5-nano", {"max_tokens": 5}, {"max_completion_tokens": 5}),
        (
            "mistral",
            "m",
            {"max_completion_tokens": 5, "seed": 1},
            {"max_tokens": 5, "random_seed": 1},
        ),
        ("mistral", "m", {"temperature": 2}, {"temperature": 1.5}),
        ("openai", "o3", {"temperature": 0.2}, {}),
        ("openai", "o3", {"temperature": 1}, {"temperature": 1}),
        ("groq", "m", {"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
        ("openai", "gpt-4o", {"models": ["a"], "extra": {}}, {}),
        ("openrouter", "m", {"models": ["a"], "extra": {}}, {"models": ["a"]}),
        ("nobody-knows", "m", {"own": {"a": 1}}, {"own": {"a": 1}}),
    ],
)
def test_fields_have_the_names_and_values_that_the_model_takes(
    provider: str, model: str, body: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert sent(provider, model, body) == expected


@pytest.mark.parametrize(
    ("provider", "model", "wish", "expected"),
    [
        ("openai", "o3", {"reasoning_effort": "minimal"}, {"reasoning_effort": "low"}),
        ("openai", "o3", {"reasoning_effort": "xhigh"}, {"reasoning_effort": "high"}),
        ("xai", "grok-3-mini", {"reasoning_effort": "medium"}, {"reasoning_effort": "high"}),
        ("openai", "o3", {"reasoning": {"enabled": False}}, {"reasoning_effort": "low"}),
        ("openai", "gpt-5", {"reasoning": {"enabled": False}}, {"reasoning_effort": "minimal"}),
        ("openai", "gpt-5.1", {"reasoning": {"effort": "none"}}, {"reasoning_effort": "none"}),
        ("openai", "gpt-5", {"reasoning": {"enabled": True}}, {"reasoning_effort": "medium"}),
        ("openai", "gpt-5", {"reasoning": {"max_tokens": 900}}, {"reasoning_effort": "low"}),
        ("openai", "gpt-9", {"reasoning_effort": "ultra"}, {"reasoning_effort": "ultra"}),
        ("openai", "gpt-4o", {"reasoning_effort": "low"}, {}),
        ("openrouter", "m", {"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "low"}}),
        (
            "deepseek",
            "deepseek-v4",
            {"reasoning_effort": "none"},
            {"thinking": {"type": "disabled"}},
        ),
        (
            "deepseek",
            "deepseek-v4",
            {"reasoning": {"effort": "max"}},
            {"thinking": {"type": "enabled"}, "reasoning_effort": "max"},
        ),
        (
            "deepseek",
            "deepseek-v4",
            {"reasoning_effort": "low", "thinking": {"type": "disabled"}},
            {"thinking": {"type": "disabled"}, "reasoning_effort": "low"},
        ),
        ("zai", "glm-4.6", {"reasoning_effort": "high"}, {"thinking": {"type": "enabled"}}),
        (
            "groq",
            "openai/gpt-oss-20b",
            {"reasoning": {"effort": "low", "exclude": True}},
            {"reasoning_effort": "low", "include_reasoning": False},
        ),
        ("groq", "qwen/qwen3-32b", {"reasoning_effort": "none"}, {"reasoning_effort": "none"}),
        ("groq", "qwen/qwen3-32b", {"reasoning_effort": "low"}, {"reasoning_effort": "default"}),
        (
            "dashscope",
            "qwen3-max",
            {"reasoning": {"max_tokens": 300}},
            {"enable_thinking": True, "thinking_budget": 300},
        ),
        (
            "vllm",
            "m",
            {"reasoning": {"enabled": False}},
            {"chat_template_kwargs": {"enable_thinking": False}},
        ),
        ("nobody-knows", "m", {"reasoning": {"effort": "high"}}, {"reasoning_effort": "high"}),
    ],
)
def test_the_wish_to_think_is_said_in_the_models_own_words(
    provider: str, model: str, wish: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert sent(provider, model, wish) == expected


@given(
    st.sampled_from(sorted(ENTRIES)),
    st.sampled_from(["o3", "gpt-4o", "gpt-5.2", "gpt-oss-20b", "qwen3", "glm-5.3", "grok-3-mini"]),
    st.fixed_dictionaries(
        {},
        optional={
            "reasoning_effort": st.sampled_from([*EFFORTS, "own"]),
            "include_reasoning": st.booleans(),
            "max_tokens": st.integers(1, 100_000),
            "reasoning": st.fixed_dictionaries(
                {},
                optional={
                    "effort": st.sampled_from(EFFORTS) | st.none() | st.integers(),
                    "max_tokens": st.integers(-1, 100_000) | st.booleans(),
                    "enabled": st.booleans() | st.text(max_size=2),
                    "exclude": st.booleans(),
                    "summary": st.just("auto"),
                },
            ),
        },
    ),
)
def test_a_wish_to_think_is_said_or_named(provider: str, model: str, wish: dict[str, Any]) -> None:
    differences = differences_for("openai", provider, model)
    result = check(wish, differences)
    written = adapted(wish, differences, result)
    effort = written.get("reasoning_effort")
    style = differences.reasoning
    if style is None:
        assert set(result.dropped) >= {name for name in WISH_FIELDS if name in wish}
    elif not style.whole and effort in EFFORTS and style.efforts:
        assert effort in style.efforts
    if wish.get("reasoning_effort") and "reasoning" not in wish:
        named = "reasoning_effort" in result.dropped
        assert named != any(
            name not in wish or written[name] != wish[name] for name in written
        ) or (effort == wish["reasoning_effort"])


def test_a_budget_of_thinking_is_the_effort_with_that_share_of_the_answer() -> None:
    assert [effort_of(tokens, 1_000) for tokens in (100, 200, 500, 800, 990)] == [
        "minimal",
        "low",
        "medium",
        "high",
        "xhigh",
    ]
    assert [effort_of(tokens, None) for tokens in (100, 5_000, 50_000)] == ["low", "medium", "high"]


MIXED = [{"role": role, "content": "x"} for role in ("system", "developer", "user")]


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("openai", "gpt-4o", ["system", "developer", "user"]),
        ("openai", "o3", ["developer", "developer", "user"]),
        ("openai", "o1-mini", ["user", "user", "user"]),
        ("mistral", "m", ["system", "system", "user"]),
        ("deepseek", "m", ["system", "system", "user"]),
    ],
)
def test_instructions_have_the_role_that_the_model_knows(
    provider: str, model: str, expected: list[str]
) -> None:
    assert roles(sent(provider, model, {"messages": MIXED})) == expected


def test_a_lone_system_message_stays_one_where_the_model_takes_it() -> None:
    assert roles(sent("openai", "o3", {"messages": MIXED[:1] + MIXED[2:]})) == ["system", "user"]


def loop(id: str) -> dict[str, Any]:
    call = {"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    return {
        "messages": [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": id, "content": "done"},
        ]
    }


@pytest.mark.parametrize(
    ("provider", "id", "kept"),
    [
        ("mistral", "abcdefgh9", True),
        ("mistral", "call_abc", False),
        ("openai", "x" * 40, True),
        ("openai", "x" * 41, False),
        ("groq", "x" * 99, True),
    ],
)
def test_a_call_and_its_result_keep_one_id_that_the_provider_takes(
    provider: str, id: str, kept: bool
) -> None:
    written = sent(provider, "m", loop(id))["messages"]
    sent_id = written[1]["tool_calls"][0]["id"]
    assert sent_id == written[2]["tool_call_id"]
    assert (sent_id == id) is kept


@given(st.text(), st.sampled_from([tool_ids.MISTRAL, tool_ids.OPENAI, tool_ids.ANTHROPIC]))
def test_every_id_comes_to_fit_and_then_stays(id: str, wanted: tool_ids.ToolIds) -> None:
    fitted = wanted.fitted(id)
    assert re.fullmatch(wanted.pattern, fitted)
    assert wanted.fitted(fitted) == fitted == wanted.fitted(id)


def test_earlier_reasoning_is_given_back_in_the_field_that_the_provider_reads() -> None:
    body = {"messages": [{"role": "assistant", "content": "a", "reasoning": "b"}]}
    assert sent("deepseek", "m", body)["messages"][0] == {
        "role": "assistant",
        "content": "a",
        "reasoning_content": "b",
    }
    assert sent("openai", "gpt-4o", body)["messages"][0] == {"role": "assistant", "content": "a"}
    assert sent("nobody-knows", "m", body) == body


def test_mistral_gets_no_empty_message_and_a_mark_on_a_begun_answer() -> None:
    user = {"role": "user", "content": "x"}
    empty = {"role": "assistant", "content": ""}
    begun = {"role": "assistant", "content": "I"}
    body = {"messages": [user, empty, user, begun]}
    assert sent("mistral", "m", body)["messages"] == [user, user, {**begun, "prefix": True}]
    assert sent("openai", "m", body) == body


FUNCTIONS = {
    "functions": [{"name": "f", "parameters": {"type": "object"}}],
    "function_call": {"name": "f"},
    "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "done"},
    ],
}


def test_functions_are_sent_as_tools_where_only_tools_are_known() -> None:
    written = sent("deepseek", "m", FUNCTIONS)
    function = {"name": "f", "parameters": {"type": "object"}}
    assert written["tools"] == [{"type": "function", "function": function}]
    assert written["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert "functions" not in written
    assert "function_call" not in written
    assert roles(written) == ["user", "assistant", "tool"]
    call = written["messages"][1]["tool_calls"][0]
    assert call["function"] == {"name": "f", "arguments": "{}"}
    assert call["id"] == written["messages"][2]["tool_call_id"]
    assert sent("openai", "gpt-4o", FUNCTIONS) == FUNCTIONS


def test_the_call_comes_back_as_a_function_call() -> None:
    calls = [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}, {"index": 1}]
    whole = {"choices": [{"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}
    assert answer_with_functions(whole) == {
        "choices": [
            {
                "message": {"function_call": {"name": "f", "arguments": "{"}},
                "finish_reason": "function_call",
            }
        ]
    }
    chunk = b'{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}}]}'
    told = json.loads(chunk_with_functions(chunk))
    assert told["choices"][0]["delta"] == {"function_call": {"arguments": "}"}}
    assert chunk_with_functions(b'{"choices":[]}') == b'{"choices":[]}'


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(0, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
FREE = [
    *("functions", "function_call", "reasoning", "reasoning_effort", "include_reasoning"),
    *("top_k", "plugins", "prediction", "service_tier", "stop", "thinking"),
]


@given(
    st.sampled_from(sorted(ENTRIES)),
    st.sampled_from(["o3", "o1-mini", "gpt-5", "gpt-oss-20b", "qwen3", "glm-4.6"]),
    st.dictionaries(st.sampled_from(FREE), ANYTHING, max_size=4),
    st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["system", "user", "assistant", "tool", "function"])},
            optional=dict.fromkeys(
                ("tool_call_id", "function_call", "reasoning", "reasoning_details"), ANYTHING
            )
            | {"tool_calls": st.lists(st.dictionaries(WORDS, ANYTHING, max_size=3), max_size=2)},
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_whatever_a_client_sends_is_written(
    provider: str, model: str, free: dict[str, Any], messages: list[dict[str, Any]]
) -> None:
    body = {**free, "messages": messages}
    assert msgspec.json.encode(sent(provider, model, body))
