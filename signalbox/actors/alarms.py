"""Clocks of requests: one task rings them all.

A deadline of trio's costs several microseconds to set and as much to move, and a stream would move
one with every chunk. Here moving an alarm is an assignment: the task wakes at the time that it knew
of, finds that the alarm was moved, and goes on to sleep until then.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Awaitable, Callable
from itertools import count

import trio

from signalbox.actors.mailbox import Mailbox
from signalbox.actors.supervisor import ChildSpec, Supervisor

logger = logging.getLogger(__name__)

Ring = Callable[[], Awaitable[None] | None]
"""What happens when the time is over: at once, or as a task of its own where it is awaitable."""

FEW = 64
"""Cancelled alarms that are not worth to be looked for."""


class Alarm:
    """Rings once, `period` seconds after it was set or restarted (on the monotonic clock)."""

    __slots__ = ("_alarms", "_due", "period", "ring")

    def __init__(self, alarms: Alarms, period: float, ring: Ring, now: float) -> None:
        self.period = period
        self.ring: Ring | None = ring
        self._alarms = alarms
        self._due = now + period

    def restart(self, now: float) -> None:
        self._due = now + self.period

    def pause(self) -> None:
        """Does not ring until it is restarted."""
        self._due = math.inf

    def cancel(self) -> None:
        """Does not ring any more. Again: nothing happens."""
        if self.ring is not None:
            self.ring = None
            self._alarms._forget_one()

    @property
    def due(self) -> float:
        return self._due


class Alarms:
    """The actor that rings. Alarms may be set before it runs; those due are late by its absence."""

    def __init__(self, supervisor: Supervisor, clock: Callable[[], float] = trio.current_time):
        self._clock = clock
        self._heap: list[tuple[float, int, Alarm]] = []
        """By when to look at each: never later than it may be due."""
        self._numbers = count()
        self._cancelled = 0
        self._sleep: trio.CancelScope | None = None
        supervisor.add(
            ChildSpec(
                name="alarms",
                actor=self._run,
                capacity=1,
                capacity_reason="told nothing; its mailbox only says when to stop",
            )
        )

    def __len__(self) -> int:
        """Alarms that may still ring."""
        return len(self._heap) - self._cancelled

    def set(self, period: float, ring: Ring) -> Alarm:
        """An alarm that rings `period` seconds from now, unless it is moved or cancelled."""
        alarm = Alarm(self, period, ring, self._clock())
        due = alarm._due
        heapq.heappush(self._heap, (due, next(self._numbers), alarm))
        if self._sleep is not None and due < self._sleep.deadline:
            self._sleep.deadline = due
        return alarm

    def _forget_one(self) -> None:
        """An alarm of many minutes is not kept for as long when its request took milliseconds."""
        self._cancelled += 1
        if self._cancelled > FEW and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].ring is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    async def _run(self, mailbox: Mailbox[None, None]) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                wake_at = self._heap[0][0] if self._heap else math.inf
                with trio.CancelScope(deadline=wake_at) as self._sleep:
                    await mailbox.receive_batch(1)
                closed, self._sleep = not self._sleep.cancelled_caught, None
                if closed:
                    nursery.cancel_scope.cancel()
                    return
                self._ring_due(nursery)

    def _ring_due(self, nursery: trio.Nursery) -> None:
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            _, number, alarm = heapq.heappop(self._heap)
            if alarm.ring is None:
                self._cancelled -= 1
            elif alarm._due > now:
                # One that is paused may be restarted at any time, and then rings a period later.
                look_at = min(alarm._due, now + alarm.period)
                heapq.heappush(self._heap, (look_at, number, alarm))
            else:
                ring, alarm.ring = alarm.ring, None
                _start(ring, nursery)


def _start(ring: Ring, nursery: trio.Nursery) -> None:
    """One request's crash never touches another."""
    try:
        answer = ring()
    except Exception:
        logger.exception("a request's alarm crashed")
        return
    if answer is not None:
        nursery.start_soon(_finish, answer)


async def _finish(ringing: Awaitable[None]) -> None:
    try:
        await ringing
    except Exception:
        logger.exception("a request's alarm crashed")
