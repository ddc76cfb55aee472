"""The gateway's server around any ASGI application, and clients that speak to it in bytes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import h11
import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from signalbox.http.asgi import App, Message, Receive, Scope, Send
from signalbox.http.http1_handover import Hypercorn
from signalbox.http.server import ServerSettings, serve

END_A_HANG: Final = 20.0
"""Seconds on the real clock. No test waits this long unless what it waits for never happens."""

GET: Final = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


@dataclass
class Reply:
    status: int
    headers: list[tuple[str, str]]
    """Names in lower case."""
    body: bytes
    whole: bool = True
    """Whether its end was told."""
    interim: list[int] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        found = [value for it, value in self.headers if it == name]
        assert len(found) < 2, f"{name} is there twice"
        return found[0] if found else None


class Client:
    """One connection. Responses are read by h11, which is strict about them."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream: trio.abc.Stream = stream
        self.socket = stream.socket
        self._received = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def reply(self, method: str = "GET") -> Reply:
        """The next final response."""
        reader = h11.Connection(h11.CLIENT)
        reader.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        reader.send(h11.EndOfMessage())
        if self._received:
            reader.receive_data(self._received)
        found = Reply(0, [], b"", whole=False)
        while True:
            try:
                event = reader.next_event()
            except h11.RemoteProtocolError:
                assert found.status, "no response before the end of the connection"
                return found
            if event is h11.NEED_DATA:
                reader.receive_data(await self.receive())
            elif isinstance(event, h11.InformationalResponse):
                found.interim.append(event.status_code)
            elif isinstance(event, h11.Response):
                found.status = event.status_code
                found.headers = [(n.decode(), v.decode()) for n, v in event.headers]
            elif isinstance(event, h11.Data):
                found.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._received = reader.trailing_data[0]
                found.whole = True
                return found
            else:
                raise AssertionError(f"{event} instead of a response")

    async def ask(self, data: bytes, method: str = "GET") -> Reply:
        await self.send(data)
        return await self.reply(method)

    async def receive(self) -> bytes:
        """b"" at the end, whichever it is."""
        try:
            return bytes(await self.stream.receive_some())
        except trio.BrokenResourceError:
            return b""

    async def until_closed(self) -> bytes:
        """What else comes."""
        data, self._received = self._received, b""
        while piece := await self.receive():
            data += piece
        return data

    async def is_closed(self) -> bool:
        """Waits for the end of the connection; whether nothing came before it."""
        return await self.until_closed() == b""


@dataclass
class Running:
    port: int
    stop: trio.Event
    ended: trio.Event
    cancel: trio.CancelScope
    clients: list[Client] = field(default_factory=list)

    async def connect(self, *, small: bool = False) -> Client:
        """`small`: with little room for what is sent to it, so that a send soon waits."""
        sock = trio.socket.socket()
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            await sock.connect(("127.0.0.1", self.port))
        except OSError:
            sock.close()
            raise
        self.clients.append(Client(trio.SocketStream(sock)))
        return self.clients[-1]

    async def connect_tls(self, context: ssl.SSLContext) -> Client:
        plain = await self.connect()
        stream = trio.SSLStream(
            plain.stream, context, server_hostname="localhost", https_compatible=True
        )
        await stream.do_handshake()
        plain.stream = stream
        return plain

    async def close_clients(self) -> None:
        for client in self.clients:
            await trio.aclose_forcefully(client.stream)


@asynccontextmanager
async def serving(app: App, **settings: Any) -> AsyncIterator[Running]:
    """Ends with its block, in which `stop` may end it earlier."""
    stop, ended, scope = trio.Event(), trio.Event(), trio.CancelScope()
    wanted = ServerSettings("127.0.0.1", 0, **({"drain_seconds": 5.0} | settings))

    async def run(*, task_status: trio.TaskStatus[int]) -> None:
        with scope:
            await serve(app, wanted, stop=stop.wait, task_status=task_status)
        ended.set()

    async with trio.open_nursery() as nursery:
        port = await nursery.start(run)
        running = Running(port, stop, ended, scope)
        try:
            yield running
        finally:
            scope.cancel()
            await running.close_clients()


@asynccontextmanager
async def serving_by_hypercorn(app: App, **settings: Any) -> AsyncIterator[Running]:
    """The same application on what serves TLS, HTTP/2 and WebSockets."""
    config = Config()
    config.include_server_header = False
    host = Hypercorn(
        app,
        config,
        WorkerContext(None),
        send_timeout=settings.get("send_timeout", 60.0),
        app_state={},
    )
    listener = trio.socket.socket()
    await listener.bind(("127.0.0.1", 0))
    listener.listen()

    async def accept(nursery: trio.Nursery) -> None:
        while True:
            accepted, _ = await listener.accept()
            sock = socket.socket(fileno=accepted.detach())
            sock.setblocking(False)
            nursery.start_soon(host.serve, sock, b"")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept, nursery)
        port = listener.getsockname()[1]
        running = Running(port, trio.Event(), trio.Event(), nursery.cancel_scope)
        try:
            yield running
        finally:
            await running.close_clients()
            host.abort()
            nursery.cancel_scope.cancel()
    listener.close()


Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


def app_of(handler: Handler) -> App:
    """An application without a lifespan."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError("there is no lifespan")
        await handler(scope, receive, send)

    return app


async def read_all(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request", message
        body += bytes(message["body"])
        if not message["more_body"]:
            return body


async def answer(
    send: Send, body: bytes = b"", status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    await send(head(status, *headers))
    await send(piece(body, more=False))


def head(status: int = 200, *headers: tuple[bytes, bytes]) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def piece(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the target and the body."""
    body = await read_all(receive)
    await answer(send, scope["raw_path"] + b" " + body)


ECHO: Final = app_of(echo)

with_patience = partial(trio.fail_after, END_A_HANG)
