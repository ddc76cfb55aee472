"""The upstream transport as httpx's own client uses it, over real sockets."""

from __future__ import annotations

import gzip
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import httpx
import pytest
import trio
from trio.testing import MockClock

from signalbox.http.upstream import MAX_STREAMED_REQUEST, UpstreamTransport
from signalbox.http.upstream_pool import ConnectionPool
from tests.raw_server import (
    Handler,
    RawConnection,
    RawRequest,
    answer,
    answering,
    serve_raw,
    server_tls,
    trusting_tls,
)


@pytest.fixture
def transport() -> UpstreamTransport:
    return UpstreamTransport(ConnectionPool(trusting_tls()))


@pytest.fixture
async def client(transport: UpstreamTransport) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=5) as client:
        yield client


@pytest.mark.parametrize("over_tls", [False, True], ids=["http", "https"])
async def test_a_client_posts_json_and_reads_the_answer(
    nursery: trio.Nursery, client: httpx.AsyncClient, transport: UpstreamTransport, over_tls: bool
) -> None:
    received: list[RawRequest] = []

    async def handler(connection: RawConnection) -> None:
        while True:
            received.append(await connection.read_request())
            data = answer(gzip.compress(b"[1]"), "201 Made", "Content-Encoding: gzip\r\n")
            await connection.send(data)

    server = await serve_raw(nursery, handler, ssl_context=server_tls() if over_tls else None)
    for _ in range(2):
        response = await client.post(server.url("/v1?a=b"), json={"model": "m"})
        assert (response.status_code, response.reason_phrase) == (201, "Made")
        assert response.http_version == "HTTP/1.1"
        assert response.json() == [1]
    assert received[0].body == b'{"model":"m"}'
    assert received[0].header("host") == server.address
    assert transport.statistics().reused == 1


async def test_a_client_streams_a_body_as_it_comes(
    nursery: trio.Nursery, client: httpx.AsyncClient, transport: UpstreamTransport
) -> None:
    first_read = trio.Event()

    async def handler(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
        )
        await first_read.wait()
        await connection.send(b"4\r\nlast\r\n0\r\n\r\n")
        await connection.until_closed()

    server = await serve_raw(nursery, handler)
    pieces = []
    async with client.stream("GET", server.url()) as response:
        async for piece in response.aiter_raw():
            pieces.append(piece)
            first_read.set()
    assert pieces == [b"first", b"last"]
    assert [counts.idle for counts in transport.statistics().origins.values()] == [1]


async def test_leaving_a_stream_early_closes_its_connection(
    nursery: trio.Nursery, client: httpx.AsyncClient
) -> None:
    async def handler(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(answer(b"body")[:-1])
        await connection.until_closed()

    server = await serve_raw(nursery, handler)
    async with client.stream("GET", server.url()):
        pass
    await server.all_closed()


async def test_a_streamed_request_is_sent_with_its_length(
    nursery: trio.Nursery, client: httpx.AsyncClient
) -> None:
    received: list[RawRequest] = []

    async def handler(connection: RawConnection) -> None:
        received.append(await connection.read_request())
        await connection.send(answer())

    async def body() -> AsyncIterator[bytes]:
        yield b"in "
        yield b"pieces"

    server = await serve_raw(nursery, handler)
    await client.post(server.url(), content=body())
    assert received[0].body == b"in pieces"
    assert received[0].header("transfer-encoding") is None


async def test_a_streamed_request_has_a_bound(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncGenerator[bytes, None]:
        while True:
            yield bytes(MAX_STREAMED_REQUEST // 4)

    async with aclosing(endless()) as body:
        with pytest.raises(httpx.LocalProtocolError, match=str(MAX_STREAMED_REQUEST)):
            await client.post("http://a.test/", content=body)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("ftp://a.test/", httpx.UnsupportedProtocol),
        ("http://user:password@a.test/", httpx.LocalProtocolError),
    ],
)
async def test_a_url_that_is_not_plain_http_is_refused(
    client: httpx.AsyncClient, url: str, error: type[httpx.TransportError]
) -> None:
    with pytest.raises(error) as caught:
        await client.get(url)
    assert "password" not in str(caught.value)


async def test_a_refused_connection_is_a_connect_error(client: httpx.AsyncClient) -> None:
    async with trio.open_nursery() as nursery:
        server = await serve_raw(nursery, answering(answer()))
        nursery.cancel_scope.cancel()
    with pytest.raises(httpx.ConnectError):
        await client.get(server.url())


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"garbage\r\n\r\n", httpx.RemoteProtocolError),
        (b"", httpx.ReadError),
        (answer(b"body")[:-1], httpx.ReadError),
    ],
)
async def test_a_broken_answer_is_an_error_of_httpx(
    nursery: trio.Nursery,
    client: httpx.AsyncClient,
    data: bytes,
    error: type[httpx.TransportError],
) -> None:
    async def handler(connection: RawConnection) -> None:
        await connection.read_request()
        await connection.send(data)

    server = await serve_raw(nursery, handler)
    with pytest.raises(error) as caught:
        await client.get(server.url())
    assert caught.value.request.url == server.url()


def silent_after(data: bytes) -> Handler:
    async def handler(connection: RawConnection) -> None:
        await connection.read_head()
        await connection.send(data)
        await trio.sleep_forever()

    return handler


@pytest.mark.parametrize(
    ("data", "body", "error"),
    [
        (b"", b"", httpx.ReadTimeout),
        (b"", b"x" * 100_000, httpx.ReadTimeout),
        (answer(b"body")[:-1], b"", httpx.ReadTimeout),
        (b"", b"x" * 16_000_000, httpx.WriteTimeout),
    ],
    ids=["no head", "no head after a long request", "half a body", "an unread request"],
)
async def test_each_timeout_has_its_own_error(
    nursery: trio.Nursery,
    client: httpx.AsyncClient,
    autojump_clock: MockClock,
    data: bytes,
    body: bytes,
    error: type[httpx.TimeoutException],
) -> None:
    timeout = httpx.Timeout(connect=1, read=2, write=3, pool=4)
    server = await serve_raw(nursery, silent_after(data))
    started = trio.current_time()
    with pytest.raises(error):
        await client.post(server.url(), content=body, timeout=timeout)
    assert trio.current_time() - started == (3 if error is httpx.WriteTimeout else 2)


async def test_the_connect_timeout_covers_tls(
    nursery: trio.Nursery, client: httpx.AsyncClient, autojump_clock: MockClock
) -> None:
    server = await serve_raw(nursery, RawConnection.until_closed)
    started = trio.current_time()
    with pytest.raises(httpx.ConnectTimeout):
        await client.get(f"https://{server.address}/")
    assert trio.current_time() - started == 5
    await server.all_closed()
