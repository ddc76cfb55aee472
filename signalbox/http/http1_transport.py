"""One connection's socket and the task that reads it: bytes in, bytes out, and the client's end."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import Final

import trio

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
    """`read` runs in a task of its own. All others may be called by any task of the connection."""

    __slots__ = (
        "_fd",
        "_room",
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

    def __init__(self, sock: socket.socket, send_timeout: float) -> None:
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
        self._fd = sock.fileno()
        self._send_timeout = send_timeout
        self._room = Wakeup()
        self._sending = False
        self._sends = 0

    async def read(self) -> None:
        """Reads until the client has left or the connection is closed here."""
        try:
            while not (self.gone or self.detached):
                await trio.lowlevel.wait_readable(self._fd)
                if self._is_taken():
                    return
                try:
                    data = self.socket.recv(READ_BYTES)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if not data:
                    self.lose()
                    return
                self._take(data)
                while self._is_full():
                    await self._room.wait()
        except trio.ClosedResourceError:
            return
        except OSError:
            self.lose()

    def _take(self, data: bytes) -> None:
        if self.discarded is None:
            self.protocol.feed(data)
        else:
            self.discarded += len(data)
        self.changed.wake()

    def _is_taken(self) -> bool:
        return self.detached

    def _is_full(self) -> bool:
        return (
            self.protocol.buffered >= HELD_BYTES
            and self.discarded is None
            and not (self.gone or self.detached)
        )

    def go_on_reading(self) -> None:
        """Something was taken out of the protocol."""
        self._room.wake()

    def discard(self) -> None:
        """From now on what comes is counted and thrown away."""
        self.discarded = self.protocol.buffered
        self._room.wake()

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
        how(self.socket)
        if self.gone:
            return
        self.gone = True
        self._room.wake()
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
        """Ends the reader and leaves the socket, with what it holds unread, to the caller."""
        self.detached = True
        trio.lowlevel.notify_closing(self.socket)
        self._room.wake()
        return self.socket
