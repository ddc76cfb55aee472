"""What an application may rely on, whichever of the two servers a connection ends up at."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio
import trio.testing

from signalbox.http.asgi import BODY_IS_THERE, DISCONNECT, Message, Receive, Scope, Send
from tests.http1_servers import (
    ECHO,
    GET,
    Running,
    answer,
    app_of,
    head,
    piece,
    read_all,
    serving,
    serving_by_hypercorn,
    with_patience,
)

Serving = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture(params=[serving, serving_by_hypercorn], ids=["own", "hypercorn"])
def served(request: pytest.FixtureRequest) -> Serving:
    chosen: Serving = request.param
    return chosen


def post(body: bytes, *lines: bytes) -> bytes:
    head = b"".join(b"%b\r\n" % it for it in lines)
    return b"POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n%b\r\n%b" % (
        len(body),
        head,
        body,
    )


async def test_a_scope_says_what_was_asked(served: Serving) -> None:
    scopes: list[dict[str, Any]] = []

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(dict(scope))
        await answer(send)

    with with_patience():
        async with served(app_of(handler)) as server:
            client = await server.connect()
            await client.ask(
                b"GET /a%2Fb/%C3%A4?c=d%20&e HTTP/1.1\r\nHost: h:1\r\nX-A: 1\r\nx-a: \t2 \r\n\r\n"
            )
            own = client.socket.getsockname()
    [scope] = scopes
    extensions, asgi = scope.pop("extensions"), scope.pop("asgi")
    assert scope == {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/a/b/ä",
        "raw_path": b"/a%2Fb/%C3%A4",
        "query_string": b"c=d%20&e",
        "root_path": "",
        "headers": [(b"host", b"h:1"), (b"x-a", b"1"), (b"x-a", b"2")],
        "client": own,
        "server": ("127.0.0.1", server.port),
        "state": {},
    }
    assert asgi["version"] == "3.0"
    assert callable(extensions[DISCONNECT])


@pytest.mark.parametrize("size", [0, 1, 65_536, 1_000_000])
async def test_a_body_comes_whole(served: Serving, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with with_patience():
        async with served(ECHO) as server:
            client = await server.connect()
            assert (await client.ask(post(body), "POST")).body == b"/p " + body


async def test_a_chunked_body_comes_whole(served: Serving) -> None:
    head = b"POST /p HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    with with_patience():
        async with served(ECHO) as server:
            client = await server.connect()
            reply = await client.ask(head + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "POST")
            assert reply.body == b"/p abc"
            assert (await client.ask(GET)).body == b"/ "


@pytest.mark.parametrize(
    ("parts", "is_there"),
    [
        ([post(b"hello")], True),
        ([post(b"")], True),
        ([GET], True),
        ([post(b"hello")[:-1], b"o"], False),
        ([post(b"hello")[:-5], b"hello"], False),
    ],
)
async def test_an_application_may_know_that_the_body_is_there(
    served: Serving, parts: list[bytes], is_there: bool
) -> None:
    firsts: list[Message] = []
    begun = trio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        first = await receive()
        if scope["extensions"].get(BODY_IS_THERE):
            firsts.append(first)
            await answer(send)
            return
        while first["more_body"]:
            first = await receive()
        await answer(send)

    with with_patience():
        async with served(app_of(handler)) as server:
            client = await server.connect()
            for part in parts:
                await client.send(part)
                await begun.wait()
            assert (await client.reply()).status == 200
    assert all(not it["more_body"] for it in firsts)  # Whoever says so is right.
    if served is serving:
        assert bool(firsts) is is_there


async def test_requests_follow_each_other_on_one_connection(served: Serving) -> None:
    with with_patience():
        async with served(ECHO) as server:
            client = await server.connect()
            for number in range(5):
                reply = await client.ask(post(b"%d" % number), "POST")
                assert reply.body == b"/p %d" % number
                assert reply.header("connection") is None


async def test_pipelined_requests_are_answered_in_order(served: Serving) -> None:
    with with_patience():
        async with served(ECHO) as server:
            client = await server.connect()
            await client.send(b"".join(post(b"%d" % number) for number in range(20)))
            for number in range(20):
                assert (await client.reply("POST")).body == b"/p %d" % number


async def test_a_body_of_pieces_arrives_piece_by_piece(served: Serving) -> None:
    go_on = trio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await send(head(200, (b"content-type", b"text/event-stream")))
        await send(piece(b"one"))
        await go_on.wait()
        await send(piece(b"two"))
        await send(piece(b"", more=False))

    with with_patience():
        async with served(app_of(handler)) as server:
            client = await server.connect()
            await client.send(GET)
            seen = b""
            while b"one\r\n" not in seen:
                seen += await client.receive()
            go_on.set()
            while not seen.endswith(b"0\r\n\r\n"):
                seen += await client.receive()
            assert b"transfer-encoding: chunked" in seen.lower()
            assert b"two" in seen


async def test_the_answer_to_head_has_no_body(served: Serving) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"hello", 200, ((b"content-length", b"5"),))

    with with_patience():
        async with served(app_of(handler)) as server:
            client = await server.connect()
            reply = await client.ask(b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n", "HEAD")
            assert (reply.status, reply.body, reply.header("content-length")) == (200, b"", "5")
            assert (await client.ask(GET)).body == b"hello"


async def test_a_204_has_no_body(served: Serving) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"", 204)

    with with_patience():
        async with served(app_of(handler)) as server:
            client = await server.connect()
            for _ in range(2):
                reply = await client.ask(GET)
                assert (reply.status, reply.body, reply.whole) == (204, b"", True)


async def test_http_1_0_gets_no_chunks_and_the_end_of_the_connection(served: Serving) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["http_version"] == "1.0"
        await send(head())
        await send(piece(b"one"))
        await send(piece(b"two", more=False))

    with with_patience():
        async with served(app_of(handler)) as server:
            client = await server.connect()
            reply = await client.ask(b"GET / HTTP/1.0\r\n\r\n")
            assert reply.body == b"onetwo"
            assert reply.header("transfer-encoding") is None
            assert await client.is_closed()


async def test_a_client_may_ask_for_the_end_of_the_connection(served: Serving) -> None:
    with with_patience():
        async with served(ECHO) as server:
            client = await server.connect()
            reply = await client.ask(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            assert (reply.status, reply.header("connection")) == (200, "close")
            assert await client.is_closed()


async def test_the_body_may_wait_for_100(served: Serving) -> None:
    with with_patience():
        async with served(ECHO) as server:
            client = await server.connect()
            await client.send(post(b"abc", b"expect: 100-continue").removesuffix(b"abc"))
            assert (await client.receive()).startswith(b"HTTP/1.1 100 ")
            assert (await client.ask(b"abc", "POST")).body == b"/p abc"


async def test_an_application_that_crashes_is_a_500(served: Serving) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)
        raise RuntimeError("crashed on purpose")

    with with_patience():
        async with served(app_of(handler)) as server:
            client = await server.connect()
            assert (await client.ask(GET)).status == 500
            assert await client.is_closed()
            other = await server.connect()
            assert (await other.ask(GET)).status == 500


async def test_an_application_that_does_not_answer_is_a_500(served: Serving) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)

    with with_patience():
        async with served(app_of(handler)) as server:
            client = await server.connect()
            assert (await client.ask(GET)).status == 500


@pytest.mark.parametrize("crash", [True, False])
@pytest.mark.parametrize("length", [None, b"100"])
async def test_an_answer_that_breaks_off_has_no_clean_end(
    served: Serving, crash: bool, length: bytes | None
) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await send(head(200, *([] if length is None else [(b"content-length", length)])))
        await send(piece(b"begun"))
        if crash:
            raise RuntimeError("crashed on purpose")

    with with_patience():
        async with served(app_of(handler)) as server:
            client = await server.connect()
            reply = await client.ask(GET)
            assert (reply.status, reply.body, reply.whole) == (200, b"begun", False)


async def test_after_its_answer_an_application_is_told_of_a_disconnect(served: Serving) -> None:
    received: list[Message] = []
    done = trio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)
        await answer(send)
        received.append(await receive())
        done.set()

    with with_patience():
        async with served(app_of(handler)) as server:
            client = await server.connect()
            await client.ask(GET)
            await done.wait()
    assert received == [{"type": "http.disconnect"}]


LEAVING = ["close", "shutdown"]


async def leave(running: Running, how: str) -> None:
    stream = running.clients[0].stream
    if how == "close":
        await stream.aclose()
    else:
        assert isinstance(stream, trio.SocketStream)
        await stream.send_eof()


@pytest.mark.parametrize("how", LEAVING)
async def test_a_client_that_leaves_is_a_disconnect(served: Serving, how: str) -> None:
    waiting, told = trio.Event(), trio.Event()
    received: list[Message] = []

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)
        scope["extensions"][DISCONNECT](told.set)
        waiting.set()
        received.append(await receive())
        received.append(await receive())
        await answer(send, b"nobody reads it")  # It is no error.

    with with_patience():
        async with served(app_of(handler)) as server:
            client = await server.connect()
            await client.send(GET)
            await waiting.wait()
            assert not told.is_set()
            await leave(server, how)
            await told.wait()
            while len(received) < 2:
                await trio.lowlevel.checkpoint()
    assert received == [{"type": "http.disconnect"}] * 2


async def test_a_client_that_left_before_is_told_of_at_once(served: Serving) -> None:
    calls: list[str] = []
    done = trio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)
        on_disconnect = scope["extensions"][DISCONNECT]
        assert (await receive())["type"] == "http.disconnect"
        on_disconnect(None)
        on_disconnect(lambda: calls.append("at once"))
        assert calls == ["at once"]
        done.set()

    with with_patience():
        async with served(app_of(handler)) as server:
            client = await server.connect()
            await client.send(GET)
            await client.stream.aclose()
            await done.wait()


async def test_a_callback_may_be_taken_back_or_replaced(served: Serving) -> None:
    calls: list[str] = []
    waiting = trio.Event()
    gone = trio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)
        on_disconnect = scope["extensions"][DISCONNECT]
        on_disconnect(lambda: calls.append("first"))
        on_disconnect(lambda: calls.append("second"))
        if scope["path"] == "/back":
            on_disconnect(None)
        waiting.set()
        await receive()
        gone.set()

    with with_patience():
        async with served(app_of(handler)) as server:
            for path in (b"/", b"/back"):
                waiting, gone = trio.Event(), trio.Event()
                client = await server.connect()
                await client.send(GET.replace(b"/ ", path + b" ", 1))
                await waiting.wait()
                await client.stream.aclose()
                await gone.wait()
    assert calls == ["second"]


async def test_no_callback_comes_after_the_answer(served: Serving) -> None:
    calls: list[str] = []
    answered, over = trio.Event(), trio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)
        on_disconnect = scope["extensions"][DISCONNECT]
        on_disconnect(lambda: calls.append("late"))
        await answer(send)
        answered.set()
        await over.wait()

    with with_patience():
        async with served(app_of(handler)) as server:
            client = await server.connect()
            await client.ask(GET)
            await answered.wait()
            await client.stream.aclose()
            await trio.testing.wait_all_tasks_blocked()
            over.set()
    assert calls == []


async def test_pipelined_bytes_are_no_disconnect(served: Serving) -> None:
    calls: list[str] = []
    go_on = trio.Event()
    first = trio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)
        scope["extensions"][DISCONNECT](lambda: calls.append(scope["path"]))
        first.set()
        await go_on.wait()
        await answer(send, scope["path"].encode())

    with with_patience():
        async with served(app_of(handler)) as server:
            client = await server.connect()
            await client.send(GET)
            await first.wait()
            await client.send(GET.replace(b"/ ", b"/2 ", 1))
            await trio.testing.wait_all_tasks_blocked()
            go_on.set()
            assert (await client.reply()).body == b"/"
            assert (await client.reply()).body == b"/2"
            assert calls == []
