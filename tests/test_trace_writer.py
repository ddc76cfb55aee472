from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors.supervisor import Supervisor
from signalbox.actors.trace_writer import BATCH_BYTES, SECONDS_PER_DAY, SWEEP_TRACES, TraceWriter
from signalbox.errors import StoreUnavailable
from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.stores import TracePayload, TraceRecord
from signalbox.persistence.threads import writer_threads
from tests.fakes import InlineWorkers, MemoryStore, database_away, no_fault, supervised

START = 1_700_000_000.0
"""The wall clock when the test's own clock is at 0."""


def trace(number: int, *, body_bytes: int = 0, age_days: float = 0.0) -> TraceRecord:
    started_at = START - age_days * SECONDS_PER_DAY
    return TraceRecord(
        id=f"{number:08}",
        started_at=started_at,
        ended_at=started_at + 1,
        door="chat",
        model="model",
        state="done",
        stream=False,
        status=200,
        key_id="key",
        key_name="key name",
        attempts=1,
        payloads=(TracePayload(0, "request", None, bytes(body_bytes), truncated=False),),
    )


class Bench:
    """A trace writer over a store that can be broken, and when it was called to save."""

    def __init__(
        self, *, max_queued_bytes: int = 64_000_000, payload_retention_days: float | None = None
    ) -> None:
        self.saves: list[tuple[float, int]] = []
        self.fault: Callable[[str], None] = no_fault
        self.supervisor = Supervisor()
        self.store = MemoryStore(self._note)
        self.writer = TraceWriter(
            self.supervisor,
            self.store,
            InlineWorkers(),
            retention_days=7,
            payload_retention_days=payload_retention_days,
            now=lambda: START + trio.current_time(),
            max_queued_bytes=max_queued_bytes,
        )

    def _note(self, operation: str) -> None:
        if operation == "save_traces":
            self.saves.append((round(trio.current_time(), 6), self.store.calls[-1][1]))
            self.fault(operation)

    def count(self) -> tuple[int, int, int]:
        seen = self.writer.statistics()
        return seen.saved, seen.dropped, seen.queued


async def test_traces_within_20_ms_are_one_batch(autojump_clock: MockClock) -> None:
    bench = Bench()
    async with supervised(bench.supervisor):
        for number in range(6):
            bench.writer.save(trace(number))
            await trio.sleep(0.008)
        await trio.sleep(1)
    assert bench.saves == [(0.020, 3), (0.044, 3)]


