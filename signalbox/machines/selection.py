"""Routing strategies: candidates in, ranked routes with the reason for each rank out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from signalbox.errors import FailureKind
from signalbox.machines.facts import BreakerState, Candidate, Unavailable
from signalbox.types import ProviderPreferences, Route, Strategy

OUTAGE_WINDOW = 30.0
"""Seconds for which `balanced` puts a route last after an outage (OpenRouter's figure)."""

CHEAPEST_COUNTED = 1e-4
"""US dollars per million tokens. Weights are inverse squares; a free route counts as this cheap."""


@dataclass(frozen=True, slots=True)
class Ranked:
    route: Route
    reason: str


@dataclass(frozen=True, slots=True)
class Excluded:
    route: Route
    reason: str
    kind: FailureKind | None = None
    """What a caller would be told of it; None where the caller's own wishes exclude the route."""
    param: str | None = None
    """The request's field that the route cannot carry, where that is the reason."""
    available_at: float | None = None
    """When a key will have room, where waiting helps."""


@dataclass(frozen=True, slots=True)
class Ranking:
    ranked: tuple[Ranked, ...]
    excluded: tuple[Excluded, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """The expected size of the request, in tokens."""

    prompt_tokens: int
    output_tokens: int


def rank(
    candidates: Sequence[Candidate],
    *,
    strategy: Strategy,
    preferences: ProviderPreferences,
    load: Load,
    at: float,
    random: float,
    spent: frozenset[str] = frozenset(),
) -> Ranking:
    """The routes that may be tried now, best first, and why each of the others may not.

    `spent` are ids of routes that this request is done with; `random` in [0, 1) is all the chance
    there is, so equal arguments give an equal ranking.
    """
    usable: list[Candidate] = []
    excluded: list[Excluded] = []
    for candidate in candidates:
        reason = _exclusion(candidate, preferences, at, spent)
        if reason is None:
            usable.append(candidate)
        else:
            excluded.append(reason)
    if preferences.order:
        ordered = _by_named_order(usable, preferences)
    else:
        ordered = _STRATEGIES[strategy](usable, load, at, random)
    ordered.sort(key=lambda pair: _declared_order(pair[0]))
    return Ranking(tuple(Ranked(c.route, reason) for c, reason in ordered), tuple(excluded))


def _declared_order(candidate: Candidate) -> tuple[bool, int]:
    order = candidate.route.order
    return (order is None, order or 0)


def _exclusion(
    candidate: Candidate, preferences: ProviderPreferences, at: float, spent: frozenset[str]
) -> Excluded | None:
    route = candidate.route
    if route.id in spent:
        return Excluded(route, "failed earlier in this request")
    if reason := _preference_exclusion(route, preferences):
        return Excluded(route, reason)
    if candidate.unsupported:
        fields = ", ".join(candidate.unsupported)
        return Excluded(
            route,
            f"cannot carry {fields}",
            kind=FailureKind.UNSUPPORTED_PARAMETER,
            param=candidate.unsupported[0],
        )
    if candidate.health.breaker is BreakerState.OPEN:
        return Excluded(route, "its circuit breaker is open", kind=FailureKind.OVERLOADED)
    headroom = candidate.headroom
    if not headroom.available:
        return no_room(route, headroom.reason, headroom.available_at)
    return None


_NEVER = {
    Unavailable.TOO_LARGE: FailureKind.REQUEST_TOO_LARGE_FOR_QUOTA,
    Unavailable.FORBIDDEN: FailureKind.MODEL_FORBIDDEN,
}


def no_room(route: Route, reason: str, available_at: float | None) -> Excluded:
    """No key of the route's provider can take the request now, or ever (`available_at` None)."""
    kind = FailureKind.RATE_LIMITED
    if available_at is None:
        kind = next((_NEVER[r] for r in _NEVER if r == reason), FailureKind.KEY_REJECTED)
    return Excluded(route, f"no key has room: {reason}", kind=kind, available_at=available_at)


def _preference_exclusion(route: Route, preferences: ProviderPreferences) -> str | None:
    provider = route.provider
    if preferences.only and provider not in preferences.only:
        return "not among the providers asked for"
    if provider in preferences.ignore:
        return "its provider is to be ignored"
    if preferences.order and not preferences.allow_fallbacks and provider not in preferences.order:
        return "not in provider.order, and allow_fallbacks is false"
    if preferences.quantizations and route.quantization not in preferences.quantizations:
        return "its quantization is not among those asked for"
    if preferences.zdr and route.zdr is not True:
        return "not declared to keep no data (zdr)"
    if preferences.deny_data_collection and route.data_collection != "deny":
        return "not declared to refrain from data collection"
    for ceiling, price in (
        (preferences.max_input_price, route.price.input),
        (preferences.max_output_price, route.price.output),
    ):
        if ceiling is not None and (price is None or price > ceiling):
            return "its price is unknown or above provider.max_price"
    return None


_Scored = list[tuple[Candidate, str]]


def _by_named_order(usable: Sequence[Candidate], preferences: ProviderPreferences) -> _Scored:
    position = {name: place for place, name in enumerate(preferences.order)}
    ordered = sorted(usable, key=lambda c: position.get(c.route.provider, len(position)))
    return [
        (c, f"number {position[c.route.provider] + 1} of provider.order")
        if c.route.provider in position
        else (c, "after those of provider.order")
        for c in ordered
    ]


def _cheap(usable: Sequence[Candidate], load: Load, at: float, random: float) -> _Scored:
    def cost(candidate: Candidate) -> Decimal | None:
        price = candidate.route.price
        if price.input is None or price.output is None:
            return None
        tokens = price.input * load.prompt_tokens + price.output * load.output_tokens
        return tokens / 1_000_000

    costs = [(candidate, cost(candidate)) for candidate in usable]
    costs.sort(key=lambda pair: (pair[1] is None, pair[1] or Decimal(0)))
    return [
        (c, "its price is unknown" if usd is None else f"about ${usd:.8f} for this request")
        for c, usd in costs
    ]


def _measured(
    measure: Callable[[Candidate], float | None], unit: Callable[[float], str], *, best_low: bool
) -> Callable[[Sequence[Candidate], Load, float, float], _Scored]:
    """Ranks by a live measurement. What was never measured goes first, so that it will be."""

    def ranked(usable: Sequence[Candidate], load: Load, at: float, random: float) -> _Scored:
        values = [(candidate, measure(candidate)) for candidate in usable]
        sign = 1.0 if best_low else -1.0
        values.sort(key=lambda pair: (pair[1] is not None, sign * (pair[1] or 0.0)))
        return [(c, "not measured yet" if value is None else unit(value)) for c, value in values]

    return ranked


def _balanced(usable: Sequence[Candidate], load: Load, at: float, random: float) -> _Scored:
    """Routes with a recent outage last; the others drawn by weight over the price squared.

    Source: OpenRouter's documented default load balancing.
    """
    steady = [c for c in usable if not _recent_outage(c, at)]
    shaky = [c for c in usable if _recent_outage(c, at)]
    drawn = [(c, f"drawn with weight {share:.0%}") for c, share in _draw(steady, load, random)]
    late = [(c, "failed in the last 30 s") for c, _ in _draw(shaky, load, random)]
    return drawn + late


def _recent_outage(candidate: Candidate, at: float) -> bool:
    outage = candidate.health.last_outage_at
    return outage is not None and at - outage < OUTAGE_WINDOW


def _draw(
    candidates: Sequence[Candidate], load: Load, random: float
) -> list[tuple[Candidate, float]]:
    """A weighted order without replacement, from one random number.

    After each draw the number is stretched over the interval it fell into, where it is uniform
    again. The figure beside each candidate is its share at the moment it was drawn.
    """
    prices = [_blended_price(c.route, load) for c in candidates]
    known = [price for price in prices if price is not None]
    # An unknown price is taken as the dearest known one: chance may pick it, hope may not.
    dearest = max(known, default=1.0)
    left = [
        (c, c.route.weight / max(dearest if price is None else price, CHEAPEST_COUNTED) ** 2)
        for c, price in zip(candidates, prices, strict=True)
    ]
    order: list[tuple[Candidate, float]] = []
    while left:
        total = sum(weight for _, weight in left)
        if total <= 0:
            return order + [(c, 0.0) for c, _ in left]
        point = random * total
        index = 0
        while index < len(left) - 1 and point >= left[index][1]:
            point -= left[index][1]
            index += 1
        candidate, weight = left.pop(index)
        random = min(max(point / weight, 0.0), 1 - 2**-53) if weight > 0 else 0.0
        order.append((candidate, weight / total))
    return order


def _blended_price(route: Route, load: Load) -> float | None:
    """US dollars per million tokens of this request's expected mix."""
    if route.price.input is None or route.price.output is None:
        return None
    tokens = load.prompt_tokens + load.output_tokens
    if tokens == 0:
        return float(route.price.input + route.price.output) / 2
    spent = route.price.input * load.prompt_tokens + route.price.output * load.output_tokens
    return float(spent / tokens)


_STRATEGIES: dict[Strategy, Callable[[Sequence[Candidate], Load, float, float], _Scored]] = {
    Strategy.CHEAP: _cheap,
    Strategy.FAST: _measured(
        lambda c: c.health.first_token, lambda s: f"first token in {s * 1000:.0f} ms", best_low=True
    ),
    Strategy.THROUGHPUT: _measured(
        lambda c: c.health.tokens_per_second, lambda t: f"{t:.0f} tokens/s", best_low=False
    ),
    Strategy.RELIABLE: _measured(
        lambda c: c.health.success_rate, lambda r: f"{r:.1%} succeed", best_low=False
    ),
    Strategy.BALANCED: _balanced,
}
