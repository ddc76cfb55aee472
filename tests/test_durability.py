"""What the process may not lose, whatever ends it, and what it does while the database is away."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from signalbox.persistence.spool import ChargeSpool
from signalbox.persistence.sqlite import SqliteStore
from signalbox.simulator import Step
from tests.gateway import Provider, config_for, eventually, gateway, simulated_provider
from tests.load import load_on
from tests.records import charge
from tests.simulator_client import chat

DATABASE = "signalbox.db"
SPOOL = "charges.spool"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with simulated_provider() as provider:
        provider.plays()
        yield provider


@contextmanager
def opened(data_dir: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore.open(data_dir / DATABASE)) as store:
        yield store


def charged(data_dir: Path) -> list[str]:
    """The request of every row of the ledger."""
    with closing(sqlite3.connect(data_dir / DATABASE)) as database:
        return [request for (request,) in database.execute("SELECT request_id FROM ledger")]


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Another process's write lock on the database, longer than the gateway waits for it."""
    with closing(sqlite3.connect(data_dir / DATABASE, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield
        database.execute("ROLLBACK")


def listed(answer: dict[str, list[dict[str, str]]]) -> set[str]:
    return {trace["id"] for trace in answer["traces"]}


@pytest.mark.slow
def test_kill_in_the_middle_of_load_loses_no_charge_and_no_trace_that_was_shown(
    provider: Provider, tmp_path: Path
) -> None:
    config, data_dir = config_for(provider), tmp_path / "data"
    answered: list[str] = []
    shown: set[str] = set()
    for answers_before_the_kill in (1, 25, 80):
        with gateway(config, data_dir=data_dir) as running:
            with load_on(running) as load:
                load.reaches(answers_before_the_kill)
                shown |= listed(running.admin("/traces?limit=500").json())
                running.kill()
            answered += load.answered
        with opened(data_dir) as store:
            charges = [store.load_charge(request) for request in answered]
            assert all(found is not None and found.amount for found in charges)
            assert all(store.load_trace(trace) is not None for trace in shown)
        assert not (data_dir / SPOOL).exists()
        requests = charged(data_dir)
        assert len(requests) == len(set(requests))
    assert shown
    with gateway(config, data_dir=data_dir) as running:
        assert running.post(chat()).status_code == 200
        assert running.admin(f"/traces/{min(shown)}").status_code == 200


def test_a_stop_in_the_middle_of_load_saves_every_trace_and_does_not_wait_for_idle_connections(
    provider: Provider, tmp_path: Path
) -> None:
    config = config_for(provider, more="[server]\ndrain_seconds = 600\n")
    with gateway(config, data_dir=tmp_path) as running, load_on(running) as load:
        load.reaches(40)
        assert running.stop() == 0
    with opened(tmp_path) as store:
        for request in load.answered:
            trace = store.load_trace(request)
            assert trace is not None
            assert trace.state == "done"
            assert store.load_charge(request) is not None


def test_a_stop_lets_an_answer_under_way_come_to_its_end(
    provider: Provider, tmp_path: Path
) -> None:
    provider.plays(Step(text="one two three four", token_delay=0.2))
    with gateway(config_for(provider), data_dir=tmp_path) as running:
        answer = running.client().chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        said = [next(answer)]
        running.process.send_signal(signal.SIGTERM)
        said += answer
        assert "".join(c.choices[0].delta.content or "" for c in said) == "one two three four"
        assert running.process.wait(timeout=60) == 0
    provider.plays()


@pytest.mark.slow
def test_while_the_database_is_locked_charges_go_to_the_spool_or_the_client_gets_an_error(
    provider: Provider, tmp_path: Path
) -> None:
    spool, aside = tmp_path / SPOOL, tmp_path / "aside"
    with gateway(config_for(provider), data_dir=tmp_path) as running:
        with locked(tmp_path):
            answer = running.post(chat())
            assert answer.status_code == 200
            assert spool.read_bytes().count(b"\n") == 1
            assert charged(tmp_path) == []

            spool.rename(aside)
            spool.mkdir()
            refused = running.post(chat())
            assert refused.status_code == 500
            assert refused.json()["error"]["type"] == "server_error"
            assert "choices" not in refused.json()
            assert f"request {refused.headers['x-request-id']}" in running.output
            spool.rmdir()
            aside.rename(spool)
        request = answer.headers["x-request-id"]
        eventually(lambda: charged(tmp_path).count(request), lambda rows: rows == 1)
        eventually(spool.stat, lambda file: file.st_size == 0)
        assert running.trace(request)["state"] == "done"
        assert running.trace(refused.headers["x-request-id"])["state"] == "failed"


def test_a_start_brings_what_a_kill_left_in_the_spool_into_the_ledger_once(
    provider: Provider, tmp_path: Path
) -> None:
    replayed_before_the_kill, left = charge(), charge()
    with opened(tmp_path) as store:
        store.append_charges([replayed_before_the_kill])
    ChargeSpool(tmp_path / SPOOL).append([replayed_before_the_kill, left])
    with gateway(config_for(provider), data_dir=tmp_path):
        eventually((tmp_path / SPOOL).stat, lambda file: file.st_size == 0)
    requests = [replayed_before_the_kill.request_id, left.request_id]
    assert sorted(charged(tmp_path)) == sorted(requests)
