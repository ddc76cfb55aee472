"""Routing strategies: which route is tried first, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.machines.facts import BreakerState, Candidate, RouteHealth
from signalbox.machines.strategies import (
    EXPLORATION_SHARE,
    FRESH,
    OUTAGE_WINDOW,
    STRATEGIES,
    Load,
    effective_price,
)
from signalbox.types import Strategy
from tests.candidates import (
    NO_EXPLORING,
    NOW,
    any_candidates,
    candidate,
    first_reason,
    loads,
    order,
    randoms,
)

MEASURED = (Strategy.FAST, Strategy.THROUGHPUT, Strategy.RELIABLE)


# ── cheap ─────────────────────────────────────────────────────────────────────────────────────


def test_cheap_counts_the_expected_tokens_of_both_directions() -> None:
    reads, writes = candidate("reads", (1, 100)), candidate("writes", (10, 10))
    assert order(reads, writes, strategy=Strategy.CHEAP, load=Load(1000, 10)) == "rw"
    assert order(reads, writes, strategy=Strategy.CHEAP, load=Load(10, 1000)) == "wr"


@pytest.mark.parametrize(
    ("warm", "cached_read", "price"),
    [
        (None, 0.1, 1000 * 1 + 200 * 2),
        (600, 0.1, 400 * 1 + 600 * 0.1 + 200 * 2),
        (5000, 0.1, 1000 * 0.1 + 200 * 2),
        (600, None, 1000 * 1 + 200 * 2),
    ],
)
def test_the_effective_price_counts_likely_cache_hits(
    warm: int | None, cached_read: float | None, price: float
) -> None:
    route = candidate("a", (1, 2), warm=warm, cached_read=cached_read)
    usd = effective_price(route, Load(1000, 200))
    assert usd is not None
    assert float(usd) == pytest.approx(price / 1e6)


@given(any_candidates, loads)
def test_cheap_sorts_by_the_effective_price_and_ends_with_the_unknown(
    candidates: Sequence[Candidate], load: Load
) -> None:
    scored = STRATEGIES[Strategy.CHEAP](candidates, load, NOW, 0.0)
    prices = [effective_price(candidate, load) for candidate, _ in scored]
    known = [price for price in prices if price is not None]
    assert prices == [*sorted(known), *[None] * (len(prices) - len(known))]


# ── live measurements ─────────────────────────────────────────────────────────────────────────


def measured(name: str, value: float | None, age: float = 0.0, **more: Any) -> Candidate:
    """A route of which every measured strategy thinks the same: the higher, the better."""
    if value is None:
        return candidate(name, health=RouteHealth(**more))
    health = RouteHealth(
        first_token=1 / value,
        tokens_per_second=value,
        success_rate=value,
        measured_at=NOW - age,
        **more,
    )
    return candidate(name, health=health)


@pytest.mark.parametrize("strategy", MEASURED)
def test_measured_strategies_put_the_best_first_and_the_unknown_last(strategy: Strategy) -> None:
    routes = [measured("worse", 0.5), measured("new", None), measured("better", 0.9)]
    for candidates in permutations(routes):
        assert order(*candidates, strategy=strategy) == "bwn"


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        (Strategy.FAST, "first token in 2000 ms"),
        (Strategy.THROUGHPUT, "0 tokens/s"),
        (Strategy.RELIABLE, "50.0% succeed"),
    ],
)
def test_the_reason_is_the_measurement(strategy: Strategy, reason: str) -> None:
    assert first_reason(measured("a", 0.5), strategy=strategy) == reason


def test_equals_keep_their_declared_order_and_so_do_routes_that_nobody_measured() -> None:
    for strategy in (Strategy.CHEAP, *MEASURED):
        assert order(*map(candidate, "abc"), strategy=strategy, random=0.0) == "abc"


def measure(order_of: Callable[[float], str], low: float, high: float) -> dict[str, float]:
    """How much of the interval leads to which order. Each order is one interval of numbers, so
    halving finds where one ends and the next begins."""
    if order_of(low) == order_of(high) or high - low < 2**-40:
        return {order_of(low): high - low}
    middle = (low + high) / 2
    shares = measure(order_of, low, middle)
    for name, share in measure(order_of, middle, high).items():
        shares[name] = shares.get(name, 0) + share
    return shares


def shares_of(*candidates: Candidate, **rules: Any) -> dict[str, float]:
    """The probability of each order, over the whole interval of the random number."""
    return measure(lambda number: order(*candidates, random=number, **rules), 0.0, 1 - 2**-53)


@pytest.mark.parametrize("strategy", MEASURED)
def test_a_stated_share_of_requests_explores_what_was_measured_longest_ago(
    strategy: Strategy,
) -> None:
    routes = [measured("best", 0.9), measured("old", 0.5, FRESH), measured("older", 0.1, 2 * FRESH)]
    shares = shares_of(*routes, measured("never", None), strategy=strategy)
    assert shares == pytest.approx(
        {"nboo": EXPLORATION_SHARE, "boon": 1 - EXPLORATION_SHARE}, abs=1e-9
    )
    reason = f"explored: last measured {2 * FRESH:.0f} s ago"
    assert first_reason(*routes, strategy=strategy, random=0.0) == reason


@pytest.mark.parametrize("strategy", MEASURED)
def test_what_was_measured_a_moment_ago_is_not_explored(strategy: Strategy) -> None:
    failed = candidate("failed", health=RouteHealth(measured_at=NOW))
    routes = measured("worse", 0.5, FRESH - 0.001), measured("better", 0.9), failed
    assert order(*routes, strategy=strategy, random=0.0) == "bwf"


# ── half-open breakers ────────────────────────────────────────────────────────────────────────

HALF_OPEN: Mapping[str, Any] = {"breaker": BreakerState.HALF_OPEN, "last_outage_at": NOW - 5}


@pytest.mark.parametrize("strategy", MEASURED)
@pytest.mark.parametrize("random", [0.0, NO_EXPLORING])
def test_a_bad_past_does_not_keep_the_probe_from_a_half_open_route(
    strategy: Strategy, random: float
) -> None:
    routes = measured("better", 0.9), measured("half-open", 0.1, **HALF_OPEN), measured("n", None)
    assert order(*routes, strategy=strategy, random=random) == "hbn"
    reason = first_reason(*routes, strategy=strategy, random=random)
    assert reason == "probed: its breaker is half-open"


def test_for_a_price_a_half_open_route_is_as_good_as_a_healthy_one() -> None:
    primary = candidate("primary", (1, 1), RouteHealth(**HALF_OPEN))
    second = candidate("second", (2, 2))
    assert order(second, primary, strategy=Strategy.CHEAP) == "ps"
    assert shares_of(second, primary) == pytest.approx({"ps": 0.8, "sp": 0.2}, abs=1e-9)


# ── balanced ──────────────────────────────────────────────────────────────────────────────────

weighted = st.lists(
    st.tuples(
        st.none() | st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 10.0]),
        st.sampled_from([0.5, 1.0, 3.0]),
    ),
    min_size=1,
    max_size=4,
).map(
    lambda offers: [
        candidate(name, None if price is None else (price, price), weight=weight)
        for name, (price, weight) in zip("abcd", offers, strict=False)
    ]
)


@given(weighted, randoms)
def test_every_usable_route_is_drawn_once(candidates: list[Candidate], random: float) -> None:
    assert sorted(order(*candidates, random=random)) == [c.route.provider for c in candidates]


def expected_shares(weights: Mapping[str, float]) -> dict[str, float]:
    """Drawing without replacement, each draw in proportion to the weights that are left."""
    if not weights:
        return {"": 1.0}
    total = sum(weights.values())
    return {
        name + rest: weight / total * share
        for name, weight in weights.items()
        for rest, share in expected_shares({n: w for n, w in weights.items() if n != name}).items()
    }


@pytest.mark.parametrize(
    ("prices", "weights"),
    [
        ({"a": 1, "b": 1}, {"a": 1, "b": 1}),
        ({"a": 1, "b": 2}, {"a": 1, "b": 1 / 4}),
        ({"a": 3, "b": 1, "c": 2}, {"a": 1 / 9, "b": 1, "c": 1 / 4}),
    ],
)
def test_chance_follows_the_inverse_square_of_the_price(
    prices: dict[str, float], weights: dict[str, float]
) -> None:
    candidates = [candidate(name, (price, price)) for name, price in prices.items()]
    assert shares_of(*candidates) == pytest.approx(expected_shares(weights), abs=1e-9)


def test_the_price_is_that_of_the_request_s_own_mix() -> None:
    reads, writes = candidate("reads", (1, 3)), candidate("writes", (3, 1))
    shares = shares_of(reads, writes, load=Load(1000, 0))
    assert shares == pytest.approx({"rw": 0.9, "wr": 0.1}, abs=1e-9)


def test_a_declared_weight_multiplies() -> None:
    heavy, light = candidate("heavy", weight=3.0), candidate("light", weight=1.0)
    assert shares_of(heavy, light) == pytest.approx({"hl": 0.75, "lh": 0.25}, abs=1e-9)


def test_an_unknown_price_counts_as_the_dearest_known_one() -> None:
    candidates = [candidate("a", (1, 1)), candidate("b", (2, 2)), candidate("u", None)]
    assert shares_of(*candidates) == pytest.approx(
        expected_shares({"a": 1, "b": 1 / 4, "u": 1 / 4}), abs=1e-9
    )


@given(randoms, st.sampled_from([0.0, 1.0, OUTAGE_WINDOW - 0.001]))
def test_a_recent_outage_puts_a_route_last_however_cheap(random: float, age: float) -> None:
    shaky = candidate("shaky", (0.01, 0.01), RouteHealth(last_outage_at=NOW - age))
    recovered = candidate("recovered", health=RouteHealth(last_outage_at=NOW - OUTAGE_WINDOW))
    tried = order(shaky, recovered, candidate("new"), random=random)
    assert tried[-1] == "s"
