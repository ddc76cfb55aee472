"""The request's machine: `decide(state, fact) -> (state, commands)`.

Pure: time and randomness come with the facts. A fact may move the request by more than one event
(the last route failed, there is no fallback, the request failed); each move is a `RecordTransition`
command, so the trace shows every one.

A fact that is about an attempt which is over, or that comes after a final state, changes nothing.
"""

from __future__ import annotations

from dataclasses import replace

from signalbox.errors import ApiError, AttemptReport, Failure, FailureKind
from signalbox.machines import facts as f
from signalbox.machines.choosing import (
    exhausted,
    next_model_after,
    on_denial,
    on_lease,
    on_survey,
)
from signalbox.machines.commands import (
    AcquireLease,
    AdmitRequest,
    CommitAnswer,
    FinishRequest,
    RaiseAlert,
    RecordCharge,
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
    broken_stream,
    refusal,
    rejection,
    too_late,
    verdict,
)
from signalbox.machines.lifecycle import Event, State
from signalbox.machines.plan import RequestPlan
from signalbox.machines.retry import backoff_delay
from signalbox.machines.state import Decision, RequestState, Turn
from signalbox.types import Route

KEY_IS_AT_FAULT = frozenset(
    {FailureKind.KEY_REJECTED, FailureKind.QUOTA_EXHAUSTED, FailureKind.MODEL_FORBIDDEN}
)
"""Failures after which the same key would fail again, however long one waits."""


def start(plan: RequestPlan, at: float) -> Decision:
    """The first state and what it asks for. `at` is the monotonic clock, in seconds."""
    total = plan.timeouts.total
    state = RequestState(
        plan=plan, deadline_at=at + total, model=plan.models[0], models_left=plan.models[1:]
    )
    return state, (StartTimer(Timer.DEADLINE, total), AdmitRequest())


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
            turn.move(Event.ADMITTED)
            turn.do(SurveyRoutes(state.model.routes))
        case f.RequestRejected():
            turn.move(Event.REJECTED, f"the {fact.scope} limit of {fact.kind}")
            turn.fail(rejection(fact.kind, fact.message, fact.retry_after))
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
            turn.do(SurveyRoutes(state.model.routes))
        case f.ContentArrived():
            turn.move(Event.FIRST_TOKEN_RECEIVED)
            turn.do(CommitAnswer(fact.attempt))
        case f.UpstreamEnded():
            _on_end(turn, fact)
        case f.UpstreamFailed():
            _on_failure(turn, fact.failure, fact.at, fact.random)
        case f.ChargeRecorded():
            streaming = state.lifecycle is State.STREAMING
            turn.do(SendEnd(fact.attempt))
            turn.move(Event.STREAM_ENDED if streaming else Event.ANSWERED)
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


def _about_another_attempt(state: RequestState, fact: f.Fact) -> bool:
    attempt = getattr(fact, "attempt", None)
    if attempt is None:
        return False
    if isinstance(fact, f.LeaseGranted | f.LeaseDenied):
        return bool(attempt != state.attempt + 1)
    return bool(attempt != state.attempt)


def _on_end(turn: Turn, fact: f.UpstreamEnded) -> None:
    if fact.finish_reason is None:
        failure = Failure(FailureKind.TRUNCATED, "the answer ended without a finish reason")
    elif fact.content_chars == 0 and fact.finish_reason not in CONTENT_EXPLAINS_ITSELF:
        failure = Failure(
            FailureKind.EMPTY_ANSWER, f"no content, finish reason {fact.finish_reason!r}"
        )
    else:
        turn.state = replace(turn.state, charging=True)
        reason = "answered" if fact.content_chars else "no_content"
        turn.do(SettleAttempt(fact.attempt), RecordCharge(fact.attempt, reason))
        return
    _on_failure(turn, failure, fact.at, fact.random)


