"""`signalbox keys` and `signalbox admin-token`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from signalbox.app import new_id_source
from signalbox.cli.common import fail, located, opened_store, read_settings, unix_now
from signalbox.persistence.gateway_keys import (
    BadTokenFile,
    new_gateway_key,
    read_token,
)
from signalbox.persistence.gateway_keys import admin_token as ensure_admin_token
from signalbox.persistence.stores import GatewayKeyRecord

ADMIN_TOKEN_FILE = "admin-token"
SECONDS_PER_DAY = 86_400


@click.group()
def keys() -> None:
    """Gateway keys: what clients present. A running gateway sees changes within a second."""


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
        key_id=new_id_source()(),
        created_at=now,
        expires_at=None if expires_in_days is None else now + expires_in_days * SECONDS_PER_DAY,
        rpm=rpm,
        tpm=tpm,
        concurrency=concurrency,
        models=models,
    )
    with opened_store(read_settings(config), data_dir) as store:
        try:
            store.add_key(record)
        except ValueError as error:
            fail(str(error))
    click.echo(secret.reveal())
    click.echo("This is the only time it is shown; its SHA-256 is what is kept.", err=True)


@keys.command("list")
@located
def list_keys(config: Path | None, data_dir: Path) -> None:
    """Lists the keys of the configuration and of the database."""
    settings = read_settings(config)
    with opened_store(settings, data_dir) as store:
        records = store.list_keys()
    now = unix_now()
    for declared in settings.keys:
        click.echo(f"{declared.name:20} declared in the configuration")
    for record in records:
        click.echo(f"{record.name:20} {record.prefix}…  {_state(record, now):22} {_limits(record)}")
    if not settings.keys and not records:
        click.echo("There are no keys. `signalbox keys create NAME` makes one.")


@keys.command("revoke")
@click.argument("name_or_id")
@located
def revoke(name_or_id: str, config: Path | None, data_dir: Path) -> None:
    """Ends a key for good."""
    with opened_store(read_settings(config), data_dir) as store:
        record = store.revoke_key(name_or_id, unix_now())
    if record is None:
        fail(f"there is no key of the name or id {name_or_id!r}; `signalbox keys list` shows all")
    click.echo(f"{record.name} ({record.prefix}…) is revoked.")


@click.group("admin-token")
def admin_token() -> None:
    """The token that opens traces and, later, the pages."""


@admin_token.command("show")
@located
def show(config: Path | None, data_dir: Path) -> None:
    """Prints the token of the data directory."""
    try:
        token = read_token(data_dir / ADMIN_TOKEN_FILE)
    except BadTokenFile as error:
        fail(str(error))
    if token is None:
        fail(f"{data_dir / ADMIN_TOKEN_FILE} is not there; the first start of the gateway makes it")
    click.echo(token.reveal())


@admin_token.command("reset")
@located
def reset(config: Path | None, data_dir: Path) -> None:
    """Makes a new token; a running gateway uses it after its next start."""
    path = data_dir / ADMIN_TOKEN_FILE
    try:
        path.unlink(missing_ok=True)
        click.echo(ensure_admin_token(path).reveal())
    except (OSError, BadTokenFile) as error:
        fail(str(error))


def _state(record: GatewayKeyRecord, now: float) -> str:
    if record.revoked_at is not None:
        return f"revoked {_day(record.revoked_at)}"
    if record.expires_at is not None:
        word = "expired" if record.expires_at <= now else "expires"
        return f"{word} {_day(record.expires_at)}"
    return f"since {_day(record.created_at)}"


def _limits(record: GatewayKeyRecord) -> str:
    named = (("rpm", record.rpm), ("tpm", record.tpm), ("concurrency", record.concurrency))
    limits = [f"{name} {value:,}" for name, value in named if value is not None]
    return "; ".join([", ".join(limits) or "no limits", *record.models])


def _day(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d")
