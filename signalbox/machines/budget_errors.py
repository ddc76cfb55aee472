"""What a client is told whose budget does not allow a request: which one, how it stands, whether
waiting helps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from signalbox.errors import ApiError, AttemptReport
from signalbox.machines.budget import Budget, BudgetScope
from signalbox.machines.decisions import LONGEST_USEFUL_WAIT
from signalbox.machines.facts import BudgetReached
from signalbox.machines.spending import dollars, name_of, names_of
from signalbox.types import NanoUSD, usd

MAX_COST = "extra.max_cost"
HELD_RETRY = 2.0
"""Seconds after which it is worth to ask again where requests under way hold what is wanted: most
of them hold far more than they will be charged, and take seconds."""
AWAY_RETRY = 1.0
"""Seconds: as soon as the budgets' store is looked for."""


def budget_reached(reached: BudgetReached) -> ApiError:
    """402: the request would not be begun."""
    budget = reached.budget
    if budget.scope is BudgetScope.REQUEST:
        return _too_dear(
            f"The cheapest way to serve this request may cost {dollars(reached.needed)}, and its "
            f"own ceiling ({MAX_COST}) is {dollars(budget.limit)}."
        )
    left = NanoUSD(max(0, budget.limit - reached.spent - reached.held))
    retry_after = _retry_after(reached)
    held = f" and {dollars(reached.held)} held by requests under way" if reached.held else ""
    return ApiError(
        status=402,
        type="insufficient_quota",
        code="budget_exceeded",
        message=(
            f"{_capital(name_of(budget))} of {_whose(budget)} is used up: "
            f"{dollars(reached.spent)} are spent{held}, so that {dollars(left)} is left, and this "
            f"request needs {dollars(reached.needed)} at least. {_resets(reached.resets_at)}"
        ),
        retry_after=retry_after,
        should_retry=retry_after is not None,
        metadata={
            "budget": {
                **_identity(budget),
                "spent": _number(reached.spent),
                "held": _number(reached.held),
                "left": _number(left),
                "needed": _number(reached.needed),
                "resets_at": None if reached.resets_at is None else _time(reached.resets_at),
            }
        },
    )


def nothing_affordable(
    budgets: Sequence[Budget], held: NanoUSD, attempts: tuple[AttemptReport, ...]
) -> ApiError:
    """402: it was begun, and what could be held is not enough for any route that is there."""
    over = "; ".join(report.message for report in attempts)
    message = f"No route can be paid for under {names_of(budgets)}: {over}"
    own = all(budget.scope is BudgetScope.REQUEST for budget in budgets)
    if own or any(b.scope is BudgetScope.REQUEST and held >= b.limit for b in budgets):
        return _too_dear(message, attempts)
    return ApiError(
        status=402,
        type="insufficient_quota",
        code="budget_exceeded",
        message=message,
        should_retry=False,
        attempts=attempts,
        metadata={"budgets": [_identity(budget) for budget in budgets]},
    )


def budgets_away(message: str) -> ApiError:
    """503: nobody can say what is left."""
    return ApiError(
        status=503,
        type="server_error",
        code="budget_unavailable",
        message=f"The budgets of this request cannot be asked just now: {message}.",
        retry_after=AWAY_RETRY,
        should_retry=True,
    )


def _too_dear(message: str, attempts: tuple[AttemptReport, ...] = ()) -> ApiError:
    return ApiError(
        status=402,
        type="insufficient_quota",
        code="max_cost_exceeded",
        message=message,
        param=MAX_COST,
        should_retry=False,
        attempts=attempts,
    )


def _retry_after(reached: BudgetReached) -> float | None:
    """None: no waiting that a client would bear helps."""
    limit = reached.budget.limit
    if reached.needed <= limit - reached.spent:
        return HELD_RETRY
    resets_in = reached.resets_in
    if reached.needed <= limit and resets_in is not None and resets_in <= LONGEST_USEFUL_WAIT:
        return max(0.0, resets_in)
    return None


def _whose(budget: Budget) -> str:
    match budget.scope:
        case BudgetScope.GLOBAL:
            return "this gateway"
        case BudgetScope.KEY:
            return "this key"
        case BudgetScope.ACCOUNT:
            return "this account"
        case BudgetScope.USER:
            return f"the end user {budget.subject!r}"
        case _:
            return f"the tag {budget.subject!r}"


def _resets(at: float | None) -> str:
    return "It does not begin again." if at is None else f"It begins again at {_time(at)}."


def _identity(budget: Budget) -> dict[str, Any]:
    return {
        "id": budget.id,
        "name": budget.name,
        "scope": budget.scope.value,
        "subject": budget.subject,
        "limit": _number(budget.limit),
        "period": budget.period.value,
    }


def _number(amount: NanoUSD) -> float:
    """US dollars as JSON's number: the shortest that reads as the same."""
    return float(usd(amount))


def _time(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat().replace("+00:00", "Z")


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
