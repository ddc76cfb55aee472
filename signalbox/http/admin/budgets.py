"""Budgets: ceilings on what is spent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from signalbox.http.admin import problems
from signalbox.http.admin.desk import Desk
from signalbox.http.admin.fields import GivenUsd, Name, Usd, nano_usd, told_usd, version_of
from signalbox.http.admin.operations import Body, Operation
from signalbox.http.admin.resources import (
    AnyCall,
    Paging,
    Resource,
    Source,
    changes_of,
    filled,
    operations_of,
    shown,
)
from signalbox.machines.budget import MOST, Period, window_of
from signalbox.persistence.records import BudgetRecord, GatewayKeyRecord, UserRecord
from signalbox.persistence.stores import SpendingQuery

Scope = Literal["global", "key", "user", "tag", "account"]


class Ceiling(Body, frozen=True, kw_only=True):
    """What may be changed of one."""

    name: Name
    limit: GivenUsd
    period: Literal["hour", "day", "week", "month", "total"]
    """Of UTC; weeks begin on Monday."""
    hard: bool = True
    """False: nothing is refused, an operator is told."""
    alert_at: Annotated[tuple[Annotated[float, Meta(gt=0, le=100)], ...], Meta(max_length=20)] = (
        0.8,
        1.0,
    )
    """Shares of the limit at which an operator is told."""
    enabled: bool = True


class NewBudget(Ceiling, frozen=True, kw_only=True):
    scope: Scope
    subject: Name | None = None
    """A key's id, an end user, a tag, an account (a user's or a key's id); null: each one's own."""


class BudgetQuery(Paging, frozen=True):
    name: str | UnsetType = UNSET
    scope: Scope | UnsetType = UNSET
    subject: str | UnsetType = UNSET


class Budget(NewBudget, frozen=True, kw_only=True):
    id: str
    limit: Usd
    source: Source
    created_at: float | None
    updated_at: float | None
    version: str


class BudgetDetail(Budget, frozen=True, kw_only=True):
    spent: Usd | None
    """In the period that is under way, without what requests under way hold; null: each one has a
    budget of its own."""
    resets_at: float | None
    """When the next period begins."""


def _show(_: Desk, record: BudgetRecord) -> Budget:
    limit, version = told_usd(record.limit), version_of(record)
    return filled(Budget, record, limit=limit, source="database", version=version)


def _declared(desk: Desk) -> Mapping[str, Budget]:
    return {
        budget.id: filled(
            Budget,
            budget,
            limit=told_usd(budget.limit),
            source="configuration",
            enabled=True,
            created_at=None,
            updated_at=None,
            version="",
        )
        for budget in desk.settings().budgets
    }


def _declaration(desk: Desk, id: str) -> str:
    budget = next(each for each in desk.settings().budgets if each.id == id)
    key = (budget.subject or "").removeprefix("declared:")
    of_a_key = id.startswith(f"declared:keys.{key}.")
    path = ("keys", key, "budget") if of_a_key else ("budgets", budget.name)
    return desk.settings().origins.describe(path)


async def _checked(call: AnyCall, given: dict[str, Any]) -> dict[str, Any]:
    if "limit" in given:
        given["limit"] = nano_usd(given["limit"], "limit")
        if given["limit"] > MOST:
            raise problems.invalid("limit", f"expected at most {told_usd(MOST)}")
    if "scope" in given:
        await _check_subject(call, given["scope"], given["subject"])
    return given


async def _check_subject(call: AnyCall, scope: str, subject: str | None) -> None:
    desk = call.desk
    if scope == "global" and subject is not None:
        raise problems.invalid("subject", "expected null: the scope global is everybody's together")
    if scope not in ("key", "account") or subject is None:
        return
    if subject in {key.id for key in desk.settings().keys}:
        return
    for record in (GatewayKeyRecord,) if scope == "key" else (GatewayKeyRecord, UserRecord):
        if await desk.readers.run(desk.store.record, record, subject) is not None:
            return
    raise problems.unknown("subject", scope, subject)


BUDGETS = Resource(
    kind="budget",
    path="/budgets",
    record=BudgetRecord,
    view=Budget,
    show=_show,
    new=NewBudget,
    change=changes_of("BudgetChange", Ceiling),
    filters=BudgetQuery,
    checked=_checked,
    declared=_declared,
    declaration=_declaration,
)


async def _read(call: AnyCall) -> BudgetDetail:
    budget: Any = await shown(BUDGETS, call)
    window = window_of(Period(budget.period), call.desk.now())
    spent = None
    if budget.scope == "global" or budget.subject is not None:
        query = SpendingQuery(budget.scope, budget.subject, window.start, window.end)
        [amount] = await call.desk.readers.run(call.desk.store.spent, [query])
        spent = told_usd(amount)
    return filled(BudgetDetail, budget, spent=spent, resets_at=window.end)


OPERATIONS = operations_of(
    BUDGETS,
    read=Operation(
        "GET", f"{BUDGETS.path}/{{id}}", "One budget", _read, BudgetDetail, versioned=True
    ),
)
