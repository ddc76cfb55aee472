"""`signalbox master-key`: the keys under which stored secrets are sealed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from signalbox.cli.common import (
    existing_store,
    fail,
    is_missing,
    located,
    named_database,
    new_id,
    read_settings,
    the_vault,
    unix_now,
)
from signalbox.cli.table import table
from signalbox.persistence.auditing import COMMAND_LINE, audit_of
from signalbox.persistence.master_keys import VARIABLE, VaultError
from signalbox.persistence.records import AuditRecord
from signalbox.persistence.sealed_records import rotate as rotated
from signalbox.persistence.sealed_records import sealed_under


@click.group()
def master_key() -> None:
    """The keys that stored secrets are sealed under."""


@master_key.command("show")
@located
def show(config: Path | None, data_dir: Path) -> None:
    """Shows the ids of the master keys and how many secrets are sealed under each."""
    settings = read_settings(config)
    keys = the_vault(data_dir).keys
    try:
        ids = [key.id for key in keys.read()]
    except VaultError as error:
        fail(str(error))
    secrets: Mapping[str, int] = {}
    if not is_missing(named_database(settings, data_dir)):
        with existing_store(settings, data_dir) as store:
            secrets = sealed_under(store)
    rows = [(id, "seals" if id == ids[0] else "unseals", str(secrets.get(id, 0))) for id in ids]
    rows += [(id, "MISSING", str(count)) for id, count in secrets.items() if id not in ids]
    if rows:
        table(("master key", keys.place, "secrets"), rows)
    else:
        click.echo(f"There is no master key, and no secret. {keys.place} is made with the first.")


@master_key.command("rotate")
@located
def rotate(config: Path | None, data_dir: Path) -> None:
    """Seals every stored secret under a new master key and drops the old one."""
    vault = the_vault(data_dir)
    keys = vault.keys
    with existing_store(read_settings(config), data_dir) as store:
        try:
            rotation = rotated(vault, store, _audit)
        except VaultError as error:
            fail(str(error))
    click.echo(f"Sealed under the master key {rotation.key}: {rotation.sealed}")
    if keys.in_file:
        click.echo(f"{keys.place} holds that key alone. Make a new copy of it.")
    elif rotation.dropped:
        click.echo(f"{VARIABLE} may go without {', '.join(rotation.dropped)}.")
    else:
        click.echo(
            f"{VARIABLE} holds that key alone. To take another one, put it before that one"
            " (`new,old`), start the gateways again with both, and run this command again."
        )


def _audit(key_id: str) -> AuditRecord:
    return audit_of(COMMAND_LINE, "rotate", "master_key", key_id, id=new_id(), at=unix_now())
