"""`signalbox keys`: the gateway keys of the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace

from signalbox.cli.common import (
    effective_settings,
    existing_store,
    fail,
    is_missing,
    located,
    named_database,
    new_id,
    opened_store,
    read_settings,
    unix_now,
)
from signalbox.cli.key_options import (
    BUDGETS,
    CLEARED,
    DurationType,
    budget_changes,
    budgets_of,
    cleared_fields,
    key_options,
    record_fields,
    without_budgets,
)
from signalbox.cli.table import printable, table
from signalbox.machines.budget import Period, window_of
from signalbox.persistence.auditing import COMMAND_LINE, audit_of
from signalbox.persistence.gateway_keys import find_key, new_gateway_key
from signalbox.persistence.key_changes import LONGEST_OVERLAP, revoked, rotated
from signalbox.persistence.record_store import (
    Change,
    Delete,
    Insert,
    RecordExists,
    RecordMissing,
    Update,
)
from signalbox.persistence.records import (
    AuditRecord,
    BudgetRecord,
    GatewayKeyRecord,
    UserRecord,
)
from signalbox.persistence.stores import SpendingQuery, Store
from signalbox.types import usd

SHOWN_ONCE = "This is the only time it is shown; its SHA-256 is what is kept."


@click.group()
def keys() -> None:
    """Gateway keys: what clients present. A running gateway sees changes at once."""


@keys.command("create")
@click.argument("name")
@key_options
@located
def create(name: str, config: Path | None, data_dir: Path, **given: Any) -> None:
    """Makes a key and prints it, once."""
    now = unix_now()
    settings = effective_settings(config, data_dir)
    with opened_store(settings, data_dir) as store:
        fields = record_fields(given, settings, store, now)
        secret, record = new_gateway_key(name, key_id=new_id(), created_at=now, **fields)
        budgets = budget_changes(record, given["budgets"], (), now)
        _write(store, [Insert(record), *budgets], "create", after=record)
    click.echo(secret.reveal())
    click.echo(SHOWN_ONCE, err=True)


@keys.command("update")
@click.argument("name_or_id")
@key_options
@click.option(
    "--clear",
    multiple=True,
    type=click.Choice([*CLEARED, BUDGETS]),
    help="What is taken away; may be given again.",
)
@located
def update(
    name_or_id: str, clear: tuple[str, ...], config: Path | None, data_dir: Path, **given: Any
) -> None:
    """Changes what is given, and leaves the rest."""
    now = unix_now()
    settings = effective_settings(config, data_dir)
    with existing_store(settings, data_dir) as store:
        record = _usable(name_or_id, store)
        fields = {**cleared_fields(clear), **record_fields(given, settings, store, now)}
        changed = replace(record, **fields, updated_at=now)
        there = budgets_of(record, store)
        changes: list[Change] = [Update(changed, was=record)]
        if BUDGETS in clear:
            changes += without_budgets(there)
            there = []
        changes += budget_changes(record, given["budgets"], there, now)
        if not fields and len(changes) == 1:
            fail("nothing is to be changed; `signalbox keys update --help` says what can be")
        _write(store, changes, "update", before=record, after=changed)
    click.echo(f"{printable(record.name)} is changed.")


@keys.command("list")
@located
def list_keys(config: Path | None, data_dir: Path) -> None:
    """Lists the keys of the configuration and of the database."""
    settings = read_settings(config)
    records: list[GatewayKeyRecord] = []
    if not is_missing(named_database(settings, data_dir)):
        with existing_store(settings, data_dir) as store:
            records = store.records(GatewayKeyRecord)
    rows: list[tuple[str, ...]] = [
        (key.name, "declared", "", _limits(key.rpm, key.tpm, key.concurrency), _named(key.models))
        for key in settings.keys
    ]
    rows += [_row(record, unix_now()) for record in records]
    if rows:
        table(("name", "key", "state", "limits", "models"), rows)
    else:
        click.echo("There are no keys. `signalbox keys create NAME` makes one.")


@keys.command("show")
@click.argument("name_or_id")
@located
def show(name_or_id: str, config: Path | None, data_dir: Path) -> None:
    """All that is known of a key, with what its budgets have left."""
    now = unix_now()
    with existing_store(read_settings(config), data_dir) as store:
        record = _found(name_or_id, store)
        owner = store.record(UserRecord, record.owner) if record.owner is not None else None
        budgets = [_budget(budget, store, now) for budget in budgets_of(record, store)]
    for name, value in (
        ("name", record.name),
        ("id", record.id),
        ("key", f"{record.prefix}…"),
        ("state", _state(record, now)),
        ("owner", owner.name if owner is not None else record.owner or "none"),
        ("limits", _limits(record.rpm, record.tpm, record.concurrency)),
        ("models", _named(record.models)),
        ("providers", _named(record.providers)),
        ("tags", ", ".join(record.tags) or "none"),
        ("preset", record.preset or "none"),
        ("byok fallback", "yes" if record.byok_fallback else "no"),
        ("rotation", _rotation(record, now)),
        *(("budget", budget) for budget in budgets or ["none"]),
    ):
        click.echo(f"{name:14} {printable(value)}")


@keys.command("rotate")
@click.argument("name_or_id")
@click.option(
    "--overlap",
    type=DurationType(),
    default="24h",
    show_default=True,
    help="How long the key of before stays good, like 30m or 7d; 0: not at all.",
)
@located
def rotate(name_or_id: str, overlap: float, config: Path | None, data_dir: Path) -> None:
    """Gives a key another secret and prints it, once. Its limits, budgets and usage go on."""
    if overlap > LONGEST_OVERLAP:
        fail(f"expected an overlap of at most {LONGEST_OVERLAP / 86_400:.0f} days")
    now = unix_now()
    with existing_store(read_settings(config), data_dir) as store:
        record = _usable(name_or_id, store)
        done = rotated(record, at=now, overlap=overlap)
        changed = done.record
        _write(store, [Update(changed, was=record)], "rotate", before=record, after=changed)
    click.echo(done.secret.reveal())
    click.echo(SHOWN_ONCE, err=True)
    if done.ended:
        click.echo("The key of before the last rotation was still good; it is no more.", err=True)
    until = "is no more" if changed.previous_until is None else _until(changed.previous_until)
    click.echo(f"The one before ({record.prefix}…) {until}.", err=True)


@keys.command("disable")
@click.argument("name_or_id")
@located
def disable(name_or_id: str, config: Path | None, data_dir: Path) -> None:
    """Refuses a key until it is enabled."""
    _set_enabled(name_or_id, config, data_dir, enabled=False)


@keys.command("enable")
@click.argument("name_or_id")
@located
def enable(name_or_id: str, config: Path | None, data_dir: Path) -> None:
    """Takes a disabled key again."""
    _set_enabled(name_or_id, config, data_dir, enabled=True)


def _set_enabled(name_or_id: str, config: Path | None, data_dir: Path, *, enabled: bool) -> None:
    word = "enable" if enabled else "disable"
    with existing_store(read_settings(config), data_dir) as store:
        record = _usable(name_or_id, store)
        if record.enabled is not enabled:
            changed = replace(record, enabled=enabled, updated_at=unix_now())
            _write(store, [Update(changed, was=record)], word, before=record, after=changed)
    click.echo(f"{printable(record.name)} ({record.prefix}…) is {word}d.")


@keys.command("revoke")
@click.argument("name_or_id")
@located
def revoke(name_or_id: str, config: Path | None, data_dir: Path) -> None:
    """Ends a key for good."""
    with existing_store(read_settings(config), data_dir) as store:
        record = _found(name_or_id, store)
        if record.revoked_at is None:
            over = revoked(record, at=unix_now())
            _write(store, [Update(over)], "revoke", before=record, after=over)
    click.echo(f"{printable(record.name)} ({record.prefix}…) is revoked.")


def _found(name_or_id: str, store: Store) -> GatewayKeyRecord:
    record = find_key(store.records(GatewayKeyRecord), name_or_id)
    if record is None:
        fail(f"there is no key of the name or id {name_or_id!r}; `signalbox keys list` shows all")
    return record


def _usable(name_or_id: str, store: Store) -> GatewayKeyRecord:
    record = _found(name_or_id, store)
    if record.revoked_at is not None:
        fail(f"the key {record.name!r} is revoked, for good")
    return record


def _write(
    store: Store,
    changes: Sequence[Change],
    action: str,
    *,
    after: GatewayKeyRecord,
    before: GatewayKeyRecord | None = None,
) -> None:
    """The key's own change, and those of its budgets behind it."""
    audits = [_audit(action, before=before, after=after), *map(_audit_of_budget, changes[1:])]
    with told(f"there is a key {after.name!r} already, and a revoked key keeps its name"):
        store.change(changes, *audits)


