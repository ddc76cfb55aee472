"""One request and its answer on a connection."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import trio

from signalbox.actors.ports import UpstreamError, UpstreamErrorKind
from signalbox.errors import SignalboxError
from signalbox.http.upstream_connection import Connection, LeftAnswer
from signalbox.http.upstream_response import ResponseHead, ResponseParser
from signalbox.http.upstream_tcp import first_of
from signalbox.http.upstream_wire import READ_BYTES

UNWATCHED_BYTES: Final = 16 * 1024
"""Requests up to this size are written to TLS before the answer is looked at: the send queue of a
connection is empty when a request starts, and holds as much. Without TLS it is the kernel that
says how much it takes. What is larger is watched, which costs a nursery."""

WRITE_BYTES: Final = 64 * 1024
"""Bytes of a larger request per write: what TLS encrypts ahead, and what one write timeout
is for."""


class PhaseTimedOut(SignalboxError):
    """The request was not written, or not answered, in its own time."""

    def __init__(self, phase: Literal["write", "read"], message: str) -> None:
        super().__init__(message)
        self.phase = phase


@dataclass(frozen=True, slots=True)
class PhaseTimeouts:
    """Seconds. `connect` is for the wait for a connection, DNS, TCP and TLS together; `write` for
    each piece of the request; `read` for the answer's head, from the request's last byte, and then
    for each read of the body.
    """

    connect: float = math.inf
    write: float = math.inf
    read: float = math.inf


class Exchange:
    """One request and its answer. Has the shape of `UpstreamResponse` once `start` has returned.

    The connection is given back as soon as the answer is whole or left, and closed when anything
    goes wrong or `close` comes first. `release(connection, reusable)` is called exactly once,
    unless `start` raises: then the connection is still the caller's.
    """

    __slots__ = (
        "_connection",
        "_keep_alive",
        "_left",
        "_origin",
        "_parser",
        "_release",
        "answered",
    )

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
        self._left = False
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

    async def start(self, data: bytes, timeouts: PhaseTimeouts) -> None:
        """Sends the request's bytes and waits for the answer's head.

        Raises `UpstreamError` and `PhaseTimedOut`.
        """
        connection = self._open_connection()
        try:
            sent = 0
            if connection.tls is None:
                sent = connection.wire.send_now(data)
            elif len(data) <= UNWATCHED_BYTES:
                await self._write(connection, data, timeouts.write)
                sent = len(data)
            if sent < len(data):
                await self._write_watched(connection, memoryview(data)[sent:], timeouts)
            elif timeouts.read == math.inf:
                while self._parser.head is None:
                    await self._read(connection)
            else:
                with trio.move_on_after(timeouts.read):
                    await self._read_head(connection)
            if self._parser.head is None:
                raise PhaseTimedOut("read", f"{self._origin}: no answer within {timeouts.read:g} s")
        except BaseException:
            self._connection = None
            self._parser.abandon()
            raise
        self._give_back_if_complete(connection)

    async def receive(self) -> bytes:
        """As `UpstreamResponse.receive`."""
        parser = self._parser
        while True:
            if data := parser.take():
                return data
            if parser.complete or self._left:
                return b""
            connection = self._open_connection()
            try:
                await self._read(connection)
            except BaseException:
                self.close()
                raise
            self._give_back_if_complete(connection)

    def leave(self) -> None:
        """As `UpstreamResponse.leave`; no more bytes are received then."""
        connection = self._connection
        if connection is None:
            return
        self._left = True
        parser = self._parser
        parser.take()
        left = LeftAnswer(parser)
        if not (self._keep_alive and parser.keep_alive) or connection.wire.gave_up:
            left.abandon()
        elif connection.tls is None and (data := connection.wire.receive_now()) is not None:
            left.feed(data)  # The end itself: mostly it has come by now.
        # TLS cannot be read without leave to wait. It is when the connection is wanted again.
        if left.may_end_well:
            connection.left = left
        self._end(reusable=left.may_end_well or left.ended_well)

    def close(self) -> None:
        """As `UpstreamResponse.close`."""
        if self._connection is not None:
            self._parser.abandon()
            self._end(reusable=False)

    async def _write_watched(
        self, connection: Connection, data: memoryview, timeouts: PhaseTimeouts
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
            failure = first_of(group)
        if failure is not None:
            raise failure

    async def _write(
        self, connection: Connection, data: bytes | memoryview, piece_seconds: float
    ) -> None:
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
        parser = self._parser
        if parser.violation is not None:
            raise UpstreamError(
                UpstreamErrorKind.PROTOCOL_ERROR,
                f"{self._origin}: the answer is not valid HTTP/1.1: {parser.violation}",
            )
        try:
            data = await connection.stream.receive_some(READ_BYTES)
        except trio.BrokenResourceError as error:
            raise self._lost("the connection broke") from error
        except trio.ClosedResourceError:
            raise self._lost("the connection was closed on this side") from None
        if data:
            self.answered = True
            parser.feed(data)
        elif not parser.end():
            raise self._lost("the server closed the connection")

    def _lost(self, what: str) -> UpstreamError:
        where = "in the middle of the answer" if self.answered else "before any answer"
        return UpstreamError(UpstreamErrorKind.CONNECTION_LOST, f"{self._origin}: {what} {where}")

    def _open_connection(self) -> Connection:
        if self._connection is None:
            raise self._lost("the connection was closed on this side")
        return self._connection

    def _give_back_if_complete(self, connection: Connection) -> None:
        parser = self._parser
        if parser.complete:
            wanted = self._keep_alive and parser.keep_alive and not parser.surplus
            self._end(reusable=wanted and not connection.wire.gave_up)

    def _end(self, reusable: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._release(connection, reusable)
