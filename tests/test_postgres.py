"""What is PostgreSQL's own: its schema, its indexes, other processes, rows changed by hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import psycopg
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from msgspec.structs import replace

from signalbox.errors import StoreUnavailable
from signalbox.persistence import postgres_schema
from signalbox.persistence.columns import CorruptRow
from signalbox.persistence.migrations import HEAD
from signalbox.persistence.open import open_store
from signalbox.persistence.postgres import PostgresStore
from signalbox.persistence.postgres_statements import PostgresSession, numbered
from signalbox.persistence.record_store import RecordExists
from signalbox.persistence.records import GatewayKeyRecord
from signalbox.persistence.stores import SpendingQuery
from signalbox.persistence.tables import metadata
from signalbox.types import Secret
from tests import records
from tests.postgres import ROLE, TEMPLATE, Database, new_database
from tests.servers import PrivateServer

pytestmark = pytest.mark.system

LAST = "ffffffff-ffff-7fff-bfff-ffffffffffff"
"""Later than every other id."""


@pytest.fixture
def database(postgres_server: PrivateServer) -> Database:
    """At the newest revision, and this test's own."""
    return new_database(postgres_server, template=TEMPLATE)


@pytest.fixture
def store(database: Database) -> Iterator[PostgresStore]:
    with closing(database.open()) as store:
        yield store


# The schema


def test_the_migrations_build_what_the_tables_say(database: Database) -> None:
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(database.url),
        poolclass=sqlalchemy.NullPool,
    )
    own = ("changes", "_default")

    def is_shared(name: str | None, kind: str, _: object) -> bool:
        return not (kind == "table" and name is not None and name.endswith(own))

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": is_shared})
        found = [str(each) for each in compare_metadata(context, metadata)]
    # Without foreign keys a day is dropped whole; what clients name may be too long for an index.
    meant = ("traces.id", "ix_traces_model_id", "uq_usage_hourly", "ix_usage_hourly_end_user")
    assert [each for each in found if not any(name in each for name in meant)] == []
    assert all(any(name in each for each in found) for name in meant)


def test_a_newer_database_is_refused_and_left_alone(database: Database) -> None:
    with database.by_hand() as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnavailable, match=f"revision 9999.*up to {HEAD}.*newer one"):
        database.open()
    assert database.rows("SELECT version_num FROM alembic_version") == [("9999",)]


def test_a_database_of_something_else_is_refused(postgres_server: PrivateServer) -> None:
    database = new_database(postgres_server)
    with database.by_hand() as connection:
        connection.execute("CREATE TABLE contacts (name text)")
    with pytest.raises(StoreUnavailable, match=r"something else.*public has the tables contacts"):
        database.open()


def test_tables_of_extensions_and_of_other_schemas_are_in_nobodys_way(
    postgres_server: PrivateServer,
) -> None:
    database = new_database(postgres_server)
    with database.by_hand() as connection:
        connection.execute("CREATE SCHEMA shop; CREATE TABLE shop.contacts (name text)")
        connection.execute("CREATE TABLE of_extension (); CREATE EXTENSION pg_trgm")
        connection.execute("ALTER EXTENSION pg_trgm ADD TABLE of_extension")
    with closing(database.open()) as store:
        store.ping()


def test_a_schema_of_its_own_is_named_by_the_url(postgres_server: PrivateServer) -> None:
    database = new_database(postgres_server)
    with database.by_hand() as connection:
        connection.execute(f"CREATE TABLE contacts (); CREATE SCHEMA gate AUTHORIZATION {ROLE}")
    url = Secret(f"{database.url}?options=-csearch_path%3Dgate")
    with closing(open_store(url, Path("unused"))) as store:
        records.insert(store, records.key("ci"))
    with closing(open_store(url, Path("unused"))) as store:
        assert [key.name for key in store.records(GatewayKeyRecord)] == ["ci"]
    assert database.rows("SELECT name FROM gate.gateway_keys") == [("ci",)]
    missing = Secret(f"{database.url}?options=-csearch_path%3Dnowhere")
    with pytest.raises(StoreUnavailable, match="none of the schemas of its search_path"):
        open_store(missing, Path("unused"))


