"""How long to wait before the same route is tried again."""

from __future__ import annotations

from signalbox.types import RetryPolicy


def backoff_delay(policy: RetryPolicy, retry_number: int, random: float) -> float:
    """Seconds before retry `retry_number` (the first is 1); `random` is in [0, 1).

    Exponential backoff with full jitter: anywhere between nothing and the capped exponential, so
    that requests that failed together do not come back together (Marc Brooker, "Exponential
    Backoff and Jitter", AWS Architecture Blog, 2015).
    """
    if retry_number < 1:
        raise ValueError(f"retry_number is {retry_number}, expected 1 or more")
    return random * capped_exponential(
        policy.base_delay, policy.backoff, policy.max_delay, retry_number
    )


def capped_exponential(base: float, factor: float, longest: float, number: int) -> float:
    """`base` × `factor` ^ (`number` − 1), at most `longest`. All delays in seconds."""
    try:
        return min(longest, base * factor ** (number - 1))
    except OverflowError:
        return longest
