"""What a request would do if it came now: which routes, in which order, why; which not, and why.

Nothing is ranked here. The request's own machine is told that every call fails in a way that leaves
nothing but the next route, and what it asks to be leased, model after model, is the order. Its
surveys are the same throughout, with the same random number; a real request draws a new one after
every failure, so of a strategy that draws only its first route is certain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from signalbox.errors import ApiError, Failure, FailureKind
from signalbox.machines.commands import (
    AcquireLease,
    AdmitRequest,
    AwaitKey,
    Command,
    ExtendHold,
    OpenUpstream,
    SendError,
    SurveyRoutes,
)
from signalbox.machines.facts import (
    Candidate,
    Fact,
    HoldExtended,
    LeaseGranted,
    RequestAdmitted,
    RoutesSurveyed,
    UpstreamFailed,
)
from signalbox.machines.plan import RequestPlan
from signalbox.machines.request import decide, start
from signalbox.machines.selection import Excluded, Load, Ranked
from signalbox.machines.state import RequestState
from signalbox.machines.strategies import effective_price
from signalbox.types import ModelPlan, NanoUSD, Route, Strategy

Surveys = Mapping[str, RoutesSurveyed]
"""By the model's name, for each of `models_of`; all made at one time."""

MOVES_ON = FailureKind.FIRST_TOKEN_TIMEOUT
"""A failure from which a request goes to the next route at once, whatever its retry policy."""


class StrategySource(StrEnum):
    """Who chose the strategy."""

    REQUEST = "request"
    MODEL = "model"
    CONFIGURATION = "configuration"


class Considered(msgspec.Struct, frozen=True):
    """One route of a model."""

    candidate: Candidate
    cost: Decimal | None
    """US dollars for the whole request, likely cache hits counted; None: unknown."""
    reason: str
    """For its place, or against it."""
    exclusion: Excluded | None = None
    """None where it is ranked."""


class ModelExplained(msgspec.Struct, frozen=True):
    """One model of the chain."""

    plan: ModelPlan
    strategy: Strategy
    strategy_source: StrategySource
    ranked: tuple[Considered, ...] = ()
    """In the order in which they are tried while each of them fails."""
    excluded: tuple[Considered, ...] = ()
    skipped: str = ""
    """Why the request would not come to this model at all."""


class Explanation(msgspec.Struct, frozen=True):
    """`waits_for` and `refusal` are what comes after the last route, or instead of any."""

    models: tuple[ModelExplained, ...]
    """The requested one, then its fallbacks, each for when those before it have failed."""
    context_fallbacks: tuple[ModelExplained, ...]
    """For when the first call says that the prompt is too long."""
    content_fallbacks: tuple[ModelExplained, ...]
    """For when the first call says that the content is not allowed."""
    waits_for: AwaitKey | None
    """The key that is waited for when every route has failed or has no room."""
    refusal: ApiError | None
    """What the client would be told at once, where no route would be called nor waited for."""
    held: NanoUSD | None = None
    """What it would begin with of its hard budgets; None: it has none."""


def models_of(plan: RequestPlan) -> tuple[ModelPlan, ...]:
    """Every model that the request could come to, each once."""
    by_name: dict[str, ModelPlan] = {}
    for model in (*plan.models, *plan.context_fallbacks, *plan.content_fallbacks):
        by_name.setdefault(model.name, model)
    return tuple(by_name.values())


def explain(plan: RequestPlan, surveys: Surveys, left: NanoUSD | None = None) -> Explanation:
    """Raises `KeyError` where a model was not surveyed. `left`: of the request's hard budgets;
    None: enough."""
    way = _walk(plan, surveys, left=left)
    return Explanation(
        models=tuple(_explained(plan, model, way) for model in plan.models),
        context_fallbacks=_detour(
            plan, surveys, FailureKind.CONTEXT_LENGTH, plan.context_fallbacks, left
        ),
        content_fallbacks=_detour(
            plan, surveys, FailureKind.CONTENT_POLICY, plan.content_fallbacks, left
        ),
        waits_for=way.waits_for,
        refusal=None if way.state.attempt else way.error,
        held=_of(left, way.wants) if plan.spending is not None else None,
    )


# ── the way of a request whose every call fails ───────────────────────────────────────────────


class _Leg(msgspec.Struct):
    """A model that the request came to."""

    survey: RoutesSurveyed
    ranked: tuple[Ranked, ...]
    """As the machine ranked them on its first look."""
    excluded: tuple[Excluded, ...]
    taken: list[Ranked] = msgspec.field(default_factory=list)
    """Those that were called, each as it was ranked then."""


class _Way(msgspec.Struct):
    state: RequestState
    surveys: Surveys
    legs: dict[str, _Leg] = msgspec.field(default_factory=dict)
    failed_on: str = ""
    """The model whose call failed in another way than by `MOVES_ON`; its legs begin after that."""
    waits_for: AwaitKey | None = None
    error: ApiError | None = None
    left: NanoUSD | None = None
    wants: NanoUSD = NanoUSD(0)


