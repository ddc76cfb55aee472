"""Which routes a request may try, in which order beyond the strategy's, and which not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.errors import FailureKind
from signalbox.machines.facts import (
    BreakerState,
    Candidate,
    Headroom,
    Percentiles,
    RouteHealth,
    Unavailable,
)
from signalbox.machines.selection import Excluded, Load
from signalbox.machines.strategies import OUTAGE_WINDOW
from signalbox.types import Price, ProviderPreferences, Strategy
from tests.candidates import (
    NOW,
    any_candidates,
    any_wishes,
    candidate,
    first_reason,
    loads,
    order,
    randoms,
    ranked,
)


def only_exclusion(*candidates: Candidate, **rules: Any) -> Excluded:
    [excluded] = ranked(*candidates, **rules).excluded
    return excluded


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
        "not in provider.order, and provider.allow_fallbacks is false"
    ]


def test_a_named_order_goes_before_the_declared_one() -> None:
    first, second = candidate("first", order=1), candidate("second", order=2)
    assert order(first, second, preferences=ProviderPreferences(order=("second",))) == "sf"


def test_those_that_a_named_order_leaves_out_follow_by_the_strategy() -> None:
    routes = candidate("named", (9, 9)), candidate("dear", (5, 5)), candidate("cheap", (1, 1))
    asked = ProviderPreferences(order=("named",))
    assert order(*routes, strategy=Strategy.CHEAP, preferences=asked) == "ncd"


ALONE = ProviderPreferences(allow_fallbacks=False)


def test_without_fallbacks_only_the_best_route_is_left() -> None:
    dear, cheap = candidate("dear", (9, 9)), candidate("cheap")
    found = ranked(dear, cheap, strategy=Strategy.CHEAP, preferences=ALONE)
    assert [r.route.provider for r in found.ranked] == ["cheap"]
    assert [e.param for e in found.excluded] == ["provider.allow_fallbacks"]


@pytest.mark.parametrize("done", ["spent", "tried"])
def test_without_fallbacks_a_request_stays_with_the_route_that_it_began_with(done: str) -> None:
    dear, cheap = candidate("dear", (9, 9)), candidate("cheap")
    rules: dict[str, Any] = {done: frozenset({"dear:m"})}
    left = order(dear, cheap, strategy=Strategy.CHEAP, preferences=ALONE, **rules)
    assert left == ("d" if done == "tried" else "")


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
    found = ranked(*prices, preferences=ProviderPreferences(**ceiling))
    assert [r.route.provider for r in found.ranked] == ["at it"]
    tokens = {"max_input_price": "prompt", "max_output_price": "completion"}[field]
    assert [(e.param, e.reason) for e in found.excluded] == [
        (
            "provider.max_price",
            f"its price per million {tokens} tokens {why} (provider.max_price.{tokens})",
        )
        for why in ("of $2.01 is above $2", "is unknown")
    ]


MEDIAN_1_P90_5 = RouteHealth(
    first_token=0.1,
    first_token_percentiles=Percentiles(1.0, 5.0, 6.0, 9.0),
    tokens_per_second=50.0,
)


@pytest.mark.parametrize(
    ("wish", "met"),
    [
        ({"preferred_max_latency": {"p50": 1.0}}, True),
        ({"preferred_max_latency": {"p50": 0.9}}, False),
        ({"preferred_max_latency": {"p75": 3.5}}, True),
        ({"preferred_max_latency": {"p75": 3.4}}, False),
        ({"preferred_max_latency": {"p50": 2.0, "p99": 8.0}}, False),
        ({"preferred_min_throughput": 50.0}, True),
        ({"preferred_min_throughput": 50.1}, False),
    ],
)
def test_a_route_known_to_be_slower_than_asked_comes_last(
    wish: Mapping[str, Any], met: bool
) -> None:
    cheap, other = candidate("cheap", (1, 1), MEDIAN_1_P90_5), candidate("other", (9, 9))
    asked = ProviderPreferences(**wish)
    assert order(cheap, other, strategy=Strategy.CHEAP, preferences=asked) == (
        "co" if met else "oc"
    )
    [field] = wish
    reasons = [r.reason for r in ranked(cheap, preferences=asked).ranked]
    assert (field in reasons[0]) is not met


@given(st.sampled_from(Strategy), randoms)
def test_a_declared_order_goes_before_every_strategy(strategy: Strategy, random: float) -> None:
    first = candidate("first", (9, 9), RouteHealth(last_outage_at=NOW, success_rate=0.1), order=1)
    second = candidate("second", (5, 5), order=2)
    rest = candidate("rest", (0.1, 0.1), RouteHealth(success_rate=1.0))
    assert order(rest, second, first, strategy=strategy, random=random) == "fsr"


# ── the conversation's last route ─────────────────────────────────────────────────────────────

COLD = candidate("cold", (1, 1))
WARM = candidate("warm", (1.5, 1), cached_read=0.1, warm=800)
"""Dearer by the list, and cheaper with 800 of 1000 tokens in its cache."""
BALANCED = {"strategy": Strategy.BALANCED, "random": 0.0}
"""With this number the first of the list is drawn."""


def with_health(route: Candidate, **health: Any) -> Candidate:
    return replace(route, health=RouteHealth(**health))


def with_price(route: Candidate, **price: Any) -> Candidate:
    return replace(route, route=replace(route.route, price=replace(route.route.price, **price)))


def test_the_conversation_s_last_route_goes_first_and_says_why() -> None:
    assert order(COLD, WARM, **BALANCED) == "wc"
    words = "this conversation's last route: about 800 tokens are in its cache"
    assert first_reason(COLD, WARM, **BALANCED) == words


@pytest.mark.parametrize(
    "wish",
    [
        ProviderPreferences(order=("cold",)),
        ProviderPreferences(strategy=Strategy.BALANCED),
        ProviderPreferences(preferred_max_latency={"p50": 1.0}),
    ],
)
def test_an_explicit_wish_goes_before_the_cache(wish: ProviderPreferences) -> None:
    slow = with_health(WARM, first_token=2.0)
    assert order(COLD, slow, preferences=wish, **BALANCED) == "cw"


@pytest.mark.parametrize(
    "warm",
    [
        with_health(WARM, last_outage_at=NOW - OUTAGE_WINDOW + 0.001),
        with_health(WARM, breaker=BreakerState.HALF_OPEN),
        with_price(WARM, cached_read=None),
        candidate("warm", (0.5, 0.5), cached_read=0.5, warm=800),
        with_price(WARM, output=None),
        with_price(WARM, output=Decimal(9)),
        candidate("warm", (1.5, 1), cached_read=0.1, warm=0),
        candidate("warm", (1.5, 1), cached_read=0.1, warm=800, order=2),
    ],
)
def test_the_cache_counts_only_where_it_pays_on_a_route_that_is_well(warm: Candidate) -> None:
    cold = replace(COLD, route=replace(COLD.route, order=1))
    declared = cold if warm.route.order else COLD
    assert order(declared, warm, **BALANCED) == "cw"


def test_an_unknown_price_does_not_keep_the_warm_route_from_going_first() -> None:
    assert order(replace(COLD, route=replace(COLD.route, price=Price())), WARM, **BALANCED) == "wc"


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


@given(any_candidates, any_wishes, st.sampled_from(Strategy), loads, randoms)
def test_every_route_is_ranked_or_excluded_once_with_a_reason_and_always_the_same_way(
    candidates: Sequence[Candidate],
    asked: ProviderPreferences,
    strategy: Strategy,
    load: Load,
    random: float,
) -> None:
    rules: dict[str, Any] = {
        "strategy": strategy,
        "preferences": asked,
        "load": load,
        "random": random,
    }
    found = ranked(*candidates, **rules)
    named = [(n.route.provider, n.reason) for n in found.ranked]
    named += [(n.route.provider, n.reason) for n in found.excluded]
    assert sorted(provider for provider, _ in named) == sorted(
        candidate.route.provider for candidate in candidates
    )
    assert all(reason for _, reason in named)
    assert ranked(*candidates, **rules) == found


@given(any_candidates, any_wishes, st.sampled_from(Strategy), randoms)
def test_no_route_is_tried_against_a_wish(
    candidates: Sequence[Candidate], asked: ProviderPreferences, strategy: Strategy, random: float
) -> None:
    found = ranked(*candidates, strategy=strategy, preferences=asked, random=random).ranked
    for route in (each.route for each in found):
        assert not asked.only or route.provider in asked.only
        assert route.provider not in asked.ignore
        assert route.zdr is True or not asked.zdr
        if asked.max_input_price is not None:
            assert route.price.input is not None
            assert route.price.input <= asked.max_input_price
        if asked.order and not asked.allow_fallbacks:
            assert route.provider in asked.order
    assert asked.allow_fallbacks or asked.order or len(found) <= 1


@given(any_candidates, any_wishes, st.sampled_from(Strategy), randoms)
def test_the_caller_s_own_keys_go_first_and_change_nothing_else(
    candidates: Sequence[Candidate], asked: ProviderPreferences, strategy: Strategy, random: float
) -> None:
    rules: dict[str, Any] = {"strategy": strategy, "random": random}
    rules["preferences"] = replace(asked, allow_fallbacks=True)
    usual = ranked(*(replace(each, callers_own=False) for each in candidates), **rules)
    own = {each.route.id for each in candidates if each.callers_own}
    found = ranked(*candidates, **rules)
    expected = sorted((each.route.id for each in usual.ranked), key=lambda id_: id_ not in own)
    assert [each.route.id for each in found.ranked] == expected
    assert found.excluded == usual.excluded
    for each in found.ranked:
        assert each.reason.startswith("the caller's own key: ") == (each.route.id in own)


def test_without_fallbacks_the_caller_s_own_key_is_what_is_left() -> None:
    own = replace(candidate("own", (9, 9)), callers_own=True)
    assert order(candidate("cheap"), own, strategy=Strategy.CHEAP, preferences=ALONE) == "o"
