"""A day's traces lie in partitions of their own, which retention drops whole.

A partition is a day in UTC, by the time in the traces' ids: `traces_20260714`, and the same of
events and payloads. Days are made ahead; what comes for a day that has none lies in the default
partition, and is moved out of it when its day is made. Tables are always locked in one order, that
of those who write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

from signalbox.ids import first_id
from signalbox.persistence.postgres_connections import Connection
from signalbox.persistence.postgres_statements import PostgresSession

AHEAD = timedelta(days=3)
"""So long a gateway that runs may be unable to make a day before the default partition grows."""
MOST_DAYS_DROPPED = 10
"""At once: each takes some milliseconds, and others wait for the thread."""
MAINTENANCE_SECONDS = 60
"""Many times what moving the traces of some hours takes."""

_TABLES = {"traces": "id", "trace_events": "trace_id", "trace_payloads": "trace_id"}
"""With the column that says the day."""
_DAY = re.compile(r"_(\d{8})")
_LOCK = 0x646179
"""Of the database's advisory locks: `day`."""
_PARTITIONS = """
    SELECT c.relname, GREATEST(c.reltuples, 0)::int8
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = $1::regclass
"""
_STRAYS = """
    DELETE FROM traces_default WHERE id IN (
        SELECT id FROM traces_default WHERE started_at_us < ? ORDER BY started_at_us LIMIT ?
    )
    RETURNING id
"""


def make_days(connection: Connection, now: float) -> None:
    """Those of today and of the next days that are missing."""
    today = datetime.fromtimestamp(now, UTC).date()
    wanted = [today + timedelta(days=number) for number in range(AHEAD.days + 1)]
    for day in _missing(connection, wanted):
        with _maintenance(connection):
            # Another gateway may have made it meanwhile.
            if _missing(connection, [day]):
                for table, key in _TABLES.items():
                    _make(connection, table, key, day)


def drop_days(connection: Connection, older_than: float) -> tuple[int, bool]:
    """Those that ended by then: about how many traces it was, and whether more are left."""
    partitions = _days(connection, "traces")
    old = sorted(day for day in partitions if _midnight(day + timedelta(days=1)) <= older_than)
    dropped = 0
    for day in old[:MOST_DAYS_DROPPED]:
        tables = ", ".join(_name(table, day) for table in _TABLES)
        with _maintenance(connection):
            connection.execute(f"DROP TABLE IF EXISTS {tables}")
        dropped += partitions[day]
    return dropped, len(old) > MOST_DAYS_DROPPED


def drop_payloads(connection: Connection, older_than: float) -> bool:
    """Those of days that ended by then; whether more are left."""
    partitions = _days(connection, "trace_payloads")
    old = sorted(day for day in partitions if _midnight(day + timedelta(days=1)) <= older_than)
    for day in old[:MOST_DAYS_DROPPED]:
        with _maintenance(connection):
            connection.execute(f"DROP TABLE IF EXISTS {_name('trace_payloads', day)}")
    return len(old) > MOST_DAYS_DROPPED


def delete_strays(session: PostgresSession, older_than_us: int, limit: int) -> int:
    """Traces of the default partition that started before, the oldest first; how many."""
    gone = [id for (id,) in session.execute(_STRAYS, (older_than_us, limit)).fetchall()]
    for table in ("trace_events_default", "trace_payloads_default"):
        session.execute(f"DELETE FROM {table} WHERE trace_id = ANY(?::uuid[])", (gone,))
    return len(gone)


@contextmanager
def _maintenance(connection: Connection) -> Iterator[None]:
    """A transaction that no other gateway's maintenance runs beside."""
    with connection.transaction():
        connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
        # Whoever wants a table waits behind whoever waits for it alone.
        connection.execute("SET LOCAL lock_timeout = '1s'")
        connection.execute(f"SET LOCAL statement_timeout = '{MAINTENANCE_SECONDS}s'")
        yield


def _make(connection: Connection, table: str, key: str, day: date) -> None:
    name, default = _name(table, day), f"{table}_default"
    first, end = (first_id(_midnight(each)) for each in (day, day + timedelta(days=1)))
    connection.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
    connection.execute(f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE")
    connection.execute(
        f"WITH moved AS (DELETE FROM {default} WHERE {key} >= $1 AND {key} < $2 RETURNING *)"
        f" INSERT INTO {name} SELECT * FROM moved",
        (first, end),
    )
    # Not `CREATE TABLE … PARTITION OF`, which locks the whole table.
    connection.execute(
        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{first}') TO ('{end}')"
    )


def _missing(connection: Connection, days: list[date]) -> list[date]:
    there = _days(connection, "traces")
    return [day for day in days if day not in there]


def _days(connection: Connection, table: str) -> dict[date, int]:
    """The days that have a partition, and about how many rows it has."""
    found = {}
    for name, rows in connection.execute(_PARTITIONS, (table,), binary=True).fetchall():
        day = _DAY.fullmatch(name.removeprefix(table))
        if day is not None:
            found[datetime.strptime(day[1], "%Y%m%d").replace(tzinfo=UTC).date()] = rows
    return found


def _name(table: str, day: date) -> str:
    return f"{table}_{day:%Y%m%d}"


def _midnight(day: date) -> float:
    """At the beginning of the day, in Unix seconds."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
