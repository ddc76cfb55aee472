"""`signalbox credits`: prepaid balances, which are rows of the ledger."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

from signalbox.cli.common import (
    MISUSED,
    existing_store,
    fail,
    located,
    new_id,
    read_settings,
    unix_now,
)
from signalbox.cli.table import printable, table
from signalbox.config import Settings
from signalbox.ids import is_uuid7
from signalbox.persistence.auditing import COMMAND_LINE
from signalbox.persistence.crediting import ADJUSTMENT, TOP_UP, audit_of_credit, entry_of
from signalbox.persistence.gateway_keys import find_key
from signalbox.persistence.record_store import RecordExists
from signalbox.persistence.records import GatewayKeyRecord, UserRecord
from signalbox.persistence.stores import SpendingQuery, Store
from signalbox.prices import NANO_PER_USD
from signalbox.types import NanoUSD, usd


@click.group()
def credits() -> None:
    """Prepaid balances: what was paid in, and what is left of it.

    An account is a user, or a key that nobody owns; one that was never paid into is not held to a
    balance.
    """


def dollars(text: str) -> NanoUSD:
    """US dollars to the billionth, exact."""
    try:
        nano = Decimal(text) * NANO_PER_USD
        whole = int(nano)
    except (InvalidOperation, ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is no amount of US dollars") from None
    if whole != nano:
        raise click.BadParameter(f"{text} is finer than a billionth of a dollar")
    return NanoUSD(whole)


_request_id = click.option(
    "--request-id", help="A UUIDv7: the same again adds nothing. Without it each call adds."
)
_note = click.option("--note", required=True, help="Why; it is kept with the amount.")


@credits.command("add")
@click.argument("account")
@click.argument("amount", type=dollars)
@_note
@_request_id
@located
def add(
    account: str,
    amount: NanoUSD,
    note: str,
    request_id: str | None,
    config: Path | None,
    data_dir: Path,
) -> None:
    """Adds what was paid: ACCOUNT is a user's or a key's name or id, AMOUNT in US dollars."""
    _credit(TOP_UP, account, amount, note, request_id, config, data_dir)


@credits.command("adjust", context_settings={"ignore_unknown_options": True})
@click.argument("account")
@click.argument("amount", type=dollars)
@_note
@_request_id
@located
def adjust(
    account: str,
    amount: NanoUSD,
    note: str,
    request_id: str | None,
    config: Path | None,
    data_dir: Path,
) -> None:
    """Corrects a balance: a negative AMOUNT takes away."""
    _credit(ADJUSTMENT, account, amount, note, request_id, config, data_dir)


@credits.command("list")
@located
def list_accounts(config: Path | None, data_dir: Path) -> None:
    """Lists the accounts that were paid into, with what is left."""
    with existing_store(read_settings(config), data_dir) as store:
        paid_in = store.balances()
        accounts = sorted(paid_in)
        spent = store.spent([SpendingQuery("account", account, 0.0) for account in accounts])
        names = {user.id: user.name for user in store.records(UserRecord)}
        names |= {key.id: key.name for key in store.records(GatewayKeyRecord)}
    rows = [
        (
            account,
            printable(names.get(account, "")),
            _dollars(paid_in[account]),
            _dollars(charged),
            _dollars(NanoUSD(paid_in[account] - charged)),
        )
        for account, charged in zip(accounts, spent, strict=True)
    ]
    if rows:
        table(("account", "name", "paid in", "charged", "left"), rows)
    else:
        click.echo("Nothing was paid in. `signalbox credits add ACCOUNT USD --note …` does.")


def _credit(
    kind: str,
    named: str,
    amount: NanoUSD,
    note: str,
    request_id: str | None,
    config: Path | None,
    data_dir: Path,
) -> None:
    if request_id is not None and not is_uuid7(request_id):
        fail(f"--request-id is {request_id!r}, expected a UUIDv7", MISUSED)
    settings = read_settings(config)
    with existing_store(settings, data_dir) as store:
        account = _account(store, settings, named)
        try:
            entry = entry_of(
                kind,
                account,
                amount,
                note,
                id=new_id(),
                request_id=request_id or new_id(),
                at=unix_now(),
            )
            store.credit(entry, audit_of_credit(COMMAND_LINE, entry, id=new_id()))
        except (ValueError, RecordExists) as error:
            fail(str(error))
        paid_in = store.balances([account])[account]
        [charged] = store.spent([SpendingQuery("account", account, 0.0)])
    click.echo(f"The account {account} has {_dollars(NanoUSD(paid_in - charged))} left.")


def _account(store: Store, settings: Settings, named: str) -> str:
    users = store.records(UserRecord)
    for user in users:
        if named in (user.id, user.name):
            return user.id
    record = find_key(store.records(GatewayKeyRecord), named)
    if record is not None:
        return record.account
    for key in settings.keys:
        if named in (key.id, key.name):
            owners = [user.id for user in users if user.name == key.owner]
            return owners[0] if owners else key.owner or key.id
    fail(f"there is no user and no key of the name or id {named!r}")


def _dollars(amount: NanoUSD) -> str:
    return f"${usd(amount):f}" if amount >= 0 else f"-${usd(NanoUSD(-amount)):f}"
