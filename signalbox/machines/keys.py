"""The state of one provider key: who may use it, and when it is tried again.

Rules that the table states:

* A rate limit cools the key down; a deadline that is set is only ever moved later.
* When the time is over the key is half-open: one request probes it. What the provider answers that
  request decides; an end that says nothing of the key (a lost connection, a cancelled client, a
  500) frees the probe's place for the next.
* An answer about the key or its account makes it suspect: it is half-open at once, or stays cooling
  until its deadline. Only a probe's success clears it. A second such answer, to whichever attempt,
  evicts it and alerts: one answer may be the provider's own mistake.
* An evicted key is probed again after `EVICTION`, so a topped-up account heals without a restart; a
  probe that is rejected evicts again without a second alert.
* Answers of attempts that were sent before an eviction arrive late and are ignored, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec
from msgspec.structs import replace
from statemachine import State, StateMachine

from signalbox.errors import Failure, FailureKind
from signalbox.machines.probes import Probes
from signalbox.machines.retry import capped_exponential
from signalbox.machines.table import follow, transition_table

BASE_COOLDOWN = 2.0
"""Seconds after a rate limit without Retry-After; doubles with every failed probe."""

MAX_COOLDOWN = 60.0
"""Providers limit per minute: after one without requests there is room again."""

MAX_RETRY_AFTER = 86_400.0
"""A day, the longest quota that providers reset by themselves; more is taken as this."""

EVICTION = 600.0
"""Seconds until an evicted key is probed. Rare enough that a dead key costs nothing, soon enough
that nobody restarts the gateway for a key that was repaired."""

MODEL_PARKING = 600.0
"""Seconds for which a key is not used for a model that it was forbidden; as `EVICTION`."""


class KeyMachine(StateMachine):
    """One provider key."""

    active = State(initial=True)
    cooling = State()
    half_open = State()
    evicted = State()

    rate_limited = cooling.from_(active, cooling, half_open)
    cooldown_elapsed = half_open.from_(cooling, evicted)
    probe_started = half_open.to(half_open)
    probe_succeeded = half_open.to(active)
    probe_failed = half_open.to(cooling)
    probe_abandoned = half_open.to(half_open)
    suspected = active.to(half_open) | cooling.to(cooling) | half_open.to(half_open)
    rejected = evicted.from_(cooling, half_open)


class KeyPhase(StrEnum):
    """The states by name; a test holds them equal to the declaration's."""

    ACTIVE = "active"
    COOLING = "cooling"
    HALF_OPEN = "half_open"
    EVICTED = "evicted"


class KeyEvent(StrEnum):
    """The events by name; a test holds them equal to the declaration's."""

    RATE_LIMITED = "rate_limited"
    COOLDOWN_ELAPSED = "cooldown_elapsed"
    PROBE_STARTED = "probe_started"
    PROBE_SUCCEEDED = "probe_succeeded"
    PROBE_FAILED = "probe_failed"
    PROBE_ABANDONED = "probe_abandoned"
    SUSPECTED = "suspected"
    REJECTED = "rejected"


TRANSITIONS: Mapping[tuple[KeyPhase, KeyEvent], KeyPhase] = {
    (KeyPhase(source), KeyEvent(event)): KeyPhase(target)
    for (source, event), target in transition_table(KeyMachine).items()
}
IGNORED = frozenset(
    {
        (KeyPhase.EVICTED, KeyEvent.RATE_LIMITED),
        (KeyPhase.EVICTED, KeyEvent.REJECTED),
    }
)

REJECTS_KEY = frozenset({FailureKind.KEY_REJECTED, FailureKind.QUOTA_EXHAUSTED})
"""Answers about the key itself or its account."""

PARKS_MODEL = frozenset({FailureKind.MODEL_FORBIDDEN, FailureKind.MODEL_UNKNOWN})
"""Answers about a model, which another key of the same provider may be given all the same."""

_OBEYS_RETRY_AFTER = frozenset({FailureKind.OVERLOADED, FailureKind.SERVER_ERROR})
"""Failures that are not the key's, but cool it down where the provider says how long to wait."""


class KeyState(msgspec.Struct, frozen=True):
    phase: KeyPhase = KeyPhase.ACTIVE
    until: float = 0.0
    """When a cooling or evicted key becomes half-open."""
    strikes: int = 0
    """Cooldowns since the key last proved itself; the backoff grows with them."""
    suspect: bool = False
    """It was rejected since it last proved itself: the next time evicts it."""
    evictions: int = 0
    """Evictions since the key last proved itself; the first one is worth an alert."""
    probes: Probes = msgspec.field(default_factory=Probes)


