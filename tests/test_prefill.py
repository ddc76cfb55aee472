"""A begun answer: how each provider is asked to go on from it, and which ones are asked at all."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.openai_differences import DIFFERENCES
from tests.configs import LOCAL, ROUTE, load
from tests.outgoing import REQUEST, build
from tests.outgoing import ROUTE as WIRE_ROUTE

PROVIDERS = sorted({*DIFFERENCES, "nobody-knows"})
ASKED = [*REQUEST.body["messages"]]


@pytest.mark.parametrize(
    ("provider", "message", "body"),
    [
        ("openrouter", {}, {}),
        ("groq", {}, {}),
        ("nobody-knows", {}, {}),
        ("mistral", {"prefix": True}, {}),
        ("deepseek", {"prefix": True}, {}),
        ("moonshot", {"partial": True}, {}),
        ("dashscope", {"partial": True}, {}),
        ("vllm", {}, {"continue_final_message": True, "add_generation_prompt": False}),
    ],
)
def test_the_begun_message_comes_last_in_the_provider_s_own_style(
    provider: str, message: dict[str, Any], body: dict[str, Any]
) -> None:
    _, plain = build(provider, stream=True, tools=[{"type": "function"}])
    _, begun = build(provider, prefill="Once upon", stream=True, tools=[{"type": "function"}])
    last = {"role": "assistant", "content": "Once upon", **message}
    assert begun == {**plain, **body, "messages": [*ASKED, last]}


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("declared", [None, True, False])
def test_a_route_s_own_word_goes_before_what_is_known(provider: str, declared: bool | None) -> None:
    known = {"openrouter", "groq", "mistral", "vllm"}
    known |= {"moonshot", "moonshotai", "dashscope", "qwen"}
    route = replace(WIRE_ROUTE, prefill=declared)
    expected = provider in known if declared is None else declared
    assert OpenAIAdapter(provider).prefills(route) == expected


def test_only_providers_documented_not_to_repeat_a_prefill_are_believed() -> None:
    silent = {name for name in PROVIDERS if not OpenAIAdapter(name).echoes_prefill(WIRE_ROUTE)}
    assert silent == {"vllm", "moonshot", "moonshotai", "dashscope", "qwen"}


@given(prefill=st.text(" \na"), provider=st.sampled_from(PROVIDERS))
def test_a_prefill_never_ends_in_whitespace_and_alone_it_is_none(
    prefill: str, provider: str
) -> None:
    _, plain = build(provider, max_tokens=9)
    _, body = build(provider, prefill=prefill, max_tokens=9)
    if prefill.isspace() or not prefill:
        assert body == plain
    else:
        assert body["messages"][-1]["content"] == prefill.rstrip()


@pytest.mark.parametrize(
    ("content", "begun"),
    [
        ("Sure: ", "Sure: Once"),
        (None, "Once"),
        ([{"type": "text", "text": "Sure: "}], [{"type": "text", "text": "Sure: Once"}]),
        (
            [{"type": "refusal", "refusal": "no"}],
            [{"type": "refusal", "refusal": "no"}, {"type": "text", "text": "Once"}],
        ),
        ([], [{"type": "text", "text": "Once"}]),
    ],
)
def test_an_answer_that_the_client_began_is_gone_on_from(content: Any, begun: Any) -> None:
    messages = [*ASKED, {"role": "assistant", "name": "a", "content": content}]
    _, body = build("mistral", prefill="Once", messages=messages)
    last = {"role": "assistant", "name": "a", "content": begun, "prefix": True}
    assert body["messages"] == [*ASKED, last]


@given(
    name=st.sampled_from(["max_tokens", "max_completion_tokens"]),
    ceiling=st.integers(1, 50),
    delivered=st.text("ab", min_size=1, max_size=120),
    provider=st.sampled_from(PROVIDERS),
)
def test_what_was_delivered_counts_against_the_client_s_ceiling(
    name: str, ceiling: int, delivered: str, provider: str
) -> None:
    _, body = build(provider, prefill=delivered, **{name: ceiling})
    [left] = [body[key] for key in ("max_tokens", "max_completion_tokens") if key in body]
    assert left == max(1, ceiling - -(-len(delivered) // 4))


def test_the_original_is_not_touched() -> None:
    before = [dict(message) for message in REQUEST.body["messages"]]
    build("mistral", prefill="Once")
    assert REQUEST.body["messages"] == before


@pytest.mark.parametrize("said", [True, False, None])
def test_a_route_may_say_whether_it_takes_a_prefill(tmp_path: Path, said: bool | None) -> None:
    route = ROUTE if said is None else f"{ROUTE[:-2]}, prefill = {str(said).lower()} }}"
    [read] = load(tmp_path, LOCAL + f"models.m.routes = [{route}]").models["m"].routes
    assert read.prefill is said
