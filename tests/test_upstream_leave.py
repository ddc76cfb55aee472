"""An answer that is left before its body ends, and what becomes of its connection."""

from __future__ import annotations

import gzip
import ssl
from collections.abc import AsyncIterator

import pytest
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from signalbox.http.upstream import UpstreamClient
from signalbox.http.upstream_connection import LEFT_BYTES
from signalbox.http.upstream_pool import ConnectionPool
from tests.raw_server import (
    Handler,
    RawConnection,
    answer,
    serve_raw,
    server_tls,
    trusting_tls,
)
from tests.upstream_calls import NONE_OPEN, ONE_IDLE, call, counts, post

STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n[DONE]\r\n"
END = b"0\r\n\r\n"


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient(ConnectionPool(trusting_tls()))
    yield client
    await client.aclose()


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    return server_tls() if request.param == "https" else None


def ending_with(
    rest: bytes, go_on: trio.Event, *, start: bytes = STREAM, closes: bool = False
) -> Handler:
    """The first connection's first answer is `start`, and `rest` once `go_on` is set."""

    async def handler(connection: RawConnection) -> None:
        await connection.read_request()
        if connection.number == 1:
            await connection.send(start)
            await go_on.wait()
            if rest:
                await connection.send(rest)
            if closes:
                return
        else:
            await connection.send(answer(b"fresh"))
        while True:
            await connection.read_request()
            await connection.send(answer(b"again"))

    return handler


async def test_an_answer_whose_end_comes_later_gives_its_connection_back(
    nursery: trio.Nursery, client: UpstreamClient, tls: ssl.SSLContext | None
) -> None:
    go_on = trio.Event()
    server = await serve_raw(nursery, ending_with(END, go_on), ssl_context=tls)
    response = await client.send(post(server), connect_timeout=5)
    assert await response.receive() == b"[DONE]"
    response.leave()
    assert counts(client, server) == ONE_IDLE
    response.close()
    assert counts(client, server) == ONE_IDLE, "what was left is not the answer's to close"
    assert await response.receive() == b""
    go_on.set()
    await wait_all_tasks_blocked()
    assert await call(client, post(server)) == b"again"
    assert server.accepted == 1


async def test_the_end_is_often_there_already(
    nursery: trio.Nursery, client: UpstreamClient, tls: ssl.SSLContext | None
) -> None:
    go_on = trio.Event()
    server = await serve_raw(nursery, ending_with(END, go_on), ssl_context=tls)
    response = await client.send(post(server), connect_timeout=5)
    await response.receive()
    go_on.set()
    await wait_all_tasks_blocked()
    response.leave()
    assert await call(client, post(server)) == b"again"
    assert (server.accepted, client.statistics().retried_stale) == (1, 0)


async def test_leaving_a_whole_answer_changes_nothing(
    nursery: trio.Nursery, client: UpstreamClient, tls: ssl.SSLContext | None
) -> None:
    go_on = trio.Event()
    go_on.set()
    server = await serve_raw(nursery, ending_with(b"", go_on, start=answer()), ssl_context=tls)
    response = await client.send(post(server), connect_timeout=5)
    assert await response.receive() == b"ok"
    response.leave()
    assert await response.receive() == b""
    assert counts(client, server) == ONE_IDLE
    assert await call(client, post(server)) == b"again"
    assert server.accepted == 1


