"""`POST /v1/explain`: what a request to a model would do, told without doing it.

The body is a chat completion's, or that of the door whose path `?door=` names, as in
`?door=/v1/messages` and `?door=/v1beta/models/MODEL:generateContent`. Mistakes are told in OpenAI's
words, whatever the door.

The answer is an `ExplainAnswer` as JSON. Money is US dollars, as plain decimals in strings. Times
are seconds from now (`…_in`) or before it (`…_ago`). What is unknown is null.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import parse_qs, quote

import msgspec

from signalbox.actors.money import Money
from signalbox.actors.services import Surveyor
from signalbox.errors import ApiError
from signalbox.http.asgi import RequestError
from signalbox.http.intake import PRESET, Intake
from signalbox.http.paths import Endpoint, Place, find_place
from signalbox.machines.decisions import refusal
from signalbox.machines.explaining import Considered, ModelExplained, explain, models_of
from signalbox.machines.facts import Percentiles, RouteHealth, RoutesSurveyed
from signalbox.types import NanoUSD, Price, Request, RetryPolicy, Timeouts, usd


class PriceShown(msgspec.Struct, frozen=True):
    """Per million tokens."""

    input: str | None
    output: str | None
    cached_read: str | None
    cache_write: str | None
    source: str


class HealthShown(msgspec.Struct, frozen=True):
    """What was measured lately; `success_rate`, `first_token` (seconds) and `tokens_per_second` are
    exponentially weighted means."""

    success_rate: float | None
    first_token: float | None
    first_token_percentiles: Percentiles | None
    tokens_per_second: float | None
    tokens_per_second_percentiles: Percentiles | None
    recent_attempts: int
    recent_faults: int
    measured_ago: float | None
    last_outage_ago: float | None
    breaker: str
    breaker_reopens_in: float | None


class KeysShown(msgspec.Struct, frozen=True):
    """Whether a key of the provider has room for the request now."""

    available: bool
    share: float | None
    """What is left, 0 to 1, of the fullest limit of the best key; null: no limits are known."""
    available_in: float | None
    reason: str


class RouteShown(msgspec.Struct, frozen=True):
    route: str
    provider: str
    model: str
    """The provider's own name for it."""
    reason: str
    """For its place, or against it. A share is the probability of being drawn for that place."""
    cost: str | None
    """Of this request, estimated."""
    price: PriceShown
    health: HealthShown
    keys: KeysShown
    callers_own: bool
    """Whether the key for it comes with the request."""
    warm_tokens: int
    """How much of the prompt its provider is likely to hold in the cache."""
    takes_prefill: bool
    """Whether a stream that broke elsewhere goes on here where it stopped."""
    dropped: tuple[str, ...]
    """Hints that would be left out."""
    kind: str | None = None
    """Of an excluded route: what a client is told of it; null: its own wishes exclude it."""
    param: str | None = None
    """Of an excluded route: the field of the request that excludes it."""


class ModelShown(msgspec.Struct, frozen=True):
    model: str
    strategy: str
    strategy_source: str
    """`request`, `model` or `configuration`."""
    retry: RetryPolicy
    """Delays in seconds."""
    ranked: tuple[RouteShown, ...]
    """In the order in which they are tried while each of them fails."""
    excluded: tuple[RouteShown, ...]
    skipped: str | None
    """Why the request would not come to this model at all."""


class Waiting(msgspec.Struct, frozen=True):
    route: str
    seconds: float
    """How long at most."""


class Refused(msgspec.Struct, frozen=True):
    status: int
    code: str
    message: str
    param: str | None


class ExplainAnswer(msgspec.Struct, frozen=True):
    model: str
    preset: str | None
    """The one that is in the request, with its version."""
    at: str
    """ISO 8601, UTC."""
    random: float
    """The number, in [0, 1), that all drawing was done with."""
    prompt_tokens: int
    output_tokens: int
    """Both as expected for prices and limits."""
    stream: bool
    timeouts: Timeouts
    """Seconds."""
    midstream: str
    """What becomes of its stream if it breaks: `continue`, `same_model` or `error`."""
    hedge: bool
    hedge_after: float | None
    """Seconds; null: the route's own 95th percentile."""
    models: tuple[ModelShown, ...]
    """The requested one, then its fallbacks, each for when those before it have failed."""
    context_fallbacks: tuple[ModelShown, ...]
    """For when the first call says that the prompt is too long."""
    content_fallbacks: tuple[ModelShown, ...]
    """For when the first call says that the content is not allowed."""
    waits_for: Waiting | None
    """The key that is waited for when every route has failed or has no room."""
    refusal: Refused | None
    """What the client would be told at once, where no route would be called nor waited for."""
    held: str | None = None
    """What it would begin with of its hard budgets; null: it has none."""


def random_of(query: str, otherwise: float) -> float:
    """The number that `?random=` asks for. Raises `RequestError` (400)."""
    given = parse_qs(query, keep_blank_values=True).get("random")
    if given is None:
        return otherwise
    try:
        number = float(given[-1])
    except ValueError:
        number = -1.0
    if not 0 <= number < 1:
        message = f"random is {given[-1][:40]!r}, expected a number from 0 up to, not including, 1"
        raise RequestError(refusal("invalid_value", message, "random"))
    return number


