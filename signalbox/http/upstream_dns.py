"""Addresses of host names, asked once for everybody and remembered for a short time."""

from __future__ import annotations

import ipaddress
import math
import socket
from collections import deque
from dataclasses import dataclass, field
from typing import Final

import trio

DNS_SECONDS: Final = 30.0
"""How long an answer holds. `getaddrinfo` does not tell the records' own time to live. Providers'
records live for 20 to 300 s, so a change is followed within about the time that its owner expects,
and an address that cannot be connected to is forgotten at once."""

MAX_NAMES: Final = 256
"""Names remembered. A gateway calls one or two for each provider; httpx's transport calls any."""

Address = tuple[socket.AddressFamily, tuple[object, ...]]
"""As a socket connects to it: the host as a number, and the port."""


@dataclass(slots=True)
class _Query:
    """One look-up under way, and what it came to; neither of both when it was cancelled."""

    done: trio.Event = field(default_factory=trio.Event)
    addresses: tuple[Address, ...] = ()
    error: OSError | None = None


class Resolver:
    """Belongs to one `trio.run`. `queries` counts what the system was asked."""

    def __init__(self, seconds: float = DNS_SECONDS) -> None:
        self.queries = 0
        self._seconds = seconds
        self._found: dict[tuple[str, int], tuple[float, tuple[Address, ...]]] = {}
        """By host and port: until when it holds, on trio's clock, and the addresses."""
        self._under_way: dict[tuple[str, int], _Query] = {}

    async def addresses(self, host: str, port: int) -> tuple[Address, ...]:
        """All addresses, in the order in which they are to be tried; at least one.

        Raises `OSError` (`socket.gaierror`), which is not remembered, and `ValueError` for a name
        that no query can carry.
        """
        key = host, port
        while True:
            holds_until, addresses = self._found.get(key, (-math.inf, ()))
            if trio.current_time() < holds_until:
                return addresses
            query = self._under_way.get(key)
            if query is None:
                return await self._ask(key)
            await query.done.wait()
            if query.error is not None:
                # Its own, so that no task writes into another's traceback.
                raise type(query.error)(*query.error.args)
            if query.addresses:
                return query.addresses
            # Else it was cancelled by the one who asked, and the next one asks.

    def forget(self, host: str, port: int) -> None:
        """What was found is of no use: none of the addresses could be connected to."""
        self._found.pop((host, port), None)

    async def _ask(self, key: tuple[str, int]) -> tuple[Address, ...]:
        host, port = key
        query = self._under_way[key] = _Query()
        try:
            self.queries += not _is_numeric(host)
            found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            query.addresses = alternating([(family, where) for family, _, _, _, where in found])
        except OSError as error:
            query.error = error
            raise
        finally:
            del self._under_way[key]
            query.done.set()
        while len(self._found) >= MAX_NAMES:
            del self._found[next(iter(self._found))]  # the oldest
        self._found[key] = trio.current_time() + self._seconds, query.addresses
        return query.addresses


def alternating(found: list[Address]) -> tuple[Address, ...]:
    """The system's order, but the families by turns: one that leads nowhere is then tried once
    before the other (RFC 8305, 4)."""
    first_family = found[0][0]
    firsts = deque(address for address in found if address[0] == first_family)
    others = deque(address for address in found if address[0] != first_family)
    ordered = []
    while firsts or others:
        ordered += [queue.popleft() for queue in (firsts, others) if queue]
    return tuple(ordered)


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
