"""Serves the application: hypercorn on trio. The one place that knows which server it is."""

from __future__ import annotations

import errno
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio
from hypercorn.config import Config
from hypercorn.trio import serve as hypercorn_serve

from signalbox.errors import SignalboxError
from signalbox.http.application import Application
from signalbox.http.asgi import Receive, Scope, Send

BACKLOG = 1024
"""Connections that the kernel accepts for us while the loop is busy; Linux caps it at 4,096."""
KEEP_ALIVE_SECONDS = 75.0
"""How long an idle connection stays open. Longer than the 60 s of the usual load balancers: whoever
closes first must be the client, or its next request meets a connection that has just gone."""
CLOSE_SECONDS = 0.2
"""What the connections have to close in order, after the last request under a drain has ended."""
LAST_RESORT_MS = 120_000
"""TCP_USER_TIMEOUT: a peer that acknowledges nothing for so long is dead. Hypercorn's own sends
have no deadline; shorter values also cut slow readers that live."""


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


async def serve(
    application: Application,
    settings: ServerSettings,
    *,
    stop: Callable[[], Awaitable[None]],
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until `stop` returns, then lets requests under way end for `drain_seconds`.

    `task_status.started` gets the port. Raises `CannotListen`.
    """
    config = Config()
    config.errorlog = logging.getLogger("signalbox.server")
    config.accesslog = None
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.graceful_timeout = settings.drain_seconds
    config.shutdown_timeout = settings.drain_seconds
    config.include_server_header = False
    with _listen(settings.host, settings.port) as listener:
        port = listener.getsockname()[1]
        # Hypercorn takes the descriptor that it is named for its own.
        config.bind = [f"fd://{listener.detach()}"]
    calls = _Calls(application)
    async with trio.open_nursery() as nursery:

        async def stop_and_drain() -> None:
            await stop()
            nursery.start_soon(end_with_the_last_call)

        async def end_with_the_last_call() -> None:
            await calls.ended()
            await trio.sleep(CLOSE_SECONDS)
            await calls.ended()
            nursery.cancel_scope.cancel()

        await nursery.start(_run, calls, config, stop_and_drain)
        task_status.started(port)


async def _run(
    calls: _Calls,
    config: Config,
    stop: Callable[[], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[list[str]],
) -> None:
    await hypercorn_serve(
        calls,  # type: ignore[arg-type]  # hypercorn types ASGI messages as TypedDicts
        config,
        shutdown_trigger=stop,
        task_status=task_status,
        mode="asgi",
    )


class _Calls:
    """The application, and how many of its calls are under way: a drain ends with the last one.

    Hypercorn alone often waits for the whole of the drain. When a client sends its next request in
    the moment in which the server closes the connection, the reader of that connection waits to be
    told that it may go on (`can_read` in its protocol/h11.py), and nobody is left to tell it.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._under_way = 0
        self._one_ended = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._application(scope, receive, send)
        finally:
            self._under_way -= 1
            self._one_ended.set()

    async def ended(self) -> None:
        while self._under_way:
            self._one_ended = trio.Event()
            await self._one_ended.wait()


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket of the host's family; it says here, not later, that a port is taken."""
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
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LAST_RESORT_MS)
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
