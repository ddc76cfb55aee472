"""The connections of one origin: which are idle, how many may be open, and who waits for one.

Who holds a *permit* has an open connection, or may open one. A permit goes from hand to hand:
while somebody waits, it is given to the first who asked and to nobody else.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from signalbox.actors.ports import UpstreamError, UpstreamErrorKind
from signalbox.http.upstream_connection import Connection
from signalbox.http.upstream_request import Origin, Proxy

CONNECTIONS_PER_ORIGIN: Final = 1000
"""Open at once. A stream holds one for as long as it runs. A file descriptor each, of which many
systems give a process 1,024; and providers refuse far fewer calls at once from one customer."""

MAX_WAITING: Final = 10_000
"""Requests that wait for a connection of one origin. Each is in memory with its body, and more
than ten times what is under way will not come to its turn in the time that clients wait."""


@dataclass(frozen=True, slots=True)
class OriginStatistics:
    idle: int
    leased: int
    opening: int = 0
    waiting: int = 0

    @property
    def open(self) -> int:
        """What counts against the limit: also what is being opened."""
        return self.idle + self.leased + self.opening


class _Waiter:
    __slots__ = ("connection", "refused", "task")

    def __init__(self, task: trio.lowlevel.Task) -> None:
        self.task = task
        self.connection: Connection | None = None
        self.refused = False


class OriginConnections:
    """Every operation costs the same however many connections are open and requests wait."""

    def __init__(
        self, origin: Origin, *, limit: int, max_idle: int, proxy: Proxy | None = None
    ) -> None:
        self.origin = origin
        self.limit = limit
        self.proxy = proxy
        """What the requests themselves are sent to; not one that a tunnel leads through."""
        self.idle: deque[Connection] = deque()
        """None while anybody waits."""
        self._max_idle = max_idle
        self._leased: set[Connection] = set()
        self._permits = 0
        self._waiters: OrderedDict[_Waiter, None] = OrderedDict()
        self._closed = False

    @property
    def unused(self) -> bool:
        """Whether nothing is open and nobody waits."""
        return not (self._permits or self.idle or self._waiters)

    def statistics(self) -> OriginStatistics:
        leased = len(self._leased)
        return OriginStatistics(len(self.idle), leased, self._permits - leased, len(self._waiters))

    def take(self) -> Connection | None:
        """The connection that was idle for the shortest time, with a permit; None: none is idle."""
        if not self.idle:
            return None
        self._permits += 1
        return self.take_for_permit()

    def take_for_permit(self) -> Connection | None:
        """The same, for the permit that the caller has."""
        if not self.idle:
            return None
        connection = self.idle.pop()
        self._leased.add(connection)
        return connection

    def discard(self, connection: Connection) -> None:
        """Closes it; the permit stays with the caller."""
        self._leased.discard(connection)
        connection.close()

    def try_permit(self) -> bool:
        """A permit to open a connection, if the limit allows one more.

        While anybody waits it does not: no permit is free then.
        """
        if self._permits + len(self.idle) >= self.limit:
            return False
        self._permits += 1
        return True

    async def wait(self) -> Connection | None:
        """Waits in turn for a permit: with a connection that was given back, or to open one.

        A permit that was given is never lost: who is cancelled after that still gets it here.
        Raises `UpstreamError` when too many wait, or the connections are closed.
        """
        if len(self._waiters) >= MAX_WAITING:
            raise UpstreamError(
                UpstreamErrorKind.CONNECT_FAILED,
                f"{self.origin}: all {self.limit} connections are in use, "
                f"and {MAX_WAITING} requests wait for one",
            )
        waiter = _Waiter(current_task())
        self._waiters[waiter] = None

        def leave_the_queue(_: object) -> Abort:
            del self._waiters[waiter]
            return Abort.SUCCEEDED

        await wait_task_rescheduled(leave_the_queue)
        if waiter.refused:
            raise closed(self.origin)
        return waiter.connection

    def opened(self, connection: Connection) -> None:
        """Notes what was opened with a permit. Raises `UpstreamError` when it came too late."""
        if self._closed:
            connection.close()
            raise closed(self.origin)
        self._leased.add(connection)

    def release(self, connection: Connection, reusable: bool) -> None:
        """Gives a connection and its permit back."""
        if self._closed:
            connection.close()
            return
        if not reusable:
            self.discard(connection)
            self.release_permit()
            return
        connection.idle_since = trio.current_time()
        if self._waiters:
            self._hand_on(connection)
            return
        self._leased.discard(connection)
        self._permits -= 1
        self.idle.append(connection)
        if len(self.idle) > self._max_idle:
            self.idle.popleft().close()

    def release_permit(self) -> None:
        """Gives back a permit without a connection."""
        if self._waiters:
            self._hand_on(None)
        else:
            self._permits -= 1

    def close_idle_since(self, moment: float) -> None:
        """Closes those that are idle since that moment, or before."""
        while self.idle and self.idle[0].idle_since <= moment:
            self.idle.popleft().close()

    def close(self) -> None:
        """Closes every connection and refuses all who wait."""
        self._closed = True
        for connection in (*self.idle, *self._leased):
            connection.close()
        self.idle.clear()
        self._leased.clear()
        while self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            waiter.refused = True
            reschedule(waiter.task)

    def _hand_on(self, connection: Connection | None) -> None:
        """The caller's permit, to the first who waits."""
        waiter, _ = self._waiters.popitem(last=False)
        waiter.connection = connection
        reschedule(waiter.task)


def closed(origin: Origin) -> UpstreamError:
    return UpstreamError(
        UpstreamErrorKind.CONNECT_FAILED, f"{origin}: the upstream client is closed"
    )
