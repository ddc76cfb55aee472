from __future__ import annotations

from pathlib import Path

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors.ledger import ChargeLost, Ledger, RecordedIn
from signalbox.actors.ledger_sums import LedgerSums
from signalbox.actors.supervisor import Supervisor
from signalbox.errors import ActorCrashed, StoreUnavailable
from signalbox.machines.budget import Budget, BudgetScope, Period
from signalbox.persistence.money_stores import SpentQuery
from signalbox.persistence.spool import ChargeSpool
from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.stores import Charge
from signalbox.persistence.threads import writer_threads
from signalbox.types import NanoUSD, Usage
from tests.fakes import InlineWorkers, MemoryStore, database_away, no_fault, supervised


def charge(request_id: str, amount: int = 1) -> Charge:
    return Charge(
        id=f"charge of {request_id}",
        request_id=request_id,
        at=1.0,
        key_id="key",
        model="model",
        provider="provider",
        route_model="route model",
        usage=Usage(prompt=1, completion=2),
        amount=NanoUSD(amount),
        upstream_cost=NanoUSD(amount),
        reason="answered",
        price_source="config",
    )


class Bench:
    """A ledger over a store that can be broken and a real spool."""

    def __init__(
        self, folder: Path, *, call_seconds: float = 0.0, spool_bytes: int = 1_000_000
    ) -> None:
        self.supervisor = Supervisor()
        self.store = MemoryStore()
        self.spool = ChargeSpool(folder / "ledger.spool", spool_bytes)
        self.ledger = Ledger(self.supervisor, self.store, self.spool, InlineWorkers(call_seconds))

    def batches(self) -> list[int]:
        """How many charges each call on the database had."""
        return [rows for _, rows in self.store.calls]


def spooled(folder: Path) -> bytes:
    return (folder / "ledger.spool").read_bytes()


async def test_one_call_serves_all_that_wait(autojump_clock: MockClock, tmp_path: Path) -> None:
    bench = Bench(tmp_path, call_seconds=1)
    places: list[RecordedIn] = []

    async def record(request_id: str) -> None:
        places.append(await bench.ledger.record(charge(request_id)))

    async with supervised(bench.supervisor), trio.open_nursery() as nursery:
        nursery.start_soon(record, "first")
        await trio.sleep(1.5)
        for number in range(5):
            nursery.start_soon(record, str(number))
    assert bench.batches() == [1, 5]
    assert places == [RecordedIn.DATABASE] * 6
    assert len(bench.store.charges) == 6