@pytest.mark.parametrize(
    ("rest", "closes"),
    [
        (b"", False),
        (b"", True),
        (END[:-1], False),
        (END, True),
        (END + answer(b"forged"), False),
        (b"not hex\r\n", False),
        (b"%x\r\n%b\r\n" % (LEFT_BYTES + 1, bytes(LEFT_BYTES + 1)) + END, False),
    ],
    ids=["no end", "closed", "half", "end and close", "surplus", "violation", "too much"],
)
@pytest.mark.parametrize("early", [True, False], ids=["before leaving", "after leaving"])
async def test_a_connection_whose_answer_did_not_just_end_is_not_used_again(
    nursery: trio.Nursery,
    client: UpstreamClient,
    tls: ssl.SSLContext | None,
    rest: bytes,
    closes: bool,
    early: bool,
) -> None:
    go_on = trio.Event()
    server = await serve_raw(nursery, ending_with(rest, go_on, closes=closes), ssl_context=tls)
    response = await client.send(post(server), connect_timeout=5)
    await response.receive()
    if early:
        go_on.set()
        await wait_all_tasks_blocked()
    response.leave()
    go_on.set()
    await wait_all_tasks_blocked()
    assert await call(client, post(server)) == b"fresh"
    statistics = client.statistics()
    assert (statistics.opened, statistics.retried_stale) == (2, 0)
    assert counts(client, server) == ONE_IDLE


@pytest.mark.parametrize(
    "start",
    [
        STREAM.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1),
        b"HTTP/1.1 200 OK\r\n\r\nwithout length",
        STREAM + b"not hex\r\n",
    ],
    ids=["close", "ends with its connection", "violation"],
)
async def test_a_connection_that_cannot_live_on_is_closed_at_once(
    nursery: trio.Nursery, client: UpstreamClient, tls: ssl.SSLContext | None, start: bytes
) -> None:
    handler = ending_with(b"", trio.Event(), start=start)
    server = await serve_raw(nursery, handler, ssl_context=tls)
    response = await client.send(post(server), connect_timeout=5)
    response.leave()
    assert counts(client, server) == NONE_OPEN


async def test_what_was_not_read_of_an_answer_answers_no_later_request(
    nursery: trio.Nursery, client: UpstreamClient, tls: ssl.SSLContext | None
) -> None:
    go_on = trio.Event()
    rest = b"5\r\nwords\r\n" + END
    server = await serve_raw(nursery, ending_with(rest, go_on), ssl_context=tls)
    response = await client.send(post(server), connect_timeout=5)
    response.leave()
    assert await response.receive() == b""
    go_on.set()
    await wait_all_tasks_blocked()
    assert await call(client, post(server)) == b"again"


async def test_an_answer_in_gzip_can_be_left(nursery: trio.Nursery, client: UpstreamClient) -> None:
    go_on = trio.Event()
    packed = gzip.compress(b"[DONE]")
    start = (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"%x\r\n%b\r\n" % (len(packed), packed)
    )
    server = await serve_raw(nursery, ending_with(END, go_on, start=start))
    response = await client.send(post(server), connect_timeout=5)
    assert await response.receive() == b"[DONE]"
    response.leave()
    assert await response.receive() == b""
    go_on.set()
    await wait_all_tasks_blocked()
    assert await call(client, post(server)) == b"again"
    assert server.accepted == 1


@settings(max_examples=60)
@given(st.integers(0, len(STREAM + END) + 3), st.sampled_from([b"", b"H", answer(b"forged")]))
@example(len(STREAM), b"")
@example(len(STREAM + END), b"")
def test_wherever_the_bytes_are_cut_no_answer_is_mixed_up(place: int, surplus: bytes) -> None:
    """The head comes first, then what fits before the cut; the rest comes after the leaving."""
    data = STREAM + END + surplus
    place = min(max(place, STREAM.index(b"\r\n\r\n") + 4), len(data))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            go_on = trio.Event()
            server = await serve_raw(nursery, ending_with(data[place:], go_on, start=data[:place]))
            client = UpstreamClient(ConnectionPool(trusting_tls()))
            response = await client.send(post(server), connect_timeout=5)
            response.leave()
            go_on.set()
            await wait_all_tasks_blocked()
            reply = await call(client, post(server))
            assert reply == (b"fresh" if surplus else b"again")
            assert server.accepted == (2 if surplus else 1)
            await client.aclose()
            nursery.cancel_scope.cancel()

    trio.run(main)
