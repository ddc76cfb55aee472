"""The gateway's own limits on Redis, for all processes together.

`lua/limits.lua` answers as `limits_memory.py` does, on Redis' own time: what it answers are
durations, so the caller's `now` is not needed.
"""

from __future__ import annotations

import itertools
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import redis

from signalbox.errors import StoreUnavailable
from signalbox.machines.limits import CONCURRENCY_RETRY, TOLERANCE, WINDOW
from signalbox.persistence.lease_stores import (
    LimitGranted,
    LimitRefused,
    LimitRequest,
    LimitSettlement,
    Meter,
    ScopeUse,
)
from signalbox.persistence.redis_scripts import RedisScript

SLOT = "{sb:limits}"

MAX_IN_DOUBT = 1024
"""Reservations to be given back once Redis answers. A failure leaves one batch of them, and nothing
more is asked before the next answer; what is forgotten ends with its TTL."""

_CONSTANTS = {
    "TOLERANCE": TOLERANCE,
    "CONCURRENCY_RETRY": CONCURRENCY_RETRY,
    "MINUTE": WINDOW,
}


class RedisLimitStore:
    """A `LimitStore` that processes share. Every call is one round trip and raises
    `StoreUnavailable`. Whether a call that failed was done is then not known: what it may have
    reserved is given back before the next call, which is a round trip more."""

    def __init__(self, client: redis.Redis, clock: Callable[[], float] | None = None) -> None:
        """`clock`: seconds, the same in all processes; None: Redis' own."""
        self._script = RedisScript(client, "limits", clock, constants=_CONSTANTS)
        # Counted here and not by Redis, whose counters begin again when it has lost its memory.
        self._instance = secrets.token_hex(8)
        self._numbers = itertools.count(1)
        self._in_doubt: deque[LimitSettlement] = deque(maxlen=MAX_IN_DOUBT)

    def reserve(
        self, requests: Sequence[LimitRequest], now: float
    ) -> list[LimitGranted | LimitRefused]:
        named = [(f"{self._instance}-{next(self._numbers):016x}", request) for request in requests]
        try:
            answers = self._call("reserve", named)
        except StoreUnavailable:
            self._in_doubt.extend(LimitSettlement(id, 0) for id, _ in named)
            raise
        return [_answer(id, answer) for (id, _), answer in zip(named, answers, strict=True)]

    def settle(self, settlements: Sequence[LimitSettlement], now: float) -> list[bool]:
        return msgspec.convert(self._call("settle", settlements), list[bool])

    def expire(self, now: float) -> int:
        return msgspec.convert(self._call("expire", None), int)

    def count(self, uses: Sequence[ScopeUse], now: float) -> None:
        self._call("count", uses)

    def _call(self, operation: str, batch: object) -> Any:
        if self._in_doubt:
            self._script([SLOT], "settle", list(self._in_doubt))
            self._in_doubt.clear()
        return self._script([SLOT], operation, batch)


def _answer(id: str, answer: dict[str, Any]) -> LimitGranted | LimitRefused:
    if "kind" in answer:
        return msgspec.convert(answer, LimitRefused)
    return LimitGranted(id, msgspec.convert(answer["meters"], tuple[Meter, ...]))
