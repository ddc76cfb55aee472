"""Hedging: a second route beside one whose first token is late. The first to give content wins.

One hedge at a time, for streams whose client asked for it, while the budget of all requests has
room. (Jeffrey Dean and Luiz André Barroso, "The Tail at Scale", Communications of the ACM 56(2),
2013.)
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from signalbox.errors import Failure
from signalbox.machines import facts as f
from signalbox.machines.commands import (
    OpenUpstream,
    SettleAttempt,
    StartTimer,
    SurveyRoutes,
    Timer,
)
from signalbox.machines.lifecycle import Event, State
from signalbox.machines.selection import Ranked
from signalbox.machines.state import RequestState, Running, Turn


def watch(turn: Turn, candidate: f.Candidate | None) -> None:
    """The current call was opened: starts the timer after which its first token is late.

    Without the client's own figure it is the route's 95th percentile; of a route that was hardly
    measured nobody can say what is late.
    """
    state = turn.state
    call = state.current
    if not state.plan.hedge or call is None or call.resume is not None:
        return
    delay = state.plan.hedge_after
    if delay is None and candidate is not None:
        percentiles = candidate.health.first_token_percentiles
        delay = percentiles.p95 if percentiles is not None else None
    if delay is not None:
        turn.do(StartTimer(Timer.HEDGE, delay, call.attempt))


def on_late(turn: Turn, attempt: int | None) -> None:
    """The timer fired."""
    state = turn.state
    call = state.current
    late = state.lifecycle is State.EXECUTING and not state.charging and call is not None
    if late and call is not None and call.attempt == attempt and _may_hedge(state):
        turn.do(SurveyRoutes(state.model.routes, state.stand_in))


def _may_hedge(state: RequestState) -> bool:
    return state.hedge is None and not state.calls_used_up


def on_survey(turn: Turn, ranked: Sequence[Ranked], *, may_hedge: bool) -> None:
    """The model's other routes as they stand, best first."""
    assert turn.state.current is not None
    others = tuple(each for each in ranked if each.route.id != turn.state.current.route.id)
    turn.state = replace(turn.state, alternatives=others if may_hedge else ())
    _lease_next(turn)


def on_denial(turn: Turn) -> None:
    turn.state = replace(turn.state, alternatives=turn.state.alternatives[1:])
    _lease_next(turn)


def _lease_next(turn: Turn) -> None:
    state = turn.state
    if state.alternatives:
        turn.do(state.next_lease(state.alternatives[0].route))


def on_lease(turn: Turn, fact: f.LeaseGranted) -> None:
    route = turn.state.alternatives[0].route
    call = Running(fact.attempt, route, fact.key_id, callers_own=fact.callers_own)
    turn.state = replace(turn.state, attempt=fact.attempt, hedge=call)
    turn.move(Event.HEDGE_STARTED, "the first token is late", about=call)
    turn.do(
        OpenUpstream(
            fact.attempt,
            route,
            turn.state.plan.timeouts,
            hedge=True,
            max_tokens=turn.state.ceiling_for(route),
        )
    )


def drop_loser(turn: Turn, winner: int) -> None:
    """One of the calls gave content, or a whole answer: the other one, if any, is cancelled."""
    state = turn.state
    if state.hedge is None:
        return
    assert state.current is not None
    calls = (state.current, state.hedge)
    [kept] = [call for call in calls if call.attempt == winner]
    [lost] = [call for call in calls if call.attempt != winner]
    turn.do(SettleAttempt(lost.attempt, cancelled=True, outrun=True))
    turn.state = replace(state, current=kept, hedge=None)
    turn.move(Event.ATTEMPT_DROPPED, f"attempt {winner} was first", about=lost)


def drop_failed(turn: Turn, call: Running, failure: Failure) -> None:
    """One of two calls failed: the request follows the other. The failed route has had its try."""
    state = turn.state
    assert state.current is not None
    assert state.hedge is not None
    kept = state.hedge if call.attempt == state.current.attempt else state.current
    turn.be_done_with(call, failure)
    turn.state = replace(turn.state, current=kept, hedge=None)
    turn.move(Event.ATTEMPT_DROPPED, f"{failure.kind}: {failure.message}", about=call)
