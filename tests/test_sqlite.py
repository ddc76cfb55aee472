"""What is SQLite's own: the file, its schema, other processes, and crashes."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from msgspec.structs import replace

from signalbox.errors import StoreUnavailable
from signalbox.persistence import rows, trace_rows
from signalbox.persistence.columns import CorruptRow
from signalbox.persistence.migrations import HEAD, REVISIONS, newest
from signalbox.persistence.migrations.upgrade import alembic_config, upgrade
from signalbox.persistence.record_tables import AUDIT, MANAGED
from signalbox.persistence.records import GatewayKeyRecord
from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.sqlite_file import connect, connect_writer
from signalbox.persistence.stores import TraceEvent, TracePayload
from signalbox.persistence.tables import metadata
from signalbox.persistence.threads import READERS
from tests import records

ROOT = Path(__file__).parents[1]

APPENDS_FOR_EVER = """
import sys
from pathlib import Path
from signalbox.persistence.sqlite import SqliteStore
from tests import records

store = SqliteStore.open(Path(sys.argv[1]))
while True:
    batch = [records.charge() for _ in range(3)]
    store.append_charges(batch)
    print(*[charge.request_id for charge in batch], flush=True)
"""

OPENS_AND_ADDS_A_KEY = """
import sys
from msgspec.structs import replace
from pathlib import Path
from signalbox.ids import uuid7
from signalbox.persistence.record_store import Insert
from signalbox.persistence.sqlite import SqliteStore
from tests import records

print("ready", flush=True)
input()
store = SqliteStore.open(Path(sys.argv[1]))
name = sys.argv[2]
key = replace(records.key(name), id=uuid7(1, int.from_bytes(name.encode(), "big")))
store.change([Insert(key)], replace(records.audit(), id=key.id))
store.close()
"""

OPENS_WITHOUT_SQLALCHEMY = """
import sys
from pathlib import Path
from signalbox.persistence.sqlite import SqliteStore

SqliteStore.open(Path(sys.argv[1])).close()
print(sorted({"sqlalchemy", "alembic"} & set(sys.modules)))
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("template") / "empty.db"
    SqliteStore.open(path).close()
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, empty_database: bytes) -> Path:
    """An empty database at the newest revision."""
    path = tmp_path / "signalbox.db"
    path.write_bytes(empty_database)
    return path


