"""Connections that hypercorn serves: WebSockets, HTTP/2, TLS. Not a byte is lost on the way."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
import trio
import trio.testing
import trustme
import wsproto
import wsproto.events as ws
from trio.testing import MockClock

from signalbox.http.asgi import DISCONNECT, Receive, Scope, Send
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


async def websocket_echo(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "websocket"
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": f"{scope['path']} {message['text']}"})


class WebSocket:
    """A client's end. `hello` is what asks for it."""

    def __init__(self, client: Client, path: str = "/live") -> None:
        self._client = client
        self._protocol = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.hello = self._protocol.send(ws.Request(host="a", target=path))

    def frame(self, text: str) -> bytes:
        return self._protocol.send(ws.TextMessage(text))

    async def event(self) -> ws.Event:
        while True:
            for event in self._protocol.events():
                return event
            data = await self._client.receive()
            self._protocol.receive_data(data or None)


async def test_a_websocket_is_handed_over() -> None:
    with with_patience():
        async with serving(app_of(websocket_echo)) as server:
            client = await server.connect()
            socket = WebSocket(client)
            for byte in socket.hello:
                await client.send(bytes([byte]))
            assert isinstance(await socket.event(), ws.AcceptConnection)
            for text in ("one", "two"):
                await client.send(socket.frame(text))
                assert await socket.event() == ws.TextMessage(f"/live {text}")
            await client.stream.aclose()


async def test_a_websocket_follows_a_request_on_its_connection() -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await websocket_echo(scope, receive, send)
        else:
            await answer(send, b"before")

    with with_patience():
        async with serving(app_of(handler)) as server:
            client = await server.connect()
            assert (await client.ask(GET)).body == b"before"
            socket = WebSocket(client)
            await client.send(socket.hello)
            assert isinstance(await socket.event(), ws.AcceptConnection)
            await client.send(socket.frame("after"))
            assert await socket.event() == ws.TextMessage("/live after")


class Http2:
    """A client's end of a connection whose socket is another's."""

    def __init__(self, client: Client, *, upgraded: bool = False) -> None:
        self._client = client
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.settings = b""
        if upgraded:
            self.settings = self._h2.initiate_upgrade_connection() or b""
        else:
            self._h2.initiate_connection()

    def opening(self) -> bytes:
        return self._h2.data_to_send()

    def request(self, stream: int, body: bytes = b"") -> bytes:
        headers = [
            (":method", "POST" if body else "GET"),
            (":path", "/h2"),
            (":scheme", "http"),
            (":authority", "a"),
        ]
        self._h2.send_headers(stream, headers, end_stream=not body)
        if body:
            self._h2.send_data(stream, body, end_stream=True)
        return self._h2.data_to_send()

    def cancel(self, stream: int) -> bytes:
        self._h2.reset_stream(stream)
        return self._h2.data_to_send()

    async def reply(self, stream: int, data: bytes = b"") -> tuple[int, bytes]:
        status, body = 0, b""
        while True:
            for event in self._h2.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, h2.events.StreamEnded) and event.stream_id == stream:
                    return status, body
            await self._client.send(self._h2.data_to_send())
            data = await self._client.receive()
            assert data, "the connection ended without a response"


@pytest.mark.parametrize("cut", [1, 5, 24, 30, 10_000])
async def test_http_2_is_known_by_its_preface(cut: int) -> None:
    with with_patience():
        async with serving(ECHO) as server:
            client = await server.connect()
            http = Http2(client)
            data = http.opening() + http.request(1, b"hello")
            await client.send(data[:cut])
            await trio.testing.wait_all_tasks_blocked()
            await client.send(data[cut:])
            assert await http.reply(1) == (200, b"/h2 hello")
            await client.send(http.request(3))
            assert await http.reply(3) == (200, b"/h2 ")


async def test_http_2_is_asked_for_by_an_upgrade() -> None:
    with with_patience():
        async with serving(ECHO) as server:
            client = await server.connect()
            http = Http2(client, upgraded=True)
            await client.send(
                b"GET /upgraded HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, HTTP2-Settings\r\n"
                b"upgrade: h2c\r\nhttp2-settings: %b\r\n\r\n" % http.settings
            )
            data = b""
            while b"\r\n\r\n" not in data:
                data += await client.receive()
            switched, _, rest = data.partition(b"\r\n\r\n")
            assert switched.startswith(b"HTTP/1.1 101 ")
            await client.send(http.opening())
            assert await http.reply(1, rest) == (200, b"/upgraded ")


async def test_a_stream_of_http_2_that_is_reset_is_a_disconnect() -> None:
    waiting, told = trio.Event(), trio.Event()

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)
        scope["extensions"][DISCONNECT](told.set)
        waiting.set()
        await trio.sleep_forever()

    with with_patience():
        async with serving(app_of(handler)) as server:
            client = await server.connect()
            http = Http2(client)
            await client.send(http.opening() + http.request(1, b"hello"))
            await waiting.wait()
            await client.send(http.cancel(1))
            await told.wait()


# TLS


