from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import trio
import trio.testing

from signalbox.errors import StoreUnavailable
from signalbox.persistence.threads import ThreadStatistics, WorkerThreads, writer_threads


class Held:
    """A call that stays in its thread until it is let go."""

    def __init__(self) -> None:
        self._go = threading.Event()
        self.finished = False

    def __call__(self) -> str:
        assert self._go.wait(10)
        self.finished = True
        return "written"

    def let_go(self) -> None:
        self._go.set()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.lowlevel.checkpoint()


async def test_results_and_errors_come_back() -> None:
    threads = WorkerThreads("store-reader", 2)
    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)
    assert threads.statistics() == ThreadStatistics("store-reader", total=2, busy=0, waiting=0)


async def test_a_call_that_has_begun_is_never_abandoned() -> None:
    threads, held, results = writer_threads(), Held(), []
    request = trio.CancelScope()

    async def write() -> None:
        with request:
            results.append(await threads.run(held))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await until(lambda: threads.statistics().busy == 1)
        request.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert (held.finished, threads.statistics().busy) == (False, 1)
        held.let_go()
    assert (held.finished, results) == (True, ["written"])


async def test_one_writer_runs_one_call_and_the_rest_wait() -> None:
    threads, held = writer_threads(), Held()
    order: list[int] = []

    async with trio.open_nursery() as nursery:
        nursery.start_soon(threads.run, held)
        await until(lambda: threads.statistics().busy == 1)
        for number in range(3):
            nursery.start_soon(threads.run, order.append, number)
            await trio.testing.wait_all_tasks_blocked()
        assert threads.statistics() == ThreadStatistics("store-writer", 1, busy=1, waiting=3)
        assert order == []
        held.let_go()
    assert order == [0, 1, 2]


async def test_a_deadline_ends_the_wait_for_a_thread_and_nothing_is_done(
    mock_clock: trio.testing.MockClock,
) -> None:
    threads, held = writer_threads(), Held()
    calls: list[str] = []

    async def too_late() -> None:
        with pytest.raises(StoreUnavailable, match="no store-writer thread was free"):
            await threads.run(calls.append, "late", deadline=trio.current_time() + 5)
        held.let_go()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(threads.run, held)
        await until(lambda: threads.statistics().busy == 1)
        nursery.start_soon(too_late)
        await until(lambda: threads.statistics().waiting == 1)
        mock_clock.jump(5)
    assert calls == []


async def test_a_deadline_does_not_hide_the_outcome_of_a_call_that_has_begun(
    mock_clock: trio.testing.MockClock,
) -> None:
    threads, held, results = writer_threads(), Held(), []

    async def write() -> None:
        results.append(await threads.run(held, deadline=trio.current_time() + 5))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await until(lambda: threads.statistics().busy == 1)
        mock_clock.jump(6)
        await trio.testing.wait_all_tasks_blocked()
        held.let_go()
    assert results == ["written"]
