"""Connections kept alive between requests: one free list per origin, last in, first out.

Every operation costs the same however many connections are open. There is no background task:
what has been idle too long is closed when the pool is next used.
"""

from __future__ import annotations

import math
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import trio

from signalbox.actors.ports import UpstreamError, UpstreamErrorKind
from signalbox.http.upstream_connection import Connection, open_connection
from signalbox.http.upstream_exchange import Exchange, PhaseTimeouts
from signalbox.http.upstream_message import Origin, Target, encode_head

MAX_IDLE_PER_ORIGIN: Final = 128
"""What a burst leaves behind for the next one. A file descriptor each, so not without bound."""

MAX_IDLE_SECONDS: Final = 30.0
"""Below the 60 s after which common load balancers and firewalls forget a connection, some of
them without a word: a request on such a connection would wait for its first-token timeout."""

STALE_SECONDS: Final = 2.0
"""A connection that its server had closed before a request says so within one round trip: twice
TCP's first retransmission timeout. Later than that, the server was at work and then died."""


@dataclass(frozen=True, slots=True)
class OriginStatistics:
    idle: int
    leased: int

    @property
    def open(self) -> int:
        return self.idle + self.leased


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """`origins` has those with an open connection; the counters run from the pool's start."""

    origins: Mapping[str, OriginStatistics]
    opened: int
    reused: int
    retried_stale: int


class _OriginConnections:
    def __init__(self) -> None:
        self.idle: deque[Connection] = deque()
        self.leased: set[Connection] = set()


class ConnectionPool:
    """Sends requests over connections that are used again. Belongs to one `trio.run`."""

    def __init__(
        self,
        ssl_context: ssl.SSLContext | None = None,
        *,
        max_idle_per_origin: int = MAX_IDLE_PER_ORIGIN,
        max_idle_seconds: float = MAX_IDLE_SECONDS,
    ) -> None:
        self._ssl_context = ssl_context or client_ssl_context()
        self._max_idle_per_origin = max_idle_per_origin
        self._max_idle_seconds = max_idle_seconds
        self._origins: dict[Origin, _OriginConnections] = {}
        self._next_sweep = -math.inf
        self._closed = False
        self._opened = 0
        self._reused = 0
        self._retried_stale = 0

    async def send(
        self,
        method: str,
        target: Target,
        headers: tuple[tuple[str, str], ...],
        body: bytes,
        timeouts: PhaseTimeouts,
    ) -> Exchange:
        """Sends the request and waits for the answer's head.

        Raises `RequestRefused`, `UpstreamError`, `PhaseTimedOut`. When it raises, or is cancelled,
        the connection is closed.

        A request that meets a stale connection is sent once more, on a fresh one. That is a
        connection that had carried an answer before and that ended (EOF or reset) within
        `STALE_SECONDS` of the request and before one byte came back. Its server almost certainly
        closed it while the request was under way and never read it. RFC 9112 (9.3.1) wants
        certainty before a POST is repeated; without it the worst case here is a server that took
        the request, generated, and died in silence within that time: a completion computed twice,
        of which the client sees one. The gateway's retry policy accepts the same for every lost
        connection. A request on a fresh connection is never repeated.
        """
        head, keep_alive = encode_head(method, target, headers, len(body))
        connection = await self._take_idle(target.origin)
        if connection is not None:
            self._reused += 1
            exchange = Exchange(connection, method, keep_alive, self._release)
            started = trio.current_time()
            try:
                await exchange.start(head + body, timeouts)
                return exchange
            except UpstreamError as error:
                exchange.close()
                lost = error.kind is UpstreamErrorKind.CONNECTION_LOST and not exchange.answered
                if not lost or trio.current_time() - started > STALE_SECONDS:
                    raise
            except BaseException:
                exchange.close()
                raise
            self._retried_stale += 1
        connection = await self._open(target.origin, timeouts.connect)
        exchange = Exchange(connection, method, keep_alive, self._release)
        try:
            await exchange.start(head + body, timeouts)
        except BaseException:
            exchange.close()
            raise
        return exchange

    def statistics(self) -> PoolStatistics:
        return PoolStatistics(
            origins={
                str(origin): OriginStatistics(len(connections.idle), len(connections.leased))
                for origin, connections in self._origins.items()
                if connections.idle or connections.leased
            },
            opened=self._opened,
            reused=self._reused,
            retried_stale=self._retried_stale,
        )

    def __repr__(self) -> str:
        statistics = self.statistics()
        origins = ", ".join(
            f"{origin} {counts.idle} idle {counts.leased} leased"
            for origin, counts in statistics.origins.items()
        )
        return (
            f"<ConnectionPool [{origins}] opened={statistics.opened} "
            f"reused={statistics.reused} retried_stale={statistics.retried_stale}>"
        )

    def close(self) -> None:
        """Closes every connection; answers that are still being read end in `CONNECTION_LOST`."""
        self._closed = True
        origins, self._origins = self._origins, {}
        for connections in origins.values():
            for connection in (*connections.idle, *connections.leased):
                connection.close()

    async def _take_idle(self, origin: Origin) -> Connection | None:
        self._sweep()
        connections = self._origins.get(origin)
        while connections is not None and connections.idle:
            connection = connections.idle.pop()
            connections.leased.add(connection)
            usable = False
            try:
                usable = self._is_young(connection) and await connection.is_usable()
            finally:
                if not usable:
                    self._release(connection, reusable=False)
            if usable:
                return connection
        return None

    async def _open(self, origin: Origin, connect_seconds: float) -> Connection:
        self._refuse_when_closed(origin)
        connection = await open_connection(origin, self._ssl_context, connect_seconds)
        if self._closed:
            connection.close()
        self._refuse_when_closed(origin)
        self._opened += 1
        self._origins.setdefault(origin, _OriginConnections()).leased.add(connection)
        return connection

    def _refuse_when_closed(self, origin: Origin) -> None:
        if self._closed:
            raise UpstreamError(
                UpstreamErrorKind.CONNECT_FAILED, f"{origin}: the upstream client is closed"
            )

    def _release(self, connection: Connection, reusable: bool) -> None:
        connections = self._origins.get(connection.origin)
        if connections is None:  # The pool was closed, and the connection with it.
            return
        connections.leased.discard(connection)
        if not reusable:
            connection.close()
            return
        connection.idle_since = trio.current_time()
        connections.idle.append(connection)
        if len(connections.idle) > self._max_idle_per_origin:
            connections.idle.popleft().close()

    def _is_young(self, connection: Connection) -> bool:
        return trio.current_time() - connection.idle_since < self._max_idle_seconds

    def _sweep(self) -> None:
        """Once in `max_idle_seconds`, closes what is too old and forgets origins without any."""
        now = trio.current_time()
        if now < self._next_sweep:
            return
        self._next_sweep = now + self._max_idle_seconds
        for origin, connections in list(self._origins.items()):
            while connections.idle and not self._is_young(connections.idle[0]):
                connections.idle.popleft().close()
            if not connections.idle and not connections.leased:
                del self._origins[origin]


def client_ssl_context() -> ssl.SSLContext:
    """The system's certificates, host names checked, HTTP/1.1 and nothing else by ALPN."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    # Some builds of Python set it. An end without TLS's goodbye may be an answer that was cut off.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return context
