"""What a slow, silent or greedy client may do to the server, and for how long."""

from __future__ import annotations

import errno
import json
import os
import socket
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

import signalbox.http.server as server_module
from signalbox.http.asgi import DISCONNECT, Receive, Scope, Send
from signalbox.http.http1_server import HEAD_TICKS, KEEP_ALIVE_TICKS, LINGER_TICKS, TICK_SECONDS
from signalbox.http.server import ACCEPT_PAUSE_SECONDS
from tests.http1_servers import (
    ECHO,
    GET,
    Client,
    answer,
    app_of,
    head,
    piece,
    read_all,
    serving,
)

SEND_TIMEOUT = 10.0


async def pass_time(clock: MockClock, seconds: float) -> None:
    """Lets it be noticed by whoever waits, and done by whoever was woken."""
    await trio.testing.wait_all_tasks_blocked()
    clock.jump(seconds)
    await trio.testing.wait_all_tasks_blocked()


def has_ended(client: Client) -> bool:
    """Whether the server has closed its side, and nothing is left to be read."""
    stream = client.stream
    assert isinstance(stream, trio.SocketStream)
    if not stream.socket.is_readable():
        return False
    duplicate = socket.socket(fileno=os.dup(client.socket.fileno()))
    with duplicate:
        try:
            return duplicate.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except ConnectionError:
            return True


# Idle connections and slow heads


async def test_an_idle_connection_ends_after_its_time(mock_clock: MockClock) -> None:
    async with serving(ECHO) as server:
        used, unused = await server.connect(), await server.connect()
        await pass_time(mock_clock, KEEP_ALIVE_TICKS - 10)
        assert (await used.ask(GET)).status == 200
        await pass_time(mock_clock, 11 + TICK_SECONDS)
        assert not has_ended(used)
        assert has_ended(unused)
        await pass_time(mock_clock, KEEP_ALIVE_TICKS)
        assert has_ended(used)


async def test_a_request_under_way_has_no_idle_time(mock_clock: MockClock) -> None:
    go_on = trio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await answer(send)

    async with serving(app_of(handler)) as server:
        client = await server.connect()
        await client.send(GET)
        await pass_time(mock_clock, 10 * KEEP_ALIVE_TICKS)
        go_on.set()
        assert (await client.reply()).status == 200


async def test_a_head_has_its_time_however_it_drips(mock_clock: MockClock) -> None:
    async with serving(ECHO) as server:
        client = await server.connect()
        for byte in GET[:-2] + b"x: yyy":  # A second for each of them.
            await client.send(bytes([byte]))
            await pass_time(mock_clock, TICK_SECONDS)
        assert len(GET) + 6 > HEAD_TICKS
        reply = await client.reply()
        assert await client.is_closed()
    assert (reply.status, reply.header("connection")) == (408, "close")
    assert json.loads(reply.body)["error"]["code"] == "request_timeout"


async def test_a_head_that_comes_in_time_is_served(mock_clock: MockClock) -> None:
    async with serving(ECHO) as server:
        client = await server.connect()
        for _ in range(2):  # The second one has a time of its own.
            await client.send(GET[:5])
            await pass_time(mock_clock, HEAD_TICKS - 5)
            assert (await client.ask(GET[5:])).status == 200


async def test_a_refused_client_that_goes_on_sending_is_left(mock_clock: MockClock) -> None:
    async with serving(ECHO) as server:
        client = await server.connect()
        assert (await client.ask(b"nonsense\r\n\r\n")).status == 400
        await client.send(b"more of it")
        await pass_time(mock_clock, (LINGER_TICKS + 1) * TICK_SECONDS)
        await client.send(b"and more")  # It is answered by a reset.
        with pytest.raises(trio.BrokenResourceError):
            await client.send(b"and more")


async def test_a_small_rest_of_a_body_is_not_waited_for_without_end(
    mock_clock: MockClock,
) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"", 401)

    async with serving(app_of(handler)) as server:
        client = await server.connect()
        request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n"
        assert (await client.ask(request, "POST")).status == 401
        await pass_time(mock_clock, (LINGER_TICKS + 1) * TICK_SECONDS)
        assert has_ended(client)


# Clients that do not take what is sent to them


class Streaming:
    """An application that sends without end, or so many pieces, and what it comes to know."""

    def __init__(self, pieces: int | None = None) -> None:
        self.told = 0
        self.received: list[str] = []
        self.sent = 0
        self.ended = trio.Event()
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        def tell() -> None:
            self.told += 1

        await read_all(receive)
        scope["extensions"][DISCONNECT](tell)
        await send(head())
        while not self.told and self.sent != self._pieces:
            await send(piece(b"x" * 65_536))
            self.sent += 1
        if self.told:
            self.received.append((await receive())["type"])
        else:
            await send(piece(b"", more=False))
        self.ended.set()


async def test_a_client_that_takes_nothing_is_cut_off(mock_clock: MockClock) -> None:
    app = Streaming()
    async with serving(app_of(app), send_timeout=SEND_TIMEOUT) as server:
        client = await server.connect(small=True)
        await client.send(GET)
        await pass_time(mock_clock, SEND_TIMEOUT - 1)
        assert app.sent
        assert not app.told
        await pass_time(mock_clock, 1.5)
        assert (app.told, app.received) == (1, ["http.disconnect"])
        assert app.ended.is_set()
        assert not (await client.reply()).whole


async def test_a_slow_reader_that_lives_is_served(mock_clock: MockClock) -> None:
    app = Streaming(pieces=100)
    taken = 0
    async with serving(app_of(app), send_timeout=SEND_TIMEOUT) as server:
        client = await server.connect(small=True)
        await client.send(GET)
        seen = b""
        for _ in range(50):  # Far longer than the timeout, and far from the end.
            await pass_time(mock_clock, SEND_TIMEOUT * 0.9)
            before = taken
            while taken < before + 20_000:
                data = await client.receive()
                assert data
                taken += len(data)
                seen = (seen + data)[-5:]
        assert not app.told
        assert app.sent < 100
        while seen != b"0\r\n\r\n":
            data = await client.receive()
            assert data
            seen = (seen + data)[-5:]
    assert app.told == 0


async def test_a_client_that_leaves_frees_a_blocked_send() -> None:
    app = Streaming()
    async with serving(app_of(app)) as server:
        client = await server.connect(small=True)
        await client.send(GET)
        await trio.testing.wait_all_tasks_blocked()
        assert app.sent
        await client.stream.aclose()
        await app.ended.wait()
    assert (app.told, app.received) == (1, ["http.disconnect"])


# Descriptors


async def test_a_server_without_free_descriptors_waits_for_some(
    mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(socket.socket):
        refusals = 3

        def accept(self) -> tuple[socket.socket, Any]:
            if self.refusals:
                self.refusals -= 1
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return super().accept()

    made = server_module._listen

    def listen(host: str, port: int) -> socket.socket:
        plain = made(host, port)
        listener = Full(plain.family, plain.type, plain.proto, fileno=plain.detach())
        listener.setblocking(False)
        listeners.append(listener)
        return listener

    listeners: list[Full] = []

    monkeypatch.setattr(server_module, "_listen", listen)
    async with serving(ECHO) as server:
        client = await server.connect()
        await client.send(GET)
        for refused in range(1, Full.refusals + 1):
            await trio.testing.wait_all_tasks_blocked()
            assert listeners[0].refusals == Full.refusals - refused
            await pass_time(mock_clock, ACCEPT_PAUSE_SECONDS)
        assert (await client.reply()).status == 200
    told = [it for it in caplog.messages if it.startswith("no connection can be accepted")]
    assert len(told) == 1
