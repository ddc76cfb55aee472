"""What is kept of a route: means that fade, sliding windows, percentiles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.machines import route_health
from signalbox.machines.breaker import TRIP_AFTER, Verdict
from signalbox.machines.facts import BreakerState, Percentiles, RouteHealth
from signalbox.machines.route_health import (
    HALF_LIFE,
    MIN_SAMPLES,
    WINDOW_SAMPLES,
    WINDOW_SECONDS,
    RoutePast,
    Window,
    percentiles,
    seen,
)

START = 1000.0
VALUES = st.floats(0, 1000)


def after(
    past: RoutePast,
    said: Verdict = Verdict.UP,
    now: float = START,
    *,
    first_token: float | None = None,
    speed: float | None = None,
) -> RoutePast:
    """An attempt that was no probe is over."""
    return route_health.ended(
        past, 0, said, first_token=first_token, tokens_per_second=speed, now=now
    )


def nearest_rank(values: list[float], p: int) -> float:
    """The smallest value that p % of all are not larger than."""
    return min(v for v in values if 100 * sum(w <= v for w in values) >= p * len(values))


@given(st.lists(VALUES, min_size=MIN_SAMPLES, max_size=WINDOW_SAMPLES))
def test_percentiles_are_by_nearest_rank(values: list[float]) -> None:
    expected = Percentiles(*(nearest_rank(values, p) for p in (50, 90, 95, 99)))
    assert percentiles(values) == expected


@given(st.lists(VALUES, max_size=MIN_SAMPLES - 1))
def test_too_few_measurements_have_no_percentiles(values: list[float]) -> None:
    assert percentiles(values) is None


@given(
    st.lists(st.tuples(st.floats(0, 20), VALUES), max_size=WINDOW_SAMPLES + 20),
    st.floats(0, 2 * WINDOW_SECONDS),
)
def test_a_window_holds_the_last_measurements_that_are_not_too_old(
    measured: list[tuple[float, float]], wait: float
) -> None:
    window, now, all_of_them = Window(), START, []
    for pause, value in measured:
        now += pause
        window = window.added(value, now)
        all_of_them.append((now, value))
    now += wait
    last = all_of_them[-WINDOW_SAMPLES:]
    assert [*window.values(now)] == [value for at, value in last if at > now - WINDOW_SECONDS]
    assert len(window.times) == len(window.measured) <= WINDOW_SAMPLES


@given(st.lists(st.tuples(st.floats(0, 1000), VALUES), min_size=1, max_size=50))
def test_a_measurement_weighs_half_after_its_half_life(
    measured: list[tuple[float, float]],
) -> None:
    past, now, times = RoutePast(), START, []
    for pause, value in measured:
        now += pause
        past = after(past, now=now, first_token=value)
        times.append(now)
    weights = [0.5 ** ((now - at) / HALF_LIFE) for at in times]
    total = sum(w * value for w, (_, value) in zip(weights, measured, strict=True))
    assert seen(past, now).first_token == pytest.approx(total / sum(weights))


def test_nothing_is_known_of_a_new_route() -> None:
    assert seen(RoutePast(), START) == RouteHealth()


def test_an_attempt_that_says_nothing_changes_nothing() -> None:
    past = after(RoutePast())
    assert after(past, Verdict.NOTHING, START + 1) is past
    assert route_health.started(past, 1, START + 1) is past


def test_an_attempt_that_says_nothing_counts_for_what_it_measured() -> None:
    past = after(RoutePast(), Verdict.NOTHING, first_token=0.25, speed=50.0)
    assert seen(past, START) == RouteHealth(first_token=0.25, tokens_per_second=50.0)


def test_attempts_faults_and_the_last_outage_are_told_with_their_times() -> None:
    health = seen(after(after(RoutePast(), Verdict.FAULT, START), now=START + 1), START + 1)
    assert (health.samples, health.recent_attempts, health.recent_faults) == (2, 2, 1)
    assert (health.last_outage_at, health.measured_at) == (START, START + 1)
    assert health.success_rate == pytest.approx(1 / 2, abs=1e-3)


def test_what_left_the_window_is_still_in_the_mean() -> None:
    past = RoutePast()
    for _ in range(MIN_SAMPLES):
        past = after(past, first_token=0.5)
    assert seen(past, START).first_token_percentiles == Percentiles(0.5, 0.5, 0.5, 0.5)
    later = seen(past, START + WINDOW_SECONDS)
    assert (later.recent_attempts, later.first_token_percentiles) == (0, None)
    assert (later.samples, later.first_token) == (MIN_SAMPLES, 0.5)


def test_while_a_probe_is_out_the_route_is_shown_as_open() -> None:
    past = RoutePast()
    for _ in range(TRIP_AFTER):
        past = after(past, Verdict.FAULT)
    at = seen(past, START).breaker_reopens_at
    assert at is not None
    assert seen(past, at).breaker is BreakerState.HALF_OPEN
    assert seen(route_health.started(past, 1, at), at).breaker is BreakerState.OPEN
