"""The request's machine: `decide(state, fact) -> (state, commands)`.

Pure: time and randomness come with the facts. A fact may move the request by more than one event
(the last route failed, there is no fallback, the request failed); each move is a `RecordTransition`
command, so the trace shows every one.

A fact that is about an attempt which is over, or that comes after a final state, changes nothing.
"""

from __future__ import annotations

from msgspec.structs import replace

from signalbox.errors import ApiError, Failure, FailureKind
from signalbox.machines import facts as f
from signalbox.machines import hedging, rescue
from signalbox.machines.budget_errors import budget_reached, budgets_away
from signalbox.machines.choosing import (
    exhausted,
    next_model_after,
    on_denial,
    on_lease,
    on_survey,
)
from signalbox.machines.commands import (
    AdmitRequest,
    CommitAnswer,
    FinishRequest,
    RaiseAlert,
    RecordCharge,
    Resume,
    SendEnd,
    SettleAttempt,
    StartTimer,
    SurveyRoutes,
    Timer,
)
from signalbox.machines.decisions import (
    CLIENT_GONE,
    CONTENT_EXPLAINS_ITSELF,
    OWN_FAULT,
    Step,
    refusal_after,
    rejection,
    too_late,
)
from signalbox.machines.lifecycle import Event, State
from signalbox.machines.plan import RequestPlan
from signalbox.machines.retry import backoff_delay
from signalbox.machines.spending import name_of, opening
from signalbox.machines.state import Decision, RequestState, Running, Turn
from signalbox.types import NanoUSD

OUT_OF_BUDGET = "cut: its budgets have no more for it"


def start(plan: RequestPlan, at: float) -> Decision:
    """The first state and what it asks for. `at` is the monotonic clock, in seconds."""
    total = plan.timeouts.total
    state = RequestState(
        plan=plan, deadline_at=at + total, model=plan.models[0], models_left=plan.models[1:]
    )
    want = least = NanoUSD(0)
    if plan.spending is not None:
        want, least = opening(plan.spending, plan.models)
    return state, (StartTimer(Timer.DEADLINE, total), AdmitRequest(want, least))


def decide(state: RequestState, fact: f.Fact) -> Decision:
    """The next state and the commands that follow from `fact`.

    In a final state only a charge that was lost still matters: an operator is told.

    Raises `IllegalEvent` when a fact comes that its state cannot know: a fault of the caller.
    """
    if state.lifecycle.final and isinstance(fact, f.ChargeFailed):
        return state, (_charge_alert(fact),)
    if state.lifecycle.final or _about_another_attempt(state, fact):
        return state, ()
    turn = Turn(state)
    match fact:
        case f.RequestAdmitted():
            turn.state = replace(state, held=fact.held or NanoUSD(0))
            turn.move(Event.ADMITTED)
            turn.do(SurveyRoutes(state.model.routes))
        case f.RequestRejected():
            _on_rejection(turn, fact)
        case f.HoldExtended():
            turn.state = replace(state, held=fact.held)
        case f.RoutesSurveyed():
            on_survey(turn, fact)
        case f.LeaseGranted():
            on_lease(turn, fact)
        case f.LeaseDenied():
            on_denial(turn, fact)
        case f.TimerFired():
            _on_timer(turn, fact)
        case f.KeyWaitEnded():
            if not fact.room:
                turn.state = replace(state, wait_until=fact.at)
            turn.survey()
        case f.ContentArrived():
            _on_content(turn, fact)
        case f.UpstreamEnded():
            _on_end(turn, fact)
        case f.UpstreamFailed():
            _on_failure(turn, fact.failure, fact)
        case f.ChargeRecorded():
            streaming = state.lifecycle is State.STREAMING
            turn.do(SendEnd(fact.attempt))
            reason = OUT_OF_BUDGET if state.cut else ""
            turn.move(Event.STREAM_ENDED if streaming else Event.ANSWERED, reason)
            turn.do(FinishRequest(turn.state.lifecycle))
        case f.ChargeFailed():
            _on_charge_failure(turn, fact)
        case f.ClientGone():
            _abort(turn, Event.CANCELLED, "cancelled", CLIENT_GONE)
        case f.RequestCrashed():
            turn.do(RaiseAlert(f"a request crashed: {fact.message}"))
            _abort(turn, Event.CRASHED, "broken", OWN_FAULT)
        case _:
            raise TypeError(f"not a fact: {fact!r}")
    return turn.done()


