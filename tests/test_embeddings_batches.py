"""How the inputs of one request are spread over calls."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from signalbox.adapters.embeddings_batches import BatchLimits, batches, likely_tokens, most_tokens

INPUTS = st.lists(
    st.text(max_size=20) | st.lists(st.integers(0, 9), min_size=1, max_size=9).map(tuple),
    min_size=1,
    max_size=40,
)
LIMITS = st.builds(
    BatchLimits, st.none() | st.integers(1, 12), st.none() | st.integers(min_value=1, max_value=60)
)


@given(INPUTS, LIMITS)
def test_every_input_is_sent_once_in_its_order_and_no_call_is_too_large(
    inputs: list[str | tuple[int, ...]], limits: BatchLimits
) -> None:
    calls = batches(inputs, limits)
    assert [place for call in calls for place in call] == list(range(len(inputs)))
    for call in calls:
        assert len(call) >= 1
        assert limits.inputs is None or len(call) <= limits.inputs
        if limits.tokens is not None and len(call) > 1:
            assert sum(most_tokens(inputs[place]) for place in call) <= limits.tokens


@given(INPUTS, LIMITS)
def test_no_call_could_have_taken_the_next_input_too(
    inputs: list[str | tuple[int, ...]], limits: BatchLimits
) -> None:
    calls = batches(inputs, limits)
    for call, following in pairwise(calls):
        with_next = [inputs[place] for place in (*call, following[0])]
        many = limits.inputs is not None and len(with_next) > limits.inputs
        heavy = limits.tokens is not None and sum(map(most_tokens, with_next)) > limits.tokens
        assert many or heavy


def test_tokens_of_texts_are_estimated_and_those_of_token_ids_counted() -> None:
    assert likely_tokens(["12345678", (1, 2, 3)]) == 5
    assert most_tokens("12345678") == 4
    assert most_tokens("日本") == 3
    assert most_tokens((1, 2, 3)) == 3
