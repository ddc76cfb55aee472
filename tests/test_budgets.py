"""Extra calls never pass their share of the ordinary ones, over any stretch of time."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.machines.budgets import HEDGES, RETRIES, BudgetRules, CallBudget

ROUNDING = 1e-6
"""The balance is a sum of fractions that doubles do not hold exactly."""


@dataclass(frozen=True)
class Moment:
    """One call that was asked for; `extra` ones are made where there is room."""

    wait: float
    extra: bool


@dataclass(frozen=True)
class Made:
    """What was made until then, counted from the beginning."""

    at: float
    ordinary: int
    extra: int


MOMENTS = st.lists(
    st.builds(Moment, wait=st.just(0.0) | st.floats(0, 30), extra=st.booleans()), max_size=80
)
RULES = st.sampled_from([RETRIES, HEDGES]) | st.builds(
    lambda ratio, reserve, refill, more: BudgetRules(ratio, reserve, refill, reserve + more),
    ratio=st.floats(0, 1),
    reserve=st.floats(1, 20),
    refill=st.floats(0, 5),
    more=st.floats(0, 20),
)


def made(rules: BudgetRules, moments: list[Moment]) -> Iterator[Made]:
    """The state before and after each moment."""
    budget, now, ordinary, extra = CallBudget.fresh(rules), 0.0, 0, 0
    yield Made(now, ordinary, extra)
    for moment in moments:
        now += moment.wait
        yield Made(now, ordinary, extra)
        if not moment.extra:
            budget, ordinary = budget.deposited(now), ordinary + 1
        elif budget.has_room(now):
            budget, extra = budget.withdrawn(now), extra + 1
        yield Made(now, ordinary, extra)


@given(RULES, MOMENTS)
def test_any_window_holds_no_more_than_its_share(rules: BudgetRules, moments: list[Moment]) -> None:
    history = list(made(rules, moments))
    for start, end in combinations(history, 2):
        earned = rules.refill * (end.at - start.at) + rules.ratio * (end.ordinary - start.ordinary)
        assert end.extra - start.extra <= rules.cap + earned + ROUNDING


@given(RULES, MOMENTS)
def test_from_the_beginning_only_the_reserve_comes_on_top(
    rules: BudgetRules, moments: list[Moment]
) -> None:
    for until in made(rules, moments):
        earned = rules.refill * until.at + rules.ratio * until.ordinary
        assert until.extra <= rules.reserve + earned + ROUNDING


def spent(budget: CallBudget, now: float) -> int:
    """How many extra calls there is room for at once."""
    count = 0
    while budget.has_room(now):
        budget, count = budget.withdrawn(now), count + 1
    return count


@pytest.mark.parametrize("rules", [RETRIES, HEDGES])
def test_a_quiet_gateway_has_its_reserve_and_gets_it_back_with_time(rules: BudgetRules) -> None:
    budget = CallBudget.fresh(rules)
    assert spent(budget, 1000.0) == rules.reserve
    for _ in range(int(rules.reserve)):
        budget = budget.withdrawn(1000.0)
    assert not budget.has_room(1000.0)
    assert budget.has_room(1000.0 + 1 / rules.refill)
    assert spent(budget, 1e9) == rules.reserve


def test_ordinary_calls_save_up_to_the_cap() -> None:
    budget = CallBudget.fresh(BudgetRules(ratio=0.25, reserve=2.0, refill=1.0, cap=4.0))
    for _ in range(4):
        budget = budget.deposited(0.0)
    assert spent(budget, 0.0) == 3
    for _ in range(100):
        budget = budget.deposited(0.0)
    assert spent(budget, 60.0) == 4


def test_a_withdrawal_without_room_is_paid_back_first() -> None:
    budget = CallBudget.fresh(BudgetRules(ratio=0.5, reserve=1.0, refill=0.0, cap=1.0))
    budget = budget.withdrawn(0.0).withdrawn(0.0)
    for _ in range(3):
        budget = budget.deposited(0.0)
        assert not budget.has_room(0.0)
    assert budget.deposited(0.0).has_room(0.0)
