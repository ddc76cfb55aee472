"""TLS sessions that go on from one connection to the next."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio

from signalbox.actors.ports import UpstreamErrorKind
from signalbox.http import upstream_connect
from signalbox.http.upstream import UpstreamClient
from signalbox.http.upstream_pool import ConnectionPool
from tests.raw_server import (
    RawConnection,
    RawServer,
    answer,
    serve_raw,
    server_tls,
    trusting_tls,
)
from tests.upstream_calls import call, failure, post


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient(ConnectionPool(trusting_tls()))
    yield client
    await client.aclose()


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def version(request: pytest.FixtureRequest) -> ssl.TLSVersion:
    assert isinstance(request.param, ssl.TLSVersion)
    return request.param


async def once(told: list[tuple[str, bool]], connection: RawConnection) -> None:
    """Answers once and closes; tells the version and whether the session was resumed."""
    await connection.read_request()
    stream = connection.stream
    assert isinstance(stream, trio.SSLStream)
    told.append((stream.version(), stream.session_reused))
    await connection.send(answer(headers="Connection: close\r\n"))


async def test_the_last_session_is_resumed(
    nursery: trio.Nursery, client: UpstreamClient, version: ssl.TLSVersion
) -> None:
    told: list[tuple[str, bool]] = []
    server = await serve_raw(nursery, partial(once, told), ssl_context=server_tls(version))
    for _ in range(3):
        assert await call(client, post(server)) == b"ok"
    name = version.name.replace("_", ".")
    assert told == [(name, False), (name, True), (name, True)]
    statistics = client.statistics()
    assert (statistics.opened, statistics.tls_resumed) == (3, 2)
    assert "tls_resumed=2" in repr(client)


async def test_a_session_is_one_origins_own(
    nursery: trio.Nursery, client: UpstreamClient, version: ssl.TLSVersion
) -> None:
    told: list[tuple[str, bool]] = []
    for _ in range(2):
        server = await serve_raw(nursery, partial(once, told), ssl_context=server_tls(version))
        await call(client, post(server))
    assert [resumed for _, resumed in told] == [False, False]


async def at_port_of(nursery: trio.Nursery, server: RawServer, context: ssl.SSLContext) -> None:
    """Another server where that one was, whose TLS knows nothing of it."""
    told: list[tuple[str, bool]] = []
    other = RawServer(partial(once, told), context)
    port = int(server.address.rpartition(":")[2])
    listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, other.serve_connection, listeners)


async def test_a_session_that_the_server_does_not_know_costs_a_handshake_and_no_error(
    nursery: trio.Nursery, client: UpstreamClient, version: ssl.TLSVersion
) -> None:
    async with trio.open_nursery() as first:
        server = await serve_raw(first, partial(once, []), ssl_context=server_tls(version))
        await call(client, post(server))
        first.cancel_scope.cancel()
    stranger = server_tls.__wrapped__(version)
    await at_port_of(nursery, server, stranger)
    assert await call(client, post(server)) == b"ok"
    assert client.statistics().tls_resumed == 0


async def test_after_a_failed_handshake_the_session_is_forgotten(
    nursery: trio.Nursery, client: UpstreamClient
) -> None:
    told: list[tuple[str, bool]] = []

    async def handler(connection: RawConnection) -> None:
        if connection.number == 2:
            connection.close()
        else:
            assert isinstance(connection.stream, trio.SSLStream)
            await connection.stream.do_handshake()
            await once(told, connection)

    server = await serve_raw(nursery, handler, ssl_context=server_tls())
    await call(client, post(server))
    error = await failure(client, post(server))
    assert error.kind is UpstreamErrorKind.CONNECT_FAILED
    assert "TLS handshake failed: " in str(error)  # closed, or reset
    await call(client, post(server))
    assert [resumed for _, resumed in told] == [False, False]


async def test_sessions_are_kept_within_a_bound(
    nursery: trio.Nursery, client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_connect, "MAX_SESSIONS", 1)
    told: list[tuple[str, bool]] = []
    servers = [
        await serve_raw(nursery, partial(once, told), ssl_context=server_tls()) for _ in range(2)
    ]
    for server in (*servers, *reversed(servers)):
        await call(client, post(server))
    assert [resumed for _, resumed in told] == [False, False, True, False]
