"""A TCP server whose every byte is scripted: one handler runs for each connection it accepts."""

from __future__ import annotations

import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache

import trio
import trustme

from signalbox.http.upstream_connect import client_ssl_context

END_A_HANG = 10.0
"""Seconds. No test waits this long unless what it waits for never happens."""


class ClientGone(Exception):
    """The client closed the connection where the script expected a request."""


@dataclass(frozen=True, slots=True)
class RawRequest:
    head: bytes
    body: bytes

    def header(self, name: str) -> str | None:
        found = re.search(rf"(?im)^{re.escape(name)}: (.*)\r$", self.head.decode("latin-1"))
        return found and found[1]


class RawConnection:
    """The server's end. `number` counts the connections accepted, from 1."""

    def __init__(self, stream: trio.abc.Stream, sock: trio.socket.SocketType, number: int) -> None:
        self.stream = stream
        self.number = number
        self._socket = sock
        self._buffer = bytearray()

    async def read_head(self) -> bytes:
        while b"\r\n\r\n" not in self._buffer:
            await self._read_more()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        return head + b"\r\n\r\n"

    async def read_body(self, length: int) -> bytes:
        while len(self._buffer) < length:
            await self._read_more()
        body = bytes(self._buffer[:length])
        del self._buffer[:length]
        return body

    async def read_request(self) -> RawRequest:
        head = await self.read_head()
        length = RawRequest(head, b"").header("content-length")
        return RawRequest(head, await self.read_body(int(length or 0)))

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def until_closed(self) -> None:
        """Reads what else the client sends, until it closes."""
        while await self.stream.receive_some():
            pass

    def close(self) -> None:
        """Closes at once, without TLS's goodbye."""
        self._socket.close()

    def reset(self) -> None:
        """Closes at once, with a TCP reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    async def _read_more(self) -> None:
        data = await self.stream.receive_some()
        if not data:
            raise ClientGone
        self._buffer += data


Handler = Callable[[RawConnection], Awaitable[None]]


class RawServer:
    """What the tests ask of a running server. `accepted` and `open` count its connections."""

    def __init__(self, handler: Handler, ssl_context: ssl.SSLContext | None) -> None:
        self.accepted = 0
        self.open = 0
        self.address = ""
        """Host and port, as a URL has them."""
        self._handler = handler
        self._ssl_context = ssl_context
        self._all_closed = trio.Event()

    def url(self, path: str = "/") -> str:
        return f"{'http' if self._ssl_context is None else 'https'}://{self.address}{path}"

    async def all_closed(self) -> None:
        """Waits until no connection is open any more."""
        with trio.fail_after(END_A_HANG):
            while self.open:
                await self._all_closed.wait()

    async def serve_connection(self, stream: trio.SocketStream) -> None:
        self.accepted += 1
        if not self.open:
            self._all_closed = trio.Event()
        self.open += 1
        wrapped: trio.abc.Stream = stream
        if self._ssl_context is not None:
            wrapped = trio.SSLStream(stream, self._ssl_context, server_side=True)
        try:
            await self._handler(RawConnection(wrapped, stream.socket, self.accepted))
            await wrapped.aclose()
        except (ClientGone, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # Clients that leave early, and resets, are what many scripts are about.
        finally:
            stream.socket.close()
            self.open -= 1
            if not self.open:
                self._all_closed.set()


async def serve_raw(
    nursery: trio.Nursery,
    handler: Handler,
    *,
    ssl_context: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
) -> RawServer:
    """Starts a server on a free port; it ends with the nursery."""
    server = RawServer(handler, ssl_context)
    listeners = await trio.open_tcp_listeners(0, host=host)
    port = listeners[0].socket.getsockname()[1]
    server.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    nursery.start_soon(trio.serve_listeners, server.serve_connection, listeners)
    return server


def answer(body: bytes = b"ok", status: str = "200 OK", headers: str = "") -> bytes:
    """An answer with its length; `headers` are whole lines, each with its CRLF."""
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


def answering(data: bytes) -> Handler:
    """A handler that answers every request with the same bytes and keeps the connection."""

    async def handler(connection: RawConnection) -> None:
        while True:
            await connection.read_request()
            await connection.send(data)

    return handler


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


@cache
def server_tls(version: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED) -> ssl.SSLContext:
    """A server's context with a certificate for loopback and `provider.test`, of this version of
    TLS at most; it would rather speak HTTP/2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    names = "localhost", "127.0.0.1", "::1", "provider.test"
    _authority().issue_cert(*names).configure_cert(context)
    return context


@cache
def trusting_tls() -> ssl.SSLContext:
    """The upstream client's own context, which also trusts `server_tls`."""
    context = client_ssl_context()
    _authority().configure_trust(context)
    return context
