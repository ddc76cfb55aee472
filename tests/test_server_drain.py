"""How the server ends: idle connections at once, requests under way in their time."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from signalbox.http.asgi import Receive, Scope, Send
from signalbox.http.server import CannotListen, PortTaken, ServerSettings, serve
from tests.http1_servers import ECHO, GET, answer, app_of, head, piece, serving, with_patience


async def test_idle_connections_end_at_once_and_with_them_the_server() -> None:
    with with_patience():
        async with serving(ECHO, drain_seconds=1000.0) as server:
            used, unused = await server.connect(), await server.connect()
            await used.ask(GET)
            server.stop.set()
            assert await used.is_closed()
            assert await unused.is_closed()
            await server.ended.wait()
            with pytest.raises(OSError, match="refused"):
                await server.connect()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_request_under_way_is_answered_and_its_connection_ends(begun: bool) -> None:
    started, go_on = trio.Event(), trio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send(head())
            await send(piece(b"begun, "))
        started.set()
        await go_on.wait()
        if begun:
            await send(piece(b"ended", more=False))
        else:
            await answer(send, b"ended")

    with with_patience():
        async with serving(app_of(handler), drain_seconds=1000.0) as server:
            client = await server.connect()
            await client.send(GET + GET)
            await started.wait()
            server.stop.set()
            await trio.testing.wait_all_tasks_blocked()
            assert not server.ended.is_set()
            go_on.set()
            reply = await client.reply()
            assert reply.whole
            assert reply.body == (b"begun, ended" if begun else b"ended")
            assert reply.header("connection") == (None if begun else "close")
            if begun:  # It was told that it may go on, and it has.
                assert (await client.reply()).header("connection") == "close"
            assert await client.is_closed()
            await client.stream.aclose()
            await server.ended.wait()


async def test_a_head_under_way_is_still_served() -> None:
    with with_patience():
        async with serving(ECHO, drain_seconds=1000.0) as server:
            client = await server.connect()
            await client.send(GET[:10])
            await trio.testing.wait_all_tasks_blocked()
            server.stop.set()
            await trio.testing.wait_all_tasks_blocked()
            reply = await client.ask(GET[10:])
            assert (reply.status, reply.header("connection")) == (200, "close")
            await server.ended.wait()


async def test_what_takes_longer_than_the_drain_is_cut(mock_clock: MockClock) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await send(head())
        await send(piece(b"begun"))
        await trio.sleep_forever()

    async with serving(app_of(handler), drain_seconds=30.0) as server:
        client = await server.connect()
        await client.send(GET)
        await trio.testing.wait_all_tasks_blocked()
        server.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(29)
        await trio.testing.wait_all_tasks_blocked()
        assert not server.ended.is_set()
        mock_clock.jump(2)
        reply = await client.reply()
        await server.ended.wait()
    assert (reply.body, reply.whole) == (b"begun", False)


async def test_a_client_that_never_reads_does_not_hold_up_the_end(mock_clock: MockClock) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await send(head())
        while True:
            await send(piece(b"x" * 65_536))

    async with serving(app_of(handler), drain_seconds=1.0) as server:
        client = await server.connect(small=True)
        await client.send(GET)
        await trio.testing.wait_all_tasks_blocked()
        server.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(1.5)
        await server.ended.wait()


async def test_a_cancelled_server_closes_its_connections() -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await send(head())
        await send(piece(b"begun"))
        await trio.sleep_forever()

    with with_patience():
        async with serving(app_of(handler)) as server:
            busy, idle = await server.connect(), await server.connect()
            await busy.send(GET)
            await trio.testing.wait_all_tasks_blocked()
            server.cancel.cancel()
            assert await idle.is_closed()
            assert not (await busy.reply()).whole
            await server.ended.wait()


async def test_what_the_application_s_end_of_life_does_comes_last() -> None:
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            told.append("request")
            await answer(send)
            return
        for event in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{event}"
            told.append(event)
            await send({"type": f"lifespan.{event}.complete"})

    with with_patience():
        async with serving(app) as server:
            client = await server.connect()
            await client.ask(GET)
            server.stop.set()
            await server.ended.wait()
    assert told == ["startup", "request", "shutdown"]


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port} is taken"):
            await serve(ECHO, ServerSettings("127.0.0.1", port, 1.0), stop=trio.sleep_forever)


async def test_a_host_that_is_none_is_named() -> None:
    with pytest.raises(CannotListen, match="is no host to listen on"):
        await serve(ECHO, ServerSettings("256.0.0.1", 0, 1.0), stop=trio.sleep_forever)
