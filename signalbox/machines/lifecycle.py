"""The life of a request: its states, its events, every transition. The one declaration.

python-statemachine draws it and is the oracle of its tests; the request path runs on `TRANSITIONS`,
the table derived from it at import, because the library's engine costs more per request than all
the rest of the gateway.

Rules that the table states:

* Nothing is sent to the client before `first_token_received` or `answered`, so every arrow out of
  `executing` other than these two is invisible to the client.
* `streaming` is left by the end of the answer, by its break, or by a rescue (`stream_resumed`); it
  is never retried.
* Every state but the final ones can be left by `cancelled`, `deadline_exceeded` and `crashed`.
* A final state ignores whatever still arrives, by name: `IGNORED` lists those pairs. Any other pair
  is a mistake in `decide` and raises `IllegalEvent`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from statemachine import State as DeclaredState
from statemachine import StateMachine

from signalbox.machines.table import (
    IllegalEvent,
    events,
    final_states,
    states,
    transition_table,
)


class RequestLifecycle(StateMachine):
    """One request through the gateway."""

    pending = DeclaredState(initial=True)
    selecting = DeclaredState()
    executing = DeclaredState()
    retrying = DeclaredState()
    falling_back = DeclaredState()
    streaming = DeclaredState()
    done = DeclaredState(final=True)
    failed = DeclaredState(final=True)

    admitted = pending.to(selecting)
    rejected = pending.to(failed)

    key_awaited = selecting.to(selecting)
    route_selected = selecting.to(executing)
    routes_exhausted = selecting.to(falling_back)
    refused = selecting.to(failed) | executing.to(failed)

    first_token_received = executing.to(streaming)
    answered = executing.to(done)
    hedge_started = executing.to(executing)
    attempt_dropped = executing.to(executing)
    attempt_failed = executing.to(retrying)
    route_failed = executing.to(selecting) | retrying.to(selecting)
    model_failed = executing.to(falling_back)

    backoff_elapsed = retrying.to(executing)

    next_model_chosen = falling_back.to(selecting)
    fallbacks_exhausted = falling_back.to(failed)

    stream_ended = streaming.to(done)
    stream_broken = streaming.to(failed)
    stream_resumed = streaming.to(selecting)

    cancelled = failed.from_(pending, selecting, executing, retrying, falling_back, streaming)
    deadline_exceeded = failed.from_(
        pending, selecting, executing, retrying, falling_back, streaming
    )
    crashed = failed.from_(pending, selecting, executing, retrying, falling_back, streaming)


class State(StrEnum):
    """The states by name; a test holds them equal to the declaration's."""

    PENDING = "pending"
    SELECTING = "selecting"
    EXECUTING = "executing"
    RETRYING = "retrying"
    FALLING_BACK = "falling_back"
    STREAMING = "streaming"
    DONE = "done"
    FAILED = "failed"

    @property
    def final(self) -> bool:
        return self in FINAL


class Event(StrEnum):
    """The events by name; a test holds them equal to the declaration's."""

    ADMITTED = "admitted"
    REJECTED = "rejected"
    KEY_AWAITED = "key_awaited"
    ROUTE_SELECTED = "route_selected"
    ROUTES_EXHAUSTED = "routes_exhausted"
    REFUSED = "refused"
    FIRST_TOKEN_RECEIVED = "first_token_received"
    ANSWERED = "answered"
    HEDGE_STARTED = "hedge_started"
    ATTEMPT_DROPPED = "attempt_dropped"
    ATTEMPT_FAILED = "attempt_failed"
    ROUTE_FAILED = "route_failed"
    MODEL_FAILED = "model_failed"
    BACKOFF_ELAPSED = "backoff_elapsed"
    NEXT_MODEL_CHOSEN = "next_model_chosen"
    FALLBACKS_EXHAUSTED = "fallbacks_exhausted"
    STREAM_ENDED = "stream_ended"
    STREAM_BROKEN = "stream_broken"
    STREAM_RESUMED = "stream_resumed"
    CANCELLED = "cancelled"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    CRASHED = "crashed"


TRANSITIONS: Mapping[tuple[State, Event], State] = {
    (State(source), Event(event)): State(target)
    for (source, event), target in transition_table(RequestLifecycle).items()
}
STATES = frozenset(State(name) for name in states(RequestLifecycle))
EVENTS = frozenset(Event(name) for name in events(RequestLifecycle))
FINAL = frozenset(State(name) for name in final_states(RequestLifecycle))
IGNORED = frozenset((state, event) for state in FINAL for event in EVENTS)


def advance(state: State, event: Event) -> State:
    """The next state. A final state stays as it is; an unknown pair raises `IllegalEvent`."""
    target = TRANSITIONS.get((state, event))
    if target is not None:
        return target
    if (state, event) in IGNORED:
        return state
    raise IllegalEvent(state, event)