def test_another_encoding_is_refused(postgres_server: PrivateServer) -> None:
    latin = new_database(postgres_server, more="ENCODING 'LATIN1'")
    with pytest.raises(StoreUnavailable, match=r"encoding LATIN1, expected UTF8"):
        latin.open()


def test_an_old_server_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_schema, "OLDEST_VERSION", 990_000)
    with pytest.raises(StoreUnavailable, match=r"runs PostgreSQL \d+, expected 99 or newer"):
        database.open()


def test_gateways_that_start_at_once_on_a_new_database_share_it(
    postgres_server: PrivateServer,
) -> None:
    database = new_database(postgres_server)
    ready = threading.Barrier(4)

    def start(name: str) -> None:
        ready.wait(30)
        with closing(database.open()) as store:
            records.insert(store, records.key(name))

    with ThreadPoolExecutor(4) as gateways:
        list(gateways.map(start, "abcd"))
    with closing(database.open()) as store:
        assert {key.name for key in store.records(GatewayKeyRecord)} == set("abcd")


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    postgres_server: PrivateServer,
) -> None:
    database = new_database(postgres_server)
    with database.by_hand() as connection:
        # In the way of the last table.
        connection.execute("CREATE VIEW ledger AS SELECT 1")
    with pytest.raises(StoreUnavailable, match=r"left as it was: .*ledger"):
        database.open()
    found = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    assert database.rows(found) == [("ledger",)]


def test_a_user_who_may_make_no_tables_is_told_so(postgres_server: PrivateServer) -> None:
    database = new_database(postgres_server)
    with database.by_hand() as connection:
        connection.execute("ALTER SCHEMA public OWNER TO postgres")
    with pytest.raises(StoreUnavailable, match="permission denied for schema public"):
        database.open()


# The ledger is append-only, whoever writes


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET amount_nano_usd = 0",
        "DELETE FROM ledger",
        "TRUNCATE ledger",
        "INSERT INTO ledger SELECT * FROM ledger"
        " ON CONFLICT (request_id) DO UPDATE SET amount_nano_usd = 0",
    ],
)
def test_no_statement_changes_a_charge(
    store: PostgresStore, database: Database, statement: str
) -> None:
    charge = records.charge()
    store.append_charges([charge])
    with database.by_hand() as connection, pytest.raises(psycopg.Error, match="append-only"):
        connection.execute(statement)
    assert store.load_charge(charge.request_id) == charge


def test_a_charge_under_a_taken_id_is_refused_and_not_passed_over(store: PostgresStore) -> None:
    charge = records.charge()
    store.append_charges([charge])
    with pytest.raises(StoreUnavailable, match="pk_ledger"):
        store.append_charges([replace(charge, request_id=records.fresh_id())])


@pytest.mark.parametrize("field", ["id", "request_id"])
def test_a_charge_without_a_proper_id_is_named(store: PostgresStore, field: str) -> None:
    with pytest.raises(ValueError, match="the charge of request"):
        store.append_charges([records.charge(), replace(records.charge(), **{field: "x"})])


def test_a_charge_may_have_an_id_that_was_made_of_something_else(store: PostgresStore) -> None:
    charge = replace(records.charge(), request_id=str(uuid5(NAMESPACE_OID, "imported")))
    store.append_charges([charge])
    assert store.load_charge(charge.request_id) == charge


def test_a_payment_without_a_proper_id_is_named(store: PostgresStore) -> None:
    entry = replace(records.charge(amount=1), kind="top_up", request_id="x")
    with pytest.raises(ValueError, match="request_id is 'x'"):
        store.credit(entry, records.audit())


# What clients may send


