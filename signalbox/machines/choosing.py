"""Which route, which model, or which wait comes next: the part of `decide` that chooses."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from signalbox.errors import ApiError, AttemptReport, Failure, FailureKind
from signalbox.machines import facts as f
from signalbox.machines import hedging
from signalbox.machines.budget_errors import nothing_affordable
from signalbox.machines.clocks import clocks_for
from signalbox.machines.commands import AwaitKey, OpenUpstream
from signalbox.machines.decisions import broken_stream, final_error, refusal
from signalbox.machines.lifecycle import Event, State
from signalbox.machines.rescue import resume_on
from signalbox.machines.selection import Excluded, Load, Ranked, Ranking, no_room, rank
from signalbox.machines.spending import Spending, gets_all, why_not
from signalbox.machines.state import RequestState, Running, Turn, Wait
from signalbox.types import Midstream, ModelPlan, Route


def on_survey(turn: Turn, fact: f.RoutesSurveyed) -> None:
    state = turn.state
    plan = state.plan
    ranking = rank(
        fact.candidates,
        strategy=plan.strategy_for(state.model),
        preferences=plan.preferences,
        load=Load(plan.prompt_tokens, plan.output_tokens),
        at=fact.at,
        random=fact.random,
        spent=state.spent,
        tried=state.called,
        pin=plan.pin,
    )
    if plan.spending is not None:
        ranking = _affordable(state, plan.spending, ranking)
    if state.lifecycle is State.EXECUTING:
        hedging.on_survey(turn, ranking.ranked, may_hedge=fact.may_hedge)
        return
    turn.state = replace(state, alternatives=ranking.ranked, excluded=ranking.excluded)
    _lease_best(turn, fact.at)


def _affordable(state: RequestState, spending: Spending, ranking: Ranking) -> Ranking:
    """Without the routes that the hold is not enough for. Those that it pays a whole answer of go
    before those of which it only pays a part."""
    name, held, sent = state.model.name, state.held, state.sent
    whole: list[Ranked] = []
    part: list[Ranked] = []
    excluded = list(ranking.excluded)
    for each in ranking.ranked:
        reason = why_not(spending, name, each.route, held, sent)
        if reason is not None:
            excluded.append(Excluded(each.route, reason, kind=FailureKind.OVER_BUDGET))
        elif gets_all(spending, name, each.route, held, sent):
            whole.append(each)
        else:
            part.append(each)
    return Ranking((*whole, *part), tuple(excluded))


def _lease_best(turn: Turn, at: float) -> None:
    state = turn.state
    if state.calls_used_up or not state.alternatives:
        _leave_model(turn, at)
        return
    best = state.alternatives[0].candidate
    turn.do(state.next_lease(best.route, best.warm))


def on_lease(turn: Turn, fact: f.LeaseGranted) -> None:
    state = turn.state
    if state.lifecycle is State.EXECUTING:
        hedging.on_lease(turn, fact)
        return
    if state.lifecycle is State.RETRYING:
        assert state.current is not None, "a backoff without a call"
        event, route, reason = Event.BACKOFF_ELAPSED, state.current.route, _whose_key(state)
        candidate = _as_surveyed(state, route)
        resume = state.current.resume
    else:
        best = state.alternatives[0]
        event, route, reason = Event.ROUTE_SELECTED, best.route, best.reason
        candidate = best.candidate
        resume = resume_on(state, candidate)
    call = Running(fact.attempt, route, fact.key_id, resume, fact.callers_own)
    turn.state = replace(state, attempt=fact.attempt, current=call, backing_off=False)
    turn.move(event, reason)
    turn.do(
        OpenUpstream(
            fact.attempt,
            route,
            clocks_for(turn.state, fact.at),
            resume,
            retry=state.backing_off,
            max_tokens=turn.state.ceiling_for(route),
        )
    )
    hedging.watch(turn, candidate)


def _whose_key(state: RequestState) -> str:
    """Why it is not the caller's, where that was used before."""
    call = state.current
    stands_in = call is not None and call.callers_own and call.route.provider in state.stand_in
    return "the gateway's own key stands in for the caller's" if stands_in else ""


def _as_surveyed(state: RequestState, route: Route) -> f.Candidate | None:
    """The route as the last survey saw it."""
    seen = (each.candidate for each in state.alternatives if each.route.id == route.id)
    return next(seen, None)


