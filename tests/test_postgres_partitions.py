"""Days of traces: made ahead, filled, and dropped whole."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from signalbox.errors import StoreUnavailable
from signalbox.persistence.postgres import PostgresStore
from signalbox.persistence.postgres_partitions import MOST_DAYS_DROPPED
from signalbox.persistence.stores import Swept, TraceRecord
from tests import records
from tests.postgres import TEMPLATE, Database, new_database, values
from tests.servers import PrivateServer

pytestmark = pytest.mark.system

DAY = 86_400.0
NOON = datetime(2026, 2, 27, 12, tzinfo=UTC).timestamp()
NEVER = 0.0
TABLES = ("traces", "trace_events", "trace_payloads")


@pytest.fixture
def database(postgres_server: PrivateServer) -> Database:
    return new_database(postgres_server, template=TEMPLATE)


@pytest.fixture
def store(database: Database) -> Iterator[PostgresStore]:
    with closing(database.open()) as store:
        yield store


def trace(at: float) -> TraceRecord:
    return records.trace(records.fresh_id(round(at * 1000)), started_at=at)


def sweep(store: PostgresStore, now: float, older_than: float = NEVER, limit: int = 100) -> Swept:
    return store.sweep_traces(now=now, older_than=older_than, limit=limit)


def partitions(database: Database, table: str = "traces") -> list[str]:
    return values(
        database.rows(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            f" WHERE i.inhparent = '{table}'::regclass ORDER BY 1"
        )
    )


def place(database: Database, trace: TraceRecord) -> set[str]:
    """The partitions that hold the trace, its events, its payloads."""
    found = set()
    for table, key in zip(TABLES, ("id", "trace_id", "trace_id"), strict=True):
        query = f"SELECT tableoid::regclass::text FROM {table} WHERE {key} = '{trace.id}'"
        found |= set(values(database.rows(query)))
    return found


def of_day(day: str) -> set[str]:
    return {f"{table}_{day}" for table in TABLES}


def test_days_are_made_ahead_once(store: PostgresStore, database: Database) -> None:
    for now in (NOON, NOON, NOON + DAY):
        sweep(store, now)
    for table in TABLES:
        days = ["20260227", "20260228", "20260301", "20260302", "20260303"]
        assert partitions(database, table) == [
            *(f"{table}_{day}" for day in days),
            f"{table}_default",
        ]


def test_a_trace_lies_in_its_ids_day(store: PostgresStore, database: Database) -> None:
    sweep(store, NOON)
    midnight = NOON + DAY / 2
    last, first = trace(midnight - 0.001), trace(midnight)
    before, after = trace(NOON - DAY), trace(NOON + 4 * DAY)
    traces = [before, last, first, after]
    store.save_traces(traces)
    assert [place(database, each) for each in traces] == [
        of_day("default"),
        of_day("20260227"),
        of_day("20260228"),
        of_day("default"),
    ]
    listed = store.list_traces(limit=10)
    assert [each.id for each in listed] == [each.id for each in reversed(traces)]
    page = store.list_traces(limit=2, before=after.id)
    assert [each.id for each in page] == [first.id, last.id]


def test_what_came_before_its_day_was_made_is_moved_into_it(
    store: PostgresStore, database: Database
) -> None:
    early = [trace(NOON + hours * 3600) for hours in range(0, 48, 6)]
    stray = trace(NOON + 9 * DAY)
    store.save_traces([*early, stray])
    assert {name for each in early for name in place(database, each)} == of_day("default")
    sweep(store, NOON)
    assert place(database, early[0]) == of_day("20260227")
    assert place(database, early[-1]) == of_day("20260301")
    assert place(database, stray) == of_day("default")
    assert [store.load_trace(each.id) for each in (*early, stray)] == [*early, stray]
    store.save_traces(early)
    assert len(store.list_traces(limit=100)) == len(early) + 1


def test_retention_drops_days_that_are_over_and_no_others(
    store: PostgresStore, database: Database
) -> None:
    sweep(store, NOON)
    traces = [trace(NOON + days * DAY) for days in range(4)]
    store.save_traces(traces)
    midnight = NOON + DAY / 2
    sweep(store, NOON + 3 * DAY, older_than=midnight - 1)
    assert store.load_trace(traces[0].id) == traces[0]
    with database.by_hand() as connection:
        connection.execute("ANALYZE traces")
    assert sweep(store, NOON + 3 * DAY, older_than=midnight).deleted == 1
    assert [store.load_trace(each.id) is None for each in traces] == [True, False, False, False]
    for table in TABLES:
        assert f"{table}_20260227" not in partitions(database, table)
        assert f"{table}_20260228" in partitions(database, table)


def test_strays_past_their_time_are_deleted_row_by_row(
    store: PostgresStore, database: Database
) -> None:
    old = [trace(NOON - days * DAY) for days in range(20, 25)]
    store.save_traces(old)
    steps = [sweep(store, NOON, older_than=NOON - 7 * DAY, limit=2) for _ in range(3)]
    assert steps == [Swept(2, more=True), Swept(2, more=True), Swept(1, more=False)]
    assert database.rows("SELECT count(*) FROM trace_payloads") == [(0,)]


def test_a_shorter_retention_is_reached_in_bounded_steps(
    store: PostgresStore, database: Database
) -> None:
    for days in range(0, 3 * MOST_DAYS_DROPPED, 4):
        sweep(store, NOON + days * DAY)
    there = len(partitions(database)) - 1
    older_than = NOON + 2 * MOST_DAYS_DROPPED * DAY - DAY / 2
    more = [sweep(store, NOON + 10 * DAY, older_than).more for _ in range(2)]
    assert more == [True, False]
    assert len(partitions(database)) - 1 == there - 2 * MOST_DAYS_DROPPED


def test_gateways_that_make_the_same_day_do_not_disturb_each_other(database: Database) -> None:
    stores = [database.open() for _ in range(4)]
    ready = threading.Barrier(len(stores))

    def make(store: PostgresStore) -> None:
        ready.wait(30)
        sweep(store, NOON)

    with ThreadPoolExecutor(len(stores)) as gateways:
        list(gateways.map(make, stores))
    for store in stores:
        store.close()
    assert len(partitions(database)) == 5


def test_nothing_is_lost_that_is_saved_while_days_are_made(
    database: Database,
) -> None:
    written: list[TraceRecord] = []
    done = threading.Event()

    def write() -> None:
        with closing(database.open()) as store:
            number = 0
            while not done.is_set() or number < 100:
                batch = [trace(NOON + (number % 40) * DAY / 4 + part) for part in range(5)]
                number += 1
                while True:
                    try:
                        store.save_traces(batch)
                        break
                    except StoreUnavailable as error:
                        # A day was made while the rows were on their way to the default partition.
                        assert "partition constraint" in str(error)  # noqa: PT017 - and nothing else
                written.extend(batch)

    with ThreadPoolExecutor(1) as gateway:
        writing = gateway.submit(write)
        with closing(database.open()) as other:
            try:
                for days in range(10):
                    sweep(other, NOON + days * DAY, older_than=NOON - DAY)
            finally:
                done.set()
            writing.result(60)
            assert all(other.load_trace(each.id) == each for each in written)


def test_a_day_is_indexed_as_the_whole(store: PostgresStore, database: Database) -> None:
    sweep(store, NOON)
    columns = "SELECT indkey::text, indpred IS NULL, indisunique FROM pg_index WHERE indrelid ="
    for table in TABLES:
        whole = database.rows(f"{columns} '{table}'::regclass ORDER BY 1, 2, 3")
        assert database.rows(f"{columns} '{table}_20260228'::regclass ORDER BY 1, 2, 3") == whole
        assert whole


def test_payloads_of_days_are_dropped_before_their_traces(
    store: PostgresStore, database: Database
) -> None:
    sweep(store, NOON)
    traces = [trace(NOON + days * DAY) for days in range(2)]
    store.save_traces(traces)
    midnight = NOON + DAY / 2
    for older_than in (NEVER, midnight):
        store.sweep_traces(now=NOON, older_than=older_than, limit=9, payloads_older_than=midnight)
        bare = None if older_than else replace(traces[0], payloads=())
        assert [store.load_trace(each.id) for each in traces] == [bare, traces[1]]
        assert "trace_payloads_20260227" not in partitions(database, "trace_payloads")
        assert ("traces_20260227" in partitions(database)) is not bool(older_than)


def test_a_day_that_a_long_query_holds_is_dropped_another_time(
    store: PostgresStore, database: Database
) -> None:
    sweep(store, NOON)
    with database.by_hand() as connection:
        connection.execute("BEGIN; SELECT count(*) FROM traces")
        with pytest.raises(StoreUnavailable, match=r"make room for traces.*lock timeout"):
            sweep(store, NOON, older_than=NOON + DAY)
        connection.execute("ROLLBACK")
    sweep(store, NOON, older_than=NOON + DAY)
    assert "traces_20260227" not in partitions(database)


def test_deleting_by_hand_reaches_every_partition(store: PostgresStore, database: Database) -> None:
    sweep(store, NOON)
    traces = [trace(NOON + days * DAY) for days in (-1, 0, 1)]
    store.save_traces(traces)
    assert store.delete_traces(older_than=NOON + 0.5, limit=10) == 2
    assert [store.load_trace(each.id) is None for each in traces] == [True, True, False]
    bare = replace(traces[0], events=(), payloads=())
    store.save_traces([bare])
    assert store.load_trace(bare.id) == bare
