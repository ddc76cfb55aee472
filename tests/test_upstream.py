"""The upstream client over real sockets, against servers whose every byte is scripted."""

from __future__ import annotations

import gzip
import ssl
from collections.abc import AsyncIterator

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from signalbox.actors.ports import UpstreamError, UpstreamErrorKind
from signalbox.adapters.protocol import WireRequest
from signalbox.http.upstream import UpstreamClient
from signalbox.http.upstream_connect import client_ssl_context
from signalbox.http.upstream_pool import ConnectionPool
from signalbox.http.upstream_wire import READ_BYTES
from tests.raw_server import (
    END_A_HANG,
    Handler,
    RawConnection,
    RawRequest,
    answer,
    answering,
    serve_raw,
    server_tls,
    trusting_tls,
)
from tests.upstream_calls import (
    BIG,
    NONE_OPEN,
    ONE_IDLE,
    answering_once,
    call,
    counts,
    failure,
    post,
    read,
)


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient(ConnectionPool(trusting_tls()))
    yield client
    await client.aclose()


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    return server_tls() if request.param == "https" else None


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
        (
            answering_once(answer(gzip.compress(b"")[:-1], headers="Content-Encoding: gzip\r\n")),
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


async def test_an_early_answer_survives_the_failed_writing(
    nursery: trio.Nursery, client: UpstreamClient, tls: ssl.SSLContext | None
) -> None:
    body = b"b" * 2**15  # several TLS records, so that some are read after the failure

    async def handler(connection: RawConnection) -> None:
        await connection.read_head()
        await connection.send(answer(body))
        await wait_all_tasks_blocked()
        connection.close()

    server = await serve_raw(nursery, handler, ssl_context=tls)
    assert await call(client, post(server, BIG)) == body
    assert counts(client, server) == NONE_OPEN


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


async def test_an_empty_body_needs_no_unpacking(
    nursery: trio.Nursery, client: UpstreamClient
) -> None:
    empty = answer(b"", "204 No Content", "Content-Encoding: gzip\r\n")
    server = await serve_raw(nursery, answering(empty))
    assert await call(client, post(server)) == b""
