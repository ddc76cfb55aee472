"""A database of any earlier version, with data in it, reads the same after a start of this one."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest
import sqlalchemy
from msgspec.structs import replace

from signalbox.persistence.columns import CorruptRow
from signalbox.persistence.migrations import REVISIONS
from signalbox.persistence.migrations.upgrade import upgrade
from signalbox.persistence.record_tables import GATEWAY_KEYS
from signalbox.persistence.records import GatewayKeyRecord
from signalbox.persistence.rows import LEDGER_COLUMNS, STATE_COLUMNS, charge_row, state_row
from signalbox.persistence.stores import SpendingQuery, TraceEvent, TracePayload
from signalbox.persistence.trace_rows import (
    EVENT_COLUMNS,
    PAYLOAD_COLUMNS,
    TRACE_COLUMNS,
    event_row,
    payload_row,
    trace_row,
)
from tests import records
from tests.postgres import Database, new_database
from tests.servers import PrivateServer

pytestmark = pytest.mark.system

ODD = r'{"x":"\ud800 \u0000"}'
EVENTS = (
    TraceEvent(0, 0.0, "fact", '"', {"n": [1]}),
    TraceEvent(1, 0.0015, "event", "täglich", {"x": "\ud800 \0"}),
)
PAYLOADS = (
    TracePayload(0, "request", None, b"{}", truncated=False),
    TracePayload(1, "response", 2, b"\xff" * 70_000, truncated=True),
)
# Nobody was told of an account before 0006.
CHARGES = [replace(records.charge(amount=amount), account="") for amount in (7, None, 11)]
OLD_EVENTS: tuple[Mapping[str, Any], ...] = (
    {"seq": 1, "at_us": 1500, "kind": "event", "name": "täglich", "data": ODD},
    {"seq": 0, "at_us": 0, "kind": "fact", "name": '"', "data": '{"n":[1]}'},
)
"""A row each, before 0005."""
TRACES = [replace(records.trace(), events=EVENTS, payloads=PAYLOADS) for _ in range(250)]
BARE = records.trace()
KEY, STATE = records.key("ci"), records.state("state")


def at_revision(server: PrivateServer, revision: str) -> Database:
    database = new_database(server)
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(database.url),
        poolclass=sqlalchemy.NullPool,
    )
    with engine.begin() as connection:
        upgrade(connection, revision)
    return database


def insert(
    connection: psycopg.Connection[Any], table: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """What of the rows has a column."""
    found = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", (table,)
    )
    columns = [name for (name,) in found.fetchall() if name in rows[0]]
    places = ", ".join(["%s"] * len(columns))
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})",
            [[row[column] for column in columns] for row in rows],
        )


def fill(connection: psycopg.Connection[Any], revision: str) -> None:
    def named(columns: Sequence[str], row: Sequence[Any] | None) -> Mapping[str, Any]:
        assert row is not None
        return dict(zip(columns, row, strict=True))

    insert(connection, "ledger", [named(LEDGER_COLUMNS, charge_row(each)) for each in CHARGES])
    insert(connection, "gateway_keys", [named(GATEWAY_KEYS.columns, GATEWAY_KEYS.values(KEY))])
    traces = [*TRACES, replace(BARE, events=(), payloads=())]
    insert(connection, "traces", [named(TRACE_COLUMNS, trace_row(each)) for each in traces])
    if revision > "0001":
        insert(connection, "provider_state", [named(STATE_COLUMNS, state_row(STATE))])
    if revision >= "0005":
        events = [named(EVENT_COLUMNS, event_row(each)) for each in TRACES]
        payloads = [named(PAYLOAD_COLUMNS, payload_row(each)) for each in TRACES]
    else:
        events = [{"trace_id": trace.id, **event} for trace in TRACES for event in OLD_EVENTS]
        payloads = [
            {
                "trace_id": trace.id,
                "seq": each.seq,
                "kind": each.kind,
                "attempt": each.attempt,
                "body": each.body,
                "truncated": each.truncated,
            }
            for trace in TRACES
            for each in PAYLOADS
        ]
    insert(connection, "trace_events", events)
    insert(connection, "trace_payloads", payloads)


@pytest.mark.slow
@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_what_an_earlier_version_wrote_reads_the_same(
    postgres_server: PrivateServer, revision: str
) -> None:
    database = at_revision(postgres_server, revision)
    with database.by_hand() as connection:
        fill(connection, revision)
    with closing(database.open()) as store:
        assert [store.load_charge(each.request_id) for each in CHARGES] == CHARGES
        assert store.records(GatewayKeyRecord) == [KEY]
        assert store.load_state([STATE.digest]) == ([] if revision == "0001" else [STATE])
        assert [store.load_trace(each.id) for each in TRACES] == TRACES
        assert store.load_trace(BARE.id) == replace(BARE, events=(), payloads=())
        assert store.spent([SpendingQuery("global", None, 0.0)]) == [18]
        store.append_charges([records.charge(amount=2)])
        assert store.spent([SpendingQuery("global", None, 0.0)]) == [20]
        now = TRACES[0].started_at
        store.sweep_traces(now=now, older_than=0.0, limit=1)
        assert [store.load_trace(each.id) for each in TRACES[::50]] == TRACES[::50]
        assert store.delete_traces(older_than=2**31, limit=1000) == len(TRACES) + 1
    assert database.rows("SELECT count(*) FROM trace_payloads") == [(0,)]


def test_what_was_damaged_before_is_found_damaged(postgres_server: PrivateServer) -> None:
    database = at_revision(postgres_server, "0004")
    with database.by_hand() as connection:
        fill(connection, "0004")
        connection.execute(
            "UPDATE trace_events SET data = '{' WHERE trace_id = %s", (TRACES[8].id,)
        )
    with closing(database.open()) as store:
        assert store.load_trace(TRACES[7].id) == TRACES[7]
        with pytest.raises(CorruptRow, match=f"trace_events row {TRACES[8].id}"):
            store.load_trace(TRACES[8].id)


def test_gateways_that_upgrade_at_once_upgrade_once(postgres_server: PrivateServer) -> None:
    database = at_revision(postgres_server, "0004")
    with database.by_hand() as connection:
        fill(connection, "0004")
    ready = threading.Barrier(3)

    def start(_: int) -> None:
        ready.wait(30)
        with closing(database.open()) as store:
            assert store.load_trace(TRACES[0].id) == TRACES[0]

    with ThreadPoolExecutor(3) as gateways:
        list(gateways.map(start, range(3)))