async def test_charges_are_spooled_while_the_database_is_away_and_replayed_when_it_is_back(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    bench = Bench(tmp_path)
    bench.store.fault = database_away
    async with supervised(bench.supervisor):
        for number in range(3):
            assert await bench.ledger.record(charge(str(number))) is RecordedIn.SPOOL
        assert bench.batches() == [1], "only the first charge pays for the database's timeout"
        await trio.sleep(12)
        assert bench.batches() == [1, 3, 3], "tried again every 5 s"
        bench.store.fault = no_fault
        await trio.sleep(5)
        assert set(bench.store.charges) == {"0", "1", "2"}
        assert spooled(tmp_path) == b""
        assert await bench.ledger.record(charge("3")) is RecordedIn.DATABASE
    seen = bench.ledger.statistics()
    assert (seen.to_database, seen.to_spool, seen.replayed, seen.lost) == (1, 3, 3, 0)


async def test_what_was_spooled_before_a_restart_is_replayed_at_the_start(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    before = Bench(tmp_path)
    before.store.fault = database_away
    async with supervised(before.supervisor):
        await before.ledger.record(charge("old"))

    after = Bench(tmp_path)
    async with supervised(after.supervisor):
        await trio.sleep(1)
    assert set(after.store.charges) == {"old"}
    assert spooled(tmp_path) == b""


async def test_a_request_is_charged_once_however_often_it_is_recorded(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    bench = Bench(tmp_path)
    async with supervised(bench.supervisor):
        await bench.ledger.record(charge("r", amount=1))
        await bench.ledger.record(charge("r", amount=2))
        bench.store.fault = database_away
        assert await bench.ledger.record(charge("r", amount=3)) is RecordedIn.SPOOL
        bench.store.fault = no_fault
        await trio.sleep(6)
    assert bench.ledger.statistics().replayed == 1
    assert [kept.amount for kept in bench.store.charges.values()] == [1]


async def test_a_charge_that_nothing_takes_is_an_error_that_says_why(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, spool_bytes=10)
    bench.store.fault = database_away
    async with supervised(bench.supervisor):
        for _ in range(2):
            with pytest.raises(ChargeLost, match="request r: ") as caught:
                await bench.ledger.record(charge("r"))
            assert "the database does not answer" in str(caught.value)
            assert "would pass its bound of 10" in str(caught.value)
        assert bench.ledger.statistics().lost == 2

        bench.store.fault = no_fault
        assert await bench.ledger.record(charge("r")) is RecordedIn.DATABASE


async def test_a_charge_that_no_ledger_could_keep_is_lost_alone(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, call_seconds=1)
    outcomes: dict[str, str] = {}

    async def record(request_id: str, amount: int) -> None:
        try:
            outcomes[request_id] = await bench.ledger.record(charge(request_id, amount))
        except ChargeLost as lost:
            outcomes[request_id] = str(lost)

    async with supervised(bench.supervisor), trio.open_nursery() as nursery:
        for request_id, amount in {"a": 1, "b": 2**63, "c": 1}.items():
            nursery.start_soon(record, request_id, amount)
    assert outcomes == {
        "a": "database",
        "b": outcomes["b"],
        "c": "database",
    }
    assert "beyond the 9007199254740991 that a ledger can add up" in outcomes["b"]


async def test_damaged_lines_of_the_spool_do_not_hold_up_the_others(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    bench = Bench(tmp_path)
    bench.spool.append([charge("a")])
    with (tmp_path / "ledger.spool").open("ab") as file:
        file.write(b"0123abcd {}\n")
    bench.spool.append([charge("b")])
    async with supervised(bench.supervisor):
        assert await bench.ledger.record(charge("c")) is RecordedIn.DATABASE
    assert set(bench.store.charges) == {"a", "b", "c"}
    assert bench.ledger.statistics().replayed == 2


async def test_after_a_crash_the_ledger_goes_on_where_it_was(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    bench = Bench(tmp_path)

    def crash_once(operation: str) -> None:
        bench.store.fault = no_fault
        raise ZeroDivisionError(operation)

    async with supervised(bench.supervisor):
        bench.store.fault = database_away
        await bench.ledger.record(charge("spooled"))
        bench.store.fault = crash_once
        await trio.sleep(5.05)
        assert await bench.ledger.record(charge("new")) is RecordedIn.DATABASE
        assert set(bench.store.charges) == {"spooled", "new"}

        bench.store.fault = crash_once
        with pytest.raises(ActorCrashed, match="ledger died with the message in hand"):
            await bench.ledger.record(charge("in hand"))
        assert await bench.ledger.record(charge("in hand")) is RecordedIn.DATABASE


async def test_charges_in_a_real_database_outlive_the_process(tmp_path: Path) -> None:
    supervisor = Supervisor()
    store = SqliteStore.open(tmp_path / "signalbox.db")
    ledger = Ledger(supervisor, store, ChargeSpool(tmp_path / "ledger.spool"), writer_threads())
    async with supervised(supervisor), trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(ledger.record, charge(str(number)))
    store.close()

    reopened = SqliteStore.open(tmp_path / "signalbox.db")
    assert all(reopened.load_charge(str(number)) == charge(str(number)) for number in range(50))
    reopened.close()


async def test_sums_are_refused_while_charges_wait_in_the_spool(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    bench = Bench(tmp_path)
    sums = LedgerSums(bench.ledger, bench.store, InlineWorkers())
    key = Budget("b", "b", BudgetScope.KEY, "key", NanoUSD(100), Period.TOTAL, hard=True)
    query = SpentQuery(key, 0.0, None, ("left out",))
    bench.spool.append([charge("of an earlier run", amount=1)])
    bench.store.fault = database_away
    async with supervised(bench.supervisor):
        assert await bench.ledger.record(charge("a", amount=2)) is RecordedIn.SPOOL
        bench.store.fault = no_fault
        with pytest.raises(StoreUnavailable, match="wait in the spool"):
            await sums.spent([query])
        await trio.sleep(6)
        assert await sums.spent([query]) == [3]
        await bench.ledger.record(charge("left out", amount=4))
        assert await sums.spent([query, replace(query, without=())]) == [3, 7]
        bench.store.fault = database_away
        with pytest.raises(StoreUnavailable, match="does not answer"):
            await sums.spent([query])
