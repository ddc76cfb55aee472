"""Dialogues with the machine of a request that is under hard budgets."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from signalbox.errors import FailureKind
from signalbox.machines import facts as f
from signalbox.machines.budget import BudgetScope, Period
from signalbox.machines.commands import RecordTransition
from signalbox.machines.plan import RequestPlan
from signalbox.machines.spending import Spending
from signalbox.types import InputBound, Midstream, ModelPlan, NanoUSD, Price, Route
from tests.dialogue import (
    Dialogue,
    charged,
    content,
    ended,
    failed,
    leased,
    line,
    plan,
    surveyed,
)
from tests.money_desk import budget
from tests.spendings import VISIBLE, spending

CHEAP = Price(input=Decimal(1), output=Decimal(2))
"""A prompt of 1,000 tokens is $0.001, an answer of the usual 1,000 tokens $0.002."""
DEAR = Price(input=Decimal(10), output=Decimal(20))
CHEAP_ALL, CHEAP_LEAST = 3_000_000, 1_200_000
DEAR_ALL, DEAR_LEAST = 30_000_000, 12_000_000
LOTS = NanoUSD(10**12)


def route(provider: str, model: str, price: Price = CHEAP) -> Route:
    return Route(provider, model, price, capabilities=VISIBLE)


def of(*routes: Route) -> ModelPlan:
    return ModelPlan(routes[0].model, routes)


def asking(*models: ModelPlan, limit: float = 100.0, **fields: Any) -> RequestPlan:
    terms = {name: fields.pop(name) for name in tuple(fields) if name in Spending.__struct_fields__}
    return plan(*models, spending=spending(limit, **terms), **fields)


def admitted(held: int) -> f.RequestAdmitted:
    return f.RequestAdmitted(0, NanoUSD(held))


def extended(held: int) -> f.HoldExtended:
    return f.HoldExtended(0, NanoUSD(held))


def begin(plan: RequestPlan, held: int) -> Dialogue:
    talk = Dialogue(plan)
    survey = " ".join(route.id for route in plan.models[0].routes)
    talk.tell(admitted(held), "admitted: pending → selecting", f"survey {survey}")
    return talk


def reasons(talk: Dialogue) -> list[str]:
    return [it.reason for it in talk.commands if isinstance(it, RecordTransition)]


ONE = of(route("a", "m"))
TWO = of(route("a", "m", DEAR), route("b", "m"))


# ── the first hold ────────────────────────────────────────────────────────────────────────────


def test_what_the_dearest_route_wants_is_held_and_what_the_cheapest_needs_must_be() -> None:
    talk = Dialogue(asking(TWO))
    lines = [line(command) for command in talk.commands]
    assert lines[1:] == [f"admit hold {DEAR_ALL}, at least {CHEAP_LEAST}"]


def test_without_hard_budgets_nothing_is_held_or_bounded() -> None:
    talk = begin(plan(ONE), 0)
    talk.tell(surveyed(talk), "lease #1 a:m")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 a:m")


def test_a_call_that_cannot_be_cut_is_told_its_length() -> None:
    talk = begin(asking(ONE), CHEAP_ALL)
    talk.tell(surveyed(talk), "lease #1 a:m")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 a:m at most 1000 tokens")
    talk = begin(asking(ONE), 2_000_000)
    talk.tell(surveyed(talk), "lease #1 a:m")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 a:m at most 500 tokens")


def test_a_stream_that_can_be_cut_is_not() -> None:
    talk = begin(asking(ONE, streamed=True, stream=True), CHEAP_LEAST)
    talk.tell(surveyed(talk), "lease #1 a:m")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 a:m")


def test_a_route_that_is_paid_for_whole_goes_before_one_that_is_not() -> None:
    talk = begin(asking(TWO), DEAR_LEAST)
    talk.tell(surveyed(talk), "lease #1 b:m")


def test_the_dearest_route_is_passed_over_first() -> None:
    talk = begin(asking(TWO), CHEAP_LEAST)
    talk.tell(surveyed(talk), "lease #1 b:m")
    assert [(it.route.id, it.reason) for it in talk.state.excluded] == [
        ("a:m", "over budget: needs $0.012, $0.0012 is left")
    ]


def test_the_callers_own_key_is_tried_whatever_is_left() -> None:
    talk = begin(asking(ONE, callers_own=("a",)), 0)
    talk.tell(surveyed(talk), "lease #1 a:m")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 a:m")


# ── more is held on the way ───────────────────────────────────────────────────────────────────


def test_a_dearer_fallback_has_the_hold_topped_up_first() -> None:
    talk = begin(asking(ONE, of(route("b", "n", DEAR))), CHEAP_ALL)
    talk.tell(surveyed(talk), "lease #1 a:m")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 a:m at most 1000 tokens")
    talk.tell(
        failed(1, FailureKind.CONTEXT_LENGTH),
        "settle #1 context_length",
        "model_failed: executing → falling_back",
        "next_model_chosen: falling_back → selecting",
        f"hold {DEAR_ALL} in all",
        "survey b:n",
    )
    talk.tell(extended(DEAR_ALL))
    talk.tell(surveyed(talk), "lease #2 b:n")
    talk.tell(leased(2), "route_selected: selecting → executing", "open #2 b:n at most 1000 tokens")


def test_a_dearer_fallback_that_does_not_fit_is_passed_over() -> None:
    models = (ONE, of(route("b", "n", DEAR)), of(route("c", "o")))
    talk = begin(asking(*models), CHEAP_ALL)
    talk.tell(surveyed(talk), "lease #1 a:m")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 a:m at most 1000 tokens")
    talk.tell(
        failed(1, FailureKind.CONTEXT_LENGTH),
        "settle #1 context_length",
        "model_failed: executing → falling_back",
        "next_model_chosen: falling_back → selecting",
        f"hold {DEAR_ALL} in all",
        "survey b:n",
    )
    talk.tell(extended(CHEAP_ALL))
    talk.tell(
        surveyed(talk),
        "routes_exhausted: selecting → falling_back",
        "next_model_chosen: falling_back → selecting",
        "survey c:o",
    )
    assert "b:n: over budget: needs $0.012, $0.003 is left" in reasons(talk)
    talk.tell(surveyed(talk), "lease #2 c:o")


def test_a_rescue_has_what_was_sent_and_the_rest_paid_for() -> None:
    two = of(route("a", "m"), route("b", "m"))
    asked = asking(two, streamed=True, stream=True, midstream=Midstream.CONTINUE)
    talk = begin(asked, CHEAP_ALL)
    talk.tell(surveyed(talk), "lease #1 a:m")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 a:m")
    talk.tell(content(1), "first_token_received: executing → streaming", "commit #1")
    sent = f.Delivered(text=400, tokens=400, cost=NanoUSD(800_000))
    talk.tell(
        failed(1, FailureKind.CONNECTION_LOST, delivered=sent),
        "settle #1 connection_lost",
        "stream_resumed: streaming → selecting",
        # What was sent, the prompt, what was sent once more, and 512 tokens.
        f"hold {800_000 + 1_000_000 + 400 * 2000 + 512 * 2000} in all",
        "survey a:m b:m",
    )
    talk.tell(extended(2_000_000))
    talk.tell(
        surveyed(talk),
        "routes_exhausted: selecting → falling_back",
        "charge #1 broken",
        "fallbacks_exhausted: falling_back → failed",
        "error 502 bad_upstream",
        "finish failed",
    )
    over = "b:m: over budget: needs $0.002, $0.0012 is left"
    assert any(reason.endswith(over) for reason in reasons(talk))


def test_no_more_is_asked_for_where_enough_is_held() -> None:
    talk = begin(asking(of(route("a", "m"), route("b", "m"))), CHEAP_ALL)
    talk.tell(surveyed(talk), "lease #1 a:m")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 a:m at most 1000 tokens")
    talk.tell(
        failed(1, FailureKind.FIRST_TOKEN_TIMEOUT),
        "settle #1 first_token_timeout",
        "route_failed: executing → selecting",
        "survey a:m b:m",
    )


# ── the end where a budget ends ───────────────────────────────────────────────────────────────


def test_a_stream_that_was_cut_is_charged_and_done() -> None:
    talk = begin(asking(ONE, streamed=True, stream=True), CHEAP_ALL)
    talk.tell(surveyed(talk), "lease #1 a:m")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 a:m")
    talk.tell(content(1), "first_token_received: executing → streaming", "commit #1")
    cut = replace(ended(1, "length"), cut=True)
    talk.tell(cut, "settle #1", "charge #1 answered")
    talk.tell(charged(1), "end #1", "stream_ended: streaming → done", "finish done")
    assert reasons(talk)[-1] == "cut: its budgets have no more for it"


# ── what a client is told ─────────────────────────────────────────────────────────────────────


def refused(talk: Dialogue, **fields: Any) -> f.RequestRejected:
    [within] = talk.state.plan.spending.budgets if talk.state.plan.spending else ()
    usual = f.BudgetReached(within, NanoUSD(99 * 10**9), NanoUSD(10**9), NanoUSD(CHEAP_LEAST))
    reached = replace(usual, **fields)
    return f.RequestRejected(0, within.scope, f.BUDGET, "", None, reached)


def rejected(limit: float = 100.0, **fields: Any) -> Dialogue:
    talk = Dialogue(asking(ONE, limit=limit))
    talk.tell(
        refused(talk, **fields),
        "rejected: pending → failed",
        "error 402 budget_exceeded",
        "finish failed",
    )
    return talk


def test_a_budget_that_is_held_by_others_is_told_with_a_short_wait() -> None:
    error = rejected(resets_at=1_700_006_400.0, resets_in=4000.0).error
    assert error.type == "insufficient_quota"
    assert error.message == (
        "The budget 'name of b' ($100 per day) of this key is used up: $99 are spent and $1 held "
        "by requests under way, so that $0 is left, and this request needs $0.0012 at least. It "
        "begins again at 2023-11-15T00:00:00Z."
    )
    assert (error.retry_after, error.should_retry) == (2.0, True)
    assert error.metadata["budget"] == {
        "id": "b",
        "name": "name of b",
        "scope": "key",
        "subject": "subject of b",
        "limit": 100.0,
        "period": "day",
        "spent": 99.0,
        "held": 1.0,
        "left": 0.0,
        "needed": 0.0012,
        "resets_at": "2023-11-15T00:00:00Z",
    }


SPENT = {"spent": NanoUSD(100 * 10**9), "held": NanoUSD(0)}


@pytest.mark.parametrize(
    ("fields", "retry_after"),
    [
        ({**SPENT, "resets_at": 1.0, "resets_in": 59.5}, 59.5),
        ({**SPENT, "resets_at": 1.0, "resets_in": 61.0}, None),
        ({**SPENT}, None),
        ({**SPENT, "needed": NanoUSD(101 * 10**9), "resets_at": 1.0, "resets_in": 5.0}, None),
        ({"needed": NanoUSD(10**9)}, 2.0),
        ({"needed": NanoUSD(10**9 + 1)}, None),
    ],
)
def test_waiting_is_advised_only_where_it_helps(
    fields: dict[str, Any], retry_after: float | None
) -> None:
    error = rejected(**fields).error
    assert error.retry_after == retry_after
    assert error.should_retry is (retry_after is not None)


def test_a_budget_without_an_end_says_so() -> None:
    assert rejected(**SPENT).error.message.endswith("It does not begin again.")


@pytest.mark.parametrize(
    ("scope", "whose"),
    [
        (BudgetScope.GLOBAL, "of this gateway"),
        (BudgetScope.KEY, "of this key"),
        (BudgetScope.ACCOUNT, "of this account"),
        (BudgetScope.USER, "of the end user 'anna'"),
        (BudgetScope.TAG, "of the tag 'anna'"),
    ],
)
def test_it_says_whose_budget_it_is(scope: BudgetScope, whose: str) -> None:
    of = replace(budget(1.0), scope=scope, subject="anna", period=Period.TOTAL)
    message = rejected(budget=of).error.message
    assert message.startswith(f"The budget 'name of b' ($1 in all) {whose} is used up: ")


def test_the_requests_own_ceiling_is_told_by_its_name() -> None:
    own = replace(budget(0.001), scope=BudgetScope.REQUEST, subject=None)
    talk = Dialogue(asking(ONE, budgets=(own,)))
    talk.tell(
        refused(talk, spent=NanoUSD(0), held=NanoUSD(0)),
        "rejected: pending → failed",
        "error 402 max_cost_exceeded",
        "finish failed",
    )
    assert talk.error.param == "extra.max_cost"
    assert talk.error.message == (
        "The cheapest way to serve this request may cost $0.0012, and its own ceiling "
        "(extra.max_cost) is $0.001."
    )


def test_budgets_that_cannot_be_asked_are_503() -> None:
    talk = Dialogue(asking(ONE))
    talk.tell(
        f.RequestRejected(0, "", f.BUDGETS_AWAY, "no answer within 1 s", None),
        "rejected: pending → failed",
        "error 503 budget_unavailable",
        "finish failed",
    )
    assert talk.error.should_retry is True
    assert "cannot be asked just now: no answer within 1 s" in talk.error.message


def test_no_route_of_a_known_price_is_402() -> None:
    talk = begin(asking(of(route("a", "m", Price()))), 0)
    talk.tell(
        surveyed(talk), "refused: selecting → failed", "error 402 budget_exceeded", "finish failed"
    )
    assert talk.error.message == (
        "No route can be paid for under the budget 'name of b' ($100 per day): a:m over budget: "
        "its price is unknown, and the budget 'name of b' ($100 per day) is a hard ceiling"
    )
    assert talk.error.should_retry is False


def test_what_cannot_be_bounded_is_402() -> None:
    bound = InputBound(10, open_end="previous_response_id")
    talk = begin(asking(ONE, input=bound), 0)
    talk.tell(
        surveyed(talk), "refused: selecting → failed", "error 402 budget_exceeded", "finish failed"
    )
    assert "nothing bounds what previous_response_id brings" in talk.error.message


def test_what_there_was_no_money_for_is_not_why_the_others_failed() -> None:
    talk = begin(asking(ONE, of(route("b", "n", DEAR))), CHEAP_ALL)
    talk.tell(surveyed(talk), "lease #1 a:m")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 a:m at most 1000 tokens")
    talk.tell(
        failed(1, FailureKind.FIRST_TOKEN_TIMEOUT),
        "settle #1 first_token_timeout",
        "route_failed: executing → selecting",
        "survey a:m",
    )
    talk.tell(
        surveyed(talk),
        "routes_exhausted: selecting → falling_back",
        "next_model_chosen: falling_back → selecting",
        f"hold {DEAR_ALL} in all",
        "survey b:n",
    )
    talk.tell(extended(CHEAP_ALL))
    talk.tell(
        surveyed(talk),
        "routes_exhausted: selecting → falling_back",
        "fallbacks_exhausted: falling_back → failed",
        "error 504 timeout",
        "finish failed",
    )
    assert "b (n): over_budget" in talk.error.message
