"""Connecting a socket to whichever of several addresses answers first."""

from __future__ import annotations

import os
import socket
from typing import Final, TypeVar

import trio

from signalbox.http.upstream_dns import Address

ATTEMPT_DELAY: Final = 0.25
"""Seconds until the next address is tried beside one that has not answered (RFC 8305, 5)."""

E = TypeVar("E", bound=BaseException)


class NoAddressAnswered(OSError):
    """`causes` has each address's reason once, in the system's words."""

    def __init__(self, errors: list[OSError]) -> None:
        self.causes = ", ".join(dict.fromkeys(error.strerror or str(error) for error in errors))
        super().__init__(self.causes)


async def connect_any(addresses: tuple[Address, ...]) -> socket.socket:
    """A connected, non-blocking socket with TCP_NODELAY; the others are closed.

    "Happy eyeballs" (RFC 8305): each address has a head start on the next one, unless it fails
    before. Raises `NoAddressAnswered`.
    """
    if len(addresses) == 1:
        try:
            return await _connect(addresses[0])
        except OSError as error:
            raise NoAddressAnswered([error]) from error
    race = _Race(addresses)
    cancelled: trio.Cancelled | None = None
    try:
        await race.run()
    except* trio.Cancelled as group:  # of each attempt, by the caller
        cancelled = first_of(group)
    if cancelled is not None:
        if race.winner is not None:
            race.winner.close()
        raise cancelled
    if race.winner is None:
        raise NoAddressAnswered(race.errors)
    return race.winner


class _Race:
    def __init__(self, addresses: tuple[Address, ...]) -> None:
        self.winner: socket.socket | None = None
        self.errors: list[OSError] = []
        self._addresses = addresses

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for address in self._addresses:
                failed = trio.Event()
                nursery.start_soon(self._attempt, address, failed, nursery.cancel_scope)
                with trio.move_on_after(ATTEMPT_DELAY):
                    await failed.wait()

    async def _attempt(
        self, address: Address, failed: trio.Event, everyone: trio.CancelScope
    ) -> None:
        try:
            sock = await _connect(address)
        except OSError as error:
            self.errors.append(error)
            failed.set()
            return
        if self.winner is None:
            self.winner = sock
        else:
            sock.close()
        everyone.cancel()


async def _connect(address: Address) -> socket.socket:
    family, where = address
    await trio.lowlevel.checkpoint()
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        try:
            sock.connect(where)
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)
            if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(number, os.strerror(number)) from None
    except BaseException:
        sock.close()
        raise
    return sock


def first_of(group: BaseExceptionGroup[E]) -> E:
    """One exception of a group, so that callers see it bare, as without a nursery."""
    error: E | BaseExceptionGroup[E] = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
