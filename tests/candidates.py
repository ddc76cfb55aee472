"""Routes to choose from, and the choice in one word."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from signalbox.machines.facts import (
    BreakerState,
    Candidate,
    Headroom,
    Percentiles,
    RouteHealth,
    Unavailable,
    Warmth,
)
from signalbox.machines.selection import Load, Ranking, rank
from signalbox.types import Price, ProviderPreferences, Route, Strategy

NOW = 1000.0
ANYONE = ProviderPreferences()
AS_MUCH_OUT_AS_IN = Load(1000, 1000)
NO_EXPLORING = 0.5
"""A random number with which no strategy tries a route only to measure it."""


def dollars(figure: float | None) -> Decimal | None:
    return None if figure is None else Decimal(str(figure))


def candidate(
    provider: str,
    price: tuple[float, float] | None = (1, 1),
    health: RouteHealth | None = None,
    headroom: Headroom | None = None,
    unsupported: tuple[str, ...] = (),
    cached_read: float | None = None,
    warm: int | None = None,
    **route: Any,
) -> Candidate:
    """`price`: US dollars per million tokens, in and out; None: unknown. `warm`: tokens that its
    cache holds."""
    read, write = price or (None, None)
    return Candidate(
        Route(
            provider,
            "m",
            price=Price(dollars(read), dollars(write), cached_read=dollars(cached_read)),
            **route,
        ),
        health or RouteHealth(),
        headroom or Headroom(available=True),
        unsupported,
        None if warm is None else Warmth("key", warm),
    )


def ranked(
    *candidates: Candidate,
    strategy: Strategy = Strategy.BALANCED,
    preferences: ProviderPreferences = ANYONE,
    load: Load = AS_MUCH_OUT_AS_IN,
    random: float = NO_EXPLORING,
    spent: frozenset[str] = frozenset(),
    tried: frozenset[str] = frozenset(),
) -> Ranking:
    return rank(
        candidates,
        strategy=strategy,
        preferences=preferences,
        load=load,
        at=NOW,
        random=random,
        spent=spent,
        tried=tried,
    )


def order(*candidates: Candidate, **rules: Any) -> str:
    """The first letters of the providers, in the order in which they would be tried."""
    return "".join(r.route.provider[0] for r in ranked(*candidates, **rules).ranked)


def first_reason(*candidates: Candidate, **rules: Any) -> str:
    return ranked(*candidates, **rules).ranked[0].reason


randoms = st.floats(0, 1, exclude_max=True)
loads = st.builds(Load, st.integers(0, 10_000), st.integers(0, 10_000))
_prices = st.none() | st.decimals(0, 100, places=2)
_percentiles = st.none() | st.builds(Percentiles, *[st.floats(0, 60)] * 4)

any_candidates: st.SearchStrategy[Sequence[Candidate]] = st.lists(
    st.builds(
        Candidate,
        route=st.builds(
            Route,
            provider=st.sampled_from("abcdef"),
            model=st.just("m"),
            price=st.builds(Price, input=_prices, output=_prices, cached_read=_prices),
            weight=st.floats(0, 10),
            order=st.none() | st.integers(0, 2),
            zdr=st.none() | st.booleans(),
        ),
        health=st.builds(
            RouteHealth,
            first_token=st.none() | st.floats(0, 60),
            first_token_percentiles=_percentiles,
            success_rate=st.none() | st.floats(0, 1),
            tokens_per_second=st.none() | st.floats(0, 1000),
            last_outage_at=st.none() | st.floats(0, NOW),
            measured_at=st.none() | st.floats(0, NOW),
            breaker=st.sampled_from(BreakerState),
        ),
        headroom=st.builds(Headroom, available=st.booleans(), reason=st.just(Unavailable.COOLING)),
        unsupported=st.sampled_from([(), ("tools",)]),
        warm=st.none() | st.builds(Warmth, st.just("key"), st.integers(0, 10_000)),
        callers_own=st.booleans(),
    ),
    unique_by=lambda candidate: candidate.route.provider,
    max_size=6,
)
any_wishes = st.builds(
    ProviderPreferences,
    only=st.sampled_from([(), ("a", "b", "c"), ("b",)]),
    ignore=st.sampled_from([(), ("a",)]),
    order=st.sampled_from([(), ("c", "b")]),
    strategy=st.none() | st.sampled_from(Strategy),
    max_input_price=st.none() | st.decimals(0, 100, places=2),
    allow_fallbacks=st.booleans(),
    zdr=st.booleans(),
    preferred_max_latency=st.sampled_from([{}, {"p50": 3.0}, {"p75": 3.0, "p99": 20.0}]),
    preferred_min_throughput=st.none() | st.floats(0, 100),
)
