"""Runs the stores' synchronous calls in worker threads, a bounded number of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, Unpack

import msgspec
import trio

from signalbox.errors import StoreUnavailable

T = TypeVar("T")
Args = TypeVarTuple("Args")

READERS = 3
"""Reads at once: enough that a long listing holds up no other, few enough for two cores."""


class ThreadStatistics(msgspec.Struct, frozen=True):
    name: str
    total: int
    busy: int
    waiting: int
    """Calls that wait for a thread."""


class WorkerThreads:
    """Worker threads with a limiter of their own, so that they never wait for others' work.

    A call whose task is cancelled while its thread runs is waited for, and its outcome is given to
    the caller: whether a charge was written is never left open.
    """

    def __init__(self, name: str, total: int) -> None:
        self._name = name
        self._limiter = trio.CapacityLimiter(total)

    async def run(
        self,
        fn: Callable[[Unpack[Args]], T],
        *args: *Args,
        deadline: float = float("inf"),
    ) -> T:
        """What `fn(*args)` returns or raises in a thread.

        `deadline` is in trio's time and bounds the wait for a thread, after which nothing was done
        and `StoreUnavailable` is raised. A call that has begun takes the time that it takes: the
        timeouts of the database's own library bound it.
        """
        try:
            with trio.fail_at(deadline):
                return await trio.to_thread.run_sync(
                    fn, *args, limiter=self._limiter, thread_name=self._name
                )
        except trio.TooSlowError:
            raise StoreUnavailable(
                f"no {self._name} thread was free before the deadline: {self.statistics()}"
            ) from None

    def statistics(self) -> ThreadStatistics:
        limiter = self._limiter.statistics()
        return ThreadStatistics(
            name=self._name,
            total=int(limiter.total_tokens),
            busy=limiter.borrowed_tokens,
            waiting=limiter.tasks_waiting,
        )


def writer_threads() -> WorkerThreads:
    """One writer for all but charges, whose calls keep their order."""
    return WorkerThreads("store-writer", 1)


def ledger_threads() -> WorkerThreads:
    """One of its own for charges: they wait for no housekeeping, and reach the spool although
    others still try a database that is away."""
    return WorkerThreads("store-ledger", 1)


def reader_threads() -> WorkerThreads:
    return WorkerThreads("store-reader", READERS)


def waiting_threads() -> WorkerThreads:
    """One that waits for what others change."""
    return WorkerThreads("store-changes", 1)