@contextmanager
def told(exists: str) -> Iterator[None]:
    """What a store refuses ends the command in words; `exists` for what is there already."""
    try:
        yield
    except RecordExists as error:
        fail(exists if error.table != BUDGETS else str(error))
    except RecordMissing:
        fail("somebody else has changed it meanwhile; look at it, and try again")
    except ValueError as error:
        fail(str(error))


def _audit_of_budget(change: Change) -> AuditRecord:
    budget = change.record
    assert isinstance(budget, BudgetRecord), "a key's changes are its own and its budgets'"
    before = change.was if isinstance(change, Update) else None
    action = {Insert: "create", Update: "update", Delete: "delete"}[type(change)]
    gone = isinstance(change, Delete)
    return audit_of(
        COMMAND_LINE,
        action,
        "budget",
        budget.id,
        id=new_id(),
        at=unix_now(),
        before=budget if gone else before,
        after=None if gone else budget,
    )


def _audit(
    action: str, *, after: GatewayKeyRecord, before: GatewayKeyRecord | None = None
) -> AuditRecord:
    return audit_of(
        COMMAND_LINE,
        action,
        "key",
        after.id,
        id=new_id(),
        at=unix_now(),
        before=before,
        after=after,
    )


def _state(record: GatewayKeyRecord, now: float) -> str:
    if record.revoked_at is not None:
        return f"revoked {_day(record.revoked_at)}"
    if not record.enabled:
        return "disabled"
    if record.expires_at is not None:
        word = "expired" if record.expires_at <= now else "expires"
        return f"{word} {_day(record.expires_at)}"
    return f"since {_day(record.created_at)}"


