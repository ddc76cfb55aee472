"""HTTP/1.1 on clear text: connections, their requests in order, their time limits, their drain.

A connection is one task, which answers; one more reads for all of them (`Poller`). There is no task
and no nursery for a request.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any, Final

import trio

from signalbox.http.asgi import App
from signalbox.http.http1_exchange import DRAIN_BYTES, Address, Exchange
from signalbox.http.http1_poller import Poller
from signalbox.http.http1_protocol import HandOver, Request
from signalbox.http.http1_response import Response
from signalbox.http.http1_transport import Transport
from signalbox.http.http1_violation import Violation, error_body

logger = logging.getLogger("signalbox.server")

TICK_SECONDS: Final = 1.0
"""How exact the time limits of connections are: one task looks after all of them, so that a request
sets no timer. The `date` header is as old at most."""

KEEP_ALIVE_TICKS: Final = 75
"""How long an idle connection stays open. Longer than the 60 s of the usual load balancers: whoever
closes first must be the client, or its next request meets a connection that has just gone."""

HEAD_TICKS: Final = 30
"""For a request's head, from its first byte: as long as `server.body_timeout` gives a body."""

LINGER_TICKS: Final = 2
"""How long what a client still sends is read away after the answer that it did not wait for."""

LINGER_BYTES: Final = 1024 * 1024
"""How much of it: some round trips of a fast sender. A connection that is closed over unread data
is reset, and the reset can overtake the answer (RFC 9112, section 9.6)."""

_NEVER: Final = 1 << 62

HandOverTo = Callable[[socket.socket, bytes], Awaitable[None]]
"""Serves a connection that is no longer HTTP/1.1, with the bytes that were read of it."""


class Http1Server:
    """`serve` each accepted socket, with `run` in a task beside; `drain`, then `ended`."""

    def __init__(
        self,
        app: App,
        hand_over: HandOverTo,
        *,
        send_timeout: float,
        app_state: dict[str, Any] | None = None,
    ) -> None:
        self.app = app
        self.hand_over = hand_over
        self.send_timeout = send_timeout
        self.app_state = app_state or {}
        self.draining = False
        self.tick = 0
        self.date = b""
        self.poller = Poller()
        self._connections: set[Connection] = set()
        self._one_ended = trio.Event()
        self._tell_time()

    def serve(self, sock: socket.socket, client: Address | None, nursery: trio.Nursery) -> None:
        """Starts the task of a connection; it ends with it, or with the nursery."""
        connection = Connection(self, sock, client)
        self._connections.add(connection)
        nursery.start_soon(connection.run)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.poller.run)
            nursery.start_soon(self._keep_time)

    async def _keep_time(self) -> None:
        began = trio.current_time()
        while True:
            await trio.sleep(TICK_SECONDS)
            self.tick = int((trio.current_time() - began) / TICK_SECONDS)
            self._tell_time()
            for connection in [it for it in self._connections if it.expires <= self.tick]:
                connection.expire()

    def drain(self) -> None:
        """Idle connections end at once, the others with the request that is under way."""
        self.draining = True
        for connection in self._connections:
            connection.transport.changed.wake()

    async def ended(self) -> None:
        """Returns when no connection is left."""
        while self._connections:
            self._one_ended = trio.Event()
            await self._one_ended.wait()

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._one_ended.set()

    def _tell_time(self) -> None:
        now = time.time()  # noqa: TID251 (edge)
        self.date = b"date: %b\r\n" % formatdate(now, usegmt=True).encode("ascii")


