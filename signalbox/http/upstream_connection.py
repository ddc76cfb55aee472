"""Connections to an origin: how they are opened, and whether an idle one can be used again."""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Sequence
from typing import Final, TypeVar

import trio

from signalbox.actors.ports import UpstreamError, UpstreamErrorKind
from signalbox.http.upstream_message import Origin, ResponseParser
from signalbox.http.upstream_wire import READ_BYTES, NothingYet, Wire

LEFT_BYTES: Final = 64 * 1024
"""Bytes that are read of what still comes of an answer that was left. Its end mark is five; to
read more than this costs more than a new connection."""

E = TypeVar("E", bound=BaseException)


class LeftAnswer:
    """The rest of an answer that has said all it has to say; only its end is looked for."""

    def __init__(self, parser: ResponseParser) -> None:
        self._parser = parser
        self._budget = LEFT_BYTES

    @property
    def ended_well(self) -> bool:
        """Whether the end has come and nothing after it, and the connection may live on."""
        parser = self._parser
        return parser.complete and parser.keep_alive and not parser.surplus

    @property
    def may_end_well(self) -> bool:
        parser = self._parser
        return not parser.complete and parser.violation is None and self._budget > 0

    def feed(self, data: bytes | bytearray) -> None:
        """b"": the connection ended."""
        if not data:
            self.abandon()
            return
        self._parser.feed(data)
        self._parser.take()
        self._budget -= len(data)

    def abandon(self) -> None:
        self._budget = 0
        self._parser.end()


class Connection:
    """An open connection. `idle_since` is on trio's clock, in seconds."""

    def __init__(self, origin: Origin, wire: Wire, tls: trio.SSLStream[Wire] | None) -> None:
        self.origin = origin
        self.wire = wire
        self.tls = tls
        self.stream: trio.abc.Stream = wire if tls is None else tls
        self.idle_since = -math.inf
        self.left: LeftAnswer | None = None
        """What is still to come of the last answer, where it was left before its end."""

    def is_usable_now(self) -> bool:
        """As `is_usable`, of a connection without TLS."""
        if self.left is not None:
            left, self.left = self.left, None
            while left.may_end_well and (data := self.wire.receive_now()) is not None:
                left.feed(data)
            if not left.ended_well:
                left.abandon()
                return False
        return self.wire.is_silent()

    async def is_usable(self) -> bool:
        """Whether an idle connection is open and nothing has come that nobody asked for.

        Bytes that wait here would be read as the answer to the next request, which may be another
        client's. TLS may hold some of them, decrypted or not yet, unseen by the socket. What has
        come of an answer that was left must be its end, and no more. Never waits for the peer.
        """
        if self.tls is None:
            return self.is_usable_now()
        self.wire.never_waits = True
        try:
            if self.left is not None:
                left, self.left = self.left, None
                while left.may_end_well and (data := await _received(self.tls)) is not None:
                    left.feed(data)
                if not left.ended_well:
                    left.abandon()
                    return False
            return await _received(self.tls) is None
        finally:
            self.wire.never_waits = False

    def close(self) -> None:
        """Closes the socket, without TLS's goodbye: HTTP/1.1 says itself where an answer ends."""
        if self.left is not None:
            self.left.abandon()
            self.left = None
        self.wire.close()


async def _received(tls: trio.SSLStream[Wire]) -> bytes | bytearray | None:
    """As `Wire.receive_now`, of what TLS has decrypted, while its wire `never_waits`."""
    try:
        return await tls.receive_some(READ_BYTES)
    except NothingYet:
        return None
    except trio.BrokenResourceError:
        return b""


async def open_connection(
    origin: Origin, ssl_context: ssl.SSLContext, connect_seconds: float
) -> Connection:
    """Raises `UpstreamError`. `connect_seconds` bounds DNS, TCP and TLS together."""
    try:
        with trio.fail_after(connect_seconds):
            wire = await _open_tcp(origin)
            if not origin.tls:
                return Connection(origin, wire, None)
            try:
                # Not `https_compatible`: an end without TLS's goodbye is no end (RFC 9112, 9.8).
                tls = trio.SSLStream(wire, ssl_context, server_hostname=origin.host)
                await tls.do_handshake()
            except BaseException:
                wire.close()
                raise
            return Connection(origin, wire, tls)
    except trio.TooSlowError:
        raise UpstreamError(
            UpstreamErrorKind.CONNECT_TIMEOUT,
            f"{origin}: no connection within {connect_seconds:g} s",
        ) from None
    except trio.BrokenResourceError as error:
        why = f"TLS handshake failed: {_tls_reason(error.__cause__)}"
        raise UpstreamError(UpstreamErrorKind.CONNECT_FAILED, f"{origin}: {why}") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no DNS query can carry.
        why = f"cannot connect: {_connect_reason(error)}"
        raise UpstreamError(UpstreamErrorKind.CONNECT_FAILED, f"{origin}: {why}") from error


async def _open_tcp(origin: Origin) -> Wire:
    cancelled: trio.Cancelled | None = None
    try:
        # Happy eyeballs over all addresses; trio's SocketStream sets TCP_NODELAY.
        stream = await trio.open_tcp_stream(origin.host, origin.port)
    except* trio.Cancelled as group:  # trio's own nursery, one task per address
        cancelled = first_of(group)
    if cancelled is not None:
        raise cancelled
    sock = socket.socket(fileno=stream.socket.detach())
    sock.setblocking(False)
    return Wire(sock)


def _tls_reason(error: BaseException | None) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLEOFError) or error is None:
        return "the server closed the connection"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error)


def _connect_reason(error: OSError | ValueError) -> str:
    """The causes of all addresses tried, each once: trio's own words say only how many failed."""
    causes: Sequence[BaseException] = [error]
    if isinstance(error.__cause__, ExceptionGroup):
        causes = error.__cause__.exceptions
    return ", ".join(
        dict.fromkeys(getattr(cause, "strerror", None) or str(cause) for cause in causes)
    )


def first_of(group: BaseExceptionGroup[E]) -> E:
    """One exception of a group, so that callers see it bare, as without a nursery."""
    error: E | BaseExceptionGroup[E] = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
