"""One connection to an origin, and one request with its answer on it."""

from __future__ import annotations

import math
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

import trio

from signalbox.actors.ports import UpstreamError, UpstreamErrorKind
from signalbox.errors import SignalboxError
from signalbox.http.upstream_message import Origin, ResponseHead, ResponseParser

READ_BYTES: Final = 64 * 1024
"""Bytes asked of the socket at once, and so all that is held for a consumer that does not ask."""

UNWATCHED_BYTES: Final = 16 * 1024
"""Requests up to this size are written before the answer is looked at. The send queue of a
connection is empty when a request starts, and trio sets TCP_NOTSENT_LOWAT to this number: such a
write does not wait for the peer. Larger ones are watched, which costs a nursery."""

WRITE_BYTES: Final = 64 * 1024
"""Bytes of a larger request per write: what TLS encrypts ahead, and what one write timeout
is for."""


E = TypeVar("E", bound=BaseException)


class PhaseTimedOut(SignalboxError):
    """The request was not written, or not answered, in its own time."""

    def __init__(self, phase: Literal["write", "read"], message: str) -> None:
        super().__init__(message)
        self.phase = phase


@dataclass(frozen=True, slots=True)
class PhaseTimeouts:
    """Seconds. `connect` is for DNS, TCP and TLS together; `write` for each piece of the request;
    `read` for the answer's head, from the request's last byte, and then for each read of the body.
    """

    connect: float = math.inf
    write: float = math.inf
    read: float = math.inf


class _NothingYet(Exception):
    """Raised instead of waiting for the peer, while a connection is probed."""


class _Wire(trio.abc.Stream):
    """A socket stream whose sending side may give up and leave its receiving side whole.

    A server may answer, and close, before it has read the request. trio's `SSLStream` takes a
    failed or cancelled send as the end of the stream, with the answer still unread; here such a
    send ends quietly, `gave_up` is set, and what follows is thrown away.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._sending: trio.CancelScope | None = None
        self.gave_up = False
        self.probed = False

    def give_up(self) -> None:
        self.gave_up = True
        if self._sending is not None:
            self._sending.cancel()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.gave_up:
            await trio.lowlevel.checkpoint()
            return
        try:
            with trio.CancelScope() as self._sending:
                await self._stream.send_all(data)
        except trio.BrokenResourceError:
            self.gave_up = True
        finally:
            self._sending = None

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self.probed:
            raise _NothingYet
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def close(self) -> None:
        self._stream.socket.close()

    def is_readable(self) -> bool:
        return self._stream.socket.is_readable()


class Connection:
    """An open connection. `idle_since` is on trio's clock, in seconds."""

    def __init__(self, origin: Origin, wire: _Wire, tls: trio.SSLStream[_Wire] | None) -> None:
        self.origin = origin
        self.wire = wire
        self.stream: trio.abc.Stream = wire if tls is None else tls
        self.idle_since = -math.inf
        self._tls = tls

    async def is_silent(self) -> bool:
        """Whether an idle connection is open and nothing has come that nobody asked for.

        Bytes that wait here would be read as the answer to the next request, which may be another
        client's. TLS may hold some of them, decrypted or not yet, unseen by the socket.
        """
        if self.wire.is_readable():
            return False
        if self._tls is None:
            return True
        self.wire.probed = True
        try:
            await self._tls.receive_some(1)
        except _NothingYet:
            return True
        except trio.BrokenResourceError:
            return False
        finally:
            self.wire.probed = False
        return False

    def close(self) -> None:
        """Closes the socket, without TLS's goodbye: HTTP/1.1 says itself where an answer ends."""
        self.wire.close()


async def open_connection(
    origin: Origin, ssl_context: ssl.SSLContext, connect_seconds: float
) -> Connection:
    """Raises `UpstreamError`. `connect_seconds` bounds DNS, TCP and TLS together."""
    try:
        with trio.fail_after(connect_seconds):
            # Happy eyeballs over all addresses; trio's SocketStream sets TCP_NODELAY.
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


async def _open_tcp(origin: Origin) -> _Wire:
    cancelled: trio.Cancelled | None = None
    try:
        return _Wire(await trio.open_tcp_stream(origin.host, origin.port))
    except* trio.Cancelled as group:  # trio's own nursery, one task per address
        cancelled = _first(group)
    raise cancelled


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