class Connection:
    """The task that answers, one request after the other."""

    __slots__ = ("__weakref__", "_client", "_expired", "_local", "_server", "expires", "transport")

    def __init__(self, server: Http1Server, sock: socket.socket, client: Address | None) -> None:
        self.transport = Transport(sock, server.poller, server.send_timeout)
        self.expires = server.tick + KEEP_ALIVE_TICKS
        """The server's tick at which waiting ends; none while the application is at work."""
        self._server = server
        self._client = client
        self._local = _address(sock)
        self._expired = False

    def expire(self) -> None:
        self.expires = _NEVER
        self._expired = True
        self.transport.changed.wake()

    async def run(self) -> None:
        try:
            await self._answer_all()
        except Exception:
            logger.exception("a connection crashed")
        finally:
            self._server.forget(self)
            if not self.transport.detached:
                self.transport.lose()

    async def _answer_all(self) -> None:
        transport = self.transport
        while True:
            try:
                request = await self._next_request()
            except Violation as violation:
                await self._answer_violation(violation)
                return
            if request is None:
                return
            if isinstance(request, HandOver):
                if transport.gone:
                    return
                self._server.forget(self)
                await self._server.hand_over(transport.detach(), request.data)
                return
            if not await self._answer(request):
                return
            self._expired = False
            self.expires = self._server.tick + KEEP_ALIVE_TICKS

    async def _next_request(self) -> Request | HandOver | None:
        """None: there will be none. Raises `Violation`."""
        transport = self.transport
        head_begun = False
        while True:
            # A request that came whole is served, also where its client left right after it.
            request = transport.protocol.next_request()
            if request is not None:
                self.expires = _NEVER
                transport.go_on_reading()
                return request
            if transport.gone:
                return None
            if transport.protocol.buffered:
                if self._expired:
                    raise Violation(408, f"The head did not arrive within {HEAD_TICKS} s.")
                if not head_begun:
                    head_begun = True
                    self.expires = self._server.tick + HEAD_TICKS
            elif self._expired or self._server.draining:
                return None
            await transport.changed.wait()

    async def _answer(self, request: Request) -> bool:
        """Whether another request may follow on this connection."""
        transport = self.transport
        exchange = Exchange(request, transport, self._server)
        scope = exchange.scope(self._client, self._local)
        try:
            await self._server.app(scope, exchange.receive, exchange.send)
        except Exception:
            logger.exception("the application crashed at %s", _told(request))
        except BaseExceptionGroup as group:
            crashes, rest = group.split(Exception)
            if crashes is not None:
                logger.error("the application crashed at %s", _told(request), exc_info=crashes)
            if rest is not None:
                raise rest from None
        finally:
            exchange.end()
            response = exchange.response
            if response.ends_with_connection and not response.complete:
                # To close in order would look like the end of the body.
                transport.abort()
        if not response.complete:
            await self._answer_for(exchange)
            return False
        if not response.keep_alive or transport.gone:
            if not transport.protocol.body_ended or transport.protocol.buffered:
                await self._linger()
            return False
        return transport.protocol.body_ended or await self._drain_body(exchange)

    async def _answer_for(self, exchange: Exchange) -> None:
        """The application has left its request without a whole answer."""
        transport, response = self.transport, exchange.response
        if transport.gone:
            return
        if exchange.violation is not None and not response.begun:
            await self._answer_violation(exchange.violation)
        elif not response.begun:
            to_head = exchange.request.method == "HEAD"
            await self._tell(500, "The gateway failed; its log says why.", to_head=to_head)
        else:
            logger.error("the response to %s ended too early", _told(exchange.request))

    async def _answer_violation(self, violation: Violation) -> None:
        await self._tell(violation.status, str(violation))

    async def _tell(self, status: int, message: str, *, to_head: bool = False) -> None:
        response = Response(to_head=to_head, http_1_0=False, keep_alive=False)
        response.start(status, [(b"content-type", b"application/json")])
        body = error_body(status, message)
        await self.transport.write(response.encode_body(body, False, self._server.date))
        await self._linger()

    async def _drain_body(self, exchange: Exchange) -> bool:
        """Reads away a body that the application did not want, where little is left of it."""
        transport, protocol = self.transport, self.transport.protocol
        if exchange.request.continue_awaited or (protocol.body_left() or 0) > DRAIN_BYTES:
            await self._linger()
            return False
        drained = 0
        self._expired = False
        self.expires = self._server.tick + LINGER_TICKS
        while not (transport.gone or self._expired or drained > DRAIN_BYTES):
            try:
                piece = protocol.read_body()
            except Violation:
                break
            drained += len(piece)
            transport.go_on_reading()
            if protocol.body_ended:
                return True
            if not piece:
                await transport.changed.wait()
        await self._linger()
        return False

    async def _linger(self) -> None:
        """Closes the sending side and waits until the client has seen it, so that the answer is
        not lost to a reset."""
        transport = self.transport
        transport.end_sending()
        transport.discard()
        self._expired = False
        self.expires = self._server.tick + LINGER_TICKS
        while not (transport.gone or self._expired or (transport.discarded or 0) > LINGER_BYTES):
            await transport.changed.wait()


def _told(request: Request) -> str:
    """What may stand of it in a log: its query may hold a key."""
    return f"{request.method} {request.raw_path.decode('ascii')}"


def _address(sock: socket.socket) -> Address | None:
    """The local address as ASGI's `server` has it; None for a socket without ports."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    host, port = sock.getsockname()[:2]
    return host, port
