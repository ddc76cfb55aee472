"""The circuit breaker of one route: whether its provider is up.

Rules that the table states:

* Only the provider's faults count: a request that is wrong, a key that is used up or refused, and
  a request that was cancelled say nothing of the route.
* `TRIP_AFTER` faults in a row, or half of the last `RECENT`, open the breaker. After a delay, which
  grows with every probe that fails, one request probes the route.
* A probe that ends without saying anything of the route frees its place for the next.
* Results of attempts that began before the breaker opened arrive late and are ignored, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec
from msgspec.structs import replace
from statemachine import State, StateMachine

from signalbox.errors import FailureKind
from signalbox.machines.facts import BreakerState
from signalbox.machines.probes import Probes
from signalbox.machines.retry import capped_exponential
from signalbox.machines.table import follow, transition_table

TRIP_AFTER = 5
"""Faults in a row. Fewer would let one request's own retries open it."""

RECENT = 20
"""Results that the ratio looks at: enough that half of them is no accident."""

RECENT_SECONDS = 60.0
"""Older results are no evidence any more."""

BASE_DELAY = 5.0
"""Seconds before the first probe; doubles with every probe that fails."""

MAX_DELAY = 300.0
"""A route is tried every five minutes however long its outage lasts."""


class BreakerMachine(StateMachine):
    """The circuit breaker of one route."""

    closed = State(initial=True)
    open = State()
    half_open = State()

    succeeded = closed.to(closed)
    failed = closed.to(closed)
    tripped = closed.to(open)
    delay_elapsed = open.to(half_open)
    probe_started = half_open.to(half_open)
    probe_succeeded = half_open.to(closed)
    probe_failed = half_open.to(open)
    probe_abandoned = half_open.to(half_open)


class BreakerEvent(StrEnum):
    """The events by name; a test holds them equal to the declaration's."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TRIPPED = "tripped"
    DELAY_ELAPSED = "delay_elapsed"
    PROBE_STARTED = "probe_started"
    PROBE_SUCCEEDED = "probe_succeeded"
    PROBE_FAILED = "probe_failed"
    PROBE_ABANDONED = "probe_abandoned"


TRANSITIONS: Mapping[tuple[BreakerState, BreakerEvent], BreakerState] = {
    (BreakerState(source), BreakerEvent(event)): BreakerState(target)
    for (source, event), target in transition_table(BreakerMachine).items()
}
IGNORED = frozenset(
    (state, event)
    for state in (BreakerState.OPEN, BreakerState.HALF_OPEN)
    for event in (BreakerEvent.SUCCEEDED, BreakerEvent.FAILED)
)

PROVIDER_FAULTS = frozenset(
    {
        FailureKind.SERVER_ERROR,
        FailureKind.OVERLOADED,
        FailureKind.CONNECT_FAILED,
        FailureKind.CONNECT_TIMEOUT,
        FailureKind.CONNECTION_LOST,
        FailureKind.FIRST_TOKEN_TIMEOUT,
        FailureKind.IDLE_TIMEOUT,
        FailureKind.RESPONSE_TIMEOUT,
        FailureKind.PROTOCOL_ERROR,
        FailureKind.STREAM_ERROR,
        FailureKind.EMPTY_ANSWER,
        FailureKind.TRUNCATED,
        # The route names a model that is not there: no request will fare better.
        FailureKind.MODEL_UNKNOWN,
    }
)


class Verdict(StrEnum):
    """What an attempt's end says of its route."""

    UP = "up"
    FAULT = "fault"
    NOTHING = "nothing"


def verdict(kind: FailureKind | None, *, cancelled: bool) -> Verdict:
    if cancelled:
        return Verdict.NOTHING
    if kind is None:
        return Verdict.UP
    return Verdict.FAULT if kind in PROVIDER_FAULTS else Verdict.NOTHING


