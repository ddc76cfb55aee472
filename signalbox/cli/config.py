"""`signalbox config`: what was configured while the gateway ran, as the database has it."""

from __future__ import annotations

import json
from pathlib import Path

import click

from signalbox.cli.common import (
    existing_store,
    fail,
    located,
    new_id,
    read_settings,
    unix_now,
)
from signalbox.cli.table import printable, table
from signalbox.config_overlay import SECTIONS
from signalbox.persistence.auditing import COMMAND_LINE, audit_of
from signalbox.persistence.record_store import Delete
from signalbox.persistence.records import ConfigEntryRecord


@click.group()
def config() -> None:
    """Providers, models and aliases that were configured while the gateway ran."""


@config.command("list")
@located
def list_entries(config: Path | None, data_dir: Path) -> None:
    """Lists the entries, each with its document."""
    with existing_store(read_settings(config), data_dir) as store:
        entries = store.records(ConfigEntryRecord)
    if not entries:
        click.echo("The database has no entries; everything is in the file and the environment.")
        return
    rows = [
        (entry.section, printable(entry.name), json.dumps(entry.document, ensure_ascii=True))
        for entry in entries
    ]
    table(("section", "name", "document"), rows)


@config.command("remove")
@click.argument("section", type=click.Choice(SECTIONS))
@click.argument("name")
@located
def remove(section: str, name: str, config: Path | None, data_dir: Path) -> None:
    """Takes an entry out of the database."""
    with existing_store(read_settings(config), data_dir) as store:
        entry = store.record(ConfigEntryRecord, section, name)
        if entry is None:
            fail(f"there is no entry {name!r} in {section}; `signalbox config list` shows all")
        kind = section.removesuffix("es" if section == "aliases" else "s")
        audit = audit_of(
            COMMAND_LINE, "delete", kind, name, id=new_id(), at=unix_now(), before=entry
        )
        store.change([Delete(entry)], audit)
    click.echo(f"{section}.{name} is gone from the database.")