def place_of(query: str, otherwise: Place) -> Place:
    """The door that `?door=` names by its path. Raises `RequestError` (400)."""
    given = parse_qs(query, keep_blank_values=True).get("door")
    if given is None:
        return otherwise
    place = find_place(quote(given[-1]).encode())
    if place is None or place.endpoint is not Endpoint.ASK:
        message = f"door is {given[-1][:80]!r}, expected a path for requests, like /v1/messages"
        raise RequestError(refusal("invalid_value", message, "door"))
    return place


async def left_of(intake: Intake, money: Money | None) -> NanoUSD | None:
    """What the request's hard budgets have left; None: it has none, or nobody can say now."""
    hard = [budget for budget in intake.budgets if budget.hard]
    if not hard or money is None:
        return None
    left = [each.left for each in await money.standing(hard)]
    return min((each for each in left if each is not None), default=None)


async def explained(
    surveyor: Surveyor,
    intake: Intake,
    *,
    at: float,
    unix_time: float,
    random: float,
    left: NanoUSD | None = None,
) -> ExplainAnswer:
    """`at`: the monotonic clock, in seconds. `left`: of its hard budgets; None: enough. Nothing is
    reserved, leased or sent."""
    request, plan = intake.request, intake.plan
    surveys = {}
    for model in models_of(plan):
        candidates = await surveyor.candidates(request, model.routes, at, only_key=plan.only_key)
        surveys[model.name] = RoutesSurveyed(at, candidates, random)
    explanation = explain(plan, surveys, left)

    def shown(models: Sequence[ModelExplained]) -> tuple[ModelShown, ...]:
        return tuple(
            ModelShown(
                model=each.plan.name,
                strategy=each.strategy,
                strategy_source=each.strategy_source,
                retry=plan.retry_policy(each.plan),
                ranked=tuple(_route(surveyor, request, route, at) for route in each.ranked),
                excluded=tuple(_route(surveyor, request, route, at) for route in each.excluded),
                skipped=each.skipped or None,
            )
            for each in models
        )

    waits_for = explanation.waits_for
    return ExplainAnswer(
        model=request.model,
        preset=request.labels.get(PRESET),
        at=datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="milliseconds"),
        random=random,
        prompt_tokens=plan.prompt_tokens,
        output_tokens=plan.output_tokens,
        stream=plan.stream,
        timeouts=plan.timeouts,
        midstream=plan.midstream,
        hedge=plan.hedge,
        hedge_after=plan.hedge_after,
        models=shown(explanation.models),
        context_fallbacks=shown(explanation.context_fallbacks),
        content_fallbacks=shown(explanation.content_fallbacks),
        waits_for=Waiting(waits_for.route.id, waits_for.delay) if waits_for else None,
        refusal=_refused(explanation.refusal),
        held=None if explanation.held is None else _decimal(usd(explanation.held)),
    )


def _route(surveyor: Surveyor, request: Request, considered: Considered, at: float) -> RouteShown:
    candidate, exclusion = considered.candidate, considered.exclusion
    route, headroom = candidate.route, candidate.headroom
    endpoint = surveyor.endpoint(request, route)
    hints = endpoint.adapter.dropped(request, route) if endpoint else ()
    available_at = exclusion.available_at if exclusion else headroom.available_at
    return RouteShown(
        route=route.id,
        provider=route.provider,
        model=route.model,
        reason=considered.reason,
        cost=_decimal(considered.cost),
        price=_price(route.price),
        health=_health(candidate.health, at),
        keys=KeysShown(
            headroom.available, headroom.share, _after(available_at, at), headroom.reason
        ),
        callers_own=candidate.callers_own,
        warm_tokens=candidate.warm.tokens if candidate.warm else 0,
        takes_prefill=candidate.prefill,
        dropped=tuple(name for name in hints if name not in candidate.unsupported),
        kind=exclusion.kind if exclusion else None,
        param=exclusion.param if exclusion else None,
    )


def _price(price: Price) -> PriceShown:
    return PriceShown(
        _decimal(price.input),
        _decimal(price.output),
        _decimal(price.cached_read),
        _decimal(price.cache_write),
        price.source,
    )


def _health(health: RouteHealth, at: float) -> HealthShown:
    return HealthShown(
        success_rate=health.success_rate,
        first_token=health.first_token,
        first_token_percentiles=health.first_token_percentiles,
        tokens_per_second=health.tokens_per_second,
        tokens_per_second_percentiles=health.tokens_per_second_percentiles,
        recent_attempts=health.recent_attempts,
        recent_faults=health.recent_faults,
        measured_ago=_after(at, health.measured_at),
        last_outage_ago=_after(at, health.last_outage_at),
        breaker=health.breaker,
        breaker_reopens_in=_after(health.breaker_reopens_at, at),
    )


def _refused(error: ApiError | None) -> Refused | None:
    return Refused(error.status, error.code, error.message, error.param) if error else None


def _after(later: float | None, earlier: float | None) -> float | None:
    """Seconds from one to the other, at least 0; None where one of them is unknown."""
    return None if later is None or earlier is None else max(later - earlier, 0.0)


def _decimal(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount.normalize():f}"