class Breaker(msgspec.Struct, frozen=True):
    state: BreakerState = BreakerState.CLOSED
    recent: tuple[tuple[float, bool], ...] = ()
    """(when, whether it succeeded) of the last results while closed, oldest first."""
    trips: int = 0
    """Times it opened since it was last closed; the delay grows with them."""
    reopens_at: float = 0.0
    """When an open breaker becomes half-open."""
    probes: Probes = msgspec.field(default_factory=Probes)


def at_time(breaker: Breaker, now: float) -> Breaker:
    """The breaker as it is now: an open one whose delay is over is half-open."""
    if breaker.state is BreakerState.OPEN and breaker.reopens_at <= now:
        return _enter(breaker, BreakerEvent.DELAY_ELAPSED, breaker)
    return breaker


def started(breaker: Breaker, number: int, now: float) -> Breaker:
    """Attempt `number` begins; it is the probe of a half-open breaker that has none under way."""
    breaker = at_time(breaker, now)
    if breaker.state is BreakerState.HALF_OPEN and breaker.probes.vacant(now):
        probing = replace(breaker, probes=breaker.probes.started(number, now))
        return _enter(breaker, BreakerEvent.PROBE_STARTED, probing)
    return breaker


def ended(breaker: Breaker, number: int, said: Verdict, now: float) -> Breaker:
    """Attempt `number` is over."""
    if number in breaker.probes.open:
        return _probe_ended(breaker, number, said, now)
    if said is Verdict.NOTHING:
        return breaker
    counted = _count(breaker, said, now)
    if said is Verdict.UP:
        return _enter(breaker, BreakerEvent.SUCCEEDED, counted)
    if breaker.state is BreakerState.CLOSED and _too_many_faults(counted):
        return _enter(breaker, BreakerEvent.TRIPPED, _opened(breaker, now))
    return _enter(breaker, BreakerEvent.FAILED, counted)


def shown(breaker: Breaker, now: float) -> tuple[BreakerState, float | None]:
    """The state as others see it, and when an open one lets the next probe through.

    While a probe is out the breaker is shown as open: nobody else should come.
    """
    breaker = at_time(breaker, now)
    if breaker.state is BreakerState.OPEN:
        return BreakerState.OPEN, breaker.reopens_at
    if breaker.state is BreakerState.HALF_OPEN and not breaker.probes.vacant(now):
        return BreakerState.OPEN, breaker.probes.vacant_at
    return breaker.state, None


def _probe_ended(breaker: Breaker, number: int, said: Verdict, now: float) -> Breaker:
    if said is Verdict.UP:
        return _enter(breaker, BreakerEvent.PROBE_SUCCEEDED, Breaker())
    if said is Verdict.FAULT:
        return _enter(breaker, BreakerEvent.PROBE_FAILED, _opened(breaker, now))
    freed = replace(breaker, probes=breaker.probes.abandoned(number))
    return _enter(breaker, BreakerEvent.PROBE_ABANDONED, freed)


def _count(breaker: Breaker, said: Verdict, now: float) -> Breaker:
    fresh = [result for result in breaker.recent if result[0] > now - RECENT_SECONDS]
    recent = (*fresh, (now, said is Verdict.UP))[-RECENT:]
    return replace(breaker, recent=recent)


def _too_many_faults(breaker: Breaker) -> bool:
    results = [succeeded for _, succeeded in breaker.recent]
    in_a_row = len(results) >= TRIP_AFTER and not any(results[-TRIP_AFTER:])
    return in_a_row or (len(results) == RECENT and results.count(False) * 2 >= RECENT)


def _opened(breaker: Breaker, now: float) -> Breaker:
    trips = breaker.trips + 1
    delay = capped_exponential(BASE_DELAY, 2.0, MAX_DELAY, trips)
    return Breaker(breaker.state, trips=trips, reopens_at=now + delay)


def _enter(breaker: Breaker, event: BreakerEvent, changed: Breaker) -> Breaker:
    """`changed` in the state that follows; the breaker as it was where the event is ignored."""
    state = follow(TRANSITIONS, IGNORED, breaker.state, event)
    if state is None:
        return breaker
    return changed if state is changed.state else replace(changed, state=state)
