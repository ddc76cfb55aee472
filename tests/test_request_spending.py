"""What requests hold, which routes that is enough for, and how long answers may be."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.machines.budget import BudgetScope
from signalbox.machines.spending import (
    NOTHING_SENT,
    SHARE,
    USUAL_ANSWER,
    Sent,
    Spending,
    Terms,
    Unbounded,
    gets_all,
    opening,
    terms_of,
    why_not,
)
from signalbox.types import InputBound, ModelPlan, NanoUSD, Price, Route
from tests.money_desk import budget
from tests.spendings import (
    THINKING,
    VISIBLE,
    nano,
    prices,
    routes,
    spending,
    spendings,
    usages,
)

PRICE = Price(input=Decimal(1), output=Decimal(2))
ROUTE = Route("p", "m", PRICE, capabilities=VISIBLE)
SENT = st.builds(Sent, tokens=st.integers(0, 5000), cost=st.integers(0, 10**7).map(NanoUSD))


def terms(spending: Spending, route: Route = ROUTE, sent: Sent = NOTHING_SENT) -> Terms:
    found = terms_of(spending, "m", route, sent)
    assert isinstance(found, Terms), found
    return found


# ── nothing is spent that was not held ────────────────────────────────────────────────────────


@given(data=st.data(), request=spendings(), route=routes(), more=st.integers(0, 10**11))
def test_no_ceiling_lets_an_answer_cost_more_than_the_hold(
    data: st.DataObject, request: Spending, route: Route, more: int
) -> None:
    request, route = replace(request, streamed=False), replace(route, context_length=None)
    found = terms(request, route)
    held = NanoUSD(found.needs + more)
    ceiling = found.ceiling(held)
    assert ceiling is not None
    assert ceiling >= 1
    tokens = ceiling * request.answers
    cost = route.price.cost(data.draw(usages(request, tokens)))
    assert cost is not None
    assert cost <= found.cost(tokens) <= held


@given(data=st.data(), request=spendings(), route=routes(), tokens=st.integers(0, 50_000))
def test_what_a_stream_has_told_never_costs_more_than_is_counted_for_it(
    data: st.DataObject, request: Spending, route: Route, tokens: int
) -> None:
    route = replace(route, context_length=None)
    found = terms(request, route)
    if found.most is not None:
        tokens = min(tokens, found.most)
    cost = route.price.cost(data.draw(usages(request, tokens)))
    assert cost is not None
    assert cost <= found.cost(tokens)


@given(request=spendings(), route=routes(), sent=SENT)
def test_what_was_sent_before_is_part_of_every_figure(
    request: Spending, route: Route, sent: Sent
) -> None:
    alone, after = terms(request, route), terms(request, route, sent)
    assert after.base >= alone.base + sent.cost
    assert after.needs - sent.cost >= alone.needs


# ── how much is wanted ────────────────────────────────────────────────────────────────────────


@given(request=spendings(), route=routes())
def test_a_route_wants_no_less_than_it_needs(request: Spending, route: Route) -> None:
    found = terms(request, route)
    assert 0 < found.needs <= found.wants
    assert gets_all(request, "m", route, found.wants, NOTHING_SENT)
    assert why_not(request, "m", route, found.needs, NOTHING_SENT) is None
    assert why_not(request, "m", route, NanoUSD(found.needs - 1), NOTHING_SENT) is not None


@given(
    request=spendings(),
    route=routes(prices()),
    rises=st.tuples(*[st.sampled_from([Decimal(1), Decimal("1.5"), Decimal(20)])] * 2),
)
def test_a_dearer_route_never_needs_or_wants_less(
    request: Spending, route: Route, rises: tuple[Decimal, Decimal]
) -> None:
    price = route.price
    assert price.input is not None
    assert price.output is not None
    dearer = replace(price, input=price.input * rises[0], output=price.output * rises[1])
    now, then = terms(request, route), terms(request, replace(route, price=dearer))
    assert now.needs <= then.needs
    assert now.wants <= then.wants


@given(request=spendings(), each=st.lists(routes(), min_size=1, max_size=4), held=st.integers(0))
def test_the_dearest_are_dropped_first(request: Spending, each: list[Route], held: int) -> None:
    dropped = [r for r in each if why_not(request, "m", r, NanoUSD(held), NOTHING_SENT) is not None]
    kept = [route for route in each if route not in dropped]
    if dropped and kept:
        assert max(terms(request, route).needs for route in kept) < min(
            terms(request, route).needs for route in dropped
        )


@given(request=spendings(), each=st.lists(routes(), min_size=1, max_size=4))
def test_the_first_hold_covers_the_dearest_route_and_needs_the_cheapest(
    request: Spending, each: list[Route]
) -> None:
    want, least = opening(request, [ModelPlan("m", tuple(each))])
    assert want == max(terms(request, route).wants for route in each)
    assert least == min(terms(request, route).needs for route in each)


def test_a_cheaper_fallback_is_worth_a_hold_that_the_model_itself_is_not() -> None:
    cheap = replace(ROUTE, model="n", price=Price(input=Decimal("0.1"), output=Decimal("0.2")))
    request = spending()
    models = [ModelPlan("m", (ROUTE,)), ModelPlan("n", (cheap,))]
    want, least = opening(request, models)
    assert want == terms(request).wants
    assert least == terms(request, cheap).needs < terms(request).needs


def test_a_whole_answer_is_held_for_as_long_as_it_may_be() -> None:
    assert terms(spending()).wants == 1_000_000 + 1000 * 2000, "the usual length"
    assert terms(spending(ceiling=400)).wants == 1_000_000 + 400 * 2000, "the client's ceiling"
    assert terms(spending(ceiling=400, answers=3)).wants == 1_000_000 + 1200 * 2000
    shorter = replace(ROUTE, max_output=50)
    assert terms(spending(ceiling=400), shorter).wants == 1_000_000 + 50 * 2000


def test_a_stream_that_can_be_cut_is_held_for_what_is_expected_of_it() -> None:
    request = spending(streamed=True, ceiling=100_000)
    assert terms(request).wants == 1_000_000 + USUAL_ANSWER * 2000
    assert terms(replace(request, expected={"m": 90})).wants == 1_000_000 + 90 * 2000
    assert terms(replace(request, ceiling=10)).wants == 1_000_000 + 10 * 2000


def test_a_long_answer_takes_no_more_than_its_share_of_a_budget() -> None:
    """128,000 tokens at $75 a million are $9.60; three such calls go on under $5."""
    dear = replace(ROUTE, price=Price(input=Decimal(15), output=Decimal(75)), capabilities=THINKING)
    request = spending(5.0, ceiling=128_000, usual=8192)
    found = terms(request, dear)
    assert found.wants == nano(5) // SHARE
    assert found.ceiling(found.wants) == (found.wants - found.base) // 75_000 > 8192
    unasked = terms(replace(request, ceiling=None), dear)
    assert unasked.wants == unasked.cost(8192) < nano(5) // SHARE


def test_an_answer_of_the_usual_length_is_held_for_whatever_its_share() -> None:
    request = spending(0.004, usual=1000)
    assert terms(request).wants == 1_000_000 + 1000 * 2000 > nano(0.004) // SHARE


def test_the_ceiling_of_one_request_is_no_budget_to_be_shared() -> None:
    own = replace(budget(5.0), scope=BudgetScope.REQUEST)
    request = spending(ceiling=128_000, budgets=(own,))
    assert terms(request).wants == terms(request).cost(128_000)


# ── which streams can be cut ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("capabilities", "fields", "cuttable"),
    [
        (VISIBLE, {}, True),
        (VISIBLE, {"streamed": False}, False),
        (THINKING, {}, False),
        (None, {}, False),
        (VISIBLE, {"input": InputBound(10, prediction=5)}, False),
    ],
)
def test_a_stream_is_cut_only_where_all_of_its_output_is_seen(
    capabilities: frozenset[str] | None, fields: dict[str, Any], cuttable: bool
) -> None:
    request = spending(**{"streamed": True, **fields})
    found = terms(request, replace(ROUTE, capabilities=capabilities))
    assert found.cuttable is cuttable
    assert (found.ceiling(found.wants) is None) is cuttable


# ── what is excluded, and what costs nothing ──────────────────────────────────────────────────


@pytest.mark.parametrize("price", [Price(), Price(input=Decimal(1)), Price(output=Decimal(1))])
def test_a_route_of_unknown_price_is_under_no_hard_ceiling(price: Price) -> None:
    route = replace(ROUTE, price=price)
    assert terms_of(spending(), "m", route) == Unbounded("its price is unknown")
    told = why_not(spending(), "m", route, nano(1000), NOTHING_SENT)
    assert told is not None
    assert "its price is unknown, and the budget 'name of b' ($1 per day) is a hard ceiling" in told


def test_vectors_need_no_price_of_output() -> None:
    route = replace(ROUTE, price=Price(input=Decimal(1)))
    found = terms(spending(answers=0), route)
    assert found.needs == found.wants == 1_000_000
    assert found.ceiling(found.wants) is None


def test_the_callers_own_key_needs_no_hold() -> None:
    request = spending(callers_own=("p",))
    found = terms(request, replace(ROUTE, price=Price()))
    assert (found.needs, found.wants, found.ceiling(NanoUSD(0))) == (0, 0, None)
    assert opening(request, [ModelPlan("m", (ROUTE,))]) == (0, 0)


def test_what_is_not_in_the_request_is_bounded_by_the_models_context() -> None:
    request = spending(input=InputBound(10, open_end="previous_response_id"), answers=0)
    assert terms(request, replace(ROUTE, context_length=5000)).base == 5000 * 1000
    assert terms_of(request, "m", ROUTE) == Unbounded(
        "nothing bounds what previous_response_id brings into its input"
    )


def test_documents_are_never_more_than_the_models_context() -> None:
    request = spending(input=InputBound(10, documents=10**6), answers=0)
    assert terms(request, replace(ROUTE, context_length=5000)).base == 5010 * 1000


def test_an_exclusion_says_what_is_needed_and_what_is_left() -> None:
    request = spending()
    sent = Sent(10, nano(0.5))
    told = why_not(request, "m", ROUTE, nano(0.5005), sent)
    assert told == "over budget: needs $0.00122, $0.0005 is left"