@dataclass(frozen=True)
class Certificate:
    certfile: Path
    keyfile: Path
    authority: trustme.CA

    def trusting(self, *protocols: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if protocols:
            context.set_alpn_protocols(protocols)
        return context


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    made = Certificate(folder / "cert.pem", folder / "key.pem", authority)
    made.certfile.write_bytes(b"".join(it.bytes() for it in issued.cert_chain_pems))
    made.keyfile.write_bytes(issued.private_key_pem.bytes())
    return made


@pytest.mark.parametrize("protocols", [(), ("http/1.1",)])
async def test_http_1_1_over_tls(certificate: Certificate, protocols: tuple[str, ...]) -> None:
    scopes: list[Scope] = []

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await answer(send, await read_all(receive))

    files = {"certfile": certificate.certfile, "keyfile": certificate.keyfile}
    with with_patience():
        async with serving(app_of(handler), **files) as server:
            client = await server.connect_tls(certificate.trusting(*protocols))
            request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
            for _ in range(2):
                assert (await client.ask(request, "POST")).body == b"hello"
    assert [scope["scheme"] for scope in scopes] == ["https"] * 2


async def test_http_2_over_tls(certificate: Certificate) -> None:
    files = {"certfile": certificate.certfile, "keyfile": certificate.keyfile}
    with with_patience():
        async with serving(ECHO, **files) as server:
            client = await server.connect_tls(certificate.trusting("h2", "http/1.1"))
            assert isinstance(client.stream, trio.SSLStream)
            assert client.stream.selected_alpn_protocol() == "h2"
            http = Http2(client)
            await client.send(http.opening() + http.request(1, b"hello"))
            assert await http.reply(1) == (200, b"/h2 hello")


async def test_a_websocket_over_tls(certificate: Certificate) -> None:
    files = {"certfile": certificate.certfile, "keyfile": certificate.keyfile}
    with with_patience():
        async with serving(app_of(websocket_echo), **files) as server:
            client = await server.connect_tls(certificate.trusting())
            socket = WebSocket(client)
            await client.send(socket.hello)
            assert isinstance(await socket.event(), ws.AcceptConnection)
            await client.send(socket.frame("one"))
            assert await socket.event() == ws.TextMessage("/live one")


async def test_clear_text_on_a_tls_port_is_not_served(
    certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    files = {"certfile": certificate.certfile, "keyfile": certificate.keyfile}
    with with_patience():
        async with serving(ECHO, **files) as server:
            client = await server.connect()
            await client.send(GET)
            assert b"HTTP" not in await client.until_closed()
            other = await server.connect_tls(certificate.trusting())
            assert (await other.ask(GET)).status == 200


async def test_a_key_that_is_not_the_certificate_s_is_an_error(
    certificate: Certificate, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(trustme.CA().issue_cert("localhost").private_key_pem.bytes())
    with pytest.raises(ExceptionGroup) as raised:
        async with serving(ECHO, certfile=certificate.certfile, keyfile=other):
            pass
    assert raised.group_contains(ssl.SSLError)


# What hypercorn's own connections lack


async def send_without_end(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await send({"type": "websocket.send", "bytes": b"x" * 65_536})
    await send(head())
    while True:
        await send(piece(b"x" * 65_536))


@pytest.mark.parametrize("tls", [False, True])
async def test_a_client_that_takes_nothing_is_cut_off(
    certificate: Certificate, mock_clock: MockClock, tls: bool, caplog: pytest.LogCaptureFixture
) -> None:
    files = {"certfile": certificate.certfile, "keyfile": certificate.keyfile} if tls else {}
    caplog.set_level(logging.INFO)
    async with serving(app_of(send_without_end), send_timeout=10.0, **files) as server:
        if tls:
            client = await server.connect_tls(certificate.trusting("http/1.1"))
            await client.send(GET)
        else:
            client = await server.connect(small=True)
            await client.send(WebSocket(client).hello)
        await trio.testing.wait_all_tasks_blocked()
        assert "a client is cut off" not in caplog.text
        mock_clock.jump(10)
        while "a client is cut off" not in caplog.text:
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("tls", [False, True])
async def test_a_client_that_never_reads_does_not_hold_up_the_end(
    certificate: Certificate, mock_clock: MockClock, tls: bool
) -> None:
    files = {"certfile": certificate.certfile, "keyfile": certificate.keyfile} if tls else {}
    async with serving(app_of(send_without_end), drain_seconds=1.0, **files) as server:
        if tls:
            client = await server.connect_tls(certificate.trusting("http/1.1"))
            await client.send(GET)
        else:
            client = await server.connect(small=True)
            await client.send(WebSocket(client).hello)
        await trio.testing.wait_all_tasks_blocked()
        server.stop.set()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(1.5)
        await server.ended.wait()


async def test_an_idle_connection_of_hypercorn_s_does_not_hold_up_the_end(
    certificate: Certificate,
) -> None:
    files = {"certfile": certificate.certfile, "keyfile": certificate.keyfile}
    with with_patience():
        async with serving(ECHO, drain_seconds=1000.0, **files) as server:
            client = await server.connect_tls(certificate.trusting())
            assert (await client.ask(GET)).status == 200
            gone = await server.connect_tls(certificate.trusting())
            assert (await gone.ask(GET)).status == 200
            await gone.stream.aclose()
            server.stop.set()
            await server.ended.wait()
