"""Calls over a proxy. What they call exists nowhere under its name; the proxy knows where it is."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from signalbox.actors.ports import UpstreamErrorKind
from signalbox.adapters.protocol import WireRequest
from signalbox.http.upstream import UpstreamClient
from signalbox.http.upstream_pool import ConnectionPool
from signalbox.http.upstream_proxies import ProxySettings
from tests.raw_server import (
    Handler,
    RawConnection,
    RawServer,
    answer,
    answering,
    serve_raw,
    server_tls,
    trusting_tls,
)
from tests.upstream_calls import CancelAtStep, call, failure


@pytest.fixture
async def tunnelled(nursery: trio.Nursery) -> RawServer:
    return await serve_raw(nursery, answering(answer(b"behind")), ssl_context=server_tls())


def tunnel_to(server: RawServer, heads: list[bytes]) -> Handler:
    """A proxy that opens every tunnel, to this server."""

    async def handler(connection: RawConnection) -> None:
        heads.append(await connection.read_head())
        host, _, port = server.address.rpartition(":")
        async with await trio.open_tcp_stream(host, int(port)) as onward:
            await connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            async with trio.open_nursery() as both_ways:
                both_ways.start_soon(copy, connection.stream, onward, both_ways.cancel_scope)
                both_ways.start_soon(copy, onward, connection.stream, both_ways.cancel_scope)

    return handler


async def copy(source: trio.abc.Stream, target: trio.abc.Stream, both: trio.CancelScope) -> None:
    with suppress(trio.BrokenResourceError):
        while data := await source.receive_some():
            await target.send_all(data)
    both.cancel()


def client_over(proxy: RawServer) -> UpstreamClient:
    proxies = ProxySettings.from_environment({"all_proxy": f"http://user:hidden@{proxy.address}"})
    return UpstreamClient(ConnectionPool(trusting_tls(), proxies=proxies))


def get(url: str) -> WireRequest:
    return WireRequest("GET", url, (("authorization", "Bearer hidden"),), b"")


CREDENTIALS = b"Proxy-Authorization: Basic " + base64.b64encode(b"user:hidden") + b"\r\n"


async def test_https_goes_through_a_tunnel_that_is_used_again(
    nursery: trio.Nursery, tunnelled: RawServer
) -> None:
    heads: list[bytes] = []
    proxy = await serve_raw(nursery, tunnel_to(tunnelled, heads))
    client = client_over(proxy)
    for _ in range(2):
        assert await call(client, get("https://provider.test/v1?a=b")) == b"behind"
    assert heads == [
        b"CONNECT provider.test:443 HTTP/1.1\r\nHost: provider.test:443\r\n" + CREDENTIALS + b"\r\n"
    ]
    assert client.statistics().dns_queries == 0, "the proxy looks the name up"
    assert client.statistics().reused == 1
    await client.aclose()
    await proxy.all_closed()


async def test_http_is_passed_on_with_the_whole_url(nursery: trio.Nursery) -> None:
    heads: list[bytes] = []

    async def handler(connection: RawConnection) -> None:
        while True:
            heads.append(await connection.read_head())
            await connection.send(answer(b"behind"))

    proxy = await serve_raw(nursery, handler)
    client = client_over(proxy)
    for _ in range(2):
        assert await call(client, get("http://provider.test:8000/v1?a=b")) == b"behind"
    assert (
        heads
        == [
            b"GET http://provider.test:8000/v1?a=b HTTP/1.1\r\nHost: provider.test:8000\r\n"
            b"authorization: Bearer hidden\r\n" + CREDENTIALS + b"\r\n"
        ]
        * 2
    )
    assert proxy.accepted == 1
    await client.aclose()


async def test_what_is_excepted_is_called_directly(nursery: trio.Nursery) -> None:
    server = await serve_raw(nursery, answering(answer(b"direct")))
    proxies = ProxySettings.from_environment({"all_proxy": "http://127.0.0.1:1"})
    client = UpstreamClient(ConnectionPool(trusting_tls(), proxies=proxies))
    assert await call(client, get(server.url())) == b"direct"
    await client.aclose()


def answers_with(data: bytes) -> Handler:
    async def handler(connection: RawConnection) -> None:
        await connection.read_head()
        await connection.send(data)
        await connection.until_closed()

    return handler


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (answer(b"hidden", "407 Proxy Authentication Required"), "it refused with status 407"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "it refused with status 502"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://hidden/\r\n\r\n", "it refused with status 302"),
        (b"SSH-2.0-hidden\r\n", "its answer is not valid HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\n\r\n\x16\x03", "bytes came before the tunnel was used"),
        (answer(b"hi"), "bytes came before the tunnel was used"),
    ],
)
async def test_a_refused_tunnel_is_a_failed_connect(
    nursery: trio.Nursery, data: bytes, words: str
) -> None:
    proxy = await serve_raw(nursery, answers_with(data))
    client = client_over(proxy)
    error = await failure(client, get("https://provider.test/"))
    assert error.kind is UpstreamErrorKind.CONNECT_FAILED
    assert str(error).startswith(f"https://provider.test:443: proxy {proxy.address}: {words}")
    assert client.statistics().origins == {}
    await client.aclose()
    await proxy.all_closed()


async def test_a_proxy_that_hangs_up_is_a_failed_connect(nursery: trio.Nursery) -> None:
    async def handler(connection: RawConnection) -> None:
        await connection.read_head()

    proxy = await serve_raw(nursery, handler)
    client = client_over(proxy)
    error = await failure(client, get("https://provider.test/"))
    assert error.kind is UpstreamErrorKind.CONNECT_FAILED
    assert "it closed the connection" in str(error)
    await client.aclose()


async def test_an_interim_answer_opens_no_tunnel_and_closes_none(
    nursery: trio.Nursery, tunnelled: RawServer
) -> None:
    inner = tunnel_to(tunnelled, [])

    async def handler(connection: RawConnection) -> None:
        await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await inner(connection)

    proxy = await serve_raw(nursery, handler)
    client = client_over(proxy)
    assert await call(client, get("https://provider.test/")) == b"behind"
    await client.aclose()


async def test_a_proxy_that_wants_other_credentials_did_not_pass_the_request_on(
    nursery: trio.Nursery,
) -> None:
    proxy = await serve_raw(
        nursery, answering(answer(b"hidden", "407 Proxy Authentication Required"))
    )
    client = client_over(proxy)
    error = await failure(client, get("http://provider.test/"))
    assert error.kind is UpstreamErrorKind.CONNECT_FAILED
    assert "it refused with status 407" in str(error)
    await client.aclose()


async def test_a_proxy_that_is_not_there_is_named(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as gone:
        proxy = await serve_raw(gone, answering(answer()))
        gone.cancel_scope.cancel()
    client = client_over(proxy)
    for scheme in ("http", "https"):
        error = await failure(client, get(f"{scheme}://provider.test/"))
        assert error.kind is UpstreamErrorKind.CONNECT_FAILED
        assert f"proxy {proxy.address}: cannot connect: Connection refused" in str(error)
    await client.aclose()


async def test_the_connect_timeout_covers_the_tunnel(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    proxy = await serve_raw(nursery, RawConnection.until_closed)
    client = client_over(proxy)
    started = trio.current_time()
    error = await failure(client, get("https://provider.test/"))
    assert error.kind is UpstreamErrorKind.CONNECT_TIMEOUT
    assert trio.current_time() - started == 5
    await proxy.all_closed()
    await client.aclose()


async def test_cancelled_anywhere_it_leaves_no_connection(
    nursery: trio.Nursery, tunnelled: RawServer
) -> None:
    proxy = await serve_raw(nursery, tunnel_to(tunnelled, []))
    step = 0
    while True:
        step += 1
        client = client_over(proxy)
        with trio.CancelScope() as scope:
            canceller = CancelAtStep(trio.lowlevel.current_task(), scope, step)
            trio.lowlevel.add_instrument(canceller)
            try:
                await call(client, get("https://provider.test/"))
            finally:
                trio.lowlevel.remove_instrument(canceller)
        assert sum(c.leased + c.opening for c in client.statistics().origins.values()) == 0
        await client.aclose()
        await wait_all_tasks_blocked()
        if not scope.cancel_called:
            break
    assert step > 5
    await proxy.all_closed()