class Exchange:
    """One request and its answer. Has the shape of `UpstreamResponse` once `start` has returned.

    The connection is given back as soon as the answer is whole, and closed when anything goes
    wrong or `close` comes first. `release(connection, reusable)` is called exactly once.
    """

    def __init__(
        self,
        connection: Connection,
        method: str,
        keep_alive: bool,
        release: Callable[[Connection, bool], None],
    ) -> None:
        self._connection: Connection | None = connection
        self._origin = connection.origin
        self._keep_alive = keep_alive
        self._release = release
        self._parser = ResponseParser(method)
        self.answered = False
        """Whether any byte of an answer has arrived."""

    @property
    def head(self) -> ResponseHead:
        if self._parser.head is None:
            raise RuntimeError("the answer's head has not arrived")
        return self._parser.head

    @property
    def status(self) -> int:
        return self.head.status

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        return self.head.headers

    async def start(self, head: bytes, body: bytes, timeouts: PhaseTimeouts) -> None:
        """Sends the request and waits for the answer's head.

        Raises `UpstreamError` and `PhaseTimedOut`.
        """
        connection = self._open_connection()
        try:
            if len(head) + len(body) <= UNWATCHED_BYTES:
                await self._write(connection, head + body, timeouts.write)
                with trio.move_on_after(timeouts.read):
                    await self._read_head(connection)
            else:
                await self._write_watched(connection, head + body, timeouts)
            if self._parser.head is None:
                raise PhaseTimedOut("read", f"{self._origin}: no answer within {timeouts.read:g} s")
        except BaseException:
            self.close()
            raise
        self._give_back_if_complete()

    async def receive(self) -> bytes:
        """As `UpstreamResponse.receive`."""
        while True:
            if data := self._parser.take():
                return data
            if self._parser.complete:
                return b""
            connection = self._open_connection()
            try:
                await self._read(connection)
            except BaseException:
                self.close()
                raise
            self._give_back_if_complete()

    def close(self) -> None:
        """As `UpstreamResponse.close`."""
        self._end(reusable=False)

    async def _write_watched(
        self, connection: Connection, data: bytes, timeouts: PhaseTimeouts
    ) -> None:
        """Writes while the answer is already waited for.

        An error that comes before everything is written stops the writing: the server does not
        want the rest. Any other answer waits for the writing, which may be what it depends on.
        """
        failure: UpstreamError | PhaseTimedOut | trio.Cancelled | None = None
        waiting = trio.CancelScope()

        async def write() -> None:
            await self._write(connection, data, timeouts.write)
            waiting.deadline = trio.current_time() + timeouts.read

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write)
                with waiting:
                    await self._read_head(connection)
                if self._parser.head is None or self._parser.head.status >= 300:
                    connection.wire.give_up()
        except* (UpstreamError, PhaseTimedOut, trio.Cancelled) as group:
            failure = _first(group)
        if failure is not None:
            raise failure

    async def _write(self, connection: Connection, data: bytes, piece_seconds: float) -> None:
        view = memoryview(data)
        for start in range(0, len(data), WRITE_BYTES):
            if connection.wire.gave_up:
                return
            with trio.move_on_after(piece_seconds) as scope:
                try:
                    await connection.stream.send_all(view[start : start + WRITE_BYTES])
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    # The answer may have come all the same; if not, reading says what happened.
                    connection.wire.give_up()
            if scope.cancelled_caught:
                raise PhaseTimedOut(
                    "write",
                    f"{self._origin}: the request could not be written within {piece_seconds:g} s",
                )

    async def _read_head(self, connection: Connection) -> None:
        while self._parser.head is None:
            await self._read(connection)

    async def _read(self, connection: Connection) -> None:
        """Feeds the parser once; raises when the answer cannot become whole any more."""
        if self._parser.violation is not None:
            raise UpstreamError(
                UpstreamErrorKind.PROTOCOL_ERROR,
                f"{self._origin}: the answer is not valid HTTP/1.1: {self._parser.violation}",
            )
        data = await self._receive(connection)
        if data:
            self.answered = True
            self._parser.feed(data)
        elif not self._parser.end():
            raise self._lost("the server closed the connection")

    async def _receive(self, connection: Connection) -> bytes | bytearray:
        try:
            return await connection.stream.receive_some(READ_BYTES)
        except trio.BrokenResourceError as error:
            raise self._lost("the connection broke") from error
        except trio.ClosedResourceError:
            raise self._lost("the connection was closed on this side") from None

    def _lost(self, what: str) -> UpstreamError:
        where = "in the middle of the answer" if self.answered else "before any answer"
        return UpstreamError(UpstreamErrorKind.CONNECTION_LOST, f"{self._origin}: {what} {where}")

    def _open_connection(self) -> Connection:
        if self._connection is None:
            raise self._lost("the connection was closed on this side")
        return self._connection

    def _give_back_if_complete(self) -> None:
        parser = self._parser
        if parser.complete and self._connection is not None:
            wanted = self._keep_alive and parser.keep_alive and not parser.surplus
            self._end(reusable=wanted and not self._connection.wire.gave_up)

    def _end(self, reusable: bool) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._release(connection, reusable)


def _first(group: BaseExceptionGroup[E]) -> E:
    """One exception of a group, so that callers see it bare, as without a nursery."""
    error: E | BaseExceptionGroup[E] = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
