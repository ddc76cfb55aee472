"""What was used and what it cost: sums by the hour, and the rows of the ledger behind them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from msgspec import UNSET, UnsetType, json
from msgspec.structs import asdict, replace

from signalbox.http.admin import problems
from signalbox.http.admin.fields import Name, UnixTime, Usd, Words, cursor_of, place_of, told_usd
from signalbox.http.admin.operations import Operation, Query, Text, View
from signalbox.http.admin.resources import AnyCall, Page, Paging, given_fields
from signalbox.persistence.stores import Charge, ChargeFilter, UsageSum
from signalbox.prices import Usage
from signalbox.types import NanoUSD

DAY = 86_400
MOST_SUMS = 10_000
"""In one answer: a month of hours by model, or a year of days by key."""
GROUPS = ("hour", "day", "key", "account", "model", "provider", "route_model", "user", "tag")
_KEPT = {"day": "hour", "tag": "tags"}
"""What usage is kept by, where that is finer or coarser than what is asked for."""
_SUMS = (
    "requests",
    "byok_requests",
    "unknown_amounts",
    "input_tokens",
    "output_tokens",
    "cached_read_tokens",
    "reasoning_tokens",
    "amount",
    "upstream_cost",
)


class UsageQuery(Query, frozen=True):
    by: Words = "model"
    """One or several of `hour`, `day`, `key`, `account`, `model`, `provider`, `route_model`, `user`
    and `tag`, with commas between."""
    since: UnixTime = 0.0
    """Of hours that begin from then on, and before `until`."""
    until: UnixTime = 2.0**40
    key: Name | UnsetType = UNSET
    account: Name | UnsetType = UNSET
    model: Name | UnsetType = UNSET
    provider: Name | UnsetType = UNSET
    user: Name | UnsetType = UNSET


class UsageRow(View, frozen=True, kw_only=True):
    group: dict[str, str | float]
    """What its requests have in common, by the words of `by`; times in Unix seconds, the beginning
    of the hour or of the day in UTC. No user and no tag is an empty text."""
    requests: int
    byok_requests: int
    unknown_amounts: int
    """Requests whose price was unknown: `amount` is without them."""
    input_tokens: int
    output_tokens: int
    cached_read_tokens: int
    reasoning_tokens: int
    amount: Usd
    upstream_cost: Usd


class UsageSums(View, frozen=True, kw_only=True):
    data: list[UsageRow]
    """A request with several tags counts for each of them."""


class LedgerQuery(Paging, frozen=True):
    key: Name | UnsetType = UNSET
    user: Name | UnsetType = UNSET
    account: Name | UnsetType = UNSET
    since: UnixTime | UnsetType = UNSET
    until: UnixTime | UnsetType = UNSET


class AttemptShown(View, frozen=True, kw_only=True):
    attempt: int
    provider: str
    model: str
    cost: Usd | None
    is_byok: bool


class LedgerRow(View, frozen=True, kw_only=True):
    id: str
    request_id: str
    at: float
    kind: str
    """`charge`, `top_up` or `adjustment`."""
    key: str
    account: str
    model: str
    provider: str
    route_model: str
    user: str | None
    tags: tuple[str, ...]
    usage: Usage
    amount: Usd | None
    """null: the price is unknown."""
    upstream_cost: Usd | None
    attempts: list[AttemptShown]
    is_byok: bool
    reason: str
    price_source: str
    note: str | None


async def _sums(call: AnyCall) -> UsageSums:
    return UsageSums(data=[_row(each) for each in await _summed(call)])


async def _csv(call: AnyCall) -> Text:
    by = call.query.by.split(",")
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    sums = [_row(each) for each in await _summed(call)]
    writer.writerow([*by, *_SUMS])
    for row in sums:
        told = [_harmless(str(row.group[name])) for name in by]
        writer.writerow([*told, *(getattr(row, name) for name in _SUMS)])
    return Text(written.getvalue())


def _harmless(text: str) -> str:
    """A spreadsheet takes what begins like this for a formula; the words may be a client's."""
    return f"'{text}" if text[:1] in "=+-@\t\r" and text else text


