"""The upstream client: how the gateway calls providers, and the same as a transport of httpx.

Both faces sit on one `ConnectionPool`. The client is what the runner sees (`actors/ports.py`); the
transport serves everything that wants an `httpx.AsyncClient`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from functools import lru_cache
from typing import Final

import httpx
import trio

from signalbox.actors.ports import UpstreamError, UpstreamErrorKind, UpstreamResponse
from signalbox.adapters.protocol import WireRequest
from signalbox.http.upstream_exchange import Exchange, PhaseTimedOut, PhaseTimeouts
from signalbox.http.upstream_origin import CONNECTIONS_PER_ORIGIN
from signalbox.http.upstream_pool import ConnectionPool, PoolStatistics
from signalbox.http.upstream_proxies import NO_PROXIES, ProxySettings
from signalbox.http.upstream_request import RequestRefused, Target, split_url
from signalbox.http.upstream_wire import READ_BYTES

MAX_STREAMED_REQUEST: Final = 64 * 1024 * 1024
"""Bytes of a request body that httpx gives as a stream. It is collected, because its length is
said before it is sent; providers take at most half of this."""

_HTTPX_ERRORS: Mapping[UpstreamErrorKind, type[httpx.TransportError]] = {
    UpstreamErrorKind.CONNECT_FAILED: httpx.ConnectError,
    UpstreamErrorKind.CONNECT_TIMEOUT: httpx.ConnectTimeout,
    UpstreamErrorKind.CONNECTION_LOST: httpx.ReadError,
    UpstreamErrorKind.PROTOCOL_ERROR: httpx.RemoteProtocolError,
}


class UpstreamClient:
    """Implements `Upstream`. Answers in gzip, which some servers send unasked, are decoded.

    Without a pool it makes one: at most `connections_per_origin` connections, over `proxies`.
    """

    def __init__(
        self,
        pool: ConnectionPool | None = None,
        *,
        connections_per_origin: int = CONNECTIONS_PER_ORIGIN,
        proxies: ProxySettings = NO_PROXIES,
    ) -> None:
        self._pool = pool or ConnectionPool(
            connections_per_origin=connections_per_origin, proxies=proxies
        )

    async def send(self, request: WireRequest, connect_timeout: float) -> UpstreamResponse:
        try:
            target = _target(request.url)
            exchange = await self._pool.send(
                request.method,
                target,
                request.headers,
                request.body,
                _phases(connect_timeout),
            )
        except RequestRefused as error:
            raise UpstreamError(
                UpstreamErrorKind.CONNECT_FAILED, f"nothing was sent: {error}"
            ) from None
        return _decoded(exchange, target)

    def statistics(self) -> PoolStatistics:
        return self._pool.statistics()

    async def aclose(self) -> None:
        self._pool.close()
        await trio.lowlevel.checkpoint()

    def __repr__(self) -> str:
        return f"UpstreamClient({self._pool!r})"


@lru_cache(maxsize=64)
def _phases(connect: float) -> PhaseTimeouts:
    return PhaseTimeouts(connect=connect)


@lru_cache(maxsize=256)  # Parsing costs 30 µs. A gateway calls one URL per provider and endpoint.
def _target(url: str) -> Target:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        pass  # Its words may quote the URL, and with it a key.
    else:
        return split_url(parsed)
    raise RequestRefused("the provider's URL is not a valid URL")


def _decoded(exchange: Exchange, target: Target) -> UpstreamResponse:
    codings = exchange.head.content_codings
    if not codings or codings == ("identity",):
        return exchange
    if codings in (("gzip",), ("x-gzip",)):
        return _GzipResponse(exchange, target)
    exchange.close()
    raise UpstreamError(
        UpstreamErrorKind.PROTOCOL_ERROR,
        f"{target.origin}: the answer has content-encoding {', '.join(codings)[:60]!r}, "
        "expected identity or gzip",
    )


class _GzipResponse:
    """An answer decoded from gzip (RFC 1952), piece by piece.

    However well the body is packed, one call yields at most `READ_BYTES` and holds no more.
    """

    def __init__(self, exchange: Exchange, target: Target) -> None:
        self._exchange = exchange
        self._target = target
        self._inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self._packed = b""
        self._started = False
        self._left = False

    @property
    def status(self) -> int:
        return self._exchange.status

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """Without the two that speak of the packed body."""
        packed = ("content-encoding", "content-length")
        return [(name, value) for name, value in self._exchange.headers if name not in packed]

    async def receive(self) -> bytes:
        while not self._left:
            if data := self._unpack():
                return data
            if self._packed:
                continue
            self._packed = await self._exchange.receive()
            if self._packed:
                self._started = True
            elif self._started and not self._inflate.eof:
                raise self._malformed("it ends before its end mark")
            else:
                break
        return b""

    def leave(self) -> None:
        self._packed = b""
        self._left = True
        self._exchange.leave()

    def close(self) -> None:
        self._exchange.close()

    def _unpack(self) -> bytes:
        if self._inflate.eof and self._packed:  # A gzip file may be several, one after another.
            self._inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        try:
            data = self._inflate.decompress(self._packed, READ_BYTES)
        except zlib.error:
            raise self._malformed("it cannot be unpacked") from None
        self._packed = self._inflate.unused_data or self._inflate.unconsumed_tail
        return data

    def _malformed(self, what: str) -> UpstreamError:
        self.close()
        return UpstreamError(
            UpstreamErrorKind.PROTOCOL_ERROR,
            f"{self._target.origin}: the answer's body is not valid gzip: {what}",
        )


class UpstreamTransport(httpx.AsyncBaseTransport):
    """A transport for `httpx.AsyncClient` under trio: HTTP/1.1, with the pool's proxies.

    Of httpx's timeouts, `connect` also bounds what `pool` is for, the wait for a connection.
    Request bodies are sent with their length, never chunked.
    """

    def __init__(self, pool: ConnectionPool | None = None) -> None:
        self._pool = pool or ConnectionPool()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeouts = _phase_timeouts(request)
        try:
            if request.url.scheme not in ("http", "https"):
                raise httpx.UnsupportedProtocol(
                    f"scheme {request.url.scheme!r}, expected http or https"
                )
            target = split_url(request.url)
            headers = tuple(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in request.headers.raw
            )
            body = await _collect(request)
            exchange = await self._pool.send(request.method, target, headers, body, timeouts)
        except (RequestRefused, UpstreamError, PhaseTimedOut) as error:
            raise _httpx_error(error) from error
        head = exchange.head
        return httpx.Response(
            status_code=head.status,
            headers=[(n.encode("latin-1"), v.encode("latin-1")) for n, v in head.headers],
            stream=_BodyStream(exchange, timeouts.read),
            extensions={
                "http_version": f"HTTP/{head.http_version}".encode("ascii"),
                "reason_phrase": head.reason,
            },
        )

    def statistics(self) -> PoolStatistics:
        return self._pool.statistics()

    async def aclose(self) -> None:
        self._pool.close()
        await trio.lowlevel.checkpoint()

    def __repr__(self) -> str:
        return f"UpstreamTransport({self._pool!r})"


class _BodyStream(httpx.AsyncByteStream):
    def __init__(self, exchange: Exchange, read_timeout: float) -> None:
        self._exchange = exchange
        self._read_timeout = read_timeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self._receive():
            yield data

    async def aclose(self) -> None:
        self._exchange.close()

    async def _receive(self) -> bytes:
        try:
            with trio.fail_after(self._read_timeout):
                return await self._exchange.receive()
        except trio.TooSlowError:
            raise httpx.ReadTimeout(f"no bytes within {self._read_timeout:g} s") from None
        except UpstreamError as error:
            raise _httpx_error(error) from error


def _phase_timeouts(request: httpx.Request) -> PhaseTimeouts:
    given = request.extensions.get("timeout", {})
    seconds = {
        phase: math.inf if given.get(phase) is None else float(given[phase])
        for phase in ("connect", "write", "read")
    }
    return PhaseTimeouts(**seconds)


async def _collect(request: httpx.Request) -> bytes:
    if not isinstance(request.stream, httpx.AsyncByteStream):
        raise RuntimeError("a request with a synchronous body cannot be sent asynchronously")
    pieces = []
    size = 0
    stream = aiter(request.stream)
    try:
        async for piece in stream:
            size += len(piece)
            if size > MAX_STREAMED_REQUEST:
                raise RequestRefused(
                    f"the request body is longer than {MAX_STREAMED_REQUEST} bytes"
                )
            pieces.append(piece)
    finally:
        if isinstance(stream, AsyncGenerator):  # trio wants them closed, not collected.
            await stream.aclose()
    return b"".join(pieces)


def _httpx_error(error: RequestRefused | UpstreamError | PhaseTimedOut) -> httpx.TransportError:
    if isinstance(error, UpstreamError):
        return _HTTPX_ERRORS[error.kind](str(error))
    if isinstance(error, PhaseTimedOut):
        timed_out = httpx.WriteTimeout if error.phase == "write" else httpx.ReadTimeout
        return timed_out(str(error))
    return httpx.LocalProtocolError(str(error))
