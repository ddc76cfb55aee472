"""What docs/operating.md says of PostgreSQL: its roles have their rights, its backups come back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from signalbox.config_postgres import read_postgres_url
from signalbox.persistence.postgres import PostgresStore
from signalbox.persistence.records import GatewayKeyRecord
from tests import records
from tests.postgres import TEMPLATE, Database, connect, new_database, own_folder
from tests.servers import PrivateServer, postgres_in, postgres_programs
from tests.snippets import snippets

pytestmark = pytest.mark.system

MAKES_THE_DATABASE, LETS_MAKE_TABLES, GUARDS_THE_LEDGER, LETS_READ = [
    snippet.code for snippet in snippets("docs/operating.md", frozenset({"sql"}))
]


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateServer]:
    """Of its own: the documentation names its roles."""
    with own_folder() as folder, postgres_in(folder) as server:
        yield server


def run(server: PrivateServer, database: str, script: str) -> None:
    with closing(connect(server.address, database)) as superuser:
        for statement in filter(str.strip, script.split(";")):
            superuser.execute(statement)


def refused(server: PrivateServer, role: str, statement: str) -> bool:
    with closing(connect(server.address, "signalbox", role)) as connection:
        try:
            connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege:
            return True
    return False


def opened(server: PrivateServer) -> closing[PostgresStore]:
    url = f"postgresql://signalbox@/signalbox?host={server.address}"
    return closing(PostgresStore.open(read_postgres_url(url)))


def test_the_roles_of_the_documentation_may_do_what_it_says(server: PrivateServer) -> None:
    run(server, "postgres", MAKES_THE_DATABASE)
    run(server, "signalbox", LETS_MAKE_TABLES)
    now = 1_700_000_000.0
    with opened(server) as store:
        store.append_charges([records.charge()])
    run(server, "signalbox", GUARDS_THE_LEDGER)
    run(server, "signalbox", LETS_READ)
    with opened(server) as store:
        charge, trace = records.charge(), records.trace()
        store.append_charges([charge])
        assert store.load_charge(charge.request_id) == charge
        store.save_traces([trace])
        store.sweep_traces(now=now, older_than=now, limit=9)
        records.insert(store, records.key("ci"))
    for statement in (
        "ALTER TABLE ledger DISABLE TRIGGER ALL",
        "DROP TABLE ledger",
        "UPDATE ledger SET amount_nano_usd = 0",
        "TRUNCATE ledger",
    ):
        assert refused(server, "signalbox", statement), statement
    assert not refused(server, "reporting", "SELECT * FROM ledger, usage_hourly")
    for statement in (
        "SELECT * FROM traces",
        "SELECT * FROM trace_payloads",
        "SELECT * FROM gateway_keys",
        "INSERT INTO ledger SELECT * FROM ledger",
        "CREATE TABLE mine ()",
    ):
        assert refused(server, "reporting", statement), statement


def test_a_backup_comes_back(postgres_server: PrivateServer, tmp_path: Path) -> None:
    source = new_database(postgres_server, template=TEMPLATE)
    charge, trace, key = records.charge(), records.trace(), records.key("ci")
    with closing(source.open()) as store:
        store.sweep_traces(now=trace.started_at, older_than=0.0, limit=1)
        store.append_charges([charge])
        store.save_traces([trace])
        records.insert(store, key)
    restored = new_database(postgres_server)
    program("pg_dump", source, "--format=custom", f"--file={tmp_path}/dump")
    program("pg_restore", restored, "--exit-on-error", f"{tmp_path}/dump")
    with closing(restored.open()) as store:
        assert store.load_charge(charge.request_id) == charge
        assert store.load_trace(trace.id) == trace
        assert store.records(GatewayKeyRecord) == [key]
        found = store.change_mark()
        with closing(restored.open()) as other:
            records.insert(other, records.key("later"))
        assert store.change_mark() != found
        store.append_charges([records.charge()])
    with restored.by_hand() as connection, pytest.raises(psycopg.Error, match="append-only"):
        connection.execute("DELETE FROM ledger")


def program(name: str, database: Database, *arguments: str) -> None:
    """One that comes with the server, on a database."""
    place = [f"--host={database.folder}", "--username=postgres", f"--dbname={database.name}"]
    subprocess.run([f"{postgres_programs()}/{name}", *place, *arguments], check=True)
