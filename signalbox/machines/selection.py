"""Which routes a request may try, in which order, and why; which it may not, and why.

From the weakest rule to the strongest: the strategy (`strategies.py`); the speed that the client
would like, where a route is known to miss it; the configuration's `order` of routes; the route that
holds the conversation in its prompt cache; the client's own `provider.order`; the route where
state lives that the request refers to; the providers for which the caller brought a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from signalbox.errors import FailureKind
from signalbox.machines.facts import (
    BreakerState,
    Candidate,
    Percentiles,
    RouteHealth,
    Unavailable,
)
from signalbox.machines.plan import Pin
from signalbox.machines.strategies import STRATEGIES, Load, Scored, effective_price, recent_outage
from signalbox.types import ProviderPreferences, Route, Strategy

__all__ = ["Excluded", "Load", "Ranked", "Ranking", "no_room", "rank"]


class Ranked(msgspec.Struct, frozen=True):
    candidate: Candidate
    reason: str

    @property
    def route(self) -> Route:
        return self.candidate.route


class Excluded(msgspec.Struct, frozen=True):
    route: Route
    reason: str
    kind: FailureKind | None = None
    """What a caller would be told of it; None where the caller's own wishes exclude the route."""
    param: str | None = None
    """The request's field that rules the route out, where that is the reason."""
    available_at: float | None = None
    """When a key will have room, where waiting helps."""
    reopens_at: float | None = None
    """When its circuit breaker lets the next probe through, where that is the reason."""


class Ranking(msgspec.Struct, frozen=True):
    ranked: tuple[Ranked, ...]
    excluded: tuple[Excluded, ...]


def rank(
    candidates: Sequence[Candidate],
    *,
    strategy: Strategy,
    preferences: ProviderPreferences,
    load: Load,
    at: float,
    random: float,
    spent: frozenset[str] = frozenset(),
    tried: frozenset[str] = frozenset(),
    pin: Pin | None = None,
) -> Ranking:
    """The routes that may be tried now, best first, and why each of the others may not.

    `spent` are ids of routes that this request is done with, `tried` of those that it called so
    far: with `allow_fallbacks: false` it stays with them. `random` in [0, 1) is all the chance
    there is, so equal arguments give an equal ranking.
    """
    usable: list[Candidate] = []
    excluded: list[Excluded] = []
    begun = {candidate.route.id for candidate in candidates} & (spent | tried)
    for candidate in candidates:
        reason = _exclusion(candidate, preferences, spent, begun, pin)
        if reason is None:
            usable.append(candidate)
        else:
            excluded.append(reason)
    scored = _slow_last(STRATEGIES[strategy](usable, load, at, random), preferences)
    if preferences.order:
        scored = _by_named_order(scored, preferences)
    else:
        scored = _by_declared_order(scored)
        if preferences.strategy is None:
            scored = _warm_first(scored, preferences, load, at)
    if pin is not None:
        scored = _pinned_first(scored, pin)
    scored = _callers_own_first(scored)
    if _only_the_first(preferences):
        excluded += [Excluded(c.route, *_NOT_THE_FIRST) for c, _ in scored[1:]]
        scored = scored[:1]
    return Ranking(tuple(Ranked(c, reason) for c, reason in scored), tuple(excluded))


# ── which ─────────────────────────────────────────────────────────────────────────────────────


def _only_the_first(preferences: ProviderPreferences) -> bool:
    """Without fallbacks: the providers of `order` where there is one, else the best route."""
    return not preferences.allow_fallbacks and not preferences.order


_NOT_THE_FIRST = (
    "not the route that ranks first, and provider.allow_fallbacks is false",
    None,
    "provider.allow_fallbacks",
)


def _exclusion(
    candidate: Candidate,
    preferences: ProviderPreferences,
    spent: frozenset[str],
    begun: set[str],
    pin: Pin | None,
) -> Excluded | None:
    route = candidate.route
    if route.id in spent:
        return Excluded(route, "failed earlier in this request")
    if pin is not None and pin.required and route.id != pin.route_id:
        return Excluded(route, f"{pin.field} lives at {pin.route_id}", param=pin.field)
    if preferences.allowed and route.provider not in preferences.allowed:
        return Excluded(route, "its provider is none that this gateway key may use")
    for param, reason in _wishes_against(route, preferences):
        return Excluded(route, reason, param=param)
    if _only_the_first(preferences) and begun and route.id not in begun:
        return Excluded(route, *_NOT_THE_FIRST)
    if candidate.unsupported:
        fields = ", ".join(candidate.unsupported)
        return Excluded(
            route,
            f"cannot carry {fields}",
            kind=FailureKind.UNSUPPORTED_PARAMETER,
            param=candidate.unsupported[0],
        )
    if candidate.health.breaker is BreakerState.OPEN:
        return Excluded(
            route,
            "its circuit breaker is open",
            kind=FailureKind.OVERLOADED,
            reopens_at=candidate.health.breaker_reopens_at,
        )
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


