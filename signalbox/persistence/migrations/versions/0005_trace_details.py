"""A trace's events in one row, its bodies in one row, and an index of the traces that failed.

What is there is carried over as it is: an event's data was JSON, and becomes part of the array of
all events without being read, so that what somebody damaged is still found where it was.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

from signalbox.persistence.migrations import on_postgres

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UUID_TEXT = sa.Uuid(as_uuid=False).with_variant(sa.String(36), "sqlite")
TRACES_AT_ONCE = 200
"""In memory together, with their bodies."""
PLAIN = 0
"""`packing.py`: the value is not compressed. Retention soon takes what was carried over."""

OLD_EVENTS = sa.table(
    "trace_events",
    sa.column("trace_id", UUID_TEXT),
    *map(sa.column, ("seq", "at_us", "kind", "name", "data")),
)
OLD_PAYLOADS = sa.table(
    "trace_payloads",
    sa.column("trace_id", UUID_TEXT),
    *map(sa.column, ("seq", "kind", "attempt", "body", "truncated")),
)


def upgrade() -> None:
    # The new tables take the old ones' names, and those of their constraints: so what is carried
    # over waits in tables of other names.
    for old, column, joined in (
        (OLD_EVENTS, "events", joined_events),
        (OLD_PAYLOADS, "payloads", joined_payloads),
    ):
        waiting = op.create_table(
            f"{old.name}_0005",
            sa.Column("trace_id", UUID_TEXT, nullable=False),
            sa.Column("encoding", sa.BigInteger, nullable=False),
            sa.Column(column, sa.LargeBinary, nullable=False),
        )
        for rows in batches(old):
            op.bulk_insert(
                waiting,
                [
                    {"trace_id": trace_id, "encoding": PLAIN, column: joined([*own])}
                    for trace_id, own in groupby(rows, lambda row: row.trace_id)
                ],
            )
        op.drop_table(old.name)
        create_details(old.name, column)
        op.execute(f"INSERT INTO {old.name} SELECT * FROM {waiting.name}")
        op.drop_table(waiting.name)
    failed = sa.text("state = 'failed'")
    op.drop_index("ix_traces_state_id", "traces")
    op.create_index(
        "ix_traces_failed", "traces", ["id"], sqlite_where=failed, postgresql_where=failed
    )


def create_details(name: str, column: str) -> None:
    op.create_table(
        name,
        sa.Column("trace_id", UUID_TEXT, nullable=False),
        sa.Column("encoding", sa.BigInteger, nullable=False),
        sa.Column(column, sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("trace_id", name=f"pk_{name}"),
        *of_a_trace(name),
        sqlite_with_rowid=name != "trace_events",
        postgresql_partition_by=on_postgres.by_day("trace_id"),
    )
    on_postgres.create_default_partition(name)


def of_a_trace(name: str) -> list[sa.ForeignKeyConstraint]:
    """On SQLite alone, as before."""
    if on_postgres.is_postgres():
        return []
    key = f"fk_{name}_trace_id_traces"
    return [sa.ForeignKeyConstraint(["trace_id"], ["traces.id"], name=key, ondelete="CASCADE")]


def batches(old: sa.TableClause) -> Iterator[Sequence[sa.Row[Any]]]:
    """All rows of some traces at a time, in order."""
    connection = op.get_bind()
    last = ""
    key = old.c.trace_id
    while True:
        ids = sa.select(key).distinct().order_by(key).limit(TRACES_AT_ONCE)
        found = connection.scalars(ids.where(key > last) if last else ids).all()
        if not found:
            return
        own = sa.select(old).where(key >= found[0], key <= found[-1])
        yield connection.execute(own.order_by(key, old.c.seq)).all()
        last = found[-1]


def joined_events(rows: Sequence[Any]) -> bytes:
    return b"[%s]" % ",".join(map(event, rows)).encode()


def event(row: Any) -> str:
    """`[seq, at, kind, name, data]`."""
    seconds = row.at_us / 1_000_000 if isinstance(row.at_us, int) else row.at_us
    head = json.dumps([row.seq, seconds, row.kind, row.name], default=str)
    # What is no text was damaged: as null it is found when the trace is read.
    return f"{head[:-1]},{row.data if isinstance(row.data, str) else 'null'}]"


def joined_payloads(rows: Sequence[Any]) -> bytes:
    """`[[seq, kind, attempt, truncated, body], …]`."""
    return msgspec.msgpack.encode(
        [(row.seq, row.kind, row.attempt, row.truncated in (1, True), row.body) for row in rows]
    )
