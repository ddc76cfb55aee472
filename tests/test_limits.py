"""GCRA keeps its bound, the sliding window is exact, and headers are believed with care."""

import math
from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from signalbox.machines.limits import (
    LONGEST_BELIEF,
    TOLERANCE,
    WINDOW,
    Allowance,
    Bucket,
    Entry,
    SlidingWindow,
    gcra,
    learn,
    reconcile,
    reserve,
)

START = 1e6
"""A monotonic clock after days of uptime: floats are coarser there."""

steps = st.lists(
    st.tuples(st.floats(0, 30), st.integers(1, 20)).map(lambda step: (round(step[0], 3), step[1])),
    min_size=1,
    max_size=60,
)
"""(seconds since the step before, cost)"""
rates = st.floats(0.01, 1000)
bursts = st.integers(1, 100)


def most_in_any_window(log: list[tuple[float, int]], rate: float) -> float:
    """The largest excess of what was used in a window over what drains in it."""
    worst = 0.0
    for first, (since, _) in enumerate(log):
        used = accumulate(cost for _, cost in log[first:])
        for total, (until, _) in zip(used, log[first:], strict=True):
            worst = max(worst, total - rate * (until - since))
    return worst


@given(steps, rates, bursts)
def test_gcra_allows_at_most_burst_plus_rate_times_window(
    steps: list[tuple[float, int]], rate: float, burst: int
) -> None:
    bucket, now, allowed = Bucket(), START, []
    for wait, cost in steps:
        now += wait
        decision = gcra(bucket, now, cost, rate, burst)
        bucket = decision.state
        if decision.allowed:
            allowed.append((now, cost))
    assert most_in_any_window(allowed, rate) <= burst + 2 * TOLERANCE


@given(rates, bursts)
def test_gcra_allows_a_whole_burst_at_once_and_nothing_more(rate: float, burst: int) -> None:
    bucket = Bucket()
    for taken in range(burst):
        decision = gcra(bucket, START, 1, rate, burst)
        assert decision.allowed
        assert decision.remaining == burst - taken - 1
        bucket = decision.state
    assert not gcra(bucket, START, 1, rate, burst).allowed


@given(steps, rates, bursts)
def test_whoever_waits_as_long_as_told_is_allowed_and_not_much_sooner(
    steps: list[tuple[float, int]], rate: float, burst: int
) -> None:
    bucket, now = Bucket(), START
    for wait, cost in steps:
        now += wait
        decision = gcra(bucket, now, cost, rate, burst)
        bucket = decision.state
        if decision.allowed:
            assert decision.retry_after == 0
        elif cost > burst:
            assert decision.retry_after == math.inf
        else:
            assert gcra(bucket, now + decision.retry_after, cost, rate, burst).allowed
            too_soon = now + decision.retry_after - 0.1 / rate
            assert not gcra(bucket, max(now, too_soon), cost, rate, burst).allowed


def test_a_limit_of_nothing_allows_nothing() -> None:
    assert gcra(Bucket(), START, 1, 0.0, 0).retry_after == math.inf


@given(
    st.lists(
        st.tuples(
            st.floats(0, 5), st.integers(0, 30), st.none() | st.integers(0, 9), st.floats(0, 2)
        ),
        max_size=60,
    ),
    rates,
    bursts,
)
def test_reservations_keep_the_bound_in_whatever_order_and_however_late_they_are_settled(
    steps: list[tuple[float, int, int | None, float]], rate: float, burst: int
) -> None:
    """(wait, tokens to reserve, which reservation is settled, the part of it that was used)"""
    bucket, now = Bucket(), START
    open_ones: list[int] = []
    used: list[tuple[float, int]] = []
    for wait, cost, which, part in steps:
        now += wait
        decision = reserve(bucket, now, cost, rate, burst)
        bucket = decision.state
        if decision.allowed:
            open_ones.append(cost)
        if which is not None and open_ones:
            reserved = open_ones.pop(which % len(open_ones))
            actual = math.ceil(reserved * part)
            bucket = reconcile(bucket, now, reserved, actual, rate)
            used.append((now, min(actual, reserved)))
    assert most_in_any_window(used, rate) <= burst + 2 * TOLERANCE


def test_using_more_than_reserved_is_paid_back_before_anything_is_allowed() -> None:
    bucket = reserve(Bucket(), START, 10, 1.0, 100).state
    bucket = reconcile(bucket, START, 10, 150, 1.0)
    refused = reserve(bucket, START, 1, 1.0, 100)
    assert not refused.allowed
    assert refused.remaining == 0
    assert refused.retry_after == pytest.approx(51)


def test_using_less_than_reserved_gives_the_rest_back_at_once() -> None:
    bucket = reserve(Bucket(), START, 100, 1.0, 100).state
    assert not reserve(bucket, START, 1, 1.0, 100).allowed
    assert reserve(reconcile(bucket, START, 100, 40, 1.0), START, 60, 1.0, 100).allowed