class Verdict(StrEnum):
    """What the end of an attempt says of its key."""

    PROVED = "proved"
    NOTHING = "nothing"
    LIMITED = "limited"
    REJECTED = "rejected"


class Finding(msgspec.Struct, frozen=True):
    verdict: Verdict
    wait: float | None = None
    """Seconds that the provider asked for; None where it did not, or not in earnest."""


def finding(failure: Failure | None, *, cancelled: bool = False) -> Finding:
    """`cancelled`: the gateway ended the attempt, so that it proves nothing."""
    if failure is None:
        return Finding(Verdict.NOTHING if cancelled else Verdict.PROVED)
    wait = _stated(failure)
    if failure.kind in REJECTS_KEY:
        return Finding(Verdict.REJECTED, wait)
    patience = failure.kind in _OBEYS_RETRY_AFTER and wait is not None
    if patience or failure.kind is FailureKind.RATE_LIMITED:
        return Finding(Verdict.LIMITED, wait)
    return Finding(Verdict.NOTHING)


def at_time(key: KeyState, now: float) -> KeyState:
    """The key as it is now: a cooldown or eviction that is over makes it half-open."""
    if key.phase in (KeyPhase.COOLING, KeyPhase.EVICTED) and key.until <= now:
        return _enter(key, KeyEvent.COOLDOWN_ELAPSED, key)
    return key


def usable(key: KeyState, now: float) -> bool:
    """Whether the key, as `at_time` gave it, may carry another request."""
    if key.phase is KeyPhase.HALF_OPEN:
        return key.probes.vacant(now)
    return key.phase is KeyPhase.ACTIVE


def leased(key: KeyState, number: int, now: float) -> KeyState:
    """A usable key was given to attempt `number`, which is the probe of a half-open one."""
    if key.phase is KeyPhase.HALF_OPEN:
        probing = replace(key, probes=key.probes.started(number, now))
        return _enter(key, KeyEvent.PROBE_STARTED, probing)
    return key


def answered(key: KeyState, number: int, found: Finding, now: float) -> KeyState:
    """Attempt `number` is over."""
    probe = number in key.probes.open
    if found.verdict is Verdict.REJECTED:
        return _rejected(key, number, found, now)
    if found.verdict is Verdict.LIMITED:
        return _cooled(key, found, now, probe=probe)
    if not probe:
        return key
    if found.verdict is Verdict.NOTHING:
        freed = replace(key, probes=key.probes.abandoned(number))
        return _enter(key, KeyEvent.PROBE_ABANDONED, freed)
    return _enter(key, KeyEvent.PROBE_SUCCEEDED, KeyState())


def _cooled(key: KeyState, found: Finding, now: float, *, probe: bool) -> KeyState:
    # Many requests meet the same limit at once: only the first of them makes the next wait longer.
    strikes = key.strikes + (key.phase is not KeyPhase.COOLING)
    growing = capped_exponential(BASE_COOLDOWN, 2.0, MAX_COOLDOWN, strikes)
    # A probe that fails has waited as long as it was told, and that was too short.
    delay = growing if found.wait is None else max(found.wait, growing) if probe else found.wait
    cooled = replace(key, until=max(key.until, now + delay), strikes=strikes, probes=Probes())
    return _enter(key, KeyEvent.PROBE_FAILED if probe else KeyEvent.RATE_LIMITED, cooled)


def _rejected(key: KeyState, number: int, found: Finding, now: float) -> KeyState:
    if not key.suspect:
        # The wait that was asked for counts from the confirmation: a dead key is to be told of now.
        probes = key.probes.abandoned(number) if number in key.probes.open else key.probes
        return _enter(key, KeyEvent.SUSPECTED, replace(key, suspect=True, probes=probes))
    delay = max(EVICTION, found.wait or 0.0)
    evicted = replace(
        key, until=max(key.until, now + delay), evictions=key.evictions + 1, probes=Probes()
    )
    return _enter(key, KeyEvent.REJECTED, evicted)


def _stated(failure: Failure) -> float | None:
    """The provider's Retry-After; None where it is of no use (absent, 0, negative, NaN)."""
    if failure.retry_after is not None and failure.retry_after > 0:
        return min(failure.retry_after, MAX_RETRY_AFTER)
    return None


def _enter(key: KeyState, event: KeyEvent, changed: KeyState) -> KeyState:
    """`changed` in the phase that follows; the key as it was where the event is ignored."""
    phase = follow(TRANSITIONS, IGNORED, key.phase, event)
    if phase is None:
        return key
    return changed if phase is changed.phase else replace(changed, phase=phase)