def _on_failure(turn: Turn, failure: Failure, at: float, random: float) -> None:
    state = turn.state
    route = state.route
    assert route is not None, "an attempt failed that was never started"
    report = AttemptReport(
        provider=route.provider,
        model=route.model,
        kind=failure.kind,
        message=failure.message,
        attempt=state.attempt,
        status=failure.status,
        param=failure.param,
    )
    turn.state = replace(state, reports=(*state.reports, report))
    turn.do(SettleAttempt(state.attempt, failure=failure))
    ruling = verdict(failure.kind, failure.retry_after)
    if ruling.alert:
        turn.do(RaiseAlert(f"{route.id}, key {state.key_id}: {failure.kind}: {failure.message}"))
    if state.lifecycle is State.STREAMING:
        turn.do(RecordCharge(state.attempt, "broken"))
        turn.move(Event.STREAM_BROKEN, failure.message)
        turn.fail(broken_stream(failure.message, turn.state.reports))
    elif ruling.step is Step.REFUSE:
        turn.move(Event.REFUSED, failure.message)
        turn.fail(refusal("invalid_value", failure.message, failure.param, turn.state.reports))
    elif state.calls_used_up:
        turn.move(Event.MODEL_FAILED, "the request has used up its upstream calls")
        exhausted(turn, at)
    elif ruling.step is Step.RETRY_ROUTE:
        _retry_route(turn, route, failure, at, random)
    elif ruling.step is Step.NEXT_KEY:
        _next_key(turn, route, failure)
    elif ruling.step is Step.NEXT_MODEL:
        next_model_after(turn, failure, at)
    else:
        _next_route(turn, route, failure)


def _retry_route(turn: Turn, route: Route, failure: Failure, at: float, random: float) -> None:
    state = turn.state
    policy = state.retry_policy
    used = state.retries.count(route.id)
    delay = backoff_delay(policy, used + 1, random)
    if used >= policy.attempts or at + delay >= state.deadline_at:
        _next_route(turn, route, failure)
        return
    turn.state = replace(state, retries=(*state.retries, route.id))
    turn.move(Event.ATTEMPT_FAILED, f"{failure.kind}: again in {delay:.3f} s")
    turn.do(StartTimer(Timer.BACKOFF, delay))


def _next_key(turn: Turn, route: Route, failure: Failure) -> None:
    """Another key is another chance at once; it does not count as a retry of the route."""
    state = turn.state
    if failure.kind in KEY_IS_AT_FAULT:
        assert state.key_id is not None, "an attempt without a key"
        burnt = state.burnt | {(route.id, state.key_id)}
        state = turn.state = replace(state, burnt=burnt)
    turn.move(Event.ATTEMPT_FAILED, f"{failure.kind}: another key")
    turn.do(AcquireLease(state.attempt + 1, route, state.keys_done_with(route)))


def _next_route(turn: Turn, route: Route, failure: Failure) -> None:
    state = turn.state
    turn.state = replace(state, spent=state.spent | {route.id})
    turn.move(Event.ROUTE_FAILED, f"{failure.kind}: {failure.message}")
    turn.do(SurveyRoutes(state.model.routes))


def _on_timer(turn: Turn, fact: f.TimerFired) -> None:
    state = turn.state
    match fact.timer:
        case Timer.DEADLINE:
            _abort(
                turn,
                Event.DEADLINE_EXCEEDED,
                "deadline",
                too_late(state.plan.timeouts.total, state.reports),
            )
        case Timer.BACKOFF:
            assert state.route is not None, "a backoff without a route"
            turn.do(AcquireLease(state.attempt + 1, state.route, state.keys_done_with(state.route)))
        case _:
            raise ValueError(f"no such timer: {fact.timer}")


def _on_charge_failure(turn: Turn, fact: f.ChargeFailed) -> None:
    streaming = turn.state.lifecycle is State.STREAMING
    turn.do(_charge_alert(fact))
    turn.move(Event.STREAM_BROKEN if streaming else Event.REFUSED, "the charge was not recorded")
    turn.fail(OWN_FAULT)


def _charge_alert(fact: f.ChargeFailed) -> RaiseAlert:
    return RaiseAlert(f"a charge reached neither the database nor the spool: {fact.message}")


def _abort(turn: Turn, event: Event, charge_reason: str, error: ApiError) -> None:
    """Ends the request from outside: the attempt under way is dropped, what was delivered counts.

    An answer whose charge is being recorded was delivered as far as the gateway is concerned, and
    is not charged again (the ledger holds one row a request).
    """
    state = turn.state
    if state.lifecycle in (State.EXECUTING, State.STREAMING) and not state.charging:
        turn.do(SettleAttempt(state.attempt, cancelled=True))
        if state.lifecycle is State.STREAMING:
            turn.do(RecordCharge(state.attempt, charge_reason))
    turn.move(event)
    turn.fail(error)
