"""Where imported keys go: the gateway's own database."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from signalbox.cli.common import MISUSED, environment, fail, new_id, opened_database, unix_now
from signalbox.cli.litellm_keys import Addition, Existing, Plan
from signalbox.config_schema import Storage
from signalbox.persistence.auditing import COMMAND_LINE, audit_of
from signalbox.persistence.open import parse_database_url
from signalbox.persistence.record_store import Change, Insert, RecordExists
from signalbox.persistence.records import AuditRecord, BudgetRecord, GatewayKeyRecord
from signalbox.persistence.stores import Store
from signalbox.types import Secret


def database_of(config: Path | None) -> Secret:
    """`storage.database` of the environment, or else of a configuration, whose secrets need not be
    there yet; otherwise the usual one."""
    url: Any = environment().get("SIGNALBOX_STORAGE__DATABASE")
    if not url and config is not None:
        try:
            tree = tomllib.loads(config.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            fail(f"{config} cannot be read as TOML; `signalbox check` says what is wrong", MISUSED)
        storage = tree.get("storage", {})
        url = storage.get("database") if isinstance(storage, dict) else None
    return Secret(url if isinstance(url, str) and url else Storage().database)


def existing_records(store: Store | None, document: Mapping[str, Any]) -> Existing:
    """What the database has, beside what the configuration declares."""
    declared = {*document.get("keys", {}), *document.get("budgets", {})}
    if store is None:
        return Existing(declared_names=declared)
    return Existing(store.records(GatewayKeyRecord), store.records(BudgetRecord), declared)


@contextmanager
def target(url: Secret, data_dir: Path, *, dry_run: bool) -> Iterator[Store | None]:
    """The gateway's store. For a dry run a copy of its file, since opening it may upgrade it; None
    where there is no file, or a server has it."""
    try:
        database = parse_database_url(url, data_dir)
    except ValueError as error:
        fail(str(error), MISUSED)
    if not dry_run:
        with opened_database(url, data_dir) as store:
            yield store
        return
    if not isinstance(database, Path) or not database.exists():
        yield None
        return
    folder = Path(tempfile.mkdtemp(prefix="signalbox-"))
    try:
        _copy(database, folder / "copy.db")
        with opened_database(Secret("sqlite:///copy.db"), folder) as store:
            yield store
    finally:
        shutil.rmtree(folder)


def _copy(database: Path, copy: Path) -> None:
    """As it is at one moment, also while a gateway writes to it."""
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as destination,
        ):
            source.backup(destination)
    except sqlite3.Error as error:
        fail(f"the database {database} cannot be read: {error}")


def add(store: Store, plan: Plan) -> None:
    """Writes what was planned, each key with its budget in one transaction.

    What was spent goes first: whatever ends the command, a key is never there without it, and
    another import goes on where this one ended.
    """
    for addition in plan.additions:
        if addition.charge is not None:
            store.append_charges([addition.charge])
        changes: list[Change] = [
            Insert(record) for record in (addition.key, addition.budget) if record is not None
        ]
        try:
            store.change(changes, _audit(addition))
        except RecordExists as error:
            fail(f"{_name(addition)}: {error}; another import goes on from here")
        except ValueError as error:
            fail(f"{_name(addition)}: {error}")


def _audit(addition: Addition) -> AuditRecord:
    record = addition.key or addition.budget
    assert record is not None
    kind = "key" if addition.key is not None else "budget"
    return audit_of(
        COMMAND_LINE, "import", kind, record.id, id=new_id(), at=unix_now(), after=record
    )


def _name(addition: Addition) -> str:
    record = addition.key or addition.budget
    assert record is not None
    return record.name
