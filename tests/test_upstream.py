"""The upstream client over real sockets, against servers whose every byte is scripted."""

from __future__ import annotations

import gzip
import ssl
from collections.abc import AsyncIterator
from itertools import count

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from signalbox.actors.ports import Upstream, UpstreamError, UpstreamErrorKind, UpstreamResponse
from signalbox.adapters.protocol import WireRequest
from signalbox.http.upstream import UpstreamClient
from signalbox.http.upstream_connection import READ_BYTES
from signalbox.http.upstream_pool import (
    MAX_IDLE_SECONDS,
    STALE_SECONDS,
    ConnectionPool,
    OriginStatistics,
    client_ssl_context,
)
from tests.raw_server import (
    END_A_HANG,
    Handler,
    RawConnection,
    RawRequest,
    RawServer,
    answer,
    answering,
    serve_raw,
    server_tls,
    trusting_tls,
)

BIG = b"x" * 16_000_000
"""More than the sockets of both sides buffer."""

NONE_OPEN = OriginStatistics(idle=0, leased=0)
ONE_IDLE = OriginStatistics(idle=1, leased=0)


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient(ConnectionPool(trusting_tls(), max_idle_per_origin=40))
    yield client
    await client.aclose()


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    return server_tls() if request.param == "https" else None


def post(server: RawServer, body: bytes = b"{}") -> WireRequest:
    url = server.url("/v1/chat?key=hidden")
    return WireRequest("POST", url, (("authorization", "Bearer hidden"),), body)


async def call(client: Upstream, request: WireRequest) -> bytes:
    with trio.fail_after(END_A_HANG):
        return await read(await client.send(request, connect_timeout=5))


async def read(response: UpstreamResponse) -> bytes:
    body = b""
    while data := await response.receive():
        body += data
    return body


async def failure(client: Upstream, request: WireRequest) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await call(client, request)
    assert "hidden" not in str(caught.value)
    return caught.value


def counts(client: UpstreamClient, server: RawServer) -> OriginStatistics:
    return client.statistics().origins.get(server.url(""), NONE_OPEN)


def answering_once(data: bytes) -> Handler:
    """A handler that answers one request and closes."""

    async def handler(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(data)

    return handler


# Keeping connections


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
    first = answer(b"a" * 16_000)

    async def handler(connection: RawConnection) -> None:
        while True:
            await connection.read_request()
            # More than one TLS record in one write: the client's TLS holds what it did not read.
            await connection.send(first.ljust(2**14) if tls is None else first)
            await connection.send(answer(b"forged"))

    server = await serve_raw(nursery, handler, ssl_context=tls)
    for _ in range(2):
        assert b"forged" not in await call(client, post(server))
        await wait_all_tasks_blocked()


async def test_a_connection_idle_too_long_is_closed(
    nursery: trio.Nursery, client: UpstreamClient, autojump_clock: MockClock
) -> None:
    server = await serve_raw(nursery, answering(answer()))
    await call(client, post(server))
    await trio.sleep(MAX_IDLE_SECONDS)
    await call(client, post(server))
    assert client.statistics().opened == 2
    assert counts(client, server) == ONE_IDLE


async def test_a_connection_that_died_idle_is_noticed(
    nursery: trio.Nursery, client: UpstreamClient, tls: ssl.SSLContext | None
) -> None:
    server = await serve_raw(nursery, answering_once(answer()), ssl_context=tls)
    await call(client, post(server))
    await server.all_closed()
    await call(client, post(server))
    statistics = client.statistics()
    assert (statistics.opened, statistics.reused, statistics.retried_stale) == (2, 0, 0)


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


# Failures, by name


async def resetting(connection: RawConnection) -> None:
    await connection.read_request()
    connection.reset()


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (resetting, UpstreamErrorKind.CONNECTION_LOST),
        (answering_once(b""), UpstreamErrorKind.CONNECTION_LOST),
        (answering_once(b"HTTP/1.1 200 OK\r\nx: hid"), UpstreamErrorKind.CONNECTION_LOST),
        (answering_once(answer(b"body")[:-1]), UpstreamErrorKind.CONNECTION_LOST),
        (
            answering_once(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
            UpstreamErrorKind.CONNECTION_LOST,
        ),
        (answering_once(b"hidden\r\n\r\n"), UpstreamErrorKind.PROTOCOL_ERROR),
        (
            answering_once(answer(headers="Content-Encoding: br\r\n")),
            UpstreamErrorKind.PROTOCOL_ERROR,
        ),
        (
            answering_once(answer(headers="Content-Encoding: gzip\r\n")),
            UpstreamErrorKind.PROTOCOL_ERROR,
        ),
    ],
)
async def test_a_broken_answer_is_an_error_by_name_and_never_a_clean_end(
    nursery: trio.Nursery, client: UpstreamClient, handler: Handler, kind: UpstreamErrorKind
) -> None:
    server = await serve_raw(nursery, handler)
    error = await failure(client, post(server))
    assert error.kind is kind
    assert server.address in str(error)
    assert server.accepted == 1, "a request on a fresh connection is never repeated"
    assert counts(client, server).leased == 0


