"""Backoff grows, is capped, and full jitter spreads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.machines.retry import backoff_delay
from signalbox.types import RetryPolicy

fractions = st.floats(0, 1, exclude_max=True)
policies = st.builds(
    RetryPolicy,
    base_delay=st.floats(0.001, 10),
    backoff=st.floats(1, 10),
    max_delay=st.floats(0.001, 60),
)


@given(policies, st.integers(1, 10_000), fractions)
def test_a_delay_is_between_nothing_and_the_cap(
    policy: RetryPolicy, retry_number: int, random: float
) -> None:
    assert 0 <= backoff_delay(policy, retry_number, random) <= policy.max_delay


def test_the_longest_delay_doubles_until_the_cap() -> None:
    policy = RetryPolicy(base_delay=0.4, backoff=2.0, max_delay=2.0)
    almost_one = 1 - 1e-9
    longest = [backoff_delay(policy, number, almost_one) for number in range(1, 5)]
    assert longest == pytest.approx([0.4, 0.8, 1.6, 2.0])


@given(policies, st.integers(1, 20), fractions)
def test_jitter_is_full(policy: RetryPolicy, retry_number: int, random: float) -> None:
    whole = backoff_delay(policy, retry_number, 0.5) * 2
    assert backoff_delay(policy, retry_number, random) == pytest.approx(whole * random)


def test_retries_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="retry_number is 0, expected 1 or more"):
        backoff_delay(RetryPolicy(), 0, 0.5)