def _on_rejection(turn: Turn, fact: f.RequestRejected) -> None:
    if fact.budget is not None:
        turn.move(Event.REJECTED, f"over budget: {name_of(fact.budget.budget)}")
        turn.fail(budget_reached(fact.budget))
    elif fact.kind == f.BUDGETS_AWAY:
        turn.move(Event.REJECTED, "its budgets cannot be asked")
        turn.fail(budgets_away(fact.message))
    else:
        turn.move(Event.REJECTED, f"the {fact.scope} limit of {fact.kind}")
        turn.fail(rejection(fact.kind, fact.message, fact.retry_after))


def _about_another_attempt(state: RequestState, fact: f.Fact) -> bool:
    attempt = getattr(fact, "attempt", None)
    if attempt is None or isinstance(fact, f.TimerFired):
        return False
    if isinstance(fact, f.LeaseGranted | f.LeaseDenied):
        return bool(attempt != state.attempt + 1)
    calls = (state.current, state.hedge)
    return not any(call is not None and call.attempt == attempt for call in calls)


def _on_content(turn: Turn, fact: f.ContentArrived) -> None:
    hedging.drop_loser(turn, fact.attempt)
    turn.state = replace(turn.state, committed=fact.attempt)
    call = turn.state.current
    resume = call.resume if call is not None else None
    turn.move(Event.FIRST_TOKEN_RECEIVED, f"goes on by {resume}" if resume else "")
    turn.do(CommitAnswer(fact.attempt))


def _on_end(turn: Turn, fact: f.UpstreamEnded) -> None:
    broken = turn.state.broken
    # What repeats or continues sent text may have nothing to add; what starts again may not.
    complete = broken is not None and broken.delivered.text > 0
    if fact.finish_reason is None:
        failure = Failure(FailureKind.TRUNCATED, "the answer ended without a finish reason")
    elif (
        fact.content_chars == 0
        and not complete
        and fact.finish_reason not in CONTENT_EXPLAINS_ITSELF
    ):
        failure = Failure(
            FailureKind.EMPTY_ANSWER, f"no content, finish reason {fact.finish_reason!r}"
        )
    else:
        hedging.drop_loser(turn, fact.attempt)
        turn.state = replace(turn.state, charging=True, cut=fact.cut)
        reason = "answered" if fact.content_chars or broken is not None else "no_content"
        turn.do(SettleAttempt(fact.attempt), RecordCharge(fact.attempt, reason))
        return
    _on_failure(turn, failure, fact)


def _on_failure(turn: Turn, failure: Failure, fact: f.UpstreamEnded | f.UpstreamFailed) -> None:
    calls = (turn.state.current, turn.state.hedge)
    [call] = [call for call in calls if call is not None and call.attempt == fact.attempt]
    turn.note(failure, call)
    turn.do(SettleAttempt(call.attempt, failure=failure))
    if failure.kind is FailureKind.RATE_LIMITED and failure.retry_after is not None:
        _remember_to_wait(turn, fact.at + failure.retry_after)
    ruling = turn.state.verdict(failure, call)
    if ruling.alert:
        where = f"{call.route.id}, key {call.key_id}"
        turn.do(RaiseAlert(f"{where}: {failure.kind}: {failure.message}"))
    if turn.state.lifecycle is State.STREAMING:
        if rescue.on_break(turn, call, failure, fact.delivered):
            _go_on(turn, ruling.step, failure, fact.at)
    elif ruling.step is Step.REFUSE and call.resume is None:
        _refuse(turn, call, failure)
    elif turn.state.hedge is not None:
        hedging.drop_failed(turn, call, failure)
    elif turn.state.calls_used_up:
        turn.move(Event.MODEL_FAILED, "the request has used up its upstream calls")
        exhausted(turn, fact.at)
    elif call.resume is Resume.PREFILL and failure.kind in rescue.REFUSES_PREFILL:
        rescue.prefill_refused(turn, call, failure)
    elif ruling.step is Step.RETRY_ROUTE:
        _retry_route(turn, call, failure, fact)
    elif ruling.step is Step.NEXT_KEY:
        _next_key(turn, call, failure)
    elif ruling.step is Step.NEXT_MODEL:
        next_model_after(turn, failure, fact.at)
    else:
        _next_route(turn, call, failure)


