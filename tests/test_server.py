"""Connections of the gateway's own HTTP/1.1: bodies that nobody reads, ends, crashes, bounds."""

from __future__ import annotations

import json
import re
import socket
import struct

import pytest
import trio
import trio.testing

from signalbox.http.asgi import DISCONNECT, Message, Receive, Scope, Send
from signalbox.http.http1_exchange import DRAIN_BYTES
from signalbox.http.http1_poller import Poller
from signalbox.http.http1_transport import HELD_BYTES, Transport
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
    with_patience,
)

CHUNKED = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


def post_head(length: int, *lines: bytes) -> bytes:
    more = b"".join(b"%b\r\n" % it for it in lines)
    return b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n%b\r\n" % (length, more)


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers without a look at the body."""
    await answer(send, scope["path"].encode(), 401)


async def test_a_response_is_one_write_with_a_date_and_no_server() -> None:
    with with_patience():
        async with serving(app_of(refuse)) as server:
            client = await server.connect()
            await client.send(GET)
            data = await client.receive()
    assert data.endswith(b"\r\n\r\n/")
    assert re.search(rb"\r\ndate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", data)
    assert b"server" not in data.lower()


async def test_the_lifespan_s_state_is_in_every_scope() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                scope["state"]["opened"] = True
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        state = scope["state"]
        await answer(send, repr(state).encode())
        state["mine"] = 1

    with with_patience():
        async with serving(app) as server:
            client = await server.connect()
            for _ in range(2):
                assert (await client.ask(GET)).body == b"{'opened': True}"
            server.stop.set()
            await server.ended.wait()


# Bodies that the application does not read


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_small_body_that_nobody_wanted_keeps_its_connection(chunked: bool) -> None:
    start = post_head(100)
    rest = b"x" * 100
    if chunked:
        start = CHUNKED
        rest = b"64\r\n" + rest + b"\r\n0\r\n\r\n"
    with with_patience():
        async with serving(app_of(refuse)) as server:
            client = await server.connect()
            reply = await client.ask(start, "POST")
            assert (reply.status, reply.header("connection")) == (401, None)
            await client.send(rest[:50])
            await trio.testing.wait_all_tasks_blocked()
            assert (await client.ask(rest[50:] + GET)).status == 401


async def test_an_answer_before_a_large_body_is_not_lost_and_ends_the_connection() -> None:
    with with_patience():
        async with serving(app_of(refuse)) as server, trio.open_nursery() as nursery:
            client = await server.connect()

            async def send_it_all() -> None:
                try:
                    await client.send(post_head(8_000_000) + b"x" * 8_000_000)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    """The server does not take it."""

            nursery.start_soon(send_it_all)
            reply = await client.reply("POST")
            assert (reply.status, reply.whole, reply.header("connection")) == (401, True, "close")
            assert await client.is_closed()
            await client.stream.aclose()


async def test_a_body_larger_than_was_thought_is_not_read_to_its_end() -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await send(head(401, (b"content-length", b"1")))
        await send(piece(b"x"))
        await send(piece(b"", more=False))

    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with with_patience():
        async with serving(app_of(handler)) as server, trio.open_nursery() as nursery:
            client = await server.connect()

            async def send_without_end() -> None:
                await client.send(
                    b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                with trio.CancelScope() as sending:
                    scopes.append(sending)
                    while True:
                        try:
                            await client.send(chunk)
                        except (trio.BrokenResourceError, trio.ClosedResourceError):
                            return

            scopes: list[trio.CancelScope] = []
            nursery.start_soon(send_without_end)
            assert (await client.reply("POST")).status == 401
            assert await client.is_closed()
            for scope in scopes:
                scope.cancel()


async def test_an_application_may_read_on_after_its_answer() -> None:
    """As the model doors do with what is too large, to keep the connection."""

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await send(head(413, (b"content-length", b"3")))
        await send(piece(b"big"))
        await read_all(receive)
        await send(piece(b"", more=False))

    size = DRAIN_BYTES * 4
    with with_patience():
        async with serving(app_of(handler)) as server:
            client = await server.connect()
            for _ in range(2):
                reply = await client.ask(post_head(size) + b"x" * size, "POST")
                assert (reply.status, reply.header("connection")) == (413, None)


# 100 Continue


async def test_100_is_not_sent_for_a_body_that_nobody_wants() -> None:
    with with_patience():
        async with serving(app_of(refuse)) as server:
            client = await server.connect()
            reply = await client.ask(post_head(5, b"expect: 100-continue"), "POST")
            assert (reply.status, reply.interim) == (401, [])
            assert reply.header("connection") == "close"
            assert await client.is_closed()


async def test_100_is_not_sent_for_a_body_that_is_there() -> None:
    with with_patience():
        async with serving(ECHO) as server:
            client = await server.connect()
            reply = await client.ask(post_head(5, b"expect: 100-continue") + b"hello", "POST")
            assert (reply.body, reply.interim) == (b"/ hello", [])
            assert reply.header("connection") is None


async def test_100_is_sent_once_and_not_into_an_answer() -> None:
    messages: list[Message] = []

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/first":
            await read_all(receive)
            await answer(send)
            return
        await send(head(401, (b"content-length", b"1")))
        await send(piece(b"x"))
        messages.append(await receive())
        await send(piece(b"", more=False))

    request = post_head(2, b"expect: 100-continue")
    with with_patience():
        async with serving(app_of(handler)) as server:
            client = await server.connect()
            await client.send(request.replace(b"/ ", b"/first ", 1))
            assert (await client.receive()).count(b"HTTP/1.1 100") == 1
            await client.send(b"x")
            await trio.testing.wait_all_tasks_blocked()
            reply = await client.ask(b"y", "POST")
            assert (reply.status, reply.interim) == (200, [])
            reply = await client.ask(request, "POST")
            assert (reply.status, reply.interim) == (401, [])
            assert await client.is_closed()
    assert messages == [{"type": "http.disconnect"}]


# Crashes and misuse


async def test_a_crash_is_logged_and_answered_in_the_gateway_s_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery():
            raise RuntimeError("crashed on purpose")

    with with_patience():
        async with serving(app_of(handler)) as server:
            client = await server.connect()
            reply = await client.ask(GET)
            assert await client.is_closed()
    assert reply.status == 500
    assert json.loads(reply.body) == {
        "error": {
            "message": "The gateway failed; its log says why.",
            "type": "server_error",
            "param": None,
            "code": "internal_error",
        }
    }
    assert "crashed on purpose" in caplog.text


@pytest.mark.parametrize(
    "messages",
    [
        [piece(b"")],
        [head(), head()],
        [head(99)],
        [{"type": "http.response.push"}],
        [head(200, (b"x", b"a\r\nset-cookie: b")), piece(b"", more=False)],
        [head(200, (b"content-length", b"1")), piece(b"ab", more=False)],
    ],
)
async def test_what_is_no_response_is_a_500_and_not_sent(messages: list[Message]) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    with with_patience():
        async with serving(app_of(handler)) as server:
            client = await server.connect()
            reply = await client.ask(GET)
            assert (reply.status, reply.whole) == (500, True)


async def test_what_is_sent_after_the_end_is_the_application_s_fault_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"whole")
        await send(piece(b"more"))

    with with_patience():
        async with serving(app_of(handler)) as server:
            client = await server.connect()
            for _ in range(2):
                assert (await client.ask(GET)).body == b"whole"
    assert "after the response had ended" in caplog.text


async def test_a_body_that_ends_with_the_connection_is_cut_by_a_reset() -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await send(head())
        await send(piece(b"begun"))
        await go_on.wait()

    go_on = trio.Event()
    with with_patience():
        async with serving(app_of(handler)) as server:
            client = await server.connect()
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.receive()).endswith(b"\r\n\r\nbegun")
            go_on.set()
            with pytest.raises(trio.BrokenResourceError):
                await client.stream.receive_some()


async def test_a_callback_that_crashes_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    waiting, over = trio.Event(), trio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        def crash() -> None:
            raise RuntimeError("crashed on purpose")

        scope["extensions"][DISCONNECT](crash)
        await read_all(receive)
        waiting.set()
        assert (await receive())["type"] == "http.disconnect"
        over.set()

    with with_patience():
        async with serving(app_of(handler)) as server:
            client = await server.connect()
            await client.send(GET)
            await waiting.wait()
            await client.stream.aclose()
            await over.wait()
            assert "crashed on purpose" in caplog.text
            other = await server.connect()
            waiting = trio.Event()
            await other.send(GET)
            await waiting.wait()


async def test_messages_of_a_request_that_is_over_touch_no_other() -> None:
    kept: list[tuple[Scope, Receive, Send]] = []
    second = trio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        if not kept:
            kept.append((scope, receive, send))
            await answer(send, b"first")
            return
        second.set()
        body = await read_all(receive)
        await answer(send, body)

    with with_patience():
        async with serving(app_of(handler)) as server:
            client = await server.connect()
            assert (await client.ask(GET)).body == b"first"
            await client.send(post_head(5))
            await second.wait()
            [(scope, receive, send)] = kept
            scope["extensions"][DISCONNECT](kept.clear)
            await send(piece(b"not for you"))
            assert (await receive())["type"] == "http.disconnect"
            assert (await client.ask(b"hello", "POST")).body == b"hello"
            await client.stream.aclose()
            await trio.testing.wait_all_tasks_blocked()
    assert kept


async def test_two_tasks_may_send_at_once() -> None:
    big = 300_000

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_some(letter: bytes) -> None:
            for _ in range(5):
                await send(piece(letter * big))

        await send(head())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_some, b"a")
            nursery.start_soon(send_some, b"b")
        await send(piece(b"", more=False))

    with with_patience():
        async with serving(app_of(handler)) as server:
            client = await server.connect(small=True)
            await client.send(GET)
            await trio.testing.wait_all_tasks_blocked()
            body = (await client.reply()).body
    assert len(body) == 10 * big
    assert {body[at : at + big] for at in range(0, len(body), big)} == {b"a" * big, b"b" * big}


async def test_a_send_that_is_cancelled_midway_cuts_the_connection() -> None:
    blocked = trio.CancelScope()
    sent: list[str] = []

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await send(head())
        with blocked:
            await send(piece(b"x" * 20_000_000))
        await send(piece(b"never seen", more=False))
        sent.append("in vain")

    with with_patience():
        async with serving(app_of(handler)) as server:
            client = await server.connect(small=True)
            await client.send(GET)
            await trio.testing.wait_all_tasks_blocked()
            blocked.cancel()
            reply = await client.reply()
    assert (reply.whole, sent) == (False, ["in vain"])
    assert b"never" not in reply.body


async def test_an_endless_answer_leaves_room_for_others() -> None:
    """A send that does not wait is no checkpoint; many of them are one."""

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/other":
            await answer(send, b"served")
            return
        await send(head())
        while True:
            await send(piece(b""))

    with with_patience():
        async with serving(app_of(handler)) as server:
            client = await server.connect()
            await client.send(GET)
            other = await server.connect()
            reply = await other.ask(GET.replace(b"/ ", b"/other ", 1))
            assert reply.body == b"served"


# Bounds


async def fill(sock: socket.socket, room: int) -> int:
    """How many bytes of `room` the other side takes."""
    sent = 0
    while sent < room:
        try:
            sent += sock.send(b"x" * min(65_536, room - sent))
        except BlockingIOError:
            before = sent
            await trio.testing.wait_all_tasks_blocked()
            try:
                sent += sock.send(b"x")
            except BlockingIOError:
                return before
    return sent


async def test_what_waits_for_the_application_is_bounded() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.setblocking(False)
        poller = Poller()
        transport = Transport(here, poller, 60)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            length = 10_000_000
            there.send(post_head(length))
            await trio.testing.wait_all_tasks_blocked()
            assert transport.protocol.next_request() is not None
            taken = await fill(there, length)
            assert taken < length
            assert HELD_BYTES <= transport.protocol.buffered < 2 * HELD_BYTES
            body = 0
            while body < length:
                body += len(transport.protocol.read_body())
                transport.go_on_reading()
                taken += await fill(there, length - taken)
                await trio.testing.wait_all_tasks_blocked()
            assert transport.protocol.body_ended
            nursery.cancel_scope.cancel()


async def test_pipelined_requests_beyond_the_bound_are_all_served() -> None:
    count = 4 * HELD_BYTES // len(GET)
    served = 0
    go_on = trio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal served
        served += 1
        await go_on.wait()
        await answer(send)

    async def send_all(client: Client) -> None:
        await client.send(GET * count)

    with with_patience():
        async with serving(app_of(handler)) as server, trio.open_nursery() as nursery:
            client = await server.connect()
            nursery.start_soon(send_all, client)
            await trio.testing.wait_all_tasks_blocked()
            assert served == 1
            go_on.set()
            seen = 0
            while seen < count:
                seen += (await client.receive()).count(b"HTTP/1.1 200")
    assert served == count


async def test_a_request_that_came_whole_is_served_though_its_client_left() -> None:
    served = trio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        assert await read_all(receive) == b"hello"
        assert (await receive())["type"] == "http.disconnect"
        served.set()

    with with_patience():
        async with serving(app_of(handler)) as server:
            client = await server.connect()
            await client.send(post_head(5) + b"hello")
            await client.stream.aclose()
            await served.wait()


async def test_a_client_that_resets_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    with with_patience():
        async with serving(app_of(refuse)) as server:
            for data in (b"\r\n", GET, b"GET / HT", post_head(5) + b"a"):
                client = await server.connect()
                await client.send(data)
                linger = struct.pack("ii", 1, 0)
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                client.socket.close()
            await trio.testing.wait_all_tasks_blocked()
            assert (await (await server.connect()).ask(GET)).status == 401
    assert "crashed" not in caplog.text
