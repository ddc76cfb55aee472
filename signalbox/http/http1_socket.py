"""A connected socket without layers, as the server's own HTTP/1.1 and its hand-overs use it."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from signalbox.errors import SignalboxError

READ_BYTES: Final = 64 * 1024
"""Bytes asked of a socket at once: a usual request whole. Larger ones come from memory that the
allocator maps anew each time (from 128 KiB on)."""

_RESET: Final = struct.pack("ii", 1, 0)


class PeerStalled(SignalboxError):
    """The peer took not one byte for as long as it may."""


class Wakeup:
    """Tasks that wait for something to change. They look for themselves what it was, and a
    wake-up that nobody waits for is none. Cheaper than `trio.Event`, which is for once."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: list[trio.lowlevel.Task] = []

    async def wait(self) -> None:
        task = trio.lowlevel.current_task()
        self._tasks.append(task)

        def abort(_: Callable[[], None]) -> trio.lowlevel.Abort:
            self._tasks.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> None:
        if self._tasks:
            for task in self._tasks:
                trio.lowlevel.reschedule(task)
            self._tasks.clear()


def send_now(sock: socket.socket, data: bytes | memoryview) -> int:
    """Bytes that the kernel took at once. Raises OSError when the connection is gone."""
    try:
        return sock.send(data)
    except BlockingIOError:
        return 0


async def send_rest(sock: socket.socket, rest: memoryview, patience: float) -> None:
    """Sends `rest`, as fast as the peer takes it.

    Raises `PeerStalled` when the peer took nothing for `patience` seconds, OSError when the
    connection is gone, `trio.ClosedResourceError` when it is closed here.
    """
    waiting = _unacknowledged(sock)
    while True:
        with trio.move_on_after(patience) as scope:
            await trio.lowlevel.wait_writable(sock)
        if not scope.cancelled_caught:
            rest = rest[send_now(sock, rest) :]
            if not rest:
                return
            waiting = _unacknowledged(sock)
            continue
        # The kernel calls a socket writable when much of its queue is gone. A slow reader that
        # lives has taken some of it.
        before, waiting = waiting, _unacknowledged(sock)
        if before is None or waiting is None or waiting >= before:
            raise PeerStalled(f"the peer took nothing for {patience:g} s")


def _unacknowledged(sock: socket.socket) -> int | None:
    """Bytes that were sent and that the peer's kernel has not confirmed; None: unknown."""
    try:
        answer = fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0\0\0\0")
    except OSError:
        return None
    return int.from_bytes(answer, sys.byteorder, signed=True)


def close(sock: socket.socket) -> None:
    """Closes in order; tasks that wait for the socket are woken with `trio.ClosedResourceError`."""
    if sock.fileno() >= 0:
        trio.lowlevel.notify_closing(sock)
        sock.close()


def reset(sock: socket.socket) -> None:
    """Closes at once with a TCP reset: what was not sent is dropped, and the peer is told."""
    if sock.fileno() >= 0:
        with suppress(OSError):  # It may be gone already.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        close(sock)