async def test_a_megabyte_is_a_batch_before_20_ms_are_over(autojump_clock: MockClock) -> None:
    bench = Bench()
    async with supervised(bench.supervisor):
        for number in range(4):
            bench.writer.save(trace(number, body_bytes=BATCH_BYTES // 4))
        await trio.sleep(0.001)
        assert bench.saves == [(0.0, 3), (0.0, 1)]


async def test_a_trace_beyond_a_megabyte_is_a_batch_of_its_own(autojump_clock: MockClock) -> None:
    bench = Bench()
    async with supervised(bench.supervisor):
        for number, size in enumerate([2 * BATCH_BYTES, 10, 10, 2 * BATCH_BYTES]):
            bench.writer.save(trace(number, body_bytes=size))
    assert [rows for _, rows in bench.saves] == [1, 2, 1]


async def test_a_batch_is_kept_until_the_database_is_back(autojump_clock: MockClock) -> None:
    bench = Bench()
    bench.fault = database_away
    async with supervised(bench.supervisor):
        bench.writer.save(trace(1))
        await trio.sleep(0.5)
        bench.writer.save(trace(2))
        bench.fault = no_fault
        await trio.sleep(1)
    assert bench.saves == [(0.02, 1), (0.12, 1), (0.32, 1), (0.72, 1), (0.74, 1)]
    assert bench.count() == (2, 0, 0)


async def test_a_batch_that_is_refused_for_good_lets_the_others_pass(
    autojump_clock: MockClock,
) -> None:
    def refuse_the_first(operation: str) -> None:
        if bench.store.calls[-1][1] == 1:
            raise StoreUnavailable("not this one")

    bench = Bench()
    bench.fault = refuse_the_first
    async with supervised(bench.supervisor):
        bench.writer.save(trace(1))
        await trio.sleep(1)
        bench.writer.save(trace(2))
        bench.writer.save(trace(3))
        await trio.sleep(400)
    assert set(bench.store.traces) == {"00000002", "00000003"}
    assert bench.count() == (2, 1, 0)


async def test_a_trace_that_no_database_could_keep_is_dropped_alone(
    autojump_clock: MockClock,
) -> None:
    bench = Bench()
    async with supervised(bench.supervisor):
        for number in range(3):
            bench.writer.save(replace(trace(number), started_at=math.nan if number == 1 else 1.0))
    assert set(bench.store.traces) == {"00000000", "00000002"}
    assert bench.count() == (2, 1, 0)


async def test_what_finds_no_room_is_dropped_and_counted(autojump_clock: MockClock) -> None:
    bench = Bench(max_queued_bytes=25_000)
    bench.fault = database_away
    async with supervised(bench.supervisor):
        for number in range(5):
            bench.writer.save(trace(number, body_bytes=10_000))
        assert bench.count() == (0, 3, 2)
        await trio.sleep(1)
        bench.writer.save(trace(5, body_bytes=10_000))
        assert bench.count() == (0, 4, 2), "a batch that waits for the database counts too"
        bench.fault = no_fault
        await trio.sleep(2)
        bench.writer.save(trace(6, body_bytes=10_000))
    assert set(bench.store.traces) == {"00000000", "00000001", "00000006"}
    assert bench.count() == (3, 4, 0)


async def test_a_full_mailbox_drops_too() -> None:
    bench = Bench()
    capacity = bench.supervisor.statistics()[0].mailbox.capacity
    for number in range(capacity + 1):
        bench.writer.save(trace(number))
    assert bench.count() == (0, 1, capacity)


async def test_a_stop_saves_all_that_waits(autojump_clock: MockClock) -> None:
    bench = Bench()
    async with supervised(bench.supervisor):
        for number in range(300):
            bench.writer.save(trace(number))
    assert bench.count() == (300, 0, 0)
    bench.writer.save(trace(300))
    assert bench.count() == (300, 1, 0)


async def test_a_crash_costs_the_batch_in_hand_and_it_is_counted(
    autojump_clock: MockClock,
) -> None:
    def crash(operation: str) -> None:
        raise ZeroDivisionError

    bench = Bench()
    bench.fault = crash
    async with supervised(bench.supervisor):
        bench.writer.save(trace(1))
        await trio.sleep(0.03)
        bench.fault = no_fault
        bench.writer.save(trace(2))
        await trio.sleep(1)
    assert set(bench.store.traces) == {"00000002"}
    assert bench.count() == (1, 1, 0)


async def test_traces_past_their_time_are_deleted_in_bounded_steps(
    autojump_clock: MockClock,
) -> None:
    bench = Bench()
    old = [trace(number, age_days=7.01) for number in range(2 * SWEEP_TRACES + 1)]
    young = trace(99_999_999, age_days=6.99)
    bench.store.save_traces([*old, young])
    async with supervised(bench.supervisor):
        await trio.sleep(1)
        assert set(bench.store.traces) == {young.id}
        assert bench.writer.statistics().deleted == len(old)
        assert bench.store.calls[1:] == [("delete_traces", SWEEP_TRACES)] * 3

        await trio.sleep(SECONDS_PER_DAY)
        assert bench.store.traces == {}


@pytest.mark.parametrize(("days", "age"), [(None, None), (2, 2 * SECONDS_PER_DAY)])
async def test_payloads_may_be_kept_for_less_time(
    autojump_clock: MockClock, days: float | None, age: float | None
) -> None:
    bench = Bench(payload_retention_days=days)
    async with supervised(bench.supervisor):
        await trio.sleep(1)
    expected = None if age is None else START - age
    assert bench.store.payloads_older_than == pytest.approx(expected, abs=1.0)


async def test_a_real_database_has_every_trace_after_a_stop(tmp_path: Path) -> None:
    supervisor = Supervisor()
    store = SqliteStore.open(tmp_path / "signalbox.db")
    writer = TraceWriter(supervisor, store, writer_threads(), retention_days=7, now=lambda: START)
    async with supervised(supervisor):
        for number in range(50):
            writer.save(trace(number, body_bytes=100))
    assert all(store.load_trace(f"{n:08}") == trace(n, body_bytes=100) for n in range(50))
    store.close()