def on_denial(turn: Turn, fact: f.LeaseDenied) -> None:
    state = turn.state
    if state.lifecycle is State.EXECUTING:
        hedging.on_denial(turn)
        return
    if state.lifecycle is State.RETRYING:
        assert state.route is not None
        turn.state = replace(state, backing_off=False)
        if fact.available_at is None:
            turn.state = replace(turn.state, spent=state.spent | {state.route.id})
        turn.move(Event.ROUTE_FAILED, f"no key has room: {fact.reason}")
        turn.survey()
        return
    denied = no_room(state.alternatives[0].route, fact.reason, fact.available_at)
    turn.state = replace(
        state, alternatives=state.alternatives[1:], excluded=(*state.excluded, denied)
    )
    _lease_best(turn, fact.at)


# ── when a model has no route left ────────────────────────────────────────────────────────────


def _leave_model(turn: Turn, at: float) -> None:
    """The current model has no route to try now: next model, else wait for a key, else fail."""
    state = turn.state
    waits = tuple(wait for wait in state.waits if wait.model.name != state.model.name)
    own = _waits_of_model(state)
    reports = state.reports + _reports_of_exclusions(state)
    reopen = [state.reopens_at, *(excluded.reopens_at for excluded in state.excluded)]
    earliest = min((at for at in reopen if at is not None), default=None)
    state = turn.state = replace(state, waits=waits + own, reports=reports, reopens_at=earliest)
    if state.calls_used_up:
        turn.move(Event.ROUTES_EXHAUSTED, "the request has used up its upstream calls")
        exhausted(turn, at)
    elif state.models_left:
        turn.move(Event.ROUTES_EXHAUSTED, _why_excluded(state))
        _take_next_model(turn, state.models_left[0], state.models_left[1:])
    elif wait := _best_wait(state, own, at) or _best_wait(state, state.waits, at):
        _wait_for_key(turn, wait, at)
    elif state.broken is None and all(report.kind in _NEVER_TRIED for report in reports):
        turn.move(Event.REFUSED, _why_excluded(state))
        turn.fail(_refused(state))
    else:
        turn.move(Event.ROUTES_EXHAUSTED, _why_excluded(state))
        exhausted(turn, at)


def _wait_for_key(turn: Turn, wait: Wait, at: float) -> None:
    state = turn.state
    if wait.model.name != state.model.name:
        turn.move(Event.ROUTES_EXHAUSTED, "nothing is left but to wait for a key")
        _take_next_model(turn, wait.model, ())
        return
    until = _patience(state, at)
    retries = state.retries
    if wait.route.id in state.called:
        retries = (*retries, wait.route.id)
    turn.state = replace(state, wait_until=until, retries=retries)
    turn.move(Event.KEY_AWAITED, f"{wait.route.id} has room in {wait.available_at - at:.3f} s")
    done_with = state.keys_done_with(wait.route)
    turn.do(AwaitKey(wait.route, until - at, done_with, state.plan.only_key))


def _patience(state: RequestState, at: float) -> float:
    until = at + state.retry_policy.max_wait if state.wait_until is None else state.wait_until
    return min(until, state.deadline_at)


def _best_wait(state: RequestState, waits: Sequence[Wait], at: float) -> Wait | None:
    """The earliest of those that patience reaches and that leave time for a call."""
    until = _patience(state, at)
    fitting = [
        wait
        for wait in waits
        if wait.again and at < until and wait.available_at <= until
        if wait.available_at < state.deadline_at
    ]
    return min(fitting, key=lambda wait: wait.available_at, default=None)


def _waits_of_model(state: RequestState) -> tuple[Wait, ...]:
    """The routes of this model whose keys will have room."""
    allowed = state.retry_policy.attempts
    return tuple(
        Wait(
            state.model,
            excluded.route,
            excluded.available_at,
            again=excluded.route.id not in state.called
            or state.retries.count(excluded.route.id) < allowed,
        )
        for excluded in state.excluded
        if excluded.available_at is not None
    )


def _reports_of_exclusions(state: RequestState) -> tuple[AttemptReport, ...]:
    """What an error tells of routes that were never called; each is told once."""
    return tuple(
        AttemptReport(
            provider=excluded.route.provider,
            model=excluded.route.model,
            kind=excluded.kind,
            message=f"{excluded.route.id} {excluded.reason}",
            param=excluded.param,
        )
        for excluded in state.excluded
        if excluded.kind is not None
        and excluded.route.id not in state.called
        and not any(
            _is_of(report, excluded.route) and report.kind is excluded.kind
            for report in state.reports
        )
    )


