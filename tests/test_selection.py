"""Which route is tried first, which not at all, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.errors import FailureKind
from signalbox.machines.facts import (
    BreakerState,
    Candidate,
    Headroom,
    RouteHealth,
    Unavailable,
)
from signalbox.machines.selection import OUTAGE_WINDOW, Excluded, Load, Ranking, rank
from signalbox.types import Price, ProviderPreferences, Route, Strategy

NOW = 1000.0
ANYONE = ProviderPreferences()
AS_MUCH_OUT_AS_IN = Load(1000, 1000)


def candidate(
    provider: str,
    price: tuple[float, float] | None = (1, 1),
    health: RouteHealth | None = None,
    headroom: Headroom | None = None,
    unsupported: tuple[str, ...] = (),
    **route: Any,
) -> Candidate:
    """`price`: US dollars per million tokens, in and out; None: unknown."""
    known = Price()
    if price is not None:
        known = Price(input=Decimal(str(price[0])), output=Decimal(str(price[1])))
    return Candidate(
        Route(provider, "m", price=known, **route),
        health or RouteHealth(),
        headroom or Headroom(available=True),
        unsupported,
    )


def ranked(
    *candidates: Candidate,
    strategy: Strategy = Strategy.BALANCED,
    preferences: ProviderPreferences = ANYONE,
    load: Load = AS_MUCH_OUT_AS_IN,
    random: float = 0.0,
    spent: frozenset[str] = frozenset(),
) -> Ranking:
    return rank(
        candidates,
        strategy=strategy,
        preferences=preferences,
        load=load,
        at=NOW,
        random=random,
        spent=spent,
    )


def order(*candidates: Candidate, **rules: Any) -> str:
    """The first letters of the providers, in the order in which they would be tried."""
    return "".join(r.route.provider[0] for r in ranked(*candidates, **rules).ranked)


def only_exclusion(*candidates: Candidate, **rules: Any) -> Excluded:
    [excluded] = ranked(*candidates, **rules).excluded
    return excluded


# ── strategies ────────────────────────────────────────────────────────────────────────────────


def test_cheap_counts_the_expected_tokens_of_both_directions() -> None:
    reads, writes = candidate("reads", (1, 100)), candidate("writes", (10, 10))
    assert order(reads, writes, strategy=Strategy.CHEAP, load=Load(1000, 10)) == "rw"
    assert order(reads, writes, strategy=Strategy.CHEAP, load=Load(10, 1000)) == "wr"


def test_cheap_tries_an_unknown_price_last() -> None:
    unknown, dear, free = candidate("unknown", None), candidate("dear"), candidate("free", (0, 0))
    assert order(unknown, dear, free, strategy=Strategy.CHEAP) == "fdu"


@pytest.mark.parametrize(
    ("strategy", "field", "values"),
    [
        (Strategy.FAST, "first_token", (0.2, 0.9)),
        (Strategy.THROUGHPUT, "tokens_per_second", (90.0, 20.0)),
        (Strategy.RELIABLE, "success_rate", (0.99, 0.5)),
    ],
)
def test_measured_strategies_put_the_unknown_first_and_then_the_best(
    strategy: Strategy, field: str, values: tuple[float, float]
) -> None:
    best: dict[str, Any] = {field: values[0]}
    second: dict[str, Any] = {field: values[1]}
    better = candidate("better", health=RouteHealth(**best))
    worse = candidate("worse", health=RouteHealth(**second))
    for candidates in permutations([worse, candidate("new"), better]):
        assert order(*candidates, strategy=strategy) == "nbw"


def test_equals_keep_their_declared_order() -> None:
    for strategy in (Strategy.CHEAP, Strategy.FAST, Strategy.THROUGHPUT, Strategy.RELIABLE):
        assert order(*map(candidate, "abc"), strategy=strategy) == "abc"


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
randoms = st.floats(0, 1, exclude_max=True)


@given(weighted, randoms)
def test_every_usable_route_is_drawn_once(candidates: list[Candidate], random: float) -> None:
    assert sorted(order(*candidates, random=random)) == [c.route.provider for c in candidates]


@given(weighted, randoms)
def test_the_same_chance_gives_the_same_order(candidates: list[Candidate], random: float) -> None:
    assert ranked(*candidates, random=random) == ranked(*candidates, random=random)


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
    shares = measure(lambda number: order(*candidates, random=number), 0.0, 1 - 2**-53)
    assert shares == pytest.approx(expected_shares(weights), abs=1e-9)


def test_the_price_is_that_of_the_request_s_own_mix() -> None:
    reads, writes = candidate("reads", (1, 3)), candidate("writes", (3, 1))
    shares = measure(
        lambda number: order(reads, writes, load=Load(1000, 0), random=number), 0.0, 1 - 2**-53
    )
    assert shares == pytest.approx({"rw": 0.9, "wr": 0.1}, abs=1e-9)


def test_a_declared_weight_multiplies() -> None:
    heavy, light = candidate("heavy", weight=3.0), candidate("light", weight=1.0)
    shares = measure(lambda number: order(heavy, light, random=number), 0.0, 1 - 2**-53)
    assert shares == pytest.approx({"hl": 0.75, "lh": 0.25}, abs=1e-9)


def test_an_unknown_price_counts_as_the_dearest_known_one() -> None:
    candidates = [candidate("a", (1, 1)), candidate("b", (2, 2)), candidate("u", None)]
    shares = measure(lambda number: order(*candidates, random=number), 0.0, 1 - 2**-53)
    assert shares == pytest.approx(expected_shares({"a": 1, "b": 1 / 4, "u": 1 / 4}), abs=1e-9)


@given(randoms, st.sampled_from([0.0, 1.0, OUTAGE_WINDOW - 0.001]))
def test_a_recent_outage_puts_a_route_last_however_cheap(random: float, age: float) -> None:
    shaky = candidate("shaky", (0.01, 0.01), RouteHealth(last_outage_at=NOW - age))
    recovered = candidate("recovered", health=RouteHealth(last_outage_at=NOW - OUTAGE_WINDOW))
    tried = order(shaky, recovered, candidate("new"), random=random)
    assert tried[-1] == "s"


# ── what the request asks for ─────────────────────────────────────────────────────────────────


def test_a_named_order_replaces_the_strategy() -> None:
    cheap, dear = candidate("cheap", (1, 1)), candidate("dear", (9, 9))
    asked = ProviderPreferences(order=("dear",), strategy=Strategy.CHEAP)
    assert order(cheap, dear, strategy=Strategy.CHEAP, preferences=asked) == "dc"


def test_without_fallbacks_a_named_order_is_all_there_is() -> None:
    asked = ProviderPreferences(order=("b", "c"), allow_fallbacks=False)
    found = ranked(*map(candidate, "abc"), preferences=asked)
    assert [r.route.provider for r in found.ranked] == ["b", "c"]
    assert [e.reason for e in found.excluded] == [
        "not in provider.order, and allow_fallbacks is false"
    ]


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        (ProviderPreferences(only=("b", "c")), "bc"),
        (ProviderPreferences(ignore=("b",)), "ac"),
        (ProviderPreferences(only=("b", "c"), ignore=("b",)), "c"),
        (ProviderPreferences(only=("z",)), ""),
    ],
)
def test_providers_can_be_named_and_ignored(asked: ProviderPreferences, left: str) -> None:
    assert order(*map(candidate, "abc"), strategy=Strategy.FAST, preferences=asked) == left


@pytest.mark.parametrize(
    ("asked", "declared", "other"),
    [
        (ProviderPreferences(zdr=True), {"zdr": True}, {"zdr": False}),
        (
            ProviderPreferences(deny_data_collection=True),
            {"data_collection": "deny"},
            {"data_collection": "allow"},
        ),
        (
            ProviderPreferences(quantizations=("fp8", "bf16")),
            {"quantization": "fp8"},
            {"quantization": "int4"},
        ),
    ],
)
def test_what_a_route_does_not_declare_counts_as_no(
    asked: ProviderPreferences, declared: dict[str, Any], other: dict[str, Any]
) -> None:
    candidates = candidate("yes", **declared), candidate("no", **other), candidate("silent")
    assert order(*candidates, preferences=asked) == "y"


@pytest.mark.parametrize("field", ["max_input_price", "max_output_price"])
def test_a_price_above_the_ceiling_or_unknown_is_out(field: str) -> None:
    ceiling: dict[str, Any] = {field: Decimal(2)}
    prices = candidate("at it", (2, 2)), candidate("dearer", (2.01, 2.01)), candidate("?", None)
    assert order(*prices, preferences=ProviderPreferences(**ceiling)) == "a"


@given(st.sampled_from(Strategy), randoms)
def test_a_declared_order_goes_before_every_strategy(strategy: Strategy, random: float) -> None:
    first = candidate("first", (9, 9), RouteHealth(last_outage_at=NOW, success_rate=0.1), order=1)
    second = candidate("second", (5, 5), order=2)
    rest = candidate("rest", (0.1, 0.1), RouteHealth(success_rate=1.0))
    assert order(rest, second, first, strategy=strategy, random=random) == "fsr"


# ── what cannot be tried ──────────────────────────────────────────────────────────────────────


def test_an_open_breaker_keeps_a_route_out_and_a_half_open_one_does_not() -> None:
    opened = candidate("open", health=RouteHealth(breaker=BreakerState.OPEN))
    probing = candidate("half-open", health=RouteHealth(breaker=BreakerState.HALF_OPEN))
    assert order(opened, probing) == "h"
    assert only_exclusion(opened, probing).kind is FailureKind.OVERLOADED


def test_a_route_that_this_request_is_done_with_is_out() -> None:
    excluded = only_exclusion(candidate("a"), spent=frozenset({"a:m"}))
    assert (excluded.reason, excluded.kind) == ("failed earlier in this request", None)


def test_a_route_that_cannot_carry_the_request_names_the_field() -> None:
    excluded = only_exclusion(candidate("a", unsupported=("tools", "n")))
    assert (excluded.kind, excluded.param) == (FailureKind.UNSUPPORTED_PARAMETER, "tools")
    assert excluded.reason == "cannot carry tools, n"


@pytest.mark.parametrize(
    ("why", "available_at", "kind"),
    [
        (Unavailable.COOLING, NOW + 5, FailureKind.RATE_LIMITED),
        (Unavailable.REQUESTS, NOW + 5, FailureKind.RATE_LIMITED),
        (Unavailable.TOO_LARGE, None, FailureKind.REQUEST_TOO_LARGE_FOR_QUOTA),
        (Unavailable.FORBIDDEN, None, FailureKind.MODEL_FORBIDDEN),
        (Unavailable.EVICTED, None, FailureKind.KEY_REJECTED),
        (Unavailable.NO_KEY, None, FailureKind.KEY_REJECTED),
    ],
)
def test_a_route_without_a_free_key_says_when_one_will_be(
    why: Unavailable, available_at: float | None, kind: FailureKind
) -> None:
    full = Headroom(False, available_at=available_at, reason=why)
    excluded = only_exclusion(candidate("a", headroom=full))
    assert (excluded.kind, excluded.available_at) == (kind, available_at)
    assert why in excluded.reason


# ── always ────────────────────────────────────────────────────────────────────────────────────

any_candidates: st.SearchStrategy[Sequence[Candidate]] = st.lists(
    st.builds(
        Candidate,
        route=st.builds(
            Route,
            provider=st.sampled_from("abcdef"),
            model=st.just("m"),
            price=st.builds(
                Price,
                input=st.none() | st.decimals(0, 100, places=2),
                output=st.none() | st.decimals(0, 100, places=2),
            ),
            weight=st.floats(0, 10),
            order=st.none() | st.integers(0, 2),
            zdr=st.none() | st.booleans(),
        ),
        health=st.builds(
            RouteHealth,
            first_token=st.none() | st.floats(0, 60),
            success_rate=st.none() | st.floats(0, 1),
            tokens_per_second=st.none() | st.floats(0, 1000),
            last_outage_at=st.none() | st.floats(0, NOW),
            breaker=st.sampled_from(BreakerState),
        ),
        headroom=st.builds(Headroom, available=st.booleans(), reason=st.just(Unavailable.COOLING)),
        unsupported=st.sampled_from([(), ("tools",)]),
    ),
    unique_by=lambda candidate: candidate.route.provider,
    max_size=6,
)
wishes = st.builds(
    ProviderPreferences,
    only=st.sampled_from([(), ("a", "b", "c")]),
    ignore=st.sampled_from([(), ("a",)]),
    order=st.sampled_from([(), ("c", "b")]),
    allow_fallbacks=st.booleans(),
    zdr=st.booleans(),
)
loads = st.builds(Load, st.integers(0, 10_000), st.integers(0, 10_000))


@given(any_candidates, wishes, st.sampled_from(Strategy), loads, randoms)
def test_every_route_is_either_ranked_or_excluded_with_a_reason(
    candidates: Sequence[Candidate],
    asked: ProviderPreferences,
    strategy: Strategy,
    load: Load,
    random: float,
) -> None:
    found = ranked(*candidates, strategy=strategy, preferences=asked, load=load, random=random)
    named = [(n.route.provider, n.reason) for n in found.ranked]
    named += [(n.route.provider, n.reason) for n in found.excluded]
    assert sorted(provider for provider, _ in named) == sorted(
        candidate.route.provider for candidate in candidates
    )
    assert all(reason for _, reason in named)