def _walk(
    plan: RequestPlan,
    surveys: Surveys,
    first_failure: FailureKind = MOVES_ON,
    *,
    left: NanoUSD | None = None,
) -> _Way:
    """`first_failure`: of the first call; all others fail by `MOVES_ON`."""
    at = surveys[plan.models[0].name].at
    state, commands = start(plan, at)
    way = _Way(state, surveys, left=left)
    todo = deque(commands)
    while todo:
        fact = _answer(way, todo.popleft(), at, first_failure)
        if fact is not None:
            way.state, commands = decide(way.state, fact)
            todo.extend(commands)
    return way


def _answer(way: _Way, command: Command, at: float, first_failure: FailureKind) -> Fact | None:
    """What becomes of a command, where anything does."""
    match command:
        case AdmitRequest():
            way.wants = command.want
            return RequestAdmitted(at, _of(way.left, command.want))
        case ExtendHold():
            return HoldExtended(at, _of(way.left, command.total))
        case SurveyRoutes():
            return _survey(way)
        case AcquireLease():
            return LeaseGranted(at, command.attempt, key_id="", key_label="")
        case OpenUpstream():
            failure = first_failure if command.attempt == 1 else MOVES_ON
            model = way.state.model.name
            way.legs[model].taken.append(way.state.alternatives[0])
            if failure is not MOVES_ON:
                way.legs, way.failed_on = {}, model
            return UpstreamFailed(at, command.attempt, Failure(failure, ""), random=0.0)
        case AwaitKey():
            way.waits_for = command
        case SendError():
            way.error = command.error
    return None


def _of(left: NanoUSD | None, wanted: NanoUSD) -> NanoUSD:
    """What would be held."""
    return wanted if left is None else min(left, wanted)


def _survey(way: _Way) -> RoutesSurveyed:
    name = way.state.model.name
    survey = way.surveys[name]
    if name not in way.legs:
        # As the last model of its chain, so that the state still tells how its routes were ranked
        # when none of them may be tried: another model would take their place in it.
        looked, _ = decide(replace(way.state, models_left=(), waits=()), survey)
        way.legs[name] = _Leg(survey, looked.alternatives, looked.excluded)
    return survey


# ── told model by model ───────────────────────────────────────────────────────────────────────


def _detour(
    plan: RequestPlan,
    surveys: Surveys,
    failure: FailureKind,
    models: tuple[ModelPlan, ...],
    left: NanoUSD | None,
) -> tuple[ModelExplained, ...]:
    """The models that come after such a failure of the first call."""
    if not models:
        return ()
    way = _walk(plan, surveys, failure, left=left)
    if not way.failed_on:
        way.legs = {}
    return tuple(_explained(plan, model, way) for model in models)


def _explained(plan: RequestPlan, model: ModelPlan, way: _Way) -> ModelExplained:
    strategy, source = _strategy(plan, model)
    leg = way.legs.get(model.name)
    if leg is None:
        return ModelExplained(model, strategy, source, skipped=_why_skipped(plan, model, way))
    load = Load(plan.prompt_tokens, plan.output_tokens)
    candidates = {each.route.id: each for each in leg.survey.candidates}
    taken = {each.route.id for each in leg.taken}
    left_out = [
        Excluded(each.route, _used_up(plan, model))
        for each in leg.ranked
        if each.route.id not in taken
    ]

    def considered(route: Route, reason: str, exclusion: Excluded | None = None) -> Considered:
        candidate = candidates[route.id]
        return Considered(candidate, effective_price(candidate, load), reason, exclusion)

    return ModelExplained(
        model,
        strategy,
        source,
        ranked=tuple(considered(each.route, each.reason) for each in leg.taken),
        excluded=tuple(
            considered(each.route, each.reason, each) for each in (*left_out, *leg.excluded)
        ),
    )


def _strategy(plan: RequestPlan, model: ModelPlan) -> tuple[Strategy, StrategySource]:
    strategy = plan.strategy_for(model)
    if plan.preferences.strategy is not None:
        return strategy, StrategySource.REQUEST
    if model.strategy is not None:
        return strategy, StrategySource.MODEL
    return strategy, StrategySource.CONFIGURATION


def _why_skipped(plan: RequestPlan, model: ModelPlan, way: _Way) -> str:
    if way.state.calls_used_up:
        return _used_up(plan, way.state.model)
    if not way.failed_on:
        return "no route would be called whose answer could lead here"
    if model.name == way.failed_on:
        return "it is the model that has failed"
    return f"it holds no more context than {way.failed_on}"


def _used_up(plan: RequestPlan, model: ModelPlan) -> str:
    calls = plan.retry_policy(model).max_attempts_total
    return f"not reached: a request makes at most {calls} upstream calls (retry.max_attempts_total)"
