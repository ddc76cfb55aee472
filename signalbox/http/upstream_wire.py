"""One TCP connection as bytes: a raw non-blocking socket, waited for by trio.

trio's own `SocketStream` guards every operation with checkpoints and conflict detectors, which cost
more than the system call. Here one task sends and one receives, the connection's own, and whoever
waits yields to the scheduler; so neither is missed.
"""

from __future__ import annotations

import select
import socket
from typing import Final

import trio
from trio.lowlevel import wait_readable, wait_writable

READ_BYTES: Final = 64 * 1024
"""Bytes asked of the socket at once, and so all that is held for a consumer that does not ask."""


class NothingYet(Exception):
    """Raised instead of waiting for the peer, while a connection is looked at."""


class Wire(trio.abc.Stream):
    """A connected socket, whose sending side may give up and leave its receiving side whole.

    A server may answer, and close, before it has read the request. trio's `SSLStream` takes a
    failed or cancelled send as the end of the stream, with the answer still unread; here such a
    send ends quietly, `gave_up` is set, and what follows is thrown away.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Takes over a connected socket, which must be non-blocking."""
        self._socket = sock
        self._fd = sock.fileno()
        """As a number, which trio takes without asking; -1 once closed, for the system gives the
        number to the next socket."""
        self._sending: trio.CancelScope | None = None
        self._poll: select.poll | None = None
        self.gave_up = False
        self.never_waits = False
        """While set, `receive_some` raises `NothingYet` where it would wait."""

    def give_up(self) -> None:
        self.gave_up = True
        if self._sending is not None:
            self._sending.cancel()

    def send_now(self, data: bytes | memoryview) -> int:
        """How many of the bytes the kernel took; what is thrown away counts as taken."""
        if not self.gave_up:
            try:
                return self._socket.send(data)
            except BlockingIOError:
                return 0
            except OSError:
                # The answer may have come all the same; if not, reading says what happened.
                self.give_up()
        return len(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Waits only while the kernel's buffer is full; then alone it is a checkpoint."""
        rest = memoryview(data)
        while rest := rest[self.send_now(rest) :]:
            try:
                with trio.CancelScope() as self._sending:
                    await wait_writable(self._open_fd())
            finally:
                self._sending = None

    async def wait_send_all_might_not_block(self) -> None:
        await wait_writable(self._open_fd())

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Waits before it reads: what is asked for has hardly ever come by then."""
        while True:
            if not self.never_waits:
                await wait_readable(self._open_fd())
            try:
                return self._socket.recv(max_bytes or READ_BYTES)
            except BlockingIOError:
                if self.never_waits:
                    raise NothingYet from None
            except OSError as error:
                if self._fd < 0:
                    raise trio.ClosedResourceError("closed on this side") from None
                raise trio.BrokenResourceError(str(error)) from error

    def receive_now(self) -> bytes | None:
        """What has come, b"" when the peer has closed or reset; None while nothing has come."""
        try:
            return self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def is_silent(self) -> bool:
        """Whether the connection is open, and nothing has come. One system call."""
        if self._fd < 0:
            return False
        if self._poll is None:
            # Kept: to make it costs more than to ask. A `recv` that finds nothing raises, and
            # costs twice as much.
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLIN)
        return not self._poll.poll(0)

    def close(self) -> None:
        if self._fd >= 0:
            trio.lowlevel.notify_closing(self._fd)
            self._fd = -1
            self._socket.close()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()

    def _open_fd(self) -> int:
        if self._fd < 0:
            raise trio.ClosedResourceError("closed on this side")
        return self._fd