# More than an index of PostgreSQL takes, and not to be compressed.
WORDS = "".join(chr(0x4E00 + index * 7919 % 20_000) for index in range(5_000))


def test_charges_with_names_of_any_length_are_kept_and_summed(store: PostgresStore) -> None:
    tags = tuple(WORDS[start : start + 128] for start in range(0, 16 * 128, 128))
    charge = replace(
        records.charge(amount=5), model=WORDS, route_model=WORDS, end_user=WORDS, tags=tags
    )
    again = replace(charge, id=records.fresh_id(), request_id=records.fresh_id())
    store.append_charges([charge, again])
    assert store.load_charge(charge.request_id) == charge
    [spent] = store.spent([SpendingQuery("user", WORDS, 0.0)])
    assert spent == 10


def test_names_of_any_length_are_kept_and_found(store: PostgresStore) -> None:
    words = WORDS
    long, other = records.trace(model=words), records.trace(model=words[:4_999])
    store.save_traces([long, other])
    assert store.load_trace(long.id) == long
    assert [trace.id for trace in store.list_traces(limit=5, model=words)] == [long.id]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, "traces_default_pkey"),
        ({"state": "failed"}, "traces_default_id_idx"),
        ({"state": "done"}, "traces_default_pkey"),
        ({"model": "m"}, "traces_default_substr_id_idx"),
        ({"model": "m", "before": LAST}, "traces_default_substr_id_idx"),
    ],
)
def test_a_page_of_traces_comes_from_an_index_in_its_order(
    store: PostgresStore,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    wanted: dict[str, str],
    index: str,
) -> None:
    asked = []
    execute = PostgresSession.execute

    def listen(session: PostgresSession, statement: str, values: Sequence[Any] = ()) -> Any:
        asked.append((numbered(statement), values))
        return execute(session, statement, values)

    store.save_traces([records.trace(model=f"m{number}") for number in range(300)])
    monkeypatch.setattr(PostgresSession, "execute", listen)
    store.list_traces(limit=5, **wanted)
    [(statement, values)] = asked
    with database.by_hand() as connection:
        connection.execute("ANALYZE traces; SET enable_seqscan = off")
        plan = psycopg.RawCursor(connection).execute(f"EXPLAIN {statement}", values).fetchall()
    told = " ".join(line for (line,) in plan)
    assert f" using {index} " in told
    assert "Sort" not in told


# Other processes


def test_a_change_by_hand_is_told_to_those_that_wait(
    store: PostgresStore, database: Database
) -> None:
    records.insert(store, records.key("ci"))
    mark = store.change_mark()
    with ThreadPoolExecutor(1) as waiter:
        waiting = waiter.submit(until_another_mark, store, mark)
        with database.by_hand() as connection:
            connection.execute("UPDATE gateway_keys SET revoked_at_us = 1")
        assert waiting.result(30) != mark


def test_a_change_that_was_not_written_moves_no_mark(
    store: PostgresStore, database: Database
) -> None:
    with closing(database.open()) as other:
        mark = other.change_mark()
        records.insert(store, records.key("ci"))
        moved = other.change_mark()
        assert moved != mark
        with pytest.raises(RecordExists):
            records.insert(store, records.key("ci"))
        assert other.change_mark() == moved


def test_changes_at_once_wait_for_each_other(database: Database) -> None:
    ready = threading.Barrier(4)

    def insert(store: PostgresStore) -> bool:
        ready.wait(30)
        try:
            records.insert(store, records.key("one name"))
        except RecordExists:
            return False
        return True

    stores = [database.open() for _ in range(4)]
    with ThreadPoolExecutor(4) as gateways:
        assert sum(gateways.map(insert, stores)) == 1
    for store in stores:
        store.close()


def test_two_gateways_that_save_the_same_state_do_not_wait_in_a_ring(database: Database) -> None:
    states = [records.state(str(number)) for number in range(200)]
    ready = threading.Barrier(2)

    def save(order: int) -> None:
        with closing(database.open()) as store:
            ready.wait(30)
            for _ in range(10):
                store.save_state(states[::order])

    with ThreadPoolExecutor(2) as gateways:
        list(gateways.map(save, (1, -1)))


