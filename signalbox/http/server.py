"""Serves the application. The one place that knows which server it is.

Clear-text HTTP/1.1 is served here (`http1_server.py`); WebSockets, HTTP/2 and TLS are handed to
hypercorn's own connections (`http1_handover.py`).
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import wrap_app

from signalbox.errors import SignalboxError
from signalbox.http.asgi import App
from signalbox.http.http1_exchange import Address
from signalbox.http.http1_handover import Hypercorn
from signalbox.http.http1_server import KEEP_ALIVE_TICKS, TICK_SECONDS, Http1Server

logger = logging.getLogger("signalbox.server")

BACKLOG = 1024
"""Connections that the kernel accepts for us while the loop is busy; Linux caps it at 4,096."""
CLOSE_SECONDS = 0.2
"""What hypercorn's connections have to close in order, after the last request under a drain."""
LAST_RESORT_SECONDS = 120.0
"""TCP_USER_TIMEOUT, or twice `send_timeout` where that is longer: a peer that acknowledges nothing
for so long is dead. It would also cut slow readers that live, so `send_timeout` comes first."""
UNSENT_BYTES = 128 * 1024
"""TCP_NOTSENT_LOWAT: what the kernel holds for a client that does not take it; what is written
above waits here, where its back-pressure reaches the provider."""
ACCEPTS_IN_A_ROW = 64
"""Connections accepted before other tasks get their turn: about a millisecond."""
ACCEPT_PAUSE_SECONDS = 0.1
"""How long a server without free descriptors waits for some."""

_FULL: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_BROKEN: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP})


class CannotListen(SignalboxError):
    """The host or the port cannot be had; the message names both and says why."""


class PortTaken(CannotListen):
    """Another program listens there already."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    host: str
    port: int
    """0: any free port."""
    drain_seconds: float
    send_timeout: float = 60.0
    """Seconds in which a client must take something of what is sent to it."""
    certfile: Path | None = None
    """PEM, the server's certificate first; with it every connection is TLS."""
    keyfile: Path | None = None


async def serve(
    application: App,
    settings: ServerSettings,
    *,
    stop: Callable[[], Awaitable[None]],
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until `stop` returns, then lets requests under way end for `drain_seconds`.

    `task_status.started` gets the port. Raises `CannotListen`, OSError where the certificate or
    its key cannot be read.
    """
    config = _hypercorn_config(settings)
    ssl_context = config.create_ssl_context()
    app_state: dict[str, Any] = {}
    with _listen(settings.host, settings.port) as listener:
        if sys.platform == "linux":
            last_resort = max(LAST_RESORT_SECONDS, 2 * settings.send_timeout)
            milliseconds = int(last_resort * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        wrapped = wrap_app(application, config.wsgi_max_body_size, "asgi")  # type: ignore[arg-type]  # hypercorn types ASGI messages as TypedDicts
        lifespan = Lifespan(wrapped, config, app_state)
        async with trio.open_nursery() as nursery:
            await nursery.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            server = _Server(application, settings, config, ssl_context, app_state)
            task_status.started(listener.getsockname()[1])
            await server.run(listener, stop)
            await lifespan.wait_for_shutdown()
            nursery.cancel_scope.cancel()


class _Server:
    """Both kinds of connections, from the first that is accepted to the end of the drain."""

    def __init__(
        self,
        application: App,
        settings: ServerSettings,
        config: Config,
        ssl_context: ssl.SSLContext | None,
        app_state: dict[str, Any],
    ) -> None:
        self._drain_seconds = settings.drain_seconds
        self._tls = ssl_context is not None
        self._context = WorkerContext(None)
        self._hypercorn = Hypercorn(
            application,
            config,
            self._context,
            send_timeout=settings.send_timeout,
            app_state=app_state,
            ssl_context=ssl_context,
        )
        self._http1 = Http1Server(
            application,
            self._hypercorn.serve,
            send_timeout=settings.send_timeout,
            app_state=app_state,
        )

    async def run(self, listener: socket.socket, stop: Callable[[], Awaitable[None]]) -> None:
        async with trio.open_nursery() as nursery:
            accepting = trio.CancelScope()
            nursery.start_soon(self._http1.run)
            nursery.start_soon(self._accept, listener, nursery, accepting)
            try:
                await stop()
                accepting.cancel()
                listener.close()
                with trio.move_on_after(self._drain_seconds):
                    await self._drain()
            finally:
                self._hypercorn.abort()
                nursery.cancel_scope.cancel()

    async def _drain(self) -> None:
        self._http1.drain()
        await self._context.terminated.set()
        await self._http1.ended()
        while not self._hypercorn.idle:
            await self._hypercorn.calls_ended()
            await trio.sleep(CLOSE_SECONDS)
            if not self._hypercorn.calls:
                return

    async def _accept(
        self, listener: socket.socket, nursery: trio.Nursery, scope: trio.CancelScope
    ) -> None:
        full = False
        with scope:
            while True:
                await trio.lowlevel.wait_readable(listener)
                try:
                    for _ in range(ACCEPTS_IN_A_ROW):
                        self._serve(*listener.accept(), nursery)
                        full = False
                except BlockingIOError:
                    continue
                except OSError as error:
                    if error.errno in _BROKEN:
                        raise
                    if error.errno in _FULL:
                        if not full:
                            logger.error("no connection can be accepted: %s", error.strerror)
                        full = True
                        await trio.sleep(ACCEPT_PAUSE_SECONDS)

    def _serve(self, sock: socket.socket, address: Any, nursery: trio.Nursery) -> None:
        try:
            sock.setblocking(False)
            if self._tls:
                nursery.start_soon(self._hypercorn.serve, sock, b"")
            else:
                self._http1.serve(sock, _client(sock.family, address), nursery)
        except OSError as error:
            # It was gone at once, or no memory is left to watch it with.
            logger.info("a connection could not be served: %s", error.strerror)
            sock.close()


def _hypercorn_config(settings: ServerSettings) -> Config:
    config = Config()
    config.errorlog = logger
    config.accesslog = None
    config.keep_alive_timeout = KEEP_ALIVE_TICKS * TICK_SECONDS
    config.graceful_timeout = settings.drain_seconds
    config.shutdown_timeout = settings.drain_seconds
    config.include_server_header = False
    if settings.certfile is not None and settings.keyfile is not None:
        config.certfile = str(settings.certfile)
        config.keyfile = str(settings.keyfile)
    return config


def _client(family: int, address: Any) -> Address | None:
    """ASGI's `client`; None for a socket without ports."""
    if family in (socket.AF_INET, socket.AF_INET6):
        return address[0], address[1]
    return None


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket of the host's family; it says here, not later, that a port is taken.

    Accepted connections inherit its options.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise CannotListen(f"{host} is no host to listen on: {error}") from None
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"{host}:{port} is taken by another program") from None
        raise CannotListen(f"cannot listen on {host}:{port}: {error.strerror}") from None
    listener.setblocking(False)
    return listener
