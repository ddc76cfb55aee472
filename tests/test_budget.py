"""Periods, their windows, and how much a hold may take of what is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.machines.budget import (
    MOST,
    Budget,
    BudgetScope,
    Counter,
    Period,
    Window,
    grantable,
    window_of,
)
from signalbox.types import NanoUSD
from tests.window_oracle import begin_of

times = st.floats(0, 7e9) | st.integers(0, 7_000_000).map(lambda n: n * 1000.0)


@given(st.sampled_from([each for each in Period if each is not Period.TOTAL]), times)
def test_a_window_is_the_calendars(period: Period, at: float) -> None:
    window = window_of(period, at)
    assert window.contains(at)
    assert window.start == begin_of(period, at)
    assert window.end is not None
    assert begin_of(period, window.end) == window.end
    assert begin_of(period, window.end - 0.001) == window.start
    assert window_of(period, window.end).start == window.end


def test_a_total_never_begins_again() -> None:
    assert window_of(Period.TOTAL, 1e9) == window_of(Period.TOTAL, 4e9) == Window(0.0, None)


money = st.integers(0, 50).map(NanoUSD)


@given(money, money, st.lists(money))
def test_a_hold_is_as_large_as_fits(least: NanoUSD, more: NanoUSD, left: list[NanoUSD]) -> None:
    want = NanoUSD(least + more)
    fitting = [amount for amount in range(least, want + 1) if all(amount <= each for each in left)]
    assert grantable(want, least, left) == max(fitting, default=None)


def test_a_limit_beyond_what_is_counted_is_the_most_that_is() -> None:
    counter = Counter()
    counter.enter(window_of(Period.TOTAL, 0.0))
    counter.begin("token", "loader", 0.0)
    counter.end("token", NanoUSD(2**70), 0.0)
    assert counter.spent == MOST
    assert counter.left(NanoUSD(2**80)) == 0


def budget(limit: int, *, hard: bool = True) -> Budget:
    return Budget("b", "team", BudgetScope.GLOBAL, None, NanoUSD(limit), Period.DAY, hard)


def counter_at(spent: int) -> Counter:
    counter = Counter()
    counter.enter(window_of(Period.DAY, 0.0))
    counter.begin("token", "loader", 0.0)
    counter.end("token", NanoUSD(spent), 0.0)
    return counter


@pytest.mark.parametrize(
    ("spent", "hard", "fractions"),
    [
        (79, True, []),
        (80, True, [0.8]),
        (100, True, [0.8, 1.0]),
        (101, True, [0.8, 1.0, None]),
        (101, False, [0.8, 1.0]),
    ],
)
def test_each_threshold_is_told_of_once(
    spent: int, hard: bool, fractions: list[float | None]
) -> None:
    counter, watched = counter_at(spent), budget(100, hard=hard)
    told = [crossing.fraction for crossing in counter.crossed(watched, fresh=True)]
    assert told == fractions
    assert counter.crossed(watched, fresh=True) == []


def test_thresholds_are_told_of_again_in_another_window_and_under_another_limit() -> None:
    counter = counter_at(90)
    assert len(counter.crossed(budget(100), fresh=True)) == 1
    assert len(counter.crossed(budget(110), fresh=True)) == 1
    # A request that began before the limit was raised does not tell of the old one again.
    assert counter.crossed(budget(100), fresh=False) == []
    counter.enter(window_of(Period.DAY, 100_000.0))
    counter.begin("other", "loader", 0.0)
    counter.end("other", NanoUSD(90), 0.0)
    assert len(counter.crossed(budget(110), fresh=True)) == 1