async def _summed(call: AnyCall) -> list[UsageSum]:
    query, desk = call.query, call.desk
    by = tuple(dict.fromkeys(query.by.split(",")))
    for name in by:
        if name not in GROUPS:
            raise problems.invalid("by", f"expected {', '.join(GROUPS)}, got {name}")
    where = given_fields(query)
    for name in ("by", "since", "until"):
        where.pop(name, None)
    kept = tuple(dict.fromkeys(_KEPT.get(name, name) for name in by))
    read = partial(
        desk.store.usage,
        kept,
        since=query.since,
        until=query.until,
        where=where,
        limit=MOST_SUMS + 1,
    )
    found = await desk.readers.run(read)
    if len(found) > MOST_SUMS:
        raise problems.invalid("by", f"comes to more than {MOST_SUMS} sums; ask for less of them")
    return list(_folded(found, by).values())


def _folded(found: Iterable[UsageSum], by: tuple[str, ...]) -> dict[tuple[object, ...], UsageSum]:
    """Hours to days, and lists of tags to tags."""
    sums: dict[tuple[object, ...], UsageSum] = {}
    for each in found:
        for group in _groups(each.group, by):
            place = tuple(group.values())
            before = sums.get(place)
            added = {
                name: getattr(each, name) + (0 if before is None else getattr(before, name))
                for name in _SUMS
            }
            sums[place] = replace(each, group=group, **added)
    return sums


def _groups(kept: Mapping[str, float | str], by: tuple[str, ...]) -> list[dict[str, float | str]]:
    group: dict[str, float | str] = {}
    for name in by:
        value = kept[_KEPT.get(name, name)]
        group[name] = value // DAY * DAY if name == "day" and isinstance(value, float) else value
    if "tag" not in by:
        return [group]
    tags: list[str] = json.decode(str(group["tag"]), type=list[str]) or [""]
    return [group | {"tag": tag} for tag in tags]


def _row(sums: UsageSum) -> UsageRow:
    fields = asdict(sums)
    fields["amount"] = told_usd(NanoUSD(sums.amount))
    fields["upstream_cost"] = told_usd(NanoUSD(sums.upstream_cost))
    return UsageRow(**fields)


async def _ledger(call: AnyCall) -> Page[LedgerRow]:
    given: dict[str, Any] = given_fields(call.query)
    limit, after = given.pop("limit"), given.pop("after", None)
    before = None if after is None else place_of(after, tuple[float, str])
    read = partial(
        call.desk.store.list_charges, ChargeFilter(**given), limit=limit + 1, before=before
    )
    found = await call.desk.readers.run(read)
    last = found[limit - 1] if len(found) > limit else None
    return Page(
        [_ledger_row(charge) for charge in found[:limit]],
        None if last is None else cursor_of((last.at, last.id)),
    )


def _ledger_row(charge: Charge) -> LedgerRow:
    return LedgerRow(
        id=charge.id,
        request_id=charge.request_id,
        at=charge.at,
        kind=charge.kind,
        key=charge.key_id,
        account=charge.account,
        model=charge.model,
        provider=charge.provider,
        route_model=charge.route_model,
        user=charge.end_user,
        tags=charge.tags,
        usage=charge.usage,
        amount=_told(charge.amount),
        upstream_cost=_told(charge.upstream_cost),
        attempts=[
            AttemptShown(
                attempt=each.attempt,
                provider=each.provider,
                model=each.model,
                cost=_told(each.cost),
                is_byok=each.is_byok,
            )
            for each in charge.attempts
        ],
        is_byok=charge.is_byok,
        reason=charge.reason,
        price_source=charge.price_source,
        note=charge.note,
    )


def _told(amount: NanoUSD | None) -> str | None:
    return None if amount is None else told_usd(amount)


OPERATIONS = (
    Operation("GET", "/usage", "Sums of usage", _sums, UsageSums, query=UsageQuery),
    Operation(
        "GET",
        "/usage.csv",
        "The same for spreadsheets",
        _csv,
        Text,
        query=UsageQuery,
        content_type="text/csv; charset=utf-8",
    ),
    Operation(
        "GET",
        "/ledger",
        "The ledger's rows, newest first",
        _ledger,
        Page[LedgerRow],
        query=LedgerQuery,
    ),
)
