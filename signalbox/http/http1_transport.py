"""One connection's socket: bytes in, bytes out, and the client's end."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Final

import trio

from signalbox.http.http1_poller import Poller
from signalbox.http.http1_protocol import Http1Protocol
from signalbox.http.http1_socket import (
    READ_BYTES,
    PeerStalled,
    Wakeup,
    close,
    reset,
    send_now,
    send_rest,
)

logger = logging.getLogger("signalbox.server")

HELD_BYTES: Final = READ_BYTES
"""Bytes that wait for the application, or for requests before them, before reading pauses: no more
than one read brings, so a connection holds twice that at most. A head must fit."""

SENDS_IN_A_ROW: Final = 128
"""Sends that did not wait before other tasks get their turn: some milliseconds."""


class Transport:
    """Everything may be called by any task of the connection; the poller calls `read`."""

    __slots__ = (
        "_poller",
        "_reading",
        "_send_timeout",
        "_sending",
        "_sends",
        "changed",
        "detached",
        "discarded",
        "gone",
        "on_lost",
        "protocol",
        "socket",
    )

    def __init__(self, sock: socket.socket, poller: Poller, send_timeout: float) -> None:
        self.socket = sock
        self.protocol = Http1Protocol()
        self.gone = False
        """The client has closed its side or is lost; nothing is sent any more."""
        self.changed = Wakeup()
        """Woken when bytes came, when the client left, and when a blocked send has ended."""
        self.on_lost: Callable[[], None] | None = None
        """Called by whoever notices that the client has left, in that moment."""
        self.discarded: int | None = None
        """Bytes thrown away as they came; None: they are the protocol's."""
        self.detached = False
        """The socket is somebody else's now."""
        self._poller = poller
        self._reading = True
        self._send_timeout = send_timeout
        self._sending = False
        self._sends = 0
        poller.add(sock, self.read)

    def read(self) -> None:
        """The socket can be read."""
        if self.gone or not self._reading:
            return
        try:
            data = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.lose()
            return
        if self.discarded is None:
            self.protocol.feed(data)
            if self.protocol.buffered >= HELD_BYTES:
                self._stop_reading()
        else:
            self.discarded += len(data)
        self.changed.wake()

    def go_on_reading(self) -> None:
        """Something was taken out of the protocol."""
        if not (self._reading or self.gone or self.detached):
            self._reading = True
            self._poller.add(self.socket, self.read)

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._poller.forget(self.socket)

    def discard(self) -> None:
        """From now on what comes is counted and thrown away."""
        self.discarded = self.protocol.buffered
        self.go_on_reading()

    async def write(self, data: bytes) -> None:
        """Returns when the kernel has all of `data`, or the client has left.

        A client that takes nothing for `send_timeout` seconds is cut off.
        """
        while self._sending:
            await self.changed.wait()
        if self.gone:
            await trio.lowlevel.checkpoint()
            return
        try:
            sent = send_now(self.socket, data)
        except OSError:
            self.lose()
            return
        if sent == len(data):
            self._sends += 1
            if self._sends >= SENDS_IN_A_ROW:
                self._sends = 0
                await trio.lowlevel.checkpoint()
            return
        await self._write_rest(memoryview(data)[sent:])

    async def _write_rest(self, rest: memoryview) -> None:
        self._sending = True
        self._sends = 0
        try:
            await send_rest(self.socket, rest, self._send_timeout)
        except PeerStalled as stalled:
            logger.info("a client is cut off: %s", stalled)
            self.abort()
        except (OSError, trio.ClosedResourceError):
            self.lose()
        except BaseException:
            # Cancelled amid a piece: what came next would be read as the rest of it.
            self.abort()
            raise
        finally:
            self._sending = False
            self.changed.wake()

    def lose(self) -> None:
        """The client is gone: the socket is closed and everybody is told."""
        self._end(close)

    def abort(self) -> None:
        """Cuts the connection, so that no client can take it for an end in order."""
        self._end(reset)

    def _end(self, how: Callable[[socket.socket], None]) -> None:
        self._stop_reading()
        how(self.socket)
        if self.gone:
            return
        self.gone = True
        self.changed.wake()
        if self.on_lost is not None:
            try:
                self.on_lost()
            except Exception:
                logger.exception("a callback for a client's disconnect crashed")

    def end_sending(self) -> None:
        """Tells the client that nothing more comes; it may still send."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.lose()

    def detach(self) -> socket.socket:
        """Leaves the socket, with what it holds unread, to the caller."""
        self._stop_reading()
        self.detached = True
        return self.socket
