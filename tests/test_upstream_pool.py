"""How the upstream client keeps connections, and how it lets them go."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from itertools import count

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from signalbox.actors.ports import UpstreamError, UpstreamErrorKind
from signalbox.adapters.protocol import WireRequest
from signalbox.http.upstream import UpstreamClient
from signalbox.http.upstream_origin import OriginStatistics
from signalbox.http.upstream_pool import (
    MAX_IDLE_SECONDS,
    STALE_SECONDS,
    ConnectionPool,
)
from tests.raw_server import (
    Handler,
    RawConnection,
    answer,
    answering,
    serve_raw,
    server_tls,
    trusting_tls,
)
from tests.upstream_calls import (
    NONE_OPEN,
    ONE_IDLE,
    CancelAtStep,
    answering_once,
    call,
    counts,
    failure,
    post,
)


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient(ConnectionPool(trusting_tls(), max_idle_per_origin=40))
    yield client
    await client.aclose()


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    return server_tls() if request.param == "https" else None


async def test_a_connection_is_used_again(
    nursery: trio.Nursery, client: UpstreamClient, tls: ssl.SSLContext | None
) -> None:
    server = await serve_raw(nursery, answering(answer()), ssl_context=tls)
    assert [await call(client, post(server)) for _ in range(3)] == [b"ok"] * 3
    assert server.accepted == 1
    statistics = client.statistics()
    assert (statistics.opened, statistics.reused, statistics.retried_stale) == (1, 2, 0)
    assert counts(client, server) == ONE_IDLE


async def test_requests_run_in_parallel_and_leave_no_more_than_the_idle_bound(
    nursery: trio.Nursery, client: UpstreamClient
) -> None:
    all_here = trio.Event()

    async def handler(connection: RawConnection) -> None:
        while True:
            await connection.read_request()
            if connection.number == 50:
                all_here.set()
            await all_here.wait()
            await connection.send(answer())

    server = await serve_raw(nursery, handler)
    for _ in range(2):
        async with trio.open_nursery() as callers:
            for _ in range(50):
                callers.start_soon(call, client, post(server))
    assert counts(client, server) == OriginStatistics(idle=40, leased=0)
    assert client.statistics().reused == 40


@pytest.mark.parametrize(
    "data",
    [
        answer(headers="Connection: close\r\n"),
        answer() + b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=["close", "surplus", "HTTP/1.0"],
)
async def test_a_connection_that_may_not_live_on_is_closed(
    nursery: trio.Nursery, client: UpstreamClient, data: bytes
) -> None:
    server = await serve_raw(nursery, answering(data))
    assert await call(client, post(server)) == b"ok"
    assert counts(client, server) == NONE_OPEN
    await server.all_closed()


async def test_the_request_may_ask_to_close(nursery: trio.Nursery, client: UpstreamClient) -> None:
    server = await serve_raw(nursery, answering(answer()))
    await call(client, WireRequest("GET", server.url(), (("connection", "close"),), b""))
    assert counts(client, server) == NONE_OPEN


async def test_bytes_that_nobody_asked_for_answer_no_later_request(
    nursery: trio.Nursery, client: UpstreamClient, tls: ssl.SSLContext | None
) -> None:
    # As long as a TLS record: the client's TLS has the second one, and the parser never sees it.
    asked_for = answer(b"a" * 16_342)
    assert len(asked_for) == 2**14
    server = await serve_raw(nursery, answering(asked_for + answer(b"forged")), ssl_context=tls)
    for _ in range(2):
        assert b"forged" not in await call(client, post(server))
        await wait_all_tasks_blocked()


async def test_a_connection_idle_too_long_is_not_used(
    nursery: trio.Nursery, client: UpstreamClient, autojump_clock: MockClock
) -> None:
    server = await serve_raw(nursery, answering(answer()))
    other = await serve_raw(nursery, answering(answer()))
    # The sweep at the third call finds it young, and at the fourth none is due.
    for share, called in ((0, other), (0.5, server), (0.6, other), (0.5, server)):
        await trio.sleep(share * MAX_IDLE_SECONDS)
        await call(client, post(called))
    assert server.accepted == 2


async def test_connections_idle_too_long_are_closed_whoever_is_called_next(
    nursery: trio.Nursery, client: UpstreamClient, autojump_clock: MockClock
) -> None:
    server = await serve_raw(nursery, answering(answer()))
    other = await serve_raw(nursery, answering(answer()))
    await call(client, post(server))
    await trio.sleep(MAX_IDLE_SECONDS)
    await call(client, post(other))
    assert counts(client, server) == NONE_OPEN
    await server.all_closed()


async def test_a_connection_that_died_idle_is_noticed(
    nursery: trio.Nursery, client: UpstreamClient, tls: ssl.SSLContext | None
) -> None:
    server = await serve_raw(nursery, answering_once(answer()), ssl_context=tls)
    await call(client, post(server))
    await server.all_closed()
    await call(client, post(server))
    statistics = client.statistics()
    assert (statistics.opened, statistics.reused, statistics.retried_stale) == (2, 0, 0)
    assert counts(client, server) == ONE_IDLE


def dying_on_the_second_request(after: float = 0, reply: bytes = b"") -> Handler:
    async def handler(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(answer())
        await connection.read_request()
        await connection.send(reply)
        await trio.sleep(after)
        connection.reset()

    return handler


async def test_a_request_that_meets_a_stale_connection_is_sent_once_more(
    nursery: trio.Nursery, client: UpstreamClient
) -> None:
    server = await serve_raw(nursery, dying_on_the_second_request())
    assert [await call(client, post(server)) for _ in range(2)] == [b"ok"] * 2
    assert client.statistics().retried_stale == 1
    assert server.accepted == 2


@pytest.mark.parametrize(
    "handler",
    [
        dying_on_the_second_request(after=STALE_SECONDS + 1),
        dying_on_the_second_request(after=1, reply=b"H"),
    ],
    ids=["the server was at work", "an answer had begun"],
)
async def test_a_connection_lost_otherwise_is_left_to_the_caller(
    nursery: trio.Nursery, client: UpstreamClient, autojump_clock: MockClock, handler: Handler
) -> None:
    server = await serve_raw(nursery, handler)
    await call(client, post(server))
    error = await failure(client, post(server))
    assert error.kind is UpstreamErrorKind.CONNECTION_LOST
    assert (server.accepted, client.statistics().retried_stale) == (1, 0)


async def test_a_request_that_meets_a_stale_connection_keeps_its_turn(
    nursery: trio.Nursery,
) -> None:
    client = UpstreamClient(ConnectionPool(trusting_tls(), connections_per_origin=1))
    server = await serve_raw(nursery, dying_on_the_second_request())
    await call(client, post(server))
    order: list[int] = []

    async def ask(number: int) -> None:
        await call(client, post(server))
        order.append(number)

    async with trio.open_nursery() as calls:
        for number in range(2):
            calls.start_soon(ask, number)
            if not number:
                await trio.lowlevel.checkpoint()  # The first has sent its request, in vain.
    assert order == [0, 1]
    # Each of the two met what its predecessor had left, and went on to a new one.
    assert (server.accepted, client.statistics().retried_stale) == (3, 2)
    assert counts(client, server) == ONE_IDLE
    await client.aclose()


async def test_a_call_that_is_cancelled_already_sends_nothing(
    nursery: trio.Nursery, client: UpstreamClient
) -> None:
    received: list[bytes] = []

    async def handler(connection: RawConnection) -> None:
        while True:
            received.append((await connection.read_request()).body)
            await connection.send(answer())

    server = await serve_raw(nursery, handler)
    await call(client, post(server, b"sent"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await call(client, post(server, b"not sent"))
    await wait_all_tasks_blocked()
    assert received == [b"sent"]


async def test_closing_a_response_that_is_not_read_closes_its_connection(
    nursery: trio.Nursery, client: UpstreamClient
) -> None:
    async def handler(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(answer(b"body")[:-1])
        await connection.until_closed()

    server = await serve_raw(nursery, handler)
    response = await client.send(post(server), connect_timeout=5)
    response.close()
    response.close()
    assert counts(client, server) == NONE_OPEN
    await server.all_closed()
    assert await response.receive() == b"bod"
    with pytest.raises(UpstreamError):
        await response.receive()


async def test_closing_the_client_ends_what_is_under_way(nursery: trio.Nursery) -> None:
    client = UpstreamClient(ConnectionPool(trusting_tls()))
    server = await serve_raw(nursery, RawConnection.until_closed)
    nursery.start_soon(failure, client, post(server))
    await wait_all_tasks_blocked()
    assert counts(client, server).leased == 1
    await client.aclose()
    await server.all_closed()
    error = await failure(client, post(server))
    assert error.kind is UpstreamErrorKind.CONNECT_FAILED


@pytest.mark.parametrize(
    ("body", "reused"),
    [(b"{}", False), (b"{}", True), (b"x" * 200_000, False)],
    ids=["fresh", "reused", "watched"],
)
async def test_a_call_cancelled_anywhere_closes_its_connection(
    nursery: trio.Nursery, tls: ssl.SSLContext | None, body: bytes, reused: bool
) -> None:
    async def handler(connection: RawConnection) -> None:
        while True:
            await connection.read_request()
            for byte in answer(b"body"):
                await connection.send(bytes([byte]))

    server = await serve_raw(nursery, handler, ssl_context=tls)
    for step in count(1):
        client = UpstreamClient(ConnectionPool(trusting_tls()))
        if reused:
            await call(client, post(server))
        with trio.CancelScope() as scope:
            canceller = CancelAtStep(trio.lowlevel.current_task(), scope, step)
            trio.lowlevel.add_instrument(canceller)
            try:
                await call(client, post(server, body))
            except BaseExceptionGroup:
                pytest.fail("a group reached the caller")
            finally:
                trio.lowlevel.remove_instrument(canceller)
        assert counts(client, server) == (NONE_OPEN if scope.cancelled_caught else ONE_IDLE)
        await client.aclose()
        await server.all_closed()
        if not scope.cancel_called:
            break
    assert step > 5
