"""A PostgreSQL server that is away, freezes, comes again, or takes nothing."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from signalbox.errors import StoreUnavailable
from signalbox.persistence import postgres_connections
from signalbox.persistence.open import open_store
from signalbox.persistence.postgres import PostgresStore
from signalbox.persistence.postgres_connections import MOST_CONNECTIONS, Connection
from signalbox.types import Secret
from tests import records
from tests.gateway import eventually
from tests.postgres import ROLE, TEMPLATE, Database, new_database, own_folder, prepare, values
from tests.servers import PrivateServer, postgres_in

pytestmark = pytest.mark.system


@pytest.fixture
def database(postgres_server: PrivateServer) -> Database:
    """At the newest revision, and this test's own."""
    return new_database(postgres_server, template=TEMPLATE)


@pytest.fixture
def store(database: Database) -> Iterator[PostgresStore]:
    with closing(database.open()) as store:
        yield store


def backends(database: Database) -> list[int]:
    """The server's processes for the gateway's connections."""
    return values(
        database.rows(
            f"SELECT pid FROM pg_stat_activity WHERE usename = '{ROLE}'"
            f" AND datname = '{database.name}'"
        )
    )


def test_a_connection_that_ended_while_it_was_idle_is_replaced_unseen(
    store: PostgresStore, database: Database
) -> None:
    charge = records.charge()
    store.append_charges([charge])
    for backend in backends(database):
        end_backend(database, backend)
    assert store.load_charge(charge.request_id) == charge
    assert len(backends(database)) == 1


def test_a_call_that_is_cut_off_says_so_and_the_next_one_works(
    store: PostgresStore, database: Database
) -> None:
    charge = records.charge()
    with database.by_hand() as other, ThreadPoolExecutor(1) as caller:
        other.execute("BEGIN; LOCK TABLE ledger")
        call = caller.submit(store.append_charges, [charge])
        end_backend(database, waiting_backend(database))
        with pytest.raises(StoreUnavailable, match=r"append charges.*terminating connection"):
            call.result(30)
        other.execute("ROLLBACK")
    assert store.load_charge(charge.request_id) is None
    store.append_charges([charge])


def test_a_server_that_freezes_is_given_up(
    store: PostgresStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.ping()
    [backend] = backends(database)
    monkeypatch.setattr(Connection, "patience", 0.2)
    os.kill(backend, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match=r"revision; PostgreSQL said: no answer within"):
            store.ping()
        # On a connection of its own, which is a process of its own.
        store.ping()
    finally:
        os.kill(backend, signal.SIGCONT)


def test_a_restart_is_survived_by_whoever_calls_and_whoever_waits() -> None:
    with own_folder() as folder:
        with postgres_in(folder) as server:
            prepare(server)
            database = new_database(server, template=TEMPLATE)
            store = database.open()
            mark = store.wait_for_change(store.change_mark(), 0.0)
        with pytest.raises(StoreUnavailable, match="could not append charges"):
            store.append_charges([records.charge()])
        with pytest.raises(StoreUnavailable, match="could not list traces"):
            store.list_traces(limit=1)
        with pytest.raises(StoreUnavailable):
            store.wait_for_change(mark, 0.0)
        with postgres_in(folder):
            charge = records.charge()
            store.append_charges([charge])
            assert store.load_charge(charge.request_id) == charge
            assert store.wait_for_change(mark, 0.0) == mark
            store.close()


def test_where_there_is_no_server_host_and_database_are_named_and_no_password() -> None:
    url = Secret("postgresql://app:hunter2@127.0.0.1:1/gate?connect_timeout=2")
    with pytest.raises(StoreUnavailable, match=r"gate at 127\.0\.0\.1:1.*refused") as caught:
        open_store(url, Path("unused"))
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("option", ["color=red", "sslmode=maybe", "connect_timeout=soon"])
def test_options_that_are_wrong_are_told_without_the_password(option: str) -> None:
    url = Secret(f"postgresql://app:hunter2@127.0.0.1:1/gate?{option}")
    with pytest.raises(StoreUnavailable, match=r"database gate at 127\.0\.0\.1:1") as caught:
        open_store(url, Path("unused"))
    assert "hunter2" not in str(caught.value)


def test_a_database_that_is_read_only_says_so_and_works_when_it_is_not(
    store: PostgresStore, database: Database
) -> None:
    charge = records.charge()
    read_only = f"ALTER DATABASE {database.name} SET default_transaction_read_only"
    with database.by_hand() as connection:
        connection.execute(f"{read_only} = on")
    end_backend(database, *backends(database))
    with pytest.raises(StoreUnavailable, match=r"append charges.*read-only transaction"):
        store.append_charges([charge])
    with pytest.raises(StoreUnavailable, match=r"save traces.*read-only transaction"):
        store.save_traces([records.trace()])
    with database.by_hand() as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"{read_only} = off")
    store.append_charges([charge])
    assert store.load_charge(charge.request_id) == charge


def test_a_full_disk_is_told_in_the_servers_words_and_without_the_row(
    store: PostgresStore, database: Database
) -> None:
    charge = replace(records.charge(), model="canary")
    with database.by_hand() as connection:
        connection.execute(
            """
            CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                RAISE EXCEPTION 'could not extend file: No space left on device'
                USING ERRCODE = 'disk_full', DETAIL = NEW.model;
            END $$;
            CREATE TRIGGER fill BEFORE INSERT ON ledger FOR EACH ROW EXECUTE FUNCTION fill()
            """
        )
    with pytest.raises(StoreUnavailable, match=r"append charges; .*No space left") as caught:
        store.append_charges([charge])
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    with database.by_hand() as connection:
        connection.execute("DROP TRIGGER fill ON ledger")
    store.append_charges([charge])


def test_more_callers_than_connections_take_turns(store: PostgresStore) -> None:
    charge = records.charge()
    store.append_charges([charge])
    with ThreadPoolExecutor(3 * MOST_CONNECTIONS) as callers:
        found = callers.map(lambda _: store.load_charge(charge.request_id), range(300))
        assert set(found) == {charge}


def test_a_call_that_finds_no_connection_in_time_says_so(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connections, "PATIENCE_SECONDS", 0.05)
    with ExitStack() as held:
        for _ in range(MOST_CONNECTIONS):
            held.enter_context(store._connections.borrowed("hold it"))
        with pytest.raises(StoreUnavailable, match="all connections are in use"):
            store.ping()
    store.ping()


def end_backend(database: Database, *backends: int) -> None:
    """Ends them and waits until they are gone."""
    with database.by_hand() as connection:
        for backend in backends:
            connection.execute("SELECT pg_terminate_backend(%s, 30000)", (backend,))


def waiting_backend(database: Database) -> int:
    """The process of the call that waits for a lock, once it does."""
    query = (
        f"SELECT pid FROM pg_stat_activity WHERE datname = '{database.name}'"
        " AND wait_event_type = 'Lock'"
    )
    [backend] = eventually(lambda: values(database.rows(query)), len)
    return int(backend)