@contextmanager
def by_hand(path: Path) -> Iterator[sqlite3.Connection]:
    """What somebody does to the file with the `sqlite3` command."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


# Crashes and other processes


def test_every_acknowledged_charge_survives_kill_9(path: Path) -> None:
    acknowledged: list[str] = []
    with start(APPENDS_FOR_EVER, path) as writer:
        assert writer.stdout is not None
        for _ in range(20):
            acknowledged += writer.stdout.readline().split()
        writer.send_signal(signal.SIGKILL)
        *whole_lines, _cut = writer.stdout.read().split("\n")
        acknowledged += " ".join(whole_lines).split()
    assert len(acknowledged) >= 60
    with closing(SqliteStore.open(path)) as store:
        lost = [request for request in acknowledged if store.load_charge(request) is None]
    assert lost == []


def test_processes_that_start_at_once_on_a_new_database_share_it(tmp_path: Path) -> None:
    path = tmp_path / "signalbox.db"
    processes = [start(OPENS_AND_ADDS_A_KEY, path, name) for name in ("one", "two")]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[1] for process in processes] == ["", ""]
    with closing(SqliteStore.open(path)) as store:
        assert {key.name for key in store.records(GatewayKeyRecord)} == {"one", "two"}


def test_a_new_file_that_another_process_has_locked_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "signalbox.db"
    with by_hand(path) as other:
        other.execute("BEGIN IMMEDIATE")

        def connect_and_watch(path: Path) -> sqlite3.Connection:
            connection = connect(path)
            connection.set_trace_callback(end_the_other_when_waited_for)
            return connection

        def end_the_other_when_waited_for(statement: str) -> None:
            if statement == "BEGIN IMMEDIATE":
                other.execute("ROLLBACK")

        monkeypatch.setattr("signalbox.persistence.sqlite_file.connect", connect_and_watch)
        with closing(connect_writer(path)) as writer:
            assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_write_waits_for_another_process_no_longer_than_its_timeout(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signalbox.persistence.sqlite_file.BUSY_TIMEOUT", 0.05)
    with closing(SqliteStore.open(path)) as store, by_hand(path) as other:
        other.execute("BEGIN IMMEDIATE")
        charge = records.charge()
        with pytest.raises(StoreUnavailable, match=r"signalbox\.db.*append charges.*locked"):
            store.append_charges([charge])
        assert store.load_charge(charge.request_id) is None
        other.execute("ROLLBACK")
        store.append_charges([charge])
        assert store.load_charge(charge.request_id) == charge


def test_a_full_disk_leaves_the_batch_out_and_the_store_usable(path: Path) -> None:
    with closing(SqliteStore.open(path)) as store:
        (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
        store._writer.execute(f"PRAGMA max_page_count = {pages}")
        charges = [records.charge() for _ in range(500)]
        with pytest.raises(StoreUnavailable, match=r"append charges.*full"):
            store.append_charges(charges)
        store._writer.execute(f"PRAGMA max_page_count = {pages * 100}")
        assert store.load_charge(charges[0].request_id) is None
        store.append_charges(charges)
        assert store.load_charge(charges[-1].request_id) == charges[-1]


# The schema


def test_the_migrations_build_what_the_tables_say(path: Path) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{path}", poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_the_rows_name_the_columns_of_the_tables() -> None:
    named = {
        **{table.name: table.columns for table in (*MANAGED.values(), AUDIT)},
        "traces": trace_rows.TRACE_COLUMNS,
        "trace_events": trace_rows.EVENT_COLUMNS,
        "trace_payloads": trace_rows.PAYLOAD_COLUMNS,
        "ledger": rows.LEDGER_COLUMNS,
        "usage_hourly": rows.HOURLY_COLUMNS,
        "provider_state": rows.STATE_COLUMNS,
    }
    assert named == {
        name: tuple(column.name for column in table.columns)
        for name, table in metadata.tables.items()
    }


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({}, "sqlite_autoindex_traces_1"),
        ({"state": "failed"}, "ix_traces_failed"),
        ({"state": "done"}, "sqlite_autoindex_traces_1"),
        ({"model": "m"}, "ix_traces_model_id"),
        ({"model": "m", "before": records.fresh_id()}, "ix_traces_model_id"),
    ],
)
def test_a_page_of_traces_comes_from_an_index_in_its_order(
    path: Path, wanted: dict[str, str], index: str
) -> None:
    asked: list[str] = []
    with closing(SqliteStore.open(path)) as store:
        for _ in range(READERS):
            reader = store._readers.get()
            reader.set_trace_callback(asked.append)
            store._readers.put(reader)
        store.list_traces(limit=5, **wanted)
        [query] = [statement for statement in asked if statement.startswith("SELECT")]
        plan = [detail for *_, detail in store._writer.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert len(plan) == 1, "nothing is sorted"
    assert index in plan[0]


def test_the_list_of_revisions_is_the_migrations() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    newest_first = [script.revision for script in scripts.walk_revisions()]
    assert newest_first == list(reversed(REVISIONS))
    assert scripts.get_current_head() == HEAD


@pytest.mark.parametrize("name", ["signalbox.db", "new.db"])
def test_a_start_does_without_alembic(path: Path, name: str) -> None:
    made = path.with_name(name)
    said, errors = start(OPENS_WITHOUT_SQLALCHEMY, made).communicate(timeout=60)
    assert (said, errors) == ("[]\n", "")


def test_a_new_database_is_what_the_migrations_make() -> None:
    written = newest.NEWEST.read_text(encoding="utf-8")
    assert written == newest.render(), "run .venv/bin/python tools/write_docs.py"
    assert written.endswith(f"INSERT INTO alembic_version VALUES ('{HEAD}');\n")


def test_a_newer_database_is_refused_and_left_alone(path: Path) -> None:
    with by_hand(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnavailable, match=f"revision 9999.*up to {HEAD}.*newer one"):
        SqliteStore.open(path)
    with by_hand(path) as connection:
        assert connection.execute("SELECT * FROM alembic_version").fetchall() == [("9999",)]


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "signalbox.db"
    with by_hand(path) as connection:
        # In the way of the last table.
        connection.execute("CREATE VIEW ledger AS SELECT 1")
    with pytest.raises(StoreUnavailable, match=r"left as it was: .*ledger"):
        SqliteStore.open(path)
    with by_hand(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("ledger",)]


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "contacts.db"
    with by_hand(path) as connection:
        connection.execute("CREATE TABLE contacts (name)")
    with pytest.raises(StoreUnavailable, match=r"something else.*contacts"):
        SqliteStore.open(path)


def test_the_details_of_an_older_database_read_the_same(tmp_path: Path) -> None:
    path = tmp_path / "signalbox.db"
    traces = [records.trace() for _ in range(450)]
    bare, damaged = traces[7], traces[8]
    engine = sqlalchemy.create_engine(f"sqlite:///{path}", poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        upgrade(connection, "0004")
    with by_hand(path) as connection:
        connection.execute("BEGIN")
        for trace in traces:
            row = trace_rows.trace_row(trace)
            columns = ", ".join(trace_rows.TRACE_COLUMNS)
            places = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO traces ({columns}) VALUES ({places})", row)
            if trace is not bare:
                connection.executemany(
                    "INSERT INTO trace_events VALUES (?, ?, ?, ?, ?, ?)",
                    [
                        (trace.id, 1, 1500, "event", "täglich", '{"x":"\\ud800 \\u0000"}'),
                        (trace.id, 0, 0, "fact", '"', '{"n":[1]}'),
                    ],
                )
                connection.executemany(
                    "INSERT INTO trace_payloads VALUES (?, ?, ?, ?, ?, ?)",
                    [
                        (trace.id, 1, "response", 2, b"\xff" * 70_000, True),
                        (trace.id, 0, "request", None, b"{}", False),
                    ],
                )
        connection.execute("UPDATE trace_events SET data = '{' WHERE trace_id = ?", (damaged.id,))
        connection.execute("COMMIT")
    events = (
        TraceEvent(0, 0.0, "fact", '"', {"n": [1]}),
        TraceEvent(1, 0.0015, "event", "täglich", {"x": "\ud800 \0"}),
    )
    payloads = (
        TracePayload(0, "request", None, b"{}", truncated=False),
        TracePayload(1, "response", 2, b"\xff" * 70_000, truncated=True),
    )
    with closing(SqliteStore.open(path)) as store:
        for trace in traces:
            if trace is damaged:
                with pytest.raises(CorruptRow, match=f"trace_events row {trace.id}"):
                    store.load_trace(trace.id)
            elif trace is bare:
                assert store.load_trace(trace.id) == replace(trace, events=(), payloads=())
            else:
                assert store.load_trace(trace.id) == replace(
                    trace, events=events, payloads=payloads
                )
        assert store.delete_traces(older_than=2**31, limit=1000) == len(traces)
    with by_hand(path) as connection:
        assert connection.execute("SELECT count(*) FROM trace_events").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM trace_payloads").fetchone() == (0,)


# The ledger is append-only, whoever writes


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET amount_nano_usd = 0",
        "DELETE FROM ledger",
        "UPDATE OR REPLACE ledger SET amount_nano_usd = 0",
        "INSERT OR REPLACE INTO ledger SELECT * FROM ledger",
        "REPLACE INTO ledger (id, request_id, at_us, key_id, model, provider, route_model, "
        "usage_estimated, reason, price_source) "
        "SELECT id, 'other', 0, '', '', '', '', 0, '', '' FROM ledger",
    ],
)
def test_no_statement_changes_a_charge(path: Path, statement: str) -> None:
    charge = records.charge()
    with closing(SqliteStore.open(path)) as store:
        store.append_charges([charge])
        with by_hand(path) as connection:
            # INSERT OR REPLACE of the same request is passed over without an error.
            with suppress(sqlite3.IntegrityError):
                connection.execute(statement)
            assert connection.execute("SELECT count(*) FROM ledger").fetchone() == (1,)
        assert store.load_charge(charge.request_id) == charge


@pytest.mark.parametrize("statement", ["UPDATE ledger SET model = ''", "DELETE FROM ledger"])
def test_a_refused_change_of_the_ledger_says_why(path: Path, statement: str) -> None:
    with closing(SqliteStore.open(path)) as store, by_hand(path) as connection:
        store.append_charges([records.charge()])
        with pytest.raises(sqlite3.IntegrityError, match="the ledger is append-only"):
            connection.execute(statement)


# The file


def test_the_file_and_its_folder_are_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "signalbox.db"
    with closing(SqliteStore.open(path)) as store:
        store.append_charges([records.charge()])
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert modes == dict.fromkeys(
            ["signalbox.db", "signalbox.db-shm", "signalbox.db-wal"], 0o600
        )
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_commit_waits_for_the_disk(path: Path) -> None:
    with closing(SqliteStore.open(path)) as store:
        pragmas = ("journal_mode", "synchronous", "foreign_keys")
        found = [store._writer.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
    assert found == ["wal", 2, 1]


def test_what_is_no_database_is_said(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("These are notes, and no database at all. " * 100)
    with pytest.raises(StoreUnavailable, match=r"notes\.txt.*open.*not a database"):
        SqliteStore.open(path)


def test_a_damaged_file_is_said_and_does_not_crash(path: Path) -> None:
    with closing(SqliteStore.open(path)) as store:
        store.save_traces([records.trace() for _ in range(200)])
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    with pytest.raises(StoreUnavailable, match=r"signalbox\.db.*malformed"):  # noqa: SIM117 - opening or reading may tell
        with closing(SqliteStore.open(path)) as store:
            store.list_traces(limit=200)


@pytest.mark.parametrize("name", ["folder", "file/signalbox.db"])
def test_a_path_that_cannot_be_a_file_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match=f"could not open the database .*{name}"):
        SqliteStore.open(tmp_path / name)


def test_a_file_replaced_while_it_is_open_is_noticed(path: Path) -> None:
    with closing(SqliteStore.open(path)) as store:
        store.ping()
        path.rename(path.with_suffix(".old"))
        with pytest.raises(StoreUnavailable, match="No such file"):
            store.ping()
        path.touch()
        with pytest.raises(StoreUnavailable, match="replaced"):
            store.ping()


# Rows changed by hand


@pytest.mark.parametrize(
    ("table", "column", "value", "expected"),
    [
        ("traces", "tags", "[1]", "a JSON array of strings"),
        ("traces", "labels", "{", "JSON"),
        ("traces", "stream", 7, "0 or 1"),
        ("traces", "started_at_us", "yesterday", "an integer"),
        ("traces", "cost_nano_usd", 0.5, "an integer"),
        ("traces", "model", b"\xff", "text"),
        ("trace_events", "events", "text", "bytes"),
        ("trace_events", "events", b"{}", "a JSON array of events"),
        ("trace_events", "events", b"[1", "JSON"),
        ("trace_events", "events", b'[[0, 0, "fact", "name", []]]', "a JSON object.*element 0"),
        ("trace_events", "events", b'[[0, 0, "fact", "name"]]', "a number, seconds.*element 0"),
        ("trace_events", "encoding", 9, "bytes of the encoding 9"),
        ("trace_events", "encoding", 1, "bytes of the encoding 1"),
        ("trace_payloads", "payloads", "text", "bytes"),
        ("trace_payloads", "payloads", b"\xc1", "MessagePack of payloads"),
        ("trace_payloads", "payloads", b"\x91\x01", "MessagePack of payloads"),
        ("trace_payloads", "encoding", 1, "bytes of the encoding 1"),
    ],
)
def test_a_bad_row_is_named(
    path: Path, table: str, column: str, value: object, expected: str
) -> None:
    trace = records.trace()
    with closing(SqliteStore.open(path)) as store:
        store.save_traces([trace])
        with by_hand(path) as connection:
            if column in ("events", "payloads"):
                connection.execute(f"UPDATE {table} SET encoding = 0")
            connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
        # The value is not what the encoding says.
        told = table.removeprefix("trace_") if column == "encoding" else column
        with pytest.raises(CorruptRow, match=f"{table} row {trace.id}.*'{told}'.*{expected}"):
            store.load_trace(trace.id)