def test_what_another_holds_is_waited_for_no_longer_than_the_timeout(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = Secret(f"{database.url}?options=-clock_timeout%3D50ms")
    with closing(open_store(url, Path("unused"))) as store, database.by_hand() as other:
        other.execute("BEGIN; LOCK TABLE ledger")
        charge = records.charge()
        with pytest.raises(StoreUnavailable, match=r"could not append charges.*lock timeout"):
            store.append_charges([charge])
        other.execute("ROLLBACK")
        store.append_charges([charge])
        assert store.load_charge(charge.request_id) == charge


def test_a_long_statement_is_ended_by_the_server(database: Database) -> None:
    url = Secret(f"{database.url}?options=-cstatement_timeout%3D50ms")
    with closing(open_store(url, Path("unused"))) as store, database.by_hand() as other:
        other.execute("BEGIN; LOCK TABLE traces")
        with pytest.raises(StoreUnavailable, match=r"could not list traces.*statement timeout"):
            store.list_traces(limit=1)
        assert store.load_charge(records.fresh_id()) is None


def test_every_connection_has_its_bounds(store: PostgresStore, database: Database) -> None:
    with store._connections.borrowed("look") as connection:
        found = {
            name: connection.execute(f"SHOW {name}").fetchone()
            for name in ("statement_timeout", "lock_timeout", "synchronous_commit")
        }
    assert found == {
        "statement_timeout": ("5s",),
        "lock_timeout": ("3s",),
        "synchronous_commit": ("on",),
    }


# Rows changed by hand


@pytest.mark.parametrize(
    ("table", "column", "value", "expected"),
    [
        ("traces", "tags", "[1]", "a JSON array of strings"),
        ("traces", "labels", "{", "JSON"),
        ("trace_events", "events", b"{}", "a JSON array of events"),
        ("trace_events", "events", b"[1", "JSON"),
        ("trace_events", "events", b'[[0, 0, "fact", "name", []]]', "a JSON object.*element 0"),
        ("trace_events", "encoding", 9, "bytes of the encoding 9"),
        ("trace_payloads", "payloads", b"\xc1", "MessagePack of payloads"),
        ("trace_payloads", "encoding", 1, "bytes of the encoding 1"),
    ],
)
def test_a_bad_row_is_named(
    store: PostgresStore, database: Database, table: str, column: str, value: object, expected: str
) -> None:
    trace = records.trace()
    store.save_traces([trace])
    with database.by_hand() as connection:
        if column in ("events", "payloads"):
            connection.execute(f"UPDATE {table} SET encoding = 0")
        connection.execute(f"UPDATE {table} SET {column} = %s", (value,))
    told = table.removeprefix("trace_") if column == "encoding" else column
    with pytest.raises(CorruptRow, match=f"{table} row {trace.id}.*'{told}'.*{expected}"):
        store.load_trace(trace.id)


def test_a_column_of_another_type_is_named(store: PostgresStore, database: Database) -> None:
    charge = records.charge()
    store.append_charges([charge])
    with database.by_hand() as connection:
        connection.execute("ALTER TABLE ledger ALTER amount_nano_usd TYPE numeric USING 0.5")
    with pytest.raises(CorruptRow, match=f"ledger row {charge.id}.*'amount_nano_usd'.*an integer"):
        store.load_charge(charge.request_id)


def test_a_mark_that_was_deleted_is_named(store: PostgresStore, database: Database) -> None:
    with database.by_hand() as connection:
        connection.execute("DELETE FROM changes")
    with pytest.raises(CorruptRow, match="changes: the row"):
        store.change_mark()


def until_another_mark(store: PostgresStore, mark: int) -> int:
    while (found := store.wait_for_change(mark, 3600.0)) == mark:
        pass
    return found
