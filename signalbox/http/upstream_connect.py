"""Opening connections: addresses, TCP, a proxy's tunnel, TLS and its sessions."""

from __future__ import annotations

import ssl
from typing import Final

import trio

from signalbox.actors.ports import UpstreamError, UpstreamErrorKind
from signalbox.http.upstream_connection import Connection
from signalbox.http.upstream_dns import Resolver
from signalbox.http.upstream_proxies import ProxySettings
from signalbox.http.upstream_request import Origin, Proxy
from signalbox.http.upstream_response import ResponseParser
from signalbox.http.upstream_tcp import NoAddressAnswered, connect_any
from signalbox.http.upstream_wire import Wire

MAX_SESSIONS: Final = 256
"""Origins whose last TLS session is kept; some 2 KB each, with the certificate."""


class Connector:
    """Opens connections, over the proxies that are set. Belongs to one `trio.run`."""

    def __init__(self, ssl_context: ssl.SSLContext, proxies: ProxySettings) -> None:
        self.resolver = Resolver()
        self.proxies = proxies
        self.tls_resumed = 0
        self._ssl_context = ssl_context
        self._sessions: dict[Origin, ssl.SSLSession] = {}

    async def open(self, origin: Origin, seconds: float) -> Connection:
        """Raises `UpstreamError`. `seconds` bounds DNS, TCP, the tunnel and TLS together."""
        proxy = self.proxies.proxy_for(origin)
        try:
            with trio.fail_after(max(seconds, 0)):
                wire = await self._open_tcp(origin, proxy)
                if not origin.tls:
                    return Connection(origin, wire, None)
                try:
                    if proxy is not None:
                        await _open_tunnel(wire, origin, proxy)
                    return Connection(origin, wire, await self._start_tls(origin, wire))
                except BaseException:
                    wire.close()
                    raise
        except trio.TooSlowError:
            raise UpstreamError(
                UpstreamErrorKind.CONNECT_TIMEOUT,
                f"{origin}: no connection within {seconds:g} s",
            ) from None

    def keep_session(self, connection: Connection) -> None:
        """Keeps the session of a connection that has carried an answer, for the next one.

        TLS 1.3 brings its tickets after the handshake, and they are seen when something is read.
        """
        connection.session_kept = True
        tls = connection.tls
        if tls is None:
            return
        session: ssl.SSLSession | None = tls.session
        if session is None or (tls.version() == "TLSv1.3" and not session.has_ticket):
            return
        self._sessions.pop(connection.origin, None)
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]  # the oldest
        self._sessions[connection.origin] = session

    async def _open_tcp(self, origin: Origin, proxy: Proxy | None) -> Wire:
        host, port = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
        try:
            addresses = await self.resolver.addresses(host, port)
        except (OSError, ValueError) as error:  # ValueError: a name that no DNS query can carry.
            why = getattr(error, "strerror", None) or str(error)
            raise _failed(origin, proxy, f"cannot connect: {why}") from error
        try:
            return Wire(await connect_any(addresses))
        except NoAddressAnswered as error:
            self.resolver.forget(host, port)
            raise _failed(origin, proxy, f"cannot connect: {error.causes}") from error

    async def _start_tls(self, origin: Origin, wire: Wire) -> trio.SSLStream[Wire]:
        # Not `https_compatible`: an end without TLS's goodbye is no end (RFC 9112, 9.8).
        tls = trio.SSLStream(wire, self._ssl_context, server_hostname=origin.host)
        session = self._sessions.get(origin)
        if session is not None:
            tls.session = session
        try:
            await tls.do_handshake()
        except trio.BrokenResourceError as error:
            self._sessions.pop(origin, None)  # It may be what the server did not like.
            why = f"TLS handshake failed: {_tls_reason(error.__cause__)}"
            raise _failed(origin, None, why) from error
        self.tls_resumed += bool(tls.session_reused)
        return tls


async def _open_tunnel(wire: Wire, origin: Origin, proxy: Proxy) -> None:
    """RFC 9110, 9.3.6. Raises `UpstreamError` for any answer but a bare success."""
    authority = str(origin).partition("://")[2]
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization.reveal()}")
    await wire.send_all(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
    # Like the answer to HEAD, one that opens a tunnel has no body, whatever its fields say.
    parser = ResponseParser("HEAD")
    try:
        while parser.head is None and parser.violation is None:
            data = await wire.receive_some()
            if not data:
                raise _failed(origin, proxy, "it closed the connection")
            parser.feed(data)
    except trio.BrokenResourceError as error:
        raise _failed(origin, proxy, "the connection broke") from error
    finally:
        head, violation, surplus = parser.head, parser.violation, parser.surplus
        parser.end()
    if head is None:
        raise _failed(origin, proxy, f"its answer is not valid HTTP/1.1: {violation}")
    if not 200 <= head.status < 300:
        raise refused_by_proxy(origin, proxy, head.status)
    if surplus:  # TLS's server waits to be spoken to: this is the proxy's, or somebody's between.
        raise _failed(origin, proxy, "bytes came before the tunnel was used")


def refused_by_proxy(origin: Origin, proxy: Proxy, status: int) -> UpstreamError:
    return _failed(origin, proxy, f"it refused with status {status}")


def _failed(origin: Origin, proxy: Proxy | None, why: str) -> UpstreamError:
    where = "" if proxy is None else f"proxy {proxy}: "
    return UpstreamError(UpstreamErrorKind.CONNECT_FAILED, f"{origin}: {where}{why}")


def _tls_reason(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLEOFError) or error is None:
        return "the server closed the connection"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)


def client_ssl_context() -> ssl.SSLContext:
    """The system's certificates, host names checked, HTTP/1.1 and nothing else by ALPN."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    # Some builds of Python set it. An end without TLS's goodbye may be an answer that was cut off.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return context
