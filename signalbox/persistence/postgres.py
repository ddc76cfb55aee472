"""The store on a PostgreSQL server, which several gateways may share.

Everything goes through the driver itself, as on SQLite; only the upgrade of the schema pays for
SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

from psycopg import errors
from psycopg.pq import TransactionStatus

from signalbox.config_postgres import PostgresUrl
from signalbox.ids import is_uuid
from signalbox.persistence import postgres_ledger
from signalbox.persistence.columns import CorruptRow, microseconds
from signalbox.persistence.postgres_changes import ChangeListener
from signalbox.persistence.postgres_connections import Connection, Connections
from signalbox.persistence.postgres_partitions import (
    MAINTENANCE_SECONDS,
    delete_strays,
    drop_days,
    drop_payloads,
    make_days,
)
from signalbox.persistence.postgres_schema import prepare_schema
from signalbox.persistence.postgres_statements import Copy, PostgresSession
from signalbox.persistence.rows import (
    STATE_COLUMNS,
    Values,
    charge_row,
    state_row,
)
from signalbox.persistence.sql_store import SqlStore, delete_payloads
from signalbox.persistence.stores import Charge, StateRecord, Swept, TraceRecord
from signalbox.persistence.trace_rows import (
    EVENT_COLUMNS,
    PAYLOAD_COLUMNS,
    TRACE_COLUMNS,
    event_row,
    payload_row,
    trace_row,
)

_NUMBERS = {
    "stream": "bool",
    "usage_estimated": "bool",
    "status": "int8",
    "attempts": "int8",
    **{column: "int8" for column in TRACE_COLUMNS if column.endswith(("_us", "_usd", "_tokens"))},
}
_TRACE_TYPES = ["uuid", *(_NUMBERS.get(column, "text") for column in TRACE_COLUMNS[1:])]
_INSERT_STATE = (
    f"INSERT INTO provider_state ({', '.join(STATE_COLUMNS)})"
    f" VALUES ({', '.join(f'${place}' for place, _ in enumerate(STATE_COLUMNS, 1))})"
    " ON CONFLICT (digest) DO UPDATE SET route_id = excluded.route_id,"
    " key_mark = excluded.key_mark, expires_at_us = excluded.expires_at_us,"
    " state = excluded.state"
)
_DETAIL_TYPES = ("uuid", "int8", "bytea")
_COPY_TRACES = Copy("traces", TRACE_COLUMNS, _TRACE_TYPES)
_COPY_EVENTS = Copy("trace_events", EVENT_COLUMNS, _DETAIL_TYPES)
_COPY_PAYLOADS = Copy("trace_payloads", PAYLOAD_COLUMNS, _DETAIL_TYPES)
Rows = tuple[Values, Values | None, Values | None]
"""A trace, its events, its payloads."""


class PostgresStore(SqlStore):
    """The `Store` of one database. Its methods may be called from any thread."""

    # As the index has it: the whole name may be too long for one.
    model_test = "substr(model, 1, 200) = substr(?, 1, 200) AND model = ?"

    def __init__(self, database: PostgresUrl, connections: Connections) -> None:
        """The schema is the newest; `open` sees to that."""
        self._connections = connections
        self._listener = ChangeListener(database)
        self._own_changes = 0
        self._marking = Lock()

    @classmethod
    def open(cls, database: PostgresUrl) -> PostgresStore:
        """Makes the schema where the database is empty, and upgrades an older one.

        Raises `StoreUnavailable` when the database does not answer, is none of this program, or
        was written by a newer version.
        """
        connections = Connections(database)
        try:
            with connections.borrowed("open the database") as connection:
                prepare_schema(connection, database)
        except BaseException:
            connections.close()
            raise
        return cls(database, connections)

    def is_id(self, text: str) -> bool:
        return is_uuid(text)

    def append_charges(self, charges: Sequence[Charge]) -> None:
        rows = [charge_row(charge) for charge in charges]
        for charge in charges:
            if not (self.is_id(charge.id) and self.is_id(charge.request_id)):
                raise ValueError(f"the charge of request {charge.request_id}: its ids are no UUIDs")
        with self._connections.borrowed("append charges") as connection:
            postgres_ledger.append(connection, rows)

    def save_traces(self, traces: Sequence[TraceRecord]) -> None:
        batch = {t.id: (trace_row(t), event_row(t), payload_row(t)) for t in reversed(traces)}
        with self._connections.borrowed("save traces") as connection:
            try:
                _copy(connection, [*batch.values()])
            except errors.UniqueViolation:
                # As after an answer that never came: a trace that is there already is left alone.
                for known in _known(connection, [*batch]):
                    del batch[known]
                _copy(connection, [*batch.values()])

    def sweep_traces(
        self,
        *,
        now: float,
        older_than: float,
        limit: int,
        payloads_older_than: float | None = None,
    ) -> Swept:
        """Drops days that have ended by `older_than`; what is in no day's partition is deleted."""
        older_than_us = microseconds(older_than, "older_than")
        with self._connections.borrowed("make room for traces", MAINTENANCE_SECONDS) as connection:
            make_days(connection, now)
            dropped, more = drop_days(connection, older_than)
            session = PostgresSession(connection)
            with connection.transaction():
                strays = delete_strays(session, older_than_us, limit)
            more = more or strays == limit
            if payloads_older_than is not None:
                more = drop_payloads(connection, payloads_older_than) or more
                table = "trace_payloads_default"
                more = delete_payloads(session, table, payloads_older_than, limit) == limit or more
        return Swept(dropped + strays, more)

    def save_state(self, records: Sequence[StateRecord]) -> None:
        # One record of each, and in one order: two gateways never wait for each other in a ring.
        latest = {record.digest: record for record in records}
        rows = [state_row(latest[digest]) for digest in sorted(latest)]
        with (
            self._connections.borrowed("save whose state it is") as connection,
            connection.transaction(),
            connection.cursor() as cursor,
        ):
            cursor.executemany(_INSERT_STATE, rows)

    def change_mark(self) -> int:
        """How many changes there were, but for those of this store."""
        with self._marking, self._connections.borrowed("look for changes") as connection:
            return _mark(connection) - self._own_changes

    def wait_for_change(self, mark: int, seconds: float) -> int:
        found = self.change_mark()
        if found == mark:
            self._listener.wait(seconds)
            found = self.change_mark()
        return found

    def stop_waiting(self) -> None:
        self._listener.wake()

    def ping(self) -> None:
        with self._connections.borrowed("read the schema's revision") as connection:
            connection.execute("SELECT version_num FROM alembic_version").fetchone()

    def close(self) -> None:
        """Waits for calls under way; later calls raise `StoreUnavailable`. May be called again."""
        self._listener.close()
        self._connections.close()

    @contextmanager
    def _transaction(self, operation: str) -> Iterator[PostgresSession]:
        with self._connections.borrowed(operation) as connection, connection.transaction():
            yield PostgresSession(connection)

    @contextmanager
    def _changing(self, operation: str) -> Iterator[PostgresSession]:
        with self._connections.borrowed(operation) as connection:
            connection.execute("BEGIN")
            try:
                # One after the other, as on SQLite: what was looked for is so until it is written.
                before = _mark(connection, "FOR UPDATE")
                yield PostgresSession(connection)
                made = _mark(connection) - before
                # At once for those that ask: or they would take it for another's.
                with self._marking:
                    connection.execute("COMMIT")
                    self._own_changes += made
            finally:
                _roll_back(connection)

    @contextmanager
    def _reading(self, operation: str) -> Iterator[PostgresSession]:
        """One snapshot for all that is read within."""
        with self._connections.borrowed(operation) as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            try:
                yield PostgresSession(connection)
            finally:
                _roll_back(connection)


def _mark(connection: Connection, lock: str = "") -> int:
    found = connection.execute(f"SELECT mark FROM changes {lock}", binary=True).fetchone()
    if found is None:
        raise CorruptRow("changes: the row with the mark was deleted")
    return int(found[0])


def _roll_back(connection: Connection) -> None:
    """Where a transaction is open; a connection that was lost has none."""
    if connection.pgconn.transaction_status in (
        TransactionStatus.INTRANS,
        TransactionStatus.INERROR,
    ):
        connection.execute("ROLLBACK")


def _copy(connection: Connection, batch: Sequence[Rows]) -> None:
    with connection.transaction():
        _COPY_TRACES.run(connection, [trace for trace, _, _ in batch])
        _COPY_EVENTS.run(connection, [events for _, events, _ in batch if events is not None])
        _COPY_PAYLOADS.run(connection, [bodies for _, _, bodies in batch if bodies is not None])


def _known(connection: Connection, ids: Sequence[str]) -> list[str]:
    found = PostgresSession(connection).execute(
        "SELECT id FROM traces WHERE id = ANY(?::uuid[])", (ids,)
    )
    return [id for (id,) in found.fetchall()]