def _wishes_against(route: Route, preferences: ProviderPreferences) -> Iterator[tuple[str, str]]:
    """The client's wishes that the route does not meet: the field, and the reason in words."""
    provider = route.provider
    if preferences.only and provider not in preferences.only:
        yield "provider.only", "not among the providers asked for"
    if provider in preferences.ignore:
        yield "provider.ignore", "its provider is to be ignored"
    if preferences.order and not preferences.allow_fallbacks and provider not in preferences.order:
        yield "provider.order", "not in provider.order, and provider.allow_fallbacks is false"
    if preferences.quantizations and route.quantization not in preferences.quantizations:
        yield "provider.quantizations", "its quantization is not among those asked for"
    if preferences.zdr and route.zdr is not True:
        yield "provider.zdr", "not declared to keep no data (zdr)"
    if preferences.deny_data_collection and route.data_collection != "deny":
        yield "provider.data_collection", "not declared to refrain from data collection"
    for tokens, ceiling, price in (
        ("prompt", preferences.max_input_price, route.price.input),
        ("completion", preferences.max_output_price, route.price.output),
    ):
        if ceiling is None or (price is not None and price <= ceiling):
            continue
        figure = "is unknown" if price is None else f"of ${price:f} is above ${ceiling:f}"
        words = f"its price per million {tokens} tokens {figure}"
        yield "provider.max_price", f"{words} (provider.max_price.{tokens})"


# ── in which order ────────────────────────────────────────────────────────────────────────────


def _by_named_order(scored: Scored, preferences: ProviderPreferences) -> Scored:
    position = {name: place for place, name in enumerate(preferences.order)}
    last = len(position)
    ordered = sorted(
        scored,
        key=lambda pair: (position.get(pair[0].route.provider, last), _declared(pair[0].route)),
    )
    return [
        (c, f"number {position[c.route.provider] + 1} of provider.order")
        if c.route.provider in position
        else (c, f"after those of provider.order: {reason}")
        for c, reason in ordered
    ]


def _declared(route: Route) -> tuple[bool, int]:
    return (route.order is None, route.order or 0)


def _by_declared_order(scored: Scored) -> Scored:
    ordered = sorted(scored, key=lambda pair: _declared(pair[0].route))
    return [
        (c, reason if c.route.order is None else f"declared with order {c.route.order}: {reason}")
        for c, reason in ordered
    ]


def _slow_last(scored: Scored, preferences: ProviderPreferences) -> Scored:
    """Routes known to be slower than the client would like go behind the others."""
    slow: Scored = []
    rest: Scored = []
    for candidate, reason in scored:
        missed = _missed_speed(candidate.health, preferences)
        if missed is None:
            rest.append((candidate, reason))
        else:
            slow.append((candidate, f"{missed}: {reason}"))
    return rest + slow


def _missed_speed(health: RouteHealth, preferences: ProviderPreferences) -> str | None:
    """In words. What was not measured is not held against a route: it would never be."""
    for name, most in preferences.preferred_max_latency.items():
        latency = _percentile(name, health.first_token_percentiles, health.first_token)
        if latency is not None and latency > most:
            words = f"{latency:.2f} s is above {most:g} s"
            return f"its first token's {name} of {words} (provider.preferred_max_latency)"
    least = preferences.preferred_min_throughput
    speed = _percentile("p50", health.tokens_per_second_percentiles, health.tokens_per_second)
    if least is not None and speed is not None and speed < least:
        return f"its {speed:.0f} tokens/s are below {least:g} (provider.preferred_min_throughput)"
    return None


def _percentile(name: str, known: Percentiles | None, mean: float | None) -> float | None:
    """`mean` stands in for the median of a window with too few measurements; for nothing else."""
    if known is None:
        return mean if name == "p50" else None
    if name == "p75":  # not measured: on the line between its neighbours
        return known.p50 + (known.p90 - known.p50) * (75 - 50) / (90 - 50)
    value: float = getattr(known, name)
    return value


def _callers_own_first(scored: Scored) -> Scored:
    own = [(c, f"the caller's own key: {reason}") for c, reason in scored if c.callers_own]
    return own + [pair for pair in scored if not pair[0].callers_own]


def _pinned_first(scored: Scored, pin: Pin) -> Scored:
    if pin.required:
        reason = f"{pin.field} lives here"
    else:
        reason = f"{pin.field} was made here, and is left out elsewhere"
    ours = [(c, reason) for c, _ in scored if c.route.id == pin.route_id]
    return ours + [pair for pair in scored if pair[0].route.id != pin.route_id]


def _warm_first(scored: Scored, preferences: ProviderPreferences, load: Load, at: float) -> Scored:
    """The route that holds this conversation in its prompt cache goes first where that pays.

    It must be well, as fast as the client would like, not come later in the declared order, and
    cost less than the route that would be first. A route of unknown price does not go first, nor
    does it keep one of known price from going first.
    """
    for place, (candidate, _) in enumerate(scored):
        if not _is_warm(candidate, at) or _missed_speed(candidate.health, preferences):
            continue
        first = scored[0][0]
        price, otherwise = effective_price(candidate, load), effective_price(first, load)
        pays = price is not None and (otherwise is None or price < otherwise)
        in_order = _declared(candidate.route) == _declared(first.route)
        if place == 0 or (pays and in_order):
            assert candidate.warm is not None
            tokens = candidate.warm.tokens
            reason = f"this conversation's last route: about {tokens} tokens are in its cache"
            return [(candidate, reason), *scored[:place], *scored[place + 1 :]]
    return scored


def _is_warm(candidate: Candidate, at: float) -> bool:
    """Whether the cache is likely to be there, is worth something, and its route is well."""
    price, health = candidate.route.price, candidate.health
    return (
        candidate.warm is not None
        and candidate.warm.tokens > 0
        and price.cached_read is not None
        and price.input is not None
        and price.cached_read < price.input
        and health.breaker is BreakerState.CLOSED
        and not recent_outage(health, at)
    )
