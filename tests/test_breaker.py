"""A route's circuit breaker: what counts, when it opens, how it closes again."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.errors import FailureKind
from signalbox.machines import breaker as breakers
from signalbox.machines.breaker import (
    BASE_DELAY,
    MAX_DELAY,
    PROVIDER_FAULTS,
    RECENT,
    RECENT_SECONDS,
    TRIP_AFTER,
    Breaker,
    BreakerEvent,
    BreakerMachine,
    Verdict,
    at_time,
    ended,
    shown,
    started,
    verdict,
)
from signalbox.machines.facts import BreakerState
from signalbox.machines.probes import PATIENCE
from signalbox.machines.table import IllegalEvent, events, follow, states

CLOSED, OPEN, HALF_OPEN = BreakerState
IGNORED = "ignored"
EXPECTED: dict[tuple[BreakerState, BreakerEvent], BreakerState | str] = {
    (CLOSED, BreakerEvent.SUCCEEDED): CLOSED,
    (CLOSED, BreakerEvent.FAILED): CLOSED,
    (CLOSED, BreakerEvent.TRIPPED): OPEN,
    (OPEN, BreakerEvent.DELAY_ELAPSED): HALF_OPEN,
    (OPEN, BreakerEvent.SUCCEEDED): IGNORED,
    (OPEN, BreakerEvent.FAILED): IGNORED,
    (HALF_OPEN, BreakerEvent.PROBE_STARTED): HALF_OPEN,
    (HALF_OPEN, BreakerEvent.PROBE_SUCCEEDED): CLOSED,
    (HALF_OPEN, BreakerEvent.PROBE_FAILED): OPEN,
    (HALF_OPEN, BreakerEvent.PROBE_ABANDONED): HALF_OPEN,
    (HALF_OPEN, BreakerEvent.SUCCEEDED): IGNORED,
    (HALF_OPEN, BreakerEvent.FAILED): IGNORED,
}
"""Every other pair is illegal."""

NOW = 1000.0


def test_names_are_those_of_the_declaration() -> None:
    assert states(BreakerMachine) == tuple(BreakerState)
    assert events(BreakerMachine) == tuple(BreakerEvent)


@pytest.mark.parametrize(("state", "event"), [*product(BreakerState, BreakerEvent)])
def test_every_pair_is_a_transition_an_ignore_or_illegal(
    state: BreakerState, event: BreakerEvent
) -> None:
    expected = EXPECTED.get((state, event))
    if expected is None:
        with pytest.raises(IllegalEvent, match=f"{event}.*{state}"):
            follow(breakers.TRANSITIONS, breakers.IGNORED, state, event)
    else:
        target = follow(breakers.TRANSITIONS, breakers.IGNORED, state, event)
        assert target == (None if expected == IGNORED else expected)


def after(results: list[Verdict], wait: float = 0.0) -> Breaker:
    breaker, now = Breaker(), NOW
    for number, said in enumerate(results, start=1):
        breaker = ended(started(breaker, number, now), number, said, now)
        now += wait
    return breaker


def opened() -> Breaker:
    return after([Verdict.FAULT] * TRIP_AFTER)


def probed(number: int = 100) -> tuple[Breaker, float]:
    """A half-open breaker with attempt `number` as its probe, and when that began."""
    at = opened().reopens_at
    return started(opened(), number, at), at


@pytest.mark.parametrize("kind", FailureKind)
def test_only_the_providers_faults_count(kind: FailureKind) -> None:
    expected = Verdict.FAULT if kind in PROVIDER_FAULTS else Verdict.NOTHING
    assert verdict(kind, cancelled=False) is expected
    assert verdict(kind, cancelled=True) is Verdict.NOTHING


@pytest.mark.parametrize(
    "kind",
    [
        FailureKind.INVALID_REQUEST,
        FailureKind.CONTENT_POLICY,
        FailureKind.CONTEXT_LENGTH,
        FailureKind.RATE_LIMITED,
        FailureKind.KEY_REJECTED,
        FailureKind.QUOTA_EXHAUSTED,
        FailureKind.MODEL_FORBIDDEN,
        FailureKind.SPLICE_MISMATCH,
        FailureKind.INTERNAL,
    ],
)
def test_nobody_elses_fault_counts(kind: FailureKind) -> None:
    assert kind not in PROVIDER_FAULTS


def test_faults_in_a_row_open_it() -> None:
    assert after([Verdict.FAULT] * (TRIP_AFTER - 1)).state is CLOSED
    assert opened().state is OPEN


def test_a_success_between_ends_the_row() -> None:
    results = [Verdict.FAULT] * (TRIP_AFTER - 1) + [Verdict.UP]
    assert after(results * 2).state is CLOSED


def test_half_of_the_recent_results_opens_it() -> None:
    pairs = [Verdict.UP, Verdict.FAULT] * (RECENT // 2)
    assert after(pairs[:-1]).state is CLOSED
    assert after(pairs).state is OPEN


def test_old_faults_are_no_evidence() -> None:
    assert after([Verdict.FAULT] * 100, wait=RECENT_SECONDS).state is CLOSED


@given(st.lists(st.sampled_from([Verdict.UP, Verdict.NOTHING]), max_size=50))
def test_it_stays_closed_without_faults(results: list[Verdict]) -> None:
    assert after(results).state is CLOSED


def test_it_becomes_half_open_when_its_delay_is_over() -> None:
    breaker = opened()
    assert breaker.reopens_at == NOW + BASE_DELAY
    assert at_time(breaker, breaker.reopens_at - 0.1).state is OPEN
    assert at_time(breaker, breaker.reopens_at).state is HALF_OPEN


def test_one_probe_at_a_time_and_its_success_closes() -> None:
    breaker, at = probed(number=100)
    assert not breaker.probes.vacant(at)
    assert started(breaker, 101, at) == breaker
    assert ended(breaker, 100, Verdict.UP, at) == Breaker()


def test_each_failed_probe_waits_longer_up_to_five_minutes() -> None:
    breaker, delays = opened(), []
    for number in range(10, 20):
        at = breaker.reopens_at
        breaker = ended(started(breaker, number, at), number, Verdict.FAULT, at)
        assert breaker.state is OPEN
        delays.append(breaker.reopens_at - at)
    assert delays[:2] == [2 * BASE_DELAY, 4 * BASE_DELAY]
    assert delays[-1] == MAX_DELAY


def test_a_probe_that_says_nothing_makes_way_for_another() -> None:
    breaker, at = probed(number=100)
    breaker = ended(breaker, 100, Verdict.NOTHING, at)
    assert breaker.state is HALF_OPEN
    assert breaker.probes.vacant(at)


@pytest.mark.parametrize("said", Verdict)
def test_results_from_before_it_opened_are_ignored(said: Verdict) -> None:
    assert ended(opened(), 99, said, NOW) == opened()
    breaker, at = probed(number=100)
    assert ended(breaker, 99, said, at) == breaker


def test_it_says_when_the_next_probe_may_come() -> None:
    assert shown(Breaker(), NOW) == (CLOSED, None)
    assert shown(opened(), NOW) == (OPEN, NOW + BASE_DELAY)
    assert shown(opened(), NOW + BASE_DELAY) == (HALF_OPEN, None)


def test_while_a_probe_is_out_it_is_shown_as_open_but_not_for_ever() -> None:
    breaker, at = probed()
    assert shown(breaker, at) == (OPEN, at + PATIENCE)
    assert shown(breaker, at + PATIENCE) == (HALF_OPEN, None)


@given(st.lists(st.tuples(st.sampled_from(Verdict), st.floats(0, 2 * MAX_DELAY)), max_size=60))
def test_whatever_happened_one_good_probe_closes_it(past: list[tuple[Verdict, float]]) -> None:
    breaker, now = Breaker(), NOW
    for number, (said, wait) in enumerate(past, start=1):
        breaker = ended(started(breaker, number, now), number, said, now)
        now += wait
    state, reopens_at = shown(breaker, now)
    at = now if state is not OPEN or reopens_at is None else reopens_at
    probe = len(past) + 1
    assert ended(started(breaker, probe, at), probe, Verdict.UP, at).state is CLOSED


def test_probes_as_slow_as_a_request_may_be_close_it_too() -> None:
    longest = 600.0  # the default of `timeouts.total`
    breaker, first = probed(number=100)
    for later in range(1, int(longest / PATIENCE) + 1):
        breaker = started(breaker, 100 + later, first + later * PATIENCE)
    assert ended(breaker, 100, Verdict.UP, first + longest).state is CLOSED
