"""A process that is killed at any step of a settlement loses nothing and charges nothing twice.

A child records charges, says which of them it was told are durable, and is killed at one step. The
next process replays the spool and settles everything once more, as whoever was not answered would.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from signalbox.persistence.spool import ChargeSpool
from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.stores import Charge, ChargeFilter
from tests import records

ROOT = Path(__file__).parents[1]
CHARGES = 40
"""More than one statement takes, so that there is a transaction around them."""

CHILD = """
import os, signal, sys
from contextlib import contextmanager
from pathlib import Path

import trio

from signalbox.actors.ledger import Ledger
from signalbox.actors.supervisor import Supervisor
from signalbox.errors import StoreUnavailable
from signalbox.persistence import spool
from signalbox.persistence.spool import ChargeSpool
from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.threads import writer_threads
from tests.fakes import supervised
from tests.test_settlement_crashes import charges

folder, step = Path(sys.argv[1]), sys.argv[2]
append, transaction, sync = SqliteStore.append_charges, SqliteStore._transaction, spool._sync


def die():
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def append_charges(self, batch):
    if step == "before the charge":
        die()
    if "spool" in step and not (folder / "back").exists():
        raise StoreUnavailable("away")
    append(self, batch)
    if step in ("after the commit", "spool: replayed, not emptied"):
        die()


@contextmanager
def in_transaction(self, operation):
    with transaction(self, operation) as writer:
        yield writer
        if step == "in the transaction" and operation == "append charges":
            die()


def synced(file):
    if step == "spool: written, not synced":
        die()
    sync(file)
    if step == "spool: synced, not told":
        die()
    if step == "spool: emptied, not synced" and (folder / "back").exists():
        die()


SqliteStore.append_charges, SqliteStore._transaction = append_charges, in_transaction
spool._sync = synced


async def main():
    supervisor = Supervisor()
    store = SqliteStore.open(folder / "signalbox.db")
    ledger = Ledger(supervisor, store, ChargeSpool(folder / "charges.spool"), writer_threads())

    async def record(charge):
        await ledger.record(charge)
        print(charge.request_id)

    async with supervised(supervisor), trio.open_nursery() as nursery:
        for charge in charges():
            nursery.start_soon(record, charge)
    sys.stdout.flush()
    (folder / "back").touch()
    if step.startswith("spool"):
        ChargeSpool(folder / "charges.spool").replay(store)


trio.run(main)
"""

STEPS = (
    "before the charge",
    "in the transaction",
    "after the commit",
    "spool: written, not synced",
    "spool: synced, not told",
    "spool: replayed, not emptied",
    "spool: emptied, not synced",
)


def charges() -> list[Charge]:
    """The same in every process."""
    return [
        Charge(
            id=f"0190a0a0-0000-7000-8000-{number:012x}",
            request_id=f"0190a0a0-0001-7000-8000-{number:012x}",
            at=1_700_000_000.0 + number,
            key_id="ci",
            model="m",
            provider="p",
            route_model="m",
            usage=records.charge().usage,
            amount=records.charge(amount=number + 1).amount,
            upstream_cost=None,
            reason="answered",
            price_source="test",
        )
        for number in range(CHARGES)
    ]


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_loses_no_charge_and_charges_none_twice(
    step: str, tmp_path: Path
) -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), step],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    told = child.stdout.split()
    with closing(SqliteStore.open(tmp_path / "signalbox.db")) as store:
        ChargeSpool(tmp_path / "charges.spool").replay(store)
        kept = {charge.request_id for charge in store.list_charges(ChargeFilter(), limit=1000)}
        assert set(told) <= kept
        # Whoever was not answered settles again.
        store.append_charges(charges())
        assert ChargeSpool(tmp_path / "charges.spool").replay(store) == 0
        everything = store.list_charges(ChargeFilter(), limit=1000)
        assert sorted(c.request_id for c in everything) == [c.request_id for c in charges()]
        [usage] = store.usage(("key",))
        assert (usage.requests, usage.amount) == (CHARGES, sum(range(1, CHARGES + 1)))
        assert store.usage_differences(1_700_000_000.0 // 3600 * 3600) == []


def test_the_child_that_is_not_killed_tells_of_every_charge(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), "never"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert sorted(child.stdout.split()) == [charge.request_id for charge in charges()]