def _is_of(report: AttemptReport, route: Route) -> bool:
    return report.provider == route.provider and report.model == route.model


def _why_excluded(state: RequestState) -> str:
    return "; ".join(f"{e.route.id}: {e.reason}" for e in state.excluded) or "no route"


def _take_next_model(turn: Turn, model: ModelPlan, left: tuple[ModelPlan, ...]) -> None:
    turn.state = replace(
        turn.state, model=model, models_left=left, current=None, alternatives=(), excluded=()
    )
    turn.move(Event.NEXT_MODEL_CHOSEN)
    turn.survey()


def exhausted(turn: Turn, at: float) -> None:
    """Nothing is left to try."""
    state = turn.state
    times = [wait.available_at for wait in state.waits]
    if not times and state.told_to_wait_until is not None:
        times = [state.told_to_wait_until]
    if state.reopens_at is not None and not state.called:
        times.append(state.reopens_at)
    retry_after = max(min(times) - at, 0.0) if times else None
    turn.charge_delivered("broken")
    turn.move(Event.FALLBACKS_EXHAUSTED)
    if state.broken is not None:
        turn.fail(broken_stream(state.broken.words, state.reports))
    elif state.reports and all(it.kind in _NEVER_TRIED for it in state.reports):
        turn.fail(_refused(state))
    else:
        turn.fail(final_error(state.reports, retry_after))


def next_model_after(turn: Turn, failure: Failure, at: float) -> None:
    """After a failure of the model itself: of a call, or of a stream that is to go on."""
    state = turn.state
    resuming = state.lifecycle is State.SELECTING
    event = Event.ROUTES_EXHAUSTED if resuming else Event.MODEL_FAILED
    turn.move(event, f"{failure.kind}: {failure.message}")
    left = state.models_left
    if state.broken is not None and state.plan.midstream is Midstream.SAME_MODEL:
        left = ()
    elif failure.kind is FailureKind.CONTENT_POLICY:
        left = _first(state.plan.content_fallbacks, left, state)
    else:
        left = tuple(
            model
            for model in _first(state.plan.context_fallbacks, left, state)
            if _may_hold_more(model, state.model)
        )
    if left:
        _take_next_model(turn, left[0], left[1:])
    else:
        exhausted(turn, at)


def _first(
    preferred: tuple[ModelPlan, ...], left: tuple[ModelPlan, ...], state: RequestState
) -> tuple[ModelPlan, ...]:
    """The preferred models that were not tried yet, then the rest of the chain, each once."""
    names = {state.model.name}
    chain: list[ModelPlan] = []
    for model in (*preferred, *left):
        if model.name not in names:
            names.add(model.name)
            chain.append(model)
    return tuple(chain)


def _may_hold_more(model: ModelPlan, than: ModelPlan) -> bool:
    """Whether a prompt that was too long for one model may fit another; unknown counts as yes."""
    ours, theirs = _context(model), _context(than)
    return ours is None or theirs is None or ours > theirs


def _context(model: ModelPlan) -> int | None:
    known = [route.context_length for route in model.routes if route.context_length is not None]
    return max(known, default=None)


_NEVER_TRIED = frozenset({FailureKind.UNSUPPORTED_PARAMETER, FailureKind.OVER_BUDGET})
"""Of routes that no key and no patience would have let the request try."""


def _refused(state: RequestState) -> ApiError:
    """No route could ever carry the request, or be paid for."""
    spending = state.plan.spending
    if spending is not None and any(it.kind is FailureKind.OVER_BUDGET for it in state.reports):
        return nothing_affordable(spending.budgets, state.held, state.reports)
    return _uncarried(state)


def _uncarried(state: RequestState) -> ApiError:
    if state.reports:
        first = state.reports[0]
        return refusal("unsupported_parameter", first.message, first.param, state.reports)
    wishes = [excluded.param for excluded in state.excluded if excluded.param is not None]
    param = wishes[0] if len(set(wishes)) == 1 else "provider"
    return refusal("invalid_value", f"No route fits the request: {_why_excluded(state)}", param)
