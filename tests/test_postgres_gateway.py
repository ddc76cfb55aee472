"""Gateways on a PostgreSQL server: several on one database, the commands beside them, a server that
is killed and comes again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from signalbox.cli import main
from signalbox.persistence.spool import ChargeSpool
from signalbox.persistence.stores import Charge
from tests.gateway import (
    NO_TLS,
    Gateway,
    Provider,
    clean_environ,
    config_for,
    eventually,
    gateway,
    simulated_provider,
    start_gateway,
)
from tests.load import load_on
from tests.postgres import TEMPLATE, Database, new_database, own_folder, prepare, values
from tests.records import charge
from tests.servers import PrivateServer, postgres_in
from tests.simulator_client import chat

pytestmark = [pytest.mark.system, pytest.mark.slow]

SPOOL = "charges.spool"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with simulated_provider() as provider:
        provider.plays()
        yield provider


@pytest.fixture
def database(postgres_server: PrivateServer) -> Database:
    return new_database(postgres_server, template=TEMPLATE)


def on(database: Database, provider: Provider) -> str:
    return config_for(provider, more=f'[storage]\ndatabase = "{database.url}"\n')


def charged(database: Database) -> list[str]:
    """The request of every row of the ledger."""
    return values(database.rows("SELECT request_id::text FROM ledger"))


def ready(running: Gateway) -> int:
    return httpx.get(f"{running.url}/readyz", verify=NO_TLS).status_code


def test_a_server_that_is_killed_under_load_and_comes_again_has_every_charge_once(
    provider: Provider, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(own_folder())
        first = stack.enter_context(postgres_in(folder))
        prepare(first)
        database = new_database(first, template=TEMPLATE)
        running = stack.enter_context(gateway(on(database, provider), data_dir=tmp_path))
        with load_on(running) as load:
            load.reaches(40)
            os.kill(first.process.pid, signal.SIGQUIT)  # Ends at once, as by a crash.
            first.process.wait(30)
            eventually((tmp_path / SPOOL).exists, bool)
            load.reaches(len(load.answered) + 40)
            assert ready(running) == 503
            stack.enter_context(postgres_in(folder))
            load.reaches(len(load.answered) + 40)
        eventually((tmp_path / SPOOL).stat, lambda file: file.st_size == 0)
        assert ready(running) == 200
        requests = charged(database)
        assert len(requests) == len(set(requests))
        assert set(load.answered) <= set(requests)
        [(counted,)] = database.rows("SELECT sum(requests)::int FROM usage_hourly")
        assert counted == len(requests)
        # The traces waited, too.
        eventually(
            lambda: set(values(database.rows("SELECT id::text FROM traces"))),
            lambda saved: set(load.answered) <= saved,
        )


def test_a_gateway_that_is_killed_under_load_has_lost_no_charge(
    provider: Provider, database: Database, tmp_path: Path
) -> None:
    with gateway(on(database, provider), data_dir=tmp_path) as running, load_on(running) as load:
        load.reaches(60)
        running.kill()
    requests = charged(database)
    assert len(requests) == len(set(requests))
    assert set(load.answered) <= set(requests)


def test_gateways_on_one_database_see_each_others_keys_and_traces(
    provider: Provider, database: Database, tmp_path: Path
) -> None:
    with (
        gateway(on(database, provider), data_dir=tmp_path / "one") as one,
        gateway(on(database, provider), data_dir=tmp_path / "two") as two,
    ):
        (tmp_path / "config.toml").write_text(on(database, provider))

        def cli(*arguments: str) -> Result:
            place = ["--config", str(tmp_path / "config.toml"), "--data-dir", str(tmp_path)]
            return CliRunner().invoke(main, [*arguments, *place], catch_exceptions=False)

        key = cli("keys", "create", "ci").stdout.strip()

        def statuses() -> list[int]:
            return [
                each.post(chat(), authorization=f"Bearer {key}").status_code for each in (one, two)
            ]

        eventually(statuses, lambda codes: codes == [200, 200])
        assert cli("keys", "revoke", "ci").exit_code == 0
        eventually(statuses, lambda codes: codes == [401, 401])
        assert "revoked" in cli("keys", "list").stdout

        request = one.post(chat()).headers["x-request-id"]
        assert two.trace(request)["state"] == "done"
        assert request in cli("trace", request).stdout
        assert "same" in cli("replay", request).stdout
        checked = cli("check").stdout
        assert f"PostgreSQL database {database.name} at {database.folder}" in checked
        with load_on(one) as load_one, load_on(two) as load_two:
            load_one.reaches(20)
            load_two.reaches(20)
    assert {*load_one.answered, *load_two.answered, request} <= set(charged(database))


def test_a_start_brings_what_was_spooled_into_the_ledger_once(
    provider: Provider, database: Database, tmp_path: Path
) -> None:
    replayed_before: Charge = charge()
    left: Charge = charge()
    with closing(database.open()) as store:
        store.append_charges([replayed_before])
    ChargeSpool(tmp_path / SPOOL).append([replayed_before, left])
    with gateway(on(database, provider), data_dir=tmp_path):
        eventually((tmp_path / SPOOL).stat, lambda file: file.st_size == 0)
    assert sorted(charged(database)) == sorted([replayed_before.request_id, left.request_id])


def test_a_start_without_the_server_says_which_and_not_the_password(
    provider: Provider, tmp_path: Path
) -> None:
    url = "postgresql://app:hunter2-canary@127.0.0.1:1/gate"
    config = config_for(provider, more=f'[storage]\ndatabase = "{url}"\n')
    (tmp_path / "signalbox.toml").write_text(config)
    with pytest.raises(AssertionError, match=r"gate at 127\.0\.0\.1:1: could not open"):
        start_gateway(tmp_path, tmp_path / "data", (), clean_environ())
    assert "hunter2" not in (tmp_path / "output.txt").read_text()
