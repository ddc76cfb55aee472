"""What is not HTTP/1.1 on clear text is served by hypercorn: TLS, HTTP/2 and WebSockets.

Its own parts are used as they are; here are the stream that they read and write, and what the
application may expect of a request that they do not give.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

import trio
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app

from signalbox.http.asgi import DISCONNECT, App, Message, Receive, Scope, Send
from signalbox.http.http1_socket import (
    READ_BYTES,
    PeerStalled,
    close,
    reset,
    send_now,
    send_rest,
)

logger = logging.getLogger("signalbox.server")


class HandedStream(trio.abc.HalfCloseableStream):
    """A socket as trio's streams are, which gives first what was read of it before.

    Its sends have the deadline that hypercorn's lack: a peer that takes nothing for
    `send_timeout` seconds is cut off. `abort` ends every task that is at work on it, shielded or
    not.
    """

    def __init__(self, sock: socket.socket, data: bytes, send_timeout: float) -> None:
        self.socket = sock
        self._data = data
        self._send_timeout = send_timeout

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if max_bytes is None:
            max_bytes = READ_BYTES
        if self._data:
            await trio.lowlevel.checkpoint()
            data, self._data = self._data[:max_bytes], self._data[max_bytes:]
            return data
        self._check_open()
        while True:
            await trio.lowlevel.wait_readable(self.socket)
            try:
                return self.socket.recv(max_bytes)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._check_open()
        await trio.lowlevel.checkpoint()
        self._check_open()
        view = memoryview(data)
        try:
            rest = view[send_now(self.socket, view) :]
            if rest:
                await send_rest(self.socket, rest, self._send_timeout)
        except PeerStalled as stalled:
            logger.info("a client is cut off: %s", stalled)
            self.abort()
            raise trio.BrokenResourceError(str(stalled)) from stalled
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def wait_send_all_might_not_block(self) -> None:
        self._check_open()
        await trio.lowlevel.wait_writable(self.socket)

    async def send_eof(self) -> None:
        self._check_open()
        await trio.lowlevel.checkpoint()
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def aclose(self) -> None:
        close(self.socket)
        await trio.lowlevel.checkpoint()

    def abort(self) -> None:
        reset(self.socket)

    def _check_open(self) -> None:
        if self.socket.fileno() < 0:
            raise trio.ClosedResourceError("the connection was closed")


class Hypercorn:
    """Connections on hypercorn's TCPServer, which knows by what was read, or by TLS's ALPN, which
    protocol it is to speak."""

    def __init__(
        self,
        app: App,
        config: Config,
        context: WorkerContext,
        *,
        send_timeout: float,
        app_state: dict[str, Any],
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._calls = _Calls(app)
        self._config = config
        self._context = context
        self._send_timeout = send_timeout
        self._app_state = app_state
        self._ssl_context = ssl_context
        self._streams: set[HandedStream] = set()

    async def serve(self, sock: socket.socket, data: bytes) -> None:
        """Serves one connection to its end. `data` was read of it before."""
        handed = HandedStream(sock, data, self._send_timeout)
        stream: Any = handed
        if self._ssl_context is not None:
            stream = trio.SSLStream(
                handed, self._ssl_context, server_side=True, https_compatible=True
            )
        self._streams.add(handed)
        app = wrap_app(self._calls, self._config.wsgi_max_body_size, "asgi")  # type: ignore[arg-type]  # hypercorn types ASGI messages as TypedDicts
        state = ConnectionState(self._app_state.copy())
        try:
            await TCPServer(app, self._config, self._context, state, stream)
        except Exception:
            # A client's doing as a rule: hypercorn lets some errors of a closing connection out.
            logger.debug("a connection ended with an error", exc_info=True)
        finally:
            self._streams.discard(handed)
            close(sock)

    def abort(self) -> None:
        """Cuts all connections: hypercorn shields its sends from cancellation."""
        for stream in list(self._streams):
            stream.abort()

    @property
    def idle(self) -> bool:
        """Whether there is no connection."""
        return not self._streams

    @property
    def calls(self) -> int:
        """Calls of the application that are under way."""
        return self._calls.under_way

    async def calls_ended(self) -> None:
        await self._calls.ended()


class _Calls:
    """The application with the extension that says when a client disconnects, and how many of its
    calls are under way: a drain ends with the last one.

    Hypercorn alone often waits for the whole of the drain. When a client sends its next request in
    the moment in which the server closes the connection, the reader of that connection waits to be
    told that it may go on (`can_read` in its protocol/h11.py), and nobody is left to tell it.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self.under_way = 0
        self._one_ended = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.under_way += 1
        try:
            if scope["type"] == "http":
                await _watched(self._app, scope, receive, _yielding(send))
            else:
                await self._app(scope, receive, _yielding(send))
        finally:
            self.under_way -= 1
            self._one_ended.set()

    async def ended(self) -> None:
        while self.under_way:
            self._one_ended = trio.Event()
            await self._one_ended.wait()


def _yielding(send: Send) -> Send:
    """Hypercorn's `send` returns at once when its connection has ended: an application that only
    sends would never let another task run, nor be cancelled."""

    async def send_and_yield(message: Message) -> None:
        await send(message)
        await trio.lowlevel.checkpoint()

    return send_and_yield


async def _watched(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Calls the application with `DISCONNECT`: a task receives ahead of it.

    It is one message ahead, so a disconnect is noticed when all before it but one was taken.
    """
    ahead, messages = trio.open_memory_channel[Message](1)
    watch = _Watch()
    scope["extensions"][DISCONNECT] = watch.on_disconnect

    async def watch_client() -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                watch.disconnected()
                break
            await ahead.send(message)
        ahead.close()

    async def receive_watched() -> Message:
        try:
            return await messages.receive()
        except trio.EndOfChannel:
            return {"type": "http.disconnect"}

    async def send_watched(message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            # Hypercorn tells of a disconnect after each response.
            watch.on_disconnect(None)
        await send(message)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_client)
        await app(scope, receive_watched, send_watched)
        nursery.cancel_scope.cancel()


class _Watch:
    def __init__(self) -> None:
        self._gone = False
        self._callback: Callable[[], None] | None = None

    def on_disconnect(self, callback: Callable[[], None] | None) -> None:
        self._callback = callback
        if self._gone and callback is not None:
            callback()

    def disconnected(self) -> None:
        self._gone = True
        if self._callback is not None:
            try:
                self._callback()
            except Exception:
                logger.exception("a callback for a client's disconnect crashed")
