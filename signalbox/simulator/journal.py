"""What the simulator received, and how each exchange ended from its side."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import msgspec

MAX_EXCHANGES = 10_000
"""Enough for a load test of some thousand requests; at most a few MB without the bodies."""
MAX_BODY_BYTES = 64 * 1024 * 1024
"""All kept bodies together; the oldest exchanges make room."""

Ending = Literal["completed", "client_closed", "closed", "reset"]
"""`closed` and `reset` are the simulator's own breaks; `client_closed`: before the answer ended."""


@dataclass(slots=True, kw_only=True)
class Exchange:
    """One request as received; `status`, `ended`, `ended_at` follow while it is answered.

    `at` and `ended_at` are monotonic seconds since the simulator started.
    """

    ordinal: int
    at: float
    connection: int
    method: str
    path: str
    key: str | None
    headers: dict[str, str]
    body: bytes = field(repr=False)
    status: int | None = None
    ended: Ending | None = None
    ended_at: float | None = None

    def to_json(self) -> dict[str, object]:
        return {
            "ordinal": self.ordinal,
            "at": round(self.at, 6),
            "connection": self.connection,
            "method": self.method,
            "path": self.path,
            "key": self.key,
            "headers": self.headers,
            "body": _shown(self.body),
            "status": self.status,
            "ended": self.ended,
            "ended_at": None if self.ended_at is None else round(self.ended_at, 6),
        }


def _shown(body: bytes) -> object:
    """JSON as it came (its key order too), anything else as text."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode(errors="replace") or None
    return msgspec.Raw(body)


class Journal:
    """The latest exchanges, oldest first."""

    def __init__(self) -> None:
        self._exchanges: deque[Exchange] = deque()
        self._body_bytes = 0
        self._dropped = 0

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        return tuple(self._exchanges)

    @property
    def dropped(self) -> int:
        """Exchanges that made room for later ones since the last `clear`."""
        return self._dropped

    def add(self, exchange: Exchange) -> None:
        self._exchanges.append(exchange)
        self._body_bytes += len(exchange.body)
        while len(self._exchanges) > MAX_EXCHANGES or self._body_bytes > MAX_BODY_BYTES:
            self._body_bytes -= len(self._exchanges.popleft().body)
            self._dropped += 1

    def clear(self) -> None:
        self._exchanges.clear()
        self._body_bytes = self._dropped = 0

    def to_json(self) -> dict[str, object]:
        """The body of `GET /_simulator/requests`."""
        return {
            "requests": [exchange.to_json() for exchange in self._exchanges],
            "dropped": self._dropped,
        }