def _go_on(turn: Turn, step: Step, failure: Failure, at: float) -> None:
    """What the model itself cannot answer, none of its other routes goes on with either."""
    if step is Step.NEXT_MODEL:
        next_model_after(turn, failure, at)
    else:
        turn.survey()


def _remember_to_wait(turn: Turn, until: float) -> None:
    known = turn.state.told_to_wait_until
    turn.state = replace(
        turn.state, told_to_wait_until=until if known is None else min(known, until)
    )


def _refuse(turn: Turn, call: Running, failure: Failure) -> None:
    hedge, current = turn.state.hedge, turn.state.current
    if hedge is not None and current is not None:
        other = hedge if call.attempt == current.attempt else current
        turn.do(SettleAttempt(other.attempt, cancelled=True))
    turn.move(Event.REFUSED, failure.message, about=call)
    turn.fail(refusal_after(failure, turn.state.reports))


def _retry_route(
    turn: Turn, call: Running, failure: Failure, fact: f.UpstreamEnded | f.UpstreamFailed
) -> None:
    state, route = turn.state, call.route
    policy = state.retry_policy
    used = state.retries.count(route.id)
    delay = backoff_delay(policy, used + 1, fact.random)
    in_time = fact.at + delay < state.deadline_at
    if used >= policy.attempts or not in_time or not fact.may_retry:
        _next_route(turn, call, failure)
        return
    turn.state = replace(state, retries=(*state.retries, route.id), backing_off=True)
    turn.move(Event.ATTEMPT_FAILED, f"{failure.kind}: again in {delay:.3f} s")
    turn.do(StartTimer(Timer.BACKOFF, delay, route=route))


def _next_key(turn: Turn, call: Running, failure: Failure) -> None:
    """Another key is another chance at once; it does not count as a retry of the route."""
    turn.be_done_with(call, failure)
    whose = "the gateway's own key" if call.callers_own else "another key"
    turn.move(Event.ATTEMPT_FAILED, f"{failure.kind}: {whose}")
    turn.do(turn.state.next_lease(call.route))


def _next_route(turn: Turn, call: Running, failure: Failure) -> None:
    state = turn.state
    turn.state = replace(state, spent=state.spent | {call.route.id})
    turn.move(Event.ROUTE_FAILED, f"{failure.kind}: {failure.message}")
    turn.survey()


def _on_timer(turn: Turn, fact: f.TimerFired) -> None:
    state = turn.state
    match fact.timer:
        case Timer.DEADLINE if state.charging:
            pass  # The answer is whole, and goes out when its charge is safe: that has a deadline.
        case Timer.DEADLINE:
            _abort(
                turn,
                Event.DEADLINE_EXCEEDED,
                "deadline",
                too_late(state.plan.timeouts.total, state.reports),
            )
        case Timer.BACKOFF:
            _on_backoff(turn, fact.breaker)
        case Timer.HEDGE:
            hedging.on_late(turn, fact.attempt)
        case _:
            raise ValueError(f"no such timer: {fact.timer}")


def _on_backoff(turn: Turn, breaker: f.BreakerState) -> None:
    """Other requests may have learnt meanwhile that the route is down."""
    state = turn.state
    assert state.route is not None, "a backoff without a route"
    if breaker is f.BreakerState.OPEN:
        turn.state = replace(state, backing_off=False)
        turn.move(Event.ROUTE_FAILED, "its circuit breaker opened")
        turn.survey()
    else:
        turn.do(state.next_lease(state.route))


def _on_charge_failure(turn: Turn, fact: f.ChargeFailed) -> None:
    streaming = turn.state.lifecycle is State.STREAMING
    turn.do(_charge_alert(fact))
    turn.move(Event.STREAM_BROKEN if streaming else Event.REFUSED, "the charge was not recorded")
    turn.fail(OWN_FAULT)


def _charge_alert(fact: f.ChargeFailed) -> RaiseAlert:
    return RaiseAlert(f"a charge reached neither the database nor the spool: {fact.message}")


def _abort(turn: Turn, event: Event, charge_reason: str, error: ApiError) -> None:
    """Ends the request from outside: the attempts under way are dropped, what was delivered counts.

    An answer whose charge is being recorded was delivered as far as the gateway is concerned, and
    is not charged again (the ledger holds one row a request).
    """
    for call in turn.state.running:
        turn.do(SettleAttempt(call.attempt, cancelled=True))
    turn.charge_delivered(charge_reason)
    turn.move(event)
    turn.fail(error)
