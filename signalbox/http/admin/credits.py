"""Prepaid balances: what was paid in for an account, what was taken away, what is left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import UNSET, UnsetType, to_builtins
from msgspec.structs import replace

from signalbox.http.admin import problems
from signalbox.http.admin.fields import Id, Line, Name, SignedUsd, Usd, nano_usd, told_usd
from signalbox.http.admin.operations import Body, Operation, View
from signalbox.http.admin.resources import AnyCall, Page, Paging, paged
from signalbox.persistence.auditing import audit_of
from signalbox.persistence.crediting import entry_of
from signalbox.persistence.record_store import RecordExists
from signalbox.persistence.records import GatewayKeyRecord, UserRecord
from signalbox.persistence.stores import Charge, SpendingQuery
from signalbox.types import NanoUSD


class Balance(View, frozen=True, kw_only=True):
    account: str
    """A user's id, or a gateway key's that has no owner."""
    paid_in: Usd
    spent: Usd
    left: Usd


class NewCredit(Body, frozen=True, kw_only=True):
    account: Name
    kind: Literal["top_up", "adjustment"]
    amount: SignedUsd
    """An adjustment may be less than zero, and takes away then."""
    note: Line
    request_id: Id | UnsetType = UNSET
    """A fresh UUIDv7: who asks again with the same one adds nothing twice."""


class Credit(View, frozen=True, kw_only=True):
    request_id: str
    at: float
    account: str
    kind: str
    amount: Usd
    note: str


async def _balances(call: AnyCall, accounts: Sequence[str] | None) -> dict[str, Balance]:
    desk = call.desk
    paid = await desk.readers.run(desk.store.balances, accounts)
    queries = [SpendingQuery("account", account, 0.0) for account in paid]
    spent = await desk.readers.run(desk.store.spent, queries)
    return {
        account: Balance(
            account=account,
            paid_in=told_usd(paid[account]),
            spent=told_usd(used),
            left=told_usd(NanoUSD(paid[account] - used)),
        )
        for account, used in zip(paid, spent, strict=True)
    }


async def _list(call: AnyCall) -> Page[Balance]:
    return paged(await _balances(call, None), call.query)


async def _read(call: AnyCall) -> Balance:
    account = call.path["account"]
    found = (await _balances(call, [account])).get(account)
    if found is None:
        raise problems.not_found("balance", account)
    return found


async def _add(call: AnyCall) -> Credit:
    desk, body = call.desk, call.body
    if not await _is_account(call, body.account):
        raise problems.unknown("account", "user or key", body.account)
    request_id = desk.new_id() if body.request_id is UNSET else body.request_id
    amount = nano_usd(body.amount, "amount")
    try:
        entry = entry_of(
            body.kind,
            body.account,
            amount,
            body.note,
            id=desk.new_id(),
            request_id=request_id,
            at=desk.now(),
        )
    except ValueError as error:
        raise problems.invalid("amount", str(error)) from None
    audit = replace(
        audit_of(call.actor, body.kind, "credit", body.account, id=desk.new_id(), at=desk.now()),
        after=to_builtins(_show(entry)),
    )
    try:
        added = await desk.writers.run(desk.store.credit, entry, audit)
    except RecordExists:
        raise problems.already_exists("credit", "request_id") from None
    await desk.see()
    return _show(added)


def _show(entry: Charge) -> Credit:
    return Credit(
        request_id=entry.request_id,
        at=entry.at,
        account=entry.account,
        kind=entry.kind,
        amount=told_usd(entry.amount or NanoUSD(0)),
        note=entry.note or "",
    )


async def _is_account(call: AnyCall, account: str) -> bool:
    desk = call.desk
    if account in {key.id for key in desk.settings().keys}:
        return True
    for record in (UserRecord, GatewayKeyRecord):
        if await desk.readers.run(desk.store.record, record, account) is not None:
            return True
    return False


OPERATIONS = (
    Operation("GET", "/credits", "All prepaid balances", _list, Page[Balance], query=Paging),
    Operation("GET", "/credits/{account}", "The balance of one account", _read, Balance),
    Operation(
        "POST",
        "/credits",
        "Pay in, or adjust",
        _add,
        Credit,
        body=NewCredit,
        status=201,
        conflicts=True,
    ),
)
