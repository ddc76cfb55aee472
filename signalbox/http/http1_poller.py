"""Tells which of many sockets can be read: one task for all connections of a server."""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Callable
from typing import Final

import trio

logger = logging.getLogger("signalbox.server")

_READ: Final = selectors.EVENT_READ


class Poller:
    """Calls a function whenever its socket can be read, until it is paused or forgotten.

    Measured against a reader task for each connection, which waits, and so registers its socket
    anew, for every read: a third of a request's cost with many connections, and 4 KB for each.
    """

    def __init__(self) -> None:
        # Its descriptor can itself be waited for, on epoll and on kqueue.
        self._selector = selectors.DefaultSelector()
        self._ended = False

    def add(self, sock: socket.socket, on_readable: Callable[[], None]) -> None:
        """Does nothing once `run` has ended."""
        if not self._ended:
            self._selector.register(sock, _READ, on_readable)

    def forget(self, sock: socket.socket) -> None:
        """Before the socket is closed."""
        try:
            self._selector.unregister(sock)
        except KeyError:
            return  # It is paused.

    async def run(self) -> None:
        descriptor = self._selector.fileno()
        try:
            while True:
                await trio.lowlevel.wait_readable(descriptor)
                for key, _ in self._selector.select(0):
                    try:
                        key.data()
                    except Exception:
                        logger.exception("reading a connection crashed")
        finally:
            self._ended = True
            trio.lowlevel.notify_closing(descriptor)
            self._selector.close()