class NaiveLog:
    """The sliding window as anyone would write it down."""

    def __init__(self) -> None:
        self.log: list[list[float]] = []

    def used(self, now: float) -> tuple[float, float]:
        inside = [entry for entry in self.log if entry[0] + WINDOW > now]
        return sum(entry[1] for entry in inside), sum(entry[2] for entry in inside)


window_steps = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.integers(0, 50),
        st.sampled_from(["keep", "reconcile", "cancel"]),
        st.integers(0, 80),
        st.integers(0, 10),
    ),
    max_size=40,
)
"""(wait, tokens, what becomes of an earlier request, its tokens, how much earlier)"""


@given(window_steps)
def test_the_window_counts_exactly_the_last_sixty_seconds(
    steps: list[tuple[int, int, str, int, int]],
) -> None:
    window, naive, now = SlidingWindow(), NaiveLog(), START
    handles: list[tuple[Entry, int, list[float]]] = []
    for wait, tokens, fate, actual, back in steps:
        now += wait
        handles.append((window.count(now, tokens), tokens, [now, 1, tokens]))
        naive.log.append(handles[-1][2])
        if fate != "keep" and back < len(handles):
            entry, expected, written = handles.pop(-1 - back)
            if fate == "cancel":
                window.cancel(entry, expected)
                written[1:] = [0, 0]
            else:
                window.reconcile(entry, expected, actual)
                written[2] = actual
        window.slide(now)
        assert (window.requests, window.tokens) == naive.used(now)


@given(window_steps, st.integers(1, 8), st.integers(50, 300), st.integers(0, 50))
@example([(0, 0, "keep", 0, 0)] * 3, 1, 50, 0)
def test_a_request_fits_at_the_time_given_and_not_before(
    steps: list[tuple[int, int, str, int, int]], rpm: int, tpm: int, tokens: int
) -> None:
    window, naive, now = SlidingWindow(), NaiveLog(), START
    for wait, counted, *_ in steps:
        now += wait
        window.count(now, counted)
        naive.log.append([now, 1, counted])
    at = window.available_at(now, tokens, rpm, tpm)
    assert at is not None

    def fits(moment: float) -> bool:
        requests, used = naive.used(moment)
        return requests + 1 <= rpm and used + tokens <= tpm

    assert fits(at)
    assert at == now or not fits(at - 0.5)


def test_what_is_larger_than_the_limit_never_fits() -> None:
    assert SlidingWindow().available_at(START, 101, None, 100) is None
    assert SlidingWindow().available_at(START, 1, 0, None) is None


@given(st.lists(st.integers(0, 20), min_size=1, max_size=60))
def test_a_full_log_stays_bounded_and_forgets_nothing_early(waits: list[int]) -> None:
    window, naive, now = SlidingWindow(max_entries=4), NaiveLog(), START
    for wait in waits:
        now += wait
        window.count(now, 10)
        naive.log.append([now, 1, 10])
        assert len(window) <= 4
        requests, tokens = naive.used(now)
        assert window.requests >= requests
        assert window.tokens >= tokens
    window.slide(now + WINDOW)
    assert (window.requests, window.tokens, len(window)) == (0, 0, 0)


def test_the_share_is_that_of_the_fuller_limit() -> None:
    window = SlidingWindow()
    window.count(START, 90)
    assert window.share(START, 10, 100) == pytest.approx(0.1)
    assert window.share(START, 10, None) == pytest.approx(0.9)
    assert window.share(START, None, None) is None


def told(
    known: Allowance | None = None,
    *,
    remaining: int | None = 5,
    reset: float | None = 10.0,
    at: float = START,
    in_flight: int = 0,
) -> Allowance | None:
    return learn(
        known, remaining=remaining, limit=10, reset=reset, observed_at=at, in_flight=in_flight
    )


def test_headers_leave_what_remains_until_their_reset() -> None:
    belief = told()
    assert belief is not None
    assert belief.available_at(START, 5) == START
    assert belief.available_at(START, 6) == START + 10
    assert belief.spend(5).available_at(START, 1) == START + 10
    assert belief.spend(5).available_at(START + 10, 1) == START + 10
    assert belief.share(START) == pytest.approx(0.5)
    assert belief.share(START + 10) is None


def test_requests_in_flight_may_not_be_counted_by_the_provider_yet() -> None:
    belief = told(in_flight=4)
    assert belief is not None
    assert belief.remaining == 1


def test_a_late_report_of_an_earlier_moment_changes_nothing() -> None:
    newer = told(at=START + 5, remaining=1)
    assert told(newer, at=START, remaining=9) == newer


def test_headers_that_say_nothing_teach_nothing() -> None:
    known = told()
    assert told(known, remaining=None) == known


@pytest.mark.parametrize(
    ("reset", "believed_for"),
    [(None, WINDOW), (-3.0, WINDOW), (math.nan, WINDOW), (math.inf, LONGEST_BELIEF), (0.0, 0.0)],
)
def test_a_strange_reset_is_not_believed_for_long(reset: float | None, believed_for: float) -> None:
    belief = told(reset=reset)
    assert belief is not None
    assert belief.until == START + believed_for
