"""Opens a SQLite database file: made where it is missing, in WAL mode, at the newest schema."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any

from signalbox.errors import StoreUnavailable
from signalbox.persistence.migrations import HEAD, REVISIONS
from signalbox.persistence.migrations.newest import statements
from signalbox.persistence.sqlite_inserts import CACHED_STATEMENTS

BUSY_TIMEOUT = 5.0
"""Seconds to wait for another process's lock: its longest transaction is a batch of traces."""

_WAL_ATTEMPTS = 100
# The log is cut back to this after a burst; in the steady state checkpoints keep it near 4 MB.
_WAL_BYTES_KEPT = 64 * 1024 * 1024


@contextmanager
def saying(operation: str, path: Path) -> Iterator[None]:
    """Turns what SQLite raises into `StoreUnavailable` that says what was done, where, and why."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path}: could not {operation}; SQLite said: {error}") from error


def create_file(path: Path) -> None:
    """Makes the file, readable by its owner alone, and its folder; leaves one that is there."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreUnavailable(
            f"could not open the database {path}: {error.strerror}; expected a file that this user "
            "may read and write, or a folder to make it in"
        ) from error


def connect(path: Path) -> sqlite3.Connection:
    """A connection in the driver's autocommit mode, for any one thread at a time.

    Transactions are begun and ended in so many words.
    """
    _save_the_drivers_searches()
    connection = sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )
    connection.execute("PRAGMA foreign_keys = ON")
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    connection = connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def connect_writer(path: Path) -> sqlite3.Connection:
    """The connection whose commits are on the disk when they return."""
    connection = connect(path)
    try:
        _switch_to_wal(connection, path)
        connection.execute("PRAGMA synchronous = FULL")
        # macOS answers an fsync before the drive has written; elsewhere these change nothing.
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_KEPT}")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Makes the schema in a new file and upgrades an older one; refuses a database that is newer or
    not ours."""
    if not _tables(connection):
        _make_schema(connection, path)
    if _needs_upgrade(connection, path):
        _upgrade(path)


def _save_the_drivers_searches() -> None:
    """Adapters that change nothing: for each None, bool and bytes the driver looks for one, and
    finding none costs it 0.4 µs a value, a tenth of what finding one does. A row has twenty."""
    for kind in (NoneType, bool, bytes):
        sqlite3.register_adapter(kind, _as_it_is)


def _as_it_is(value: Any) -> Any:
    return value


def _switch_to_wal(connection: sqlite3.Connection, path: Path) -> None:
    # When another process has the file locked, as when both make it at once, the switch fails
    # without SQLite's usual wait. Beginning a transaction does wait for the other to be done.
    for attempt in range(_WAL_ATTEMPTS):
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or attempt == _WAL_ATTEMPTS - 1:
                raise
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    if mode != "wal":
        raise StoreUnavailable(
            f"SQLite keeps {path} in journal mode {mode!r}, expected 'wal': the file must lie on a "
            "local file system that can share memory between processes"
        )


def _tables(connection: sqlite3.Connection) -> list[str]:
    return [
        name
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' "
            "ESCAPE '\\' ORDER BY name"
        )
    ]


def _make_schema(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Whoever comes second has waited for the first, and finds everything made.
        if not _tables(connection):
            for statement in statements():
                connection.execute(statement)
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:  # A full disk has ended it already.
            connection.execute("ROLLBACK")
        raise StoreUnavailable(
            f"could not make the schema in {path}, which was left as it was: {error}"
        ) from error


def _needs_upgrade(connection: sqlite3.Connection, path: Path) -> bool:
    tables = _tables(connection)
    if "alembic_version" not in tables:
        raise StoreUnavailable(
            f"{path} is a database of something else (it has the tables {', '.join(tables[:5])}); "
            "name another file in storage.database"
        )
    found = [revision for (revision,) in connection.execute("SELECT * FROM alembic_version")]
    if len(found) != 1 or found[0] not in REVISIONS:
        raise StoreUnavailable(
            f"the database {path} is at revision {', '.join(map(str, found)) or 'none'}, and this "
            f"version of Signalbox knows revisions up to {HEAD}: start the version that wrote it, "
            "or a newer one, or name another file in storage.database"
        )
    return bool(found[0] != HEAD)


def _upgrade(path: Path) -> None:
    # Imported here: half a second and more, which a start at the newest revision does not pay.
    import sqlalchemy  # noqa: PLC0415 - as said above

    from signalbox.persistence.migrations.upgrade import upgrade  # noqa: PLC0415 - as said above

    def connect_for_upgrade() -> sqlite3.Connection:
        # Foreign keys stay off: a later migration may have to rebuild a table others refer to.
        return sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)

    engine = sqlalchemy.create_engine(
        "sqlite://", creator=connect_for_upgrade, poolclass=sqlalchemy.NullPool
    )
    try:
        with engine.begin() as connection:
            # The driver begins nothing by itself in this mode. Whoever comes second waits here,
            # and Alembic finds nothing left to do.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            upgrade(connection)
    except sqlalchemy.exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise StoreUnavailable(
            f"could not upgrade the schema in {path}, which was left as it was: {cause}"
        ) from error
