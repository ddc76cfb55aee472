"""What a store of limits promises, checked on its answers alone: the bound of each limit in every
window, and never too many at once. It knows nothing of buckets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from signalbox.machines.limits import TOLERANCE, WINDOW
from signalbox.persistence.lease_stores import (
    LimitGranted,
    LimitRefused,
    LimitRequest,
    LimitSettlement,
    LimitStore,
    ScopeLimits,
    ScopeUse,
)


class Bound:
    """At most burst + rate × window in every window; limits that change count while they hold, the
    burst as the largest that ever did."""

    def __init__(self) -> None:
        self.burst = 0
        self.rate: float | None = None
        self.at = 0.0
        self.drained = 0.0
        """By the rates until `at`."""
        self.log: list[tuple[float, int]] = []
        """(`drained` at that time, units used)"""

    def limit(self, at: float, per_minute: int | None, burst: int | None) -> None:
        self._advance(at)
        if per_minute is None:
            self.rate = None
            self.log.clear()
        else:
            self.rate = per_minute / WINDOW
            self.burst = max(self.burst, per_minute if burst is None else burst)

    def use(self, at: float, units: int) -> None:
        self._advance(at)
        if self.rate is None:
            return
        self.log.append((self.drained, units))
        total = 0
        for drained, units_then in reversed(self.log):
            total += units_then
            assert total <= self.burst + self.drained - drained + 2 * TOLERANCE, self.log

    def _advance(self, at: float) -> None:
        self.drained += (self.rate or 0.0) * (at - self.at)
        self.at = at


@dataclass(frozen=True, slots=True)
class Open:
    ends_at: float
    tokens: int
    scopes: tuple[ScopeLimits, ...]


class CheckedLimits:
    """A `LimitStore` that hands on every call and fails where an answer breaks a promise."""

    def __init__(self, store: LimitStore) -> None:
        self.store = store
        self.open: dict[str, Open] = {}
        self.requests: dict[tuple[str, str], Bound] = defaultdict(Bound)
        self.tokens: dict[tuple[str, str], Bound] = defaultdict(Bound)

    def reserve(
        self, requests: Sequence[LimitRequest], now: float
    ) -> list[LimitGranted | LimitRefused]:
        self._pass_time(now)
        answers = self.store.reserve(requests, now)
        for request, answer in zip(requests, answers, strict=True):
            for limits in request.scopes:
                self._limit(limits, now)
            if isinstance(answer, LimitGranted):
                self._begin(answer.id, request, now)
        return answers

    def settle(self, settlements: Sequence[LimitSettlement], now: float) -> list[bool]:
        self._pass_time(now)
        answers = self.store.settle(settlements, now)
        for settlement, done in zip(settlements, answers, strict=True):
            assert done is (settlement.id in self.open)
            if done:
                self._end(settlement.id, now, settlement.tokens)
        return answers

    def expire(self, now: float) -> int:
        self._pass_time(now)
        still_open = self.store.expire(now)
        assert still_open == len(self.open)
        return still_open

    def count(self, uses: Sequence[ScopeUse], now: float) -> None:
        """What is counted without a reservation is not within the bound."""
        self._pass_time(now)
        self.store.count(uses, now)
        for used in uses:
            self._limit(used.limits, now)

    def _limit(self, limits: ScopeLimits, now: float) -> None:
        self.requests[limits.scope, limits.id].limit(now, limits.rpm, limits.burst)
        self.tokens[limits.scope, limits.id].limit(now, limits.tpm, None)

    def _begin(self, id: str, request: LimitRequest, now: float) -> None:
        assert id not in self.open
        self.open[id] = Open(now + request.ttl, request.tokens, request.scopes)
        for limits in request.scopes:
            self.requests[limits.scope, limits.id].use(now, 1)
            if limits.concurrency is not None:
                assert self._under_way(limits) <= limits.concurrency

    def _under_way(self, limits: ScopeLimits) -> int:
        return sum(
            (limits.scope, limits.id) == (scope.scope, scope.id)
            for held in self.open.values()
            for scope in held.scopes
        )

    def _pass_time(self, now: float) -> None:
        """What nobody settled in time counts as it was reserved."""
        for id, held in sorted(self.open.items(), key=lambda item: item[1].ends_at):
            if held.ends_at <= now:
                self._end(id, held.ends_at, None)

    def _end(self, id: str, at: float, used: int | None) -> None:
        """What goes beyond the reservation is not within the bound: it is paid back later."""
        held = self.open.pop(id)
        counted = held.tokens if used is None else min(used, held.tokens)
        for limits in held.scopes:
            if limits.tpm is not None:
                self.tokens[limits.scope, limits.id].use(at, counted)
