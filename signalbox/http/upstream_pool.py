"""Connections kept alive between requests: for each origin a free list, last in, first out, and a
bound on those that are open, with a queue in front of it, first come, first served.

Every operation costs the same however many connections are open. There is no background task:
what has been idle too long is closed when the pool is next used.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import trio

from signalbox.actors.ports import UpstreamError, UpstreamErrorKind
from signalbox.http.upstream_connect import Connector, client_ssl_context, refused_by_proxy
from signalbox.http.upstream_connection import Connection
from signalbox.http.upstream_exchange import Exchange, PhaseTimeouts
from signalbox.http.upstream_origin import (
    CONNECTIONS_PER_ORIGIN,
    OriginConnections,
    OriginStatistics,
    closed,
)
from signalbox.http.upstream_proxies import NO_PROXIES, ProxySettings
from signalbox.http.upstream_request import Origin, RequestHeads, Target

MAX_IDLE_PER_ORIGIN: Final = 128
"""What a burst leaves behind for the next one. A file descriptor each, so not without bound."""

MAX_IDLE_SECONDS: Final = 30.0
"""Below the 60 s after which common load balancers and firewalls forget a connection, some of
them without a word: a request on such a connection would wait for its first-token timeout."""

STALE_SECONDS: Final = 2.0
"""A connection that its server had closed before a request says so within one round trip: twice
TCP's first retransmission timeout. Later than that, the server was at work and then died."""


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """`origins` has those with an open connection, or a request that waits for one; the counters
    run from the pool's start."""

    origins: Mapping[str, OriginStatistics]
    opened: int
    reused: int
    retried_stale: int
    tls_resumed: int
    """Connections whose TLS session went on from an earlier connection's."""
    dns_queries: int

    @property
    def open(self) -> int:
        return sum(counts.open for counts in self.origins.values())

    @property
    def waiting(self) -> int:
        return sum(counts.waiting for counts in self.origins.values())


class ConnectionPool:
    """Sends requests over connections that are used again. Belongs to one `trio.run`."""

    def __init__(
        self,
        ssl_context: ssl.SSLContext | None = None,
        *,
        connections_per_origin: int = CONNECTIONS_PER_ORIGIN,
        proxies: ProxySettings = NO_PROXIES,
        max_idle_per_origin: int = MAX_IDLE_PER_ORIGIN,
        max_idle_seconds: float = MAX_IDLE_SECONDS,
    ) -> None:
        self._connector = Connector(ssl_context or client_ssl_context(), proxies)
        self._connections_per_origin = connections_per_origin
        self._max_idle_per_origin = max_idle_per_origin
        self._max_idle_seconds = max_idle_seconds
        self._heads = RequestHeads()
        self._origins: dict[Origin, OriginConnections] = {}
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
        now = trio.current_time()
        if now >= self._next_sweep:
            self._sweep(now)
        origin = target.origin
        connections = self._origins.get(origin) or self._add_origin(origin)
        proxy = connections.proxy
        head, keep_alive = self._heads.encode(method, target, headers, len(body), proxy)
        data = head + body
        await trio.lowlevel.checkpoint_if_cancelled()
        seconds = timeouts.connect
        connection = connections.take()
        if connection is None and not connections.try_permit():
            connection, seconds = await _wait_in_turn(connections, seconds)
        try:
            while connection is not None:
                if now - connection.idle_since < self._max_idle_seconds and (
                    connection.is_usable_now()
                    if connection.tls is None
                    else await connection.is_usable()
                ):
                    break
                connections.discard(connection)
                connection = connections.take_for_permit()
            if connection is not None:
                self._reused += 1
                exchange = Exchange(connection, method, keep_alive, connections.release)
                try:
                    await exchange.start(data, timeouts)
                except UpstreamError as error:
                    lost = error.kind is UpstreamErrorKind.CONNECTION_LOST and not exchange.answered
                    if not lost or trio.current_time() - now > STALE_SECONDS:
                        raise
                    self._retried_stale += 1
                    connections.discard(connection)
                    connection = None
            if connection is None:
                connection = await self._open(connections, seconds)
                exchange = Exchange(connection, method, keep_alive, connections.release)
                await exchange.start(data, timeouts)
        except BaseException:
            if connection is None:
                connections.release_permit()
            else:
                connections.release(connection, reusable=False)
            raise
        if connection.tls is not None and not connection.session_kept:
            self._connector.keep_session(connection)
        if proxy is not None and exchange.status == 407:
            exchange.close()
            raise refused_by_proxy(origin, proxy, 407)
        return exchange

    def statistics(self) -> PoolStatistics:
        return PoolStatistics(
            origins={
                str(origin): connections.statistics()
                for origin, connections in self._origins.items()
                if not connections.unused
            },
            opened=self._opened,
            reused=self._reused,
            retried_stale=self._retried_stale,
            tls_resumed=self._connector.tls_resumed,
            dns_queries=self._connector.resolver.queries,
        )

    def __repr__(self) -> str:
        statistics = self.statistics()
        origins = ", ".join(
            f"{origin} {counts.idle} idle {counts.leased} leased {counts.opening} opening "
            f"{counts.waiting} waiting"
            for origin, counts in statistics.origins.items()
        )
        counters = " ".join(
            f"{name}={getattr(statistics, name)}"
            for name in ("opened", "reused", "retried_stale", "tls_resumed", "dns_queries")
        )
        return f"<ConnectionPool [{origins}] {counters}>"

    def close(self) -> None:
        """Closes every connection; answers that are still being read end in `CONNECTION_LOST`, and
        who waits for a connection is refused."""
        self._closed = True
        origins, self._origins = self._origins, {}
        for connections in origins.values():
            connections.close()

    def _add_origin(self, origin: Origin) -> OriginConnections:
        if self._closed:
            raise closed(origin)
        connections = self._origins[origin] = OriginConnections(
            origin,
            limit=self._connections_per_origin,
            max_idle=self._max_idle_per_origin,
            proxy=None if origin.tls else self._connector.proxies.proxy_for(origin),
        )
        return connections

    async def _open(self, connections: OriginConnections, seconds: float) -> Connection:
        connection = await self._connector.open(connections.origin, seconds)
        connections.opened(connection)
        self._opened += 1
        return connection

    def _sweep(self, now: float) -> None:
        """Once in `max_idle_seconds`, closes what is too old and forgets origins without any."""
        self._next_sweep = now + self._max_idle_seconds
        for origin, connections in list(self._origins.items()):
            connections.close_idle_since(now - self._max_idle_seconds)
            if connections.unused:
                del self._origins[origin]


async def _wait_in_turn(
    connections: OriginConnections, seconds: float
) -> tuple[Connection | None, float]:
    """A permit, with a connection or to open one, and what is left of the seconds."""
    started = trio.current_time()
    with trio.move_on_after(seconds):
        connection = await connections.wait()
        return connection, seconds - (trio.current_time() - started)
    raise UpstreamError(
        UpstreamErrorKind.CONNECT_TIMEOUT,
        f"{connections.origin}: no connection within {seconds:g} s: "
        f"all {connections.limit} connections are in use",
    )