def _row(record: GatewayKeyRecord, now: float) -> tuple[str, ...]:
    return (
        record.name,
        f"{record.prefix}…",
        _state(record, now),
        _limits(record.rpm, record.tpm, record.concurrency),
        _named(record.models),
    )


def _budget(budget: BudgetRecord, store: Store, now: float) -> str:
    window = window_of(Period(budget.period), now)
    [spent] = store.spent([SpendingQuery("key", budget.subject, window.start, window.end)])
    kind = "hard" if budget.hard else "soft"
    until = "" if window.end is None else f", until {_time(window.end)}"
    return f"${usd(budget.limit):f} per {budget.period} ({kind}): ${usd(spent):f} spent{until}"


def _rotation(record: GatewayKeyRecord, now: float) -> str:
    if record.previous_until is None or record.previous_until <= now:
        return "none under way"
    return f"the key of before {_until(record.previous_until)}"


def _until(unix: float) -> str:
    return f"is good until {_time(unix)}"


def _limits(rpm: int | None, tpm: int | None, concurrency: int | None) -> str:
    named = (("rpm", rpm), ("tpm", tpm), ("concurrency", concurrency))
    return ", ".join(f"{name} {value:,}" for name, value in named if value is not None) or "none"


def _named(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "all"


def _day(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d")


def _time(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M UTC")
