"""A connection between requests: whether it can be used again."""

from __future__ import annotations

import math
from typing import Final

import trio

from signalbox.http.upstream_request import Origin
from signalbox.http.upstream_response import ResponseParser
from signalbox.http.upstream_wire import READ_BYTES, NothingYet, Wire

LEFT_BYTES: Final = 64 * 1024
"""Bytes that are read of what still comes of an answer that was left. Its end mark is five; to
read more than this costs more than a new connection."""


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
        self._parser.abandon()


class Connection:
    """An open connection. `idle_since` is on trio's clock, in seconds."""

    def __init__(self, origin: Origin, wire: Wire, tls: trio.SSLStream[Wire] | None) -> None:
        self.origin = origin
        self.wire = wire
        self.tls = tls
        self.stream: trio.abc.Stream = wire if tls is None else tls
        self.idle_since = -math.inf
        self.session_kept = False
        """Whether its TLS session was looked at, to resume it with the next connection."""
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
