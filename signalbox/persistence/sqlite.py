"""The store on SQLite: one file, one writer connection, a few reader connections.

Everything goes through the driver itself: importing SQLAlchemy alone would take half of the time
that a start may take, so only the upgrade of the schema pays for it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock

from signalbox.errors import StoreUnavailable
from signalbox.persistence.rows import (
    LEDGER_COLUMNS,
    STATE_COLUMNS,
    Values,
    charge_row,
    state_row,
)
from signalbox.persistence.sql_store import SqlStore, delete_payloads
from signalbox.persistence.sqlite_file import (
    connect_reader,
    connect_writer,
    create_file,
    prepare_schema,
    saying,
)
from signalbox.persistence.sqlite_inserts import Insert, is_one_statement
from signalbox.persistence.stores import Charge, StateRecord, Swept, TraceRecord
from signalbox.persistence.threads import READERS
from signalbox.persistence.trace_rows import (
    EVENT_COLUMNS,
    PAYLOAD_COLUMNS,
    TRACE_COLUMNS,
    event_row,
    payload_row,
    trace_row,
)

_LOOK_SECONDS = 0.25

_INSERT_CHARGES = Insert("ledger", LEDGER_COLUMNS, "ON CONFLICT (request_id) DO NOTHING")
_INSERT_TRACES = Insert("traces", TRACE_COLUMNS, "ON CONFLICT (id) DO NOTHING")
_INSERT_EVENTS = Insert("trace_events", EVENT_COLUMNS)
_INSERT_PAYLOADS = Insert("trace_payloads", PAYLOAD_COLUMNS)
_INSERT_STATE = Insert(
    "provider_state",
    STATE_COLUMNS,
    "ON CONFLICT (digest) DO UPDATE SET route_id = excluded.route_id,"
    " key_mark = excluded.key_mark, expires_at_us = excluded.expires_at_us,"
    " state = excluded.state",
)


class SqliteStore(SqlStore):
    """The `Store` of one SQLite file. Its methods may be called from any thread."""

    def __init__(self, path: Path, writer: sqlite3.Connection) -> None:
        """Takes over a writer whose schema is the newest; `open` is what makes one."""
        self._path = path
        self._inode = os.stat(path).st_ino
        self._writer = writer
        self._writer_lock = Lock()
        self._stop_waiting = Event()
        self._readers: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        for _ in range(READERS):
            self._readers.put(connect_reader(path))

    @classmethod
    def open(cls, path: Path) -> SqliteStore:
        """Opens the file, makes it where it is missing, and upgrades its schema.

        Raises `StoreUnavailable` when the file cannot be had, is no database of this program, or
        was written by a newer version.
        """
        create_file(path)
        with saying("open the database", path):
            writer = connect_writer(path)
            try:
                prepare_schema(writer, path)
                return cls(path, writer)
            except BaseException:
                writer.close()
                raise

    def append_charges(self, charges: Sequence[Charge]) -> None:
        rows = [charge_row(charge) for charge in charges]
        if is_one_statement(len(rows)):
            with self._writer_lock, saying("append charges", self._path):
                _INSERT_CHARGES.run(self._writer, rows)
            return
        with self._transaction("append charges") as writer:
            _INSERT_CHARGES.run(writer, rows)

    def save_traces(self, traces: Sequence[TraceRecord]) -> None:
        batch = [(trace_row(t), event_row(t), payload_row(t)) for t in traces]
        with self._transaction("save traces") as writer:
            # A trace that is there already may be among them, or one twice: then one by one, as the
            # details of such a trace are not saved.
            if not _save(writer, batch):
                writer.execute("ROLLBACK")
                writer.execute("BEGIN IMMEDIATE")
                for rows in batch:
                    _save(writer, [rows])

    def sweep_traces(
        self,
        *,
        now: float,
        older_than: float,
        limit: int,
        payloads_older_than: float | None = None,
    ) -> Swept:
        deleted = self.delete_traces(older_than=older_than, limit=limit)
        more = deleted == limit
        if payloads_older_than is not None:
            with self._transaction("delete payloads") as session:
                payloads = delete_payloads(session, "trace_payloads", payloads_older_than, limit)
            more = more or payloads == limit
        return Swept(deleted, more)

    def save_state(self, records: Sequence[StateRecord]) -> None:
        rows = [state_row(record) for record in records]
        with self._transaction("save whose state it is") as writer:
            _INSERT_STATE.run(writer, rows)

    def change_mark(self) -> int:
        """SQLite's data version as the writer sees it: its own commits leave it as it is."""
        with self._writer_lock, saying("look for changes", self._path):
            (mark,) = self._writer.execute("PRAGMA data_version").fetchone()
        return int(mark)

    def wait_for_change(self, mark: int, seconds: float) -> int:
        """Looks again every quarter of a second, which costs a thread 20 µs."""
        while (found := self.change_mark()) == mark and seconds > 0:
            if self._stop_waiting.wait(min(seconds, _LOOK_SECONDS)):
                self._stop_waiting.clear()
                break
            seconds -= _LOOK_SECONDS
        return found

    def stop_waiting(self) -> None:
        self._stop_waiting.set()

    def ping(self) -> None:
        """Also notices a file that was deleted or replaced, whose charges would be lost."""
        try:
            inode = os.stat(self._path).st_ino
        except OSError as error:
            raise StoreUnavailable(f"the database {self._path}: {error.strerror}") from error
        if inode != self._inode:
            raise StoreUnavailable(
                f"the database {self._path} was replaced by another file while it was open; "
                "restart the gateway"
            )
        with self._reading("read the schema's revision") as reader:
            reader.execute("SELECT version_num FROM alembic_version").fetchone()

    def close(self) -> None:
        """Waits for calls under way; later calls raise `StoreUnavailable`. May be called again."""
        with self._writer_lock, saying("close the database", self._path):
            for reader in [self._readers.get() for _ in range(READERS)]:
                reader.close()
                self._readers.put(reader)
            # Last, so that it finds itself alone and moves the log into the database file.
            self._writer.close()

    @contextmanager
    def _transaction(self, operation: str) -> Iterator[sqlite3.Connection]:
        with self._writer_lock, saying(operation, self._path):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                # After a failure, also of the commit; some errors have rolled back already.
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    def _changing(self, operation: str) -> AbstractContextManager[sqlite3.Connection]:
        # SQLite's data version moves with every commit.
        return self._transaction(operation)

    @contextmanager
    def _reading(self, operation: str) -> Iterator[sqlite3.Connection]:
        """One snapshot for all that is read within."""
        reader = self._readers.get()
        try:
            with saying(operation, self._path):
                reader.execute("BEGIN")
                try:
                    yield reader
                finally:
                    if reader.in_transaction:
                        reader.execute("ROLLBACK")
        finally:
            self._readers.put(reader)


def _save(
    writer: sqlite3.Connection, batch: Sequence[tuple[Values, Values | None, Values | None]]
) -> bool:
    """Inserts traces and, where all of them were new, their details; whether they were."""
    if _INSERT_TRACES.run(writer, [trace for trace, _, _ in batch]) < len(batch):
        return False
    _INSERT_EVENTS.run(writer, [events for _, events, _ in batch if events is not None])
    _INSERT_PAYLOADS.run(writer, [bodies for _, _, bodies in batch if bodies is not None])
    return True
