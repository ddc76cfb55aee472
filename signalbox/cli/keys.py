"""`signalbox keys`: the gateway keys of the database."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
from msgspec.structs import replace

from signalbox.cli.common import (
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
from signalbox.cli.table import table
from signalbox.persistence.auditing import COMMAND_LINE, audit_of
from signalbox.persistence.gateway_keys import find_key, new_gateway_key
from signalbox.persistence.record_store import Insert, RecordExists, Update
from signalbox.persistence.records import AuditRecord, GatewayKeyRecord

SECONDS_PER_DAY = 86_400


@click.group()
def keys() -> None:
    """Gateway keys: what clients present. A running gateway sees changes at once."""


@keys.command("create")
@click.argument("name")
@click.option("--rpm", type=click.IntRange(1), help="Requests per minute.")
@click.option("--tpm", type=click.IntRange(1), help="Tokens per minute.")
@click.option("--concurrency", type=click.IntRange(1), help="Requests at once.")
@click.option(
    "--model",
    "models",
    multiple=True,
    help="A model that it may call, also `vendor/*`; may be given again. All without it.",
)
@click.option("--expires-in-days", type=click.FloatRange(0, min_open=True))
@located
def create(
    name: str,
    rpm: int | None,
    tpm: int | None,
    concurrency: int | None,
    models: tuple[str, ...],
    expires_in_days: float | None,
    config: Path | None,
    data_dir: Path,
) -> None:
    """Makes a key and prints it, once."""
    now = unix_now()
    secret, record = new_gateway_key(
        name,
        key_id=new_id(),
        created_at=now,
        expires_at=None if expires_in_days is None else now + expires_in_days * SECONDS_PER_DAY,
        rpm=rpm,
        tpm=tpm,
        concurrency=concurrency,
        models=models,
    )
    with opened_store(read_settings(config), data_dir) as store:
        try:
            store.change([Insert(record)], _audit("create", after=record))
        except RecordExists:
            fail(f"there is a key {name!r} already, and a revoked key keeps its name")
        except ValueError as error:
            fail(str(error))
    click.echo(secret.reveal())
    click.echo("This is the only time it is shown; its SHA-256 is what is kept.", err=True)


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
        (key.name, "declared", "", _limits(key.rpm, key.tpm, key.concurrency), _models(key.models))
        for key in settings.keys
    ]
    rows += [_row(record, unix_now()) for record in records]
    if rows:
        table(("name", "key", "state", "limits", "models"), rows)
    else:
        click.echo("There are no keys. `signalbox keys create NAME` makes one.")


@keys.command("revoke")
@click.argument("name_or_id")
@located
def revoke(name_or_id: str, config: Path | None, data_dir: Path) -> None:
    """Ends a key for good."""
    with existing_store(read_settings(config), data_dir) as store:
        record = find_key(store.records(GatewayKeyRecord), name_or_id)
        if record is None:
            fail(
                f"there is no key of the name or id {name_or_id!r}; `signalbox keys list` shows all"
            )
        if record.revoked_at is None:
            revoked = replace(record, revoked_at=unix_now())
            store.change([Update(revoked)], _audit("revoke", before=record, after=revoked))
    click.echo(f"{record.name} ({record.prefix}…) is revoked.")


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
        _models(record.models),
    )


def _limits(rpm: int | None, tpm: int | None, concurrency: int | None) -> str:
    named = (("rpm", rpm), ("tpm", tpm), ("concurrency", concurrency))
    return ", ".join(f"{name} {value:,}" for name, value in named if value is not None) or "none"


def _models(models: tuple[str, ...]) -> str:
    return ", ".join(models) or "all"


def _day(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d")