async def test_bytes_before_a_fault_are_delivered_first(
    nursery: trio.Nursery, client: UpstreamClient
) -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\nnot hex\r\n"
    server = await serve_raw(nursery, answering_once(data))
    response = await client.send(post(server), connect_timeout=5)
    assert await response.receive() == b"ok"
    with pytest.raises(UpstreamError, match=r"not valid HTTP/1\.1"):
        await response.receive()


@settings(max_examples=60)
@given(st.binary(), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", answer(b"abc")[:-2]]))
def test_whatever_answers_the_only_errors_are_the_named_ones(rest: bytes, start: bytes) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            server = await serve_raw(nursery, answering_once(start + rest))
            client = UpstreamClient(ConnectionPool(trusting_tls()))
            try:
                await call(client, post(server))
            except UpstreamError:
                assert counts(client, server) == NONE_OPEN
            await client.aclose()
            nursery.cancel_scope.cancel()

    trio.run(main)


async def test_a_refused_connection_says_so(client: UpstreamClient) -> None:
    async with trio.open_nursery() as nursery:
        server = await serve_raw(nursery, answering(answer()))
        nursery.cancel_scope.cancel()
    error = await failure(client, post(server))
    assert error.kind is UpstreamErrorKind.CONNECT_FAILED
    assert "refused" in str(error)


@pytest.mark.parametrize(
    "url", ["ftp://a.test/", "https://hidden@a.test/", "http://a.test:hidden/"]
)
async def test_a_url_that_cannot_be_called_is_refused(client: UpstreamClient, url: str) -> None:
    error = await failure(client, WireRequest("POST", url, (), b""))
    assert error.kind is UpstreamErrorKind.CONNECT_FAILED


# Connecting


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
async def test_tls_names_the_server_and_offers_http_1_1_alone(
    nursery: trio.Nursery, client: UpstreamClient, host: str
) -> None:
    protocols = []

    async def handler(connection: RawConnection) -> None:
        request = await connection.read_request()
        assert isinstance(connection.stream, trio.SSLStream)
        protocols.append((connection.stream.selected_alpn_protocol(), request.header("host")))
        await connection.send(answer())

    server = await serve_raw(nursery, handler, ssl_context=server_tls(), host=host)
    assert await call(client, post(server)) == b"ok"
    assert protocols == [("http/1.1", server.address)]


async def test_an_unknown_certificate_is_refused(nursery: trio.Nursery) -> None:
    stranger = UpstreamClient(ConnectionPool(client_ssl_context()))
    server = await serve_raw(nursery, answering(answer()), ssl_context=server_tls())
    error = await failure(stranger, post(server))
    assert error.kind is UpstreamErrorKind.CONNECT_FAILED
    assert "certificate" in str(error)


async def test_the_connect_timeout_covers_tls(
    nursery: trio.Nursery, client: UpstreamClient, autojump_clock: MockClock
) -> None:
    server = await serve_raw(nursery, RawConnection.until_closed)
    silent = WireRequest("POST", f"https://{server.address}/", (), b"")
    started = trio.current_time()
    error = await failure(client, silent)
    assert error.kind is UpstreamErrorKind.CONNECT_TIMEOUT
    assert trio.current_time() - started == 5
    await server.all_closed()


async def test_over_tls_a_body_without_length_ends_only_where_tls_says_so(
    nursery: trio.Nursery, client: UpstreamClient
) -> None:
    async def handler(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(b"HTTP/1.1 200 OK\r\n\r\nall?")
        if connection.number == 1:
            connection.close()

    server = await serve_raw(nursery, handler, ssl_context=server_tls())
    error = await failure(client, post(server))
    assert error.kind is UpstreamErrorKind.CONNECTION_LOST
    assert await call(client, post(server)) == b"all?"


# Writing and reading


async def test_what_is_sent_is_what_was_given(
    nursery: trio.Nursery, client: UpstreamClient, tls: ssl.SSLContext | None
) -> None:
    received: list[RawRequest] = []

    async def handler(connection: RawConnection) -> None:
        received.append(await connection.read_request())
        await connection.send(answer(headers="X-Served-By: raw\r\n"))

    server = await serve_raw(nursery, handler, ssl_context=tls)
    for body in (b"{}", BIG):
        response = await client.send(post(server, body), connect_timeout=5)
        assert (response.status, response.headers[0]) == (200, ("x-served-by", "raw"))
        await read(response)
    assert [request.body for request in received] == [b"{}", BIG]
    assert (
        received[0].head
        == (
            f"POST /v1/chat?key=hidden HTTP/1.1\r\nHost: {server.address}\r\n"
            "authorization: Bearer hidden\r\nContent-Length: 2\r\n\r\n"
        ).encode()
    )


@pytest.mark.parametrize("waits", [True, False], ids=["server waits", "server resets"])
async def test_an_error_that_comes_before_the_request_is_written_is_delivered(
    nursery: trio.Nursery, client: UpstreamClient, tls: ssl.SSLContext | None, waits: bool
) -> None:
    # What a server has not sent yet when it resets is lost, so the second one says little.
    words = b"too large" * (10_000 if waits else 1)
    delivered = trio.Event()

    async def handler(connection: RawConnection) -> None:
        await connection.read_head()
        await connection.send(answer(words, "413 Too Large"))
        if waits:
            await delivered.wait()
        connection.close()

    server = await serve_raw(nursery, handler, ssl_context=tls)
    with trio.fail_after(END_A_HANG):
        response = await client.send(post(server, BIG), connect_timeout=5)
        assert response.status == 413
        assert await read(response) == words
        delivered.set()
    assert counts(client, server) == NONE_OPEN


async def test_an_early_success_does_not_stop_the_writing(
    nursery: trio.Nursery, client: UpstreamClient, tls: ssl.SSLContext | None
) -> None:
    async def handler(connection: RawConnection) -> None:
        await connection.read_head()
        head, _, body = answer(b"whole").partition(b"whole")
        await connection.send(head)
        await connection.read_body(len(BIG))
        await connection.send(b"whole" + body)

    server = await serve_raw(nursery, handler, ssl_context=tls)
    assert await call(client, post(server, BIG)) == b"whole"


async def test_what_the_consumer_does_not_ask_for_stays_with_the_server(
    nursery: trio.Nursery, client: UpstreamClient
) -> None:
    server = await serve_raw(nursery, answering_once(answer(BIG)))
    response = await client.send(post(server), connect_timeout=5)
    assert 0 < len(await response.receive()) <= READ_BYTES
    await wait_all_tasks_blocked()
    assert server.open == 1, "the server is still writing"
    response.close()
    await server.all_closed()


async def test_gzip_is_unpacked_in_bounded_pieces(
    nursery: trio.Nursery, client: UpstreamClient
) -> None:
    packed = gzip.compress(b"first, ") + gzip.compress(BIG)
    server = await serve_raw(
        nursery, answering(answer(packed, headers="Content-Encoding: gzip\r\n"))
    )
    response = await client.send(post(server), connect_timeout=5)
    assert response.headers == []
    pieces = []
    while piece := await response.receive():
        pieces.append(piece)
    assert max(map(len, pieces)) <= READ_BYTES
    assert b"".join(pieces) == b"first, " + BIG
    assert counts(client, server) == ONE_IDLE


# Ending early


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


class CancelAtStep(trio.abc.Instrument):
    """Cancels `scope` just before a task runs for the n-th time."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, step: int) -> None:
        self._task = task
        self._scope = scope
        self._steps_left = step

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._steps_left -= 1
            if self._steps_left == 0:
                self._scope.cancel()


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
