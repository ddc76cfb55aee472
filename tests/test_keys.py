"""A provider key's states: cooldown, half-open probe, eviction."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.errors import Failure, FailureKind
from signalbox.machines import keys
from signalbox.machines.keys import (
    BASE_COOLDOWN,
    EVICTION,
    MAX_COOLDOWN,
    MAX_RETRY_AFTER,
    KeyEvent,
    KeyMachine,
    KeyPhase,
    KeyState,
    at_time,
    finding,
    leased,
    usable,
)
from signalbox.machines.probes import PATIENCE
from signalbox.machines.table import IllegalEvent, events, follow, states

A, C, H, E = KeyPhase.ACTIVE, KeyPhase.COOLING, KeyPhase.HALF_OPEN, KeyPhase.EVICTED
IGNORED = "ignored"
EXPECTED: dict[tuple[KeyPhase, KeyEvent], KeyPhase | str] = {
    (A, KeyEvent.RATE_LIMITED): C,
    (A, KeyEvent.SUSPECTED): H,
    (C, KeyEvent.RATE_LIMITED): C,
    (C, KeyEvent.COOLDOWN_ELAPSED): H,
    (C, KeyEvent.SUSPECTED): C,
    (C, KeyEvent.REJECTED): E,
    (H, KeyEvent.RATE_LIMITED): C,
    (H, KeyEvent.PROBE_STARTED): H,
    (H, KeyEvent.PROBE_SUCCEEDED): A,
    (H, KeyEvent.PROBE_FAILED): C,
    (H, KeyEvent.PROBE_ABANDONED): H,
    (H, KeyEvent.SUSPECTED): H,
    (H, KeyEvent.REJECTED): E,
    (E, KeyEvent.COOLDOWN_ELAPSED): H,
    (E, KeyEvent.RATE_LIMITED): IGNORED,
    (E, KeyEvent.REJECTED): IGNORED,
}
"""Every other pair is illegal."""

RATE_LIMITED = Failure(FailureKind.RATE_LIMITED, "slow down")
REJECTED = Failure(FailureKind.KEY_REJECTED, "no such key")
BROKEN = Failure(FailureKind.SERVER_ERROR, "oops")
NOW = 1000.0


def answered(
    key: KeyState, number: int, failure: Failure | None, now: float, *, cancelled: bool = False
) -> KeyState:
    return keys.answered(key, number, finding(failure, cancelled=cancelled), now)


def test_names_are_those_of_the_declaration() -> None:
    assert states(KeyMachine) == tuple(KeyPhase)
    assert events(KeyMachine) == tuple(KeyEvent)


@pytest.mark.parametrize(("phase", "event"), [*product(KeyPhase, KeyEvent)])
def test_every_pair_is_a_transition_an_ignore_or_illegal(phase: KeyPhase, event: KeyEvent) -> None:
    expected = EXPECTED.get((phase, event))
    if expected is None:
        with pytest.raises(IllegalEvent, match=f"{event}.*{phase}"):
            follow(keys.TRANSITIONS, keys.IGNORED, phase, event)
    else:
        target = follow(keys.TRANSITIONS, keys.IGNORED, phase, event)
        assert target == (None if expected == IGNORED else expected)


def cooling(retry_after: float | None = None) -> KeyState:
    return answered(KeyState(), 1, replace(RATE_LIMITED, retry_after=retry_after), NOW)


def half_open(number: int = 2) -> tuple[KeyState, float]:
    """A key that cooled down and is probed by attempt `number`, and when."""
    key = cooling()
    at = key.until
    return leased(at_time(key, at), number, at), at


def test_a_cooldown_lasts_as_long_as_the_provider_said() -> None:
    key = cooling(retry_after=7.5)
    assert not usable(at_time(key, NOW + 7.4), NOW + 7.4)
    assert at_time(key, NOW + 7.5).phase is KeyPhase.HALF_OPEN


@pytest.mark.parametrize("retry_after", [None, 0.0, -1.0, float("nan")])
def test_without_a_usable_retry_after_the_cooldown_is_our_own(retry_after: float | None) -> None:
    assert cooling(retry_after).until == NOW + BASE_COOLDOWN


def test_an_endless_retry_after_ends() -> None:
    assert cooling(retry_after=float("inf")).until == NOW + MAX_RETRY_AFTER


@pytest.mark.parametrize("kind", [FailureKind.OVERLOADED, FailureKind.SERVER_ERROR])
def test_an_overloaded_provider_cools_the_key_only_if_it_says_how_long(kind: FailureKind) -> None:
    assert answered(KeyState(), 1, Failure(kind, ""), NOW) == KeyState()
    told = answered(KeyState(), 1, Failure(kind, "", retry_after=3.0), NOW)
    assert (told.phase, told.until) == (KeyPhase.COOLING, NOW + 3.0)


failures = st.one_of(
    st.none(),
    st.builds(
        Failure,
        st.sampled_from([*[FailureKind.RATE_LIMITED] * 3, *FailureKind]),
        st.just(""),
        retry_after=st.none() | st.floats(-1, 200),
    ),
)
answers = st.lists(st.tuples(st.floats(0, 100), failures, st.booleans()), max_size=40)


@given(answers)
def test_a_deadline_is_never_moved_forward(
    steps: list[tuple[float, Failure | None, bool]],
) -> None:
    key, now = KeyState(), NOW
    for number, (wait, failure, cancelled) in enumerate(steps):
        now += wait
        before = at_time(key, now)
        if usable(before, now):
            before = leased(before, number, now)
        key = answered(before, number, failure, now, cancelled=cancelled)
        if before.phase in (KeyPhase.COOLING, KeyPhase.EVICTED):
            assert key.until >= before.until
            assert key.phase in (before.phase, KeyPhase.EVICTED)


@given(answers)
def test_an_active_key_has_no_past(steps: list[tuple[float, Failure | None, bool]]) -> None:
    key, now = KeyState(), NOW
    for number, (wait, failure, cancelled) in enumerate(steps):
        now += wait
        key = leased(at_time(key, now), number, now)
        key = answered(key, number, failure, now, cancelled=cancelled)
        assert key.phase is not KeyPhase.ACTIVE or key == KeyState()


def test_a_shorter_retry_after_does_not_shorten_the_cooldown() -> None:
    key = answered(cooling(retry_after=50.0), 2, replace(RATE_LIMITED, retry_after=5.0), NOW + 1)
    assert key.until == NOW + 50


def test_many_rate_limits_at_once_are_one_strike() -> None:
    key = cooling()
    for number in range(2, 10):
        key = answered(key, number, RATE_LIMITED, NOW)
    assert key == cooling()


def test_each_failed_probe_waits_longer_up_to_a_minute() -> None:
    key, at = half_open()
    delays = []
    for number in range(2, 10):
        key = answered(leased(at_time(key, at), number, at), number, RATE_LIMITED, at)
        delays.append(key.until - at)
        at = key.until
    assert delays[:3] == [2 * BASE_COOLDOWN, 4 * BASE_COOLDOWN, 8 * BASE_COOLDOWN]
    assert delays[-1] == MAX_COOLDOWN


def test_a_probe_that_was_told_too_short_a_time_waits_longer_than_told() -> None:
    key, at = half_open()
    key = answered(key, 2, replace(RATE_LIMITED, retry_after=0.1), at)
    assert key.until == at + 2 * BASE_COOLDOWN


def test_one_probe_at_a_time_decides() -> None:
    key, at = half_open()
    assert not usable(key, at)
    assert answered(key, 2, None, at) == KeyState()


@pytest.mark.parametrize(("failure", "cancelled"), [(None, True), (BROKEN, False)])
def test_a_probe_that_proves_nothing_makes_way_for_another(
    failure: Failure | None, cancelled: bool
) -> None:
    key, at = half_open()
    key = answered(key, 2, failure, at, cancelled=cancelled)
    assert key.phase is KeyPhase.HALF_OPEN
    assert usable(key, at)


def test_a_probe_that_takes_long_lets_another_start_and_still_counts() -> None:
    key, at = half_open(number=2)
    assert usable(key, at + PATIENCE)
    key = leased(key, 3, at + PATIENCE)
    assert not usable(key, at + PATIENCE)
    assert answered(key, 2, None, at + PATIENCE + 1) == KeyState()


def test_the_end_of_an_older_probe_does_not_free_the_newer_ones_place() -> None:
    key, at = half_open(number=2)
    key = leased(key, 3, at + PATIENCE)
    assert not usable(answered(key, 2, BROKEN, at + PATIENCE), at + PATIENCE)


def test_answers_to_older_attempts_do_not_decide_for_the_probe() -> None:
    key, at = half_open(number=2)
    assert answered(key, 1, None, at) == key


def evicted() -> KeyState:
    """A key that was refused twice."""
    return answered(answered(KeyState(), 1, REJECTED, NOW), 2, REJECTED, NOW)


@pytest.mark.parametrize("kind", [FailureKind.KEY_REJECTED, FailureKind.QUOTA_EXHAUSTED])
def test_one_answer_about_the_key_makes_it_suspect_and_lets_one_request_test_it(
    kind: FailureKind,
) -> None:
    key = answered(KeyState(), 1, Failure(kind, "", retry_after=3600.0), NOW)
    assert (key.phase, key.evictions) == (H, 0)
    assert usable(key, NOW)
    assert not usable(leased(key, 2, NOW), NOW)


def test_a_second_one_evicts_the_key_for_a_while() -> None:
    key = evicted()
    assert (key.phase, key.evictions) == (E, 1)
    assert at_time(key, NOW + EVICTION - 1).phase is E
    assert at_time(key, NOW + EVICTION).phase is H


def test_an_eviction_lasts_as_long_as_the_provider_said_where_that_is_longer() -> None:
    suspect = answered(KeyState(), 1, REJECTED, NOW)
    said = replace(REJECTED, retry_after=2 * EVICTION)
    assert answered(suspect, 2, said, NOW).until == NOW + 2 * EVICTION


@pytest.mark.parametrize("refused", [1, 2], ids=["an older attempt", "the probe"])
def test_whichever_attempt_is_refused_next_confirms_it(refused: int) -> None:
    suspect = leased(answered(KeyState(), 0, REJECTED, NOW), 2, NOW)
    assert answered(suspect, refused, REJECTED, NOW).phase is E


def test_a_success_of_the_test_clears_the_suspicion() -> None:
    suspect = leased(answered(KeyState(), 1, REJECTED, NOW), 2, NOW)
    assert answered(suspect, 2, None, NOW) == KeyState()


def test_a_success_that_was_under_way_before_clears_nothing() -> None:
    suspect = answered(KeyState(), 1, REJECTED, NOW)
    assert answered(suspect, 0, None, NOW) == suspect


@pytest.mark.parametrize("failure", [BROKEN, RATE_LIMITED])
def test_a_test_that_proves_nothing_leaves_the_suspicion(failure: Failure) -> None:
    suspect = leased(answered(KeyState(), 1, REJECTED, NOW), 2, NOW)
    key = answered(suspect, 2, failure, NOW)
    assert answered(key, 3, REJECTED, NOW).phase is E


def test_a_suspect_keeps_the_deadline_of_its_cooldown() -> None:
    key = answered(cooling(retry_after=50.0), 2, REJECTED, NOW)
    assert (key.phase, key.until) == (C, NOW + 50)
    assert answered(key, 3, REJECTED, NOW).phase is E


def test_a_probe_after_a_cooldown_that_is_refused_makes_way_for_the_confirming_one() -> None:
    key, at = half_open(number=2)
    key = answered(key, 2, REJECTED, at)
    assert usable(key, at)
    assert answered(leased(key, 3, at), 3, REJECTED, at).phase is E


def test_an_older_attempt_that_is_refused_leaves_the_probe_its_place() -> None:
    key, at = half_open(number=2)
    assert not usable(answered(key, 1, REJECTED, at), at)


def test_a_repaired_key_comes_back_and_a_dead_one_is_evicted_again() -> None:
    later = NOW + EVICTION
    probed = leased(at_time(evicted(), later), 3, later)
    assert answered(probed, 3, None, later) == KeyState()
    again = answered(probed, 3, REJECTED, later)
    assert (again.phase, again.evictions, again.until) == (E, 2, later + EVICTION)


def test_late_answers_leave_an_evicted_key_alone() -> None:
    key = evicted()
    for failure in (REJECTED, RATE_LIMITED, BROKEN, None):
        assert answered(key, 3, failure, NOW + 1) == key
