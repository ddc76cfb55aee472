"""What a delta says of its text, and a delta retold with another."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.protocol import Delta
from tests.decoding import ALL_STREAMS, decode, deltas
from tests.folding import fold
from tests.recordings import Exchange

MORE = ("tool_calls", "function_call", "refusal", "audio", "images")


def first_choice(delta: Delta) -> dict[str, Any]:
    """The chunk with no choice but the first."""
    chunk = json.loads(delta.raw)
    kept = [choice for choice in chunk.get("choices") or () if not choice.get("index")]
    return {**chunk, "choices": kept}


@pytest.mark.parametrize("exchange", ALL_STREAMS)
def test_text_and_reasoning_are_the_first_choice_s_and_all_else_is_opaque(
    exchange: Exchange,
) -> None:
    told = deltas(decode(exchange.provider, exchange.body))
    said = fold(map(first_choice, told))
    assert "".join(delta.text for delta in told) == said.text
    assert sum(delta.reasoning_chars for delta in told) == len(said.reasoning)
    for delta in told:
        choices = json.loads(delta.raw).get("choices") or ()
        said_more = [choice["delta"].get(name) for choice in choices for name in MORE]
        assert delta.opaque == any(said_more)


@pytest.mark.parametrize("exchange", ALL_STREAMS)
def test_a_retold_delta_changes_in_text_and_reasoning_alone(exchange: Exchange) -> None:
    adapter = OpenAIAdapter(exchange.provider)
    for delta in deltas(decode(exchange.provider, exchange.body)):
        before, after = first_choice(delta), first_choice(adapter.retold(delta, "Hé"))
        said, expected = fold([after]), fold([before])
        expected.text, expected.reasoning = "Hé" if before["choices"] else "", ""
        assert said == expected
        assert_only_content_differs(before, after)


def assert_only_content_differs(before: dict[str, Any], after: dict[str, Any]) -> None:
    for chunk in (before, after):
        for choice in chunk["choices"]:
            for name in ("content", "reasoning", "reasoning_content", "reasoning_details"):
                choice.get("delta", {}).pop(name, None)
    assert before == after


PART = st.fixed_dictionaries(
    {},
    optional={
        "type": st.just("text"),
        "text": st.none() | st.text(max_size=3),
        "thinking": st.none() | st.text(max_size=3) | st.lists(st.just({"text": "hm"}), max_size=2),
        "refusal": st.none() | st.text(max_size=3),
        "reference_ids": st.just([1]),
    },
)
DELTA = st.fixed_dictionaries(
    {},
    optional={
        "role": st.just("assistant"),
        "content": st.none() | st.text(max_size=3) | st.lists(PART, max_size=3),
        "reasoning": st.none() | st.text(max_size=3),
        "reasoning_content": st.none() | st.text(max_size=3),
        "refusal": st.none() | st.text(max_size=3),
        "tool_calls": st.just([{"index": 0, "function": {"name": "f"}}]),
        "audio": st.none() | st.just({"data": "AA=="}),
    },
)
CHOICE = st.fixed_dictionaries(
    {}, optional={"index": st.sampled_from([None, 0, 1]), "delta": st.none() | DELTA}
)


@given(st.lists(CHOICE, min_size=1, max_size=3), st.text(max_size=3))
def test_what_is_said_of_a_retold_delta_is_what_its_bytes_say(
    choices: list[dict[str, Any]], text: str
) -> None:
    adapter = OpenAIAdapter("mistral")
    delta = adapter.decode_chunk(json.dumps({"choices": choices}).encode())
    assert isinstance(delta, Delta)
    if all(choice.get("index") for choice in choices):
        text = ""  # there is no place for it
    retold = adapter.retold(delta, text)
    assert adapter.decode_chunk(retold.raw) == retold
    assert (retold.text, retold.reasoning_chars) == (text, 0)
