"""`signalbox ledger`: the rows, and whether usage and traces agree with them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from signalbox.cli.common import (
    FAILED,
    existing_store,
    fail,
    located,
    new_id,
    read_settings,
    unix_now,
)
from signalbox.cli.table import printable, table
from signalbox.persistence.auditing import COMMAND_LINE, audit_of
from signalbox.persistence.gateway_keys import find_key
from signalbox.persistence.records import GatewayKeyRecord
from signalbox.persistence.stores import Charge, ChargeFilter, Difference, Store
from signalbox.types import NanoUSD, usd

HOUR = 3600.0
_PAGE = 500
_HOURS_AT_ONCE = 100
"""Made anew in one transaction, during which charges wait."""


@click.group()
def ledger() -> None:
    """What was charged, and whether everything agrees with it."""


@ledger.command("show")
@click.option("--key", help="Of this key alone, by its name or id.")
@click.option("--user", help="Of this end user alone.")
@click.option("--account", help="Of this account alone, by its id.")
@click.option("--since", type=click.DateTime(), help="From this time on, UTC.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, every field.")
@located
def show(
    key: str | None,
    user: str | None,
    account: str | None,
    since: datetime | None,
    limit: int,
    as_json: bool,
    config: Path | None,
    data_dir: Path,
) -> None:
    """Lists charges, top-ups and adjustments, newest first."""
    with existing_store(read_settings(config), data_dir) as store:
        known = None if key is None else find_key(store.records(GatewayKeyRecord), key)
        wanted = ChargeFilter(
            key=known.id if known is not None else key,
            user=user,
            account=account,
            since=None if since is None else since.replace(tzinfo=UTC).timestamp(),
        )
        charges = _listed(store, wanted, limit)
        if as_json:
            for charge in charges:
                click.echo(msgspec.json.encode(charge))
            return
        rows = [_row(charge) for charge in charges]
    if rows:
        table(("time (UTC)", "request", "what", "model", "tokens", "amount"), rows)
    else:
        click.echo("There is nothing in the ledger of what was asked for.")


def _listed(store: Store, wanted: ChargeFilter, limit: int) -> Iterator[Charge]:
    before: tuple[float, str] | None = None
    while limit > 0:
        page = store.list_charges(wanted, limit=min(limit, _PAGE), before=before)
        if not page:
            return
        yield from page
        limit -= len(page)
        before = (page[-1].at, page[-1].id)


def _row(charge: Charge) -> tuple[str, ...]:
    when = datetime.fromtimestamp(charge.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    usage = charge.usage
    tokens = f"{_count(usage.input_total)} + {_count(usage.output_total)}"
    if charge.kind != "charge":
        told = f"{charge.account}: {charge.note}"
        return when, charge.request_id, charge.kind, printable(told), "", _dollars(charge.amount)
    return (
        when,
        charge.request_id,
        charge.reason,
        printable(charge.model),
        f"{'about ' if usage.estimated else ''}{tokens}",
        _dollars(charge.amount) + (" (own key)" if charge.is_byok else ""),
    )


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else f"{tokens:,}"


def _dollars(amount: NanoUSD | None) -> str:
    return "unknown" if amount is None else f"${usd(amount):f}"


@ledger.command("verify")
@located
def verify(config: Path | None, data_dir: Path) -> None:
    """Compares the ledger with usage by the hour and with the saved traces.

    Exit code 1 and a line for each difference where they do not agree.
    """
    with existing_store(read_settings(config), data_dir) as store:
        hours = found = 0
        for _, differences in _hours(store):
            hours += 1
            found += _tell(differences)
        traces, after = 0, ""
        while (page := store.trace_differences(after, _PAGE)).last:
            traces, after = traces + page.count, page.last
            found += _tell(page.differences)
    spool = data_dir / "charges.spool"
    if spool.exists() and spool.stat().st_size:
        click.echo(
            f"Charges wait in {spool}: a running gateway brings them into the database; what they "
            "are of is told as missing until then.",
            err=True,
        )
    click.echo(f"{hours} hours of usage and {traces} traces were compared; {found} differences.")
    if found:
        raise SystemExit(FAILED)


def _hours(store: Store) -> Iterator[tuple[float, list[Difference]]]:
    hour = store.next_hour(0.0)
    while hour is not None:
        yield hour, store.usage_differences(hour)
        hour = store.next_hour(hour + HOUR)


def _tell(differences: list[Difference] | tuple[Difference, ...]) -> int:
    for each in differences:
        click.echo(
            printable(
                f"{each.where}: {each.what}: {each.field}: "
                f"the ledger says {each.ledger}, {each.where} {each.found}"
            )
        )
    return len(differences)


@ledger.command("rebuild-usage")
@located
def rebuild_usage(config: Path | None, data_dir: Path) -> None:
    """Makes usage anew from the ledger, for the hours in which `verify` finds a difference."""
    with existing_store(read_settings(config), data_dir) as store:
        wrong = [hour for hour, differences in _hours(store) if differences]
        for start in range(0, len(wrong), _HOURS_AT_ONCE):
            part = wrong[start : start + _HOURS_AT_ONCE]
            target = f"{_hour(part[0])} to {_hour(part[-1])}"
            store.rebuild_usage(
                part,
                audit_of(COMMAND_LINE, "rebuild", "usage", target, id=new_id(), at=unix_now()),
            )
        if any(differences for _, differences in _hours(store)):
            fail("usage and the ledger still differ")
    if wrong:
        click.echo(f"The usage of {len(wrong)} hours was made anew from the ledger.")
    else:
        click.echo("Usage and the ledger agree; nothing was changed.")


def _hour(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:00")
