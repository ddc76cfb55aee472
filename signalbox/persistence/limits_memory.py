"""The gateway's own limits in the memory of one process. Each method is one step, as in
`leases_memory.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec

from signalbox.machines.limits import (
    CONCURRENCY_RETRY,
    WINDOW,
    Bucket,
    GcraDecision,
    gcra,
    reconcile,
    reserve,
)
from signalbox.persistence.lease_stores import (
    Kind,
    LimitGranted,
    LimitRefused,
    LimitRequest,
    LimitSettlement,
    Meter,
    ScopeLimits,
    ScopeUse,
)


class _Use(msgspec.Struct):
    """What one scope has used. `limits` are those of the last request, which drain it."""

    limits: ScopeLimits
    requests: Bucket = msgspec.field(default_factory=Bucket)
    tokens: Bucket = msgspec.field(default_factory=Bucket)
    under_way: int = 0

    def adopt(self, limits: ScopeLimits, now: float) -> None:
        """Until now the limits of the requests before drained it, from now on these do."""
        if limits != self.limits:
            self.requests = self.requests.drained(now, _rate(self.limits.rpm))
            self.tokens = self.tokens.drained(now, _rate(self.limits.tpm))
            self.limits = limits

    def release(self, at: float, held: int, used: int) -> None:
        self.under_way -= 1
        self.tokens = reconcile(self.tokens, at, held, used, _rate(self.limits.tpm))

    def add(self, now: float, requests: float, tokens: float) -> None:
        self.requests = reconcile(self.requests, now, 0, requests, _rate(self.limits.rpm))
        self.tokens = reconcile(self.tokens, now, 0, tokens, _rate(self.limits.tpm))

    def all_of_it(self, now: float) -> ScopeUse:
        requests = self.requests.drained(now, _rate(self.limits.rpm))
        tokens = self.tokens.drained(now, _rate(self.limits.tpm))
        return ScopeUse(self.limits, requests.level, tokens.level + tokens.held)

    def idle(self, now: float) -> bool:
        requests = self.requests.drained(now, _rate(self.limits.rpm))
        tokens = self.tokens.drained(now, _rate(self.limits.tpm))
        return self.under_way == 0 and requests.idle and tokens.idle


class _Reservation(msgspec.Struct, frozen=True):
    uses: tuple[tuple[_Use, int], ...]
    """With the tokens that are held there: none where there was no limit on them."""
    tokens: int
    expires_at: float

    def settle(self, at: float, used: int) -> None:
        for use, held in self.uses:
            use.release(at, held, used)


class _Judgement(msgspec.Struct, frozen=True):
    """What a scope says of a request, before anything is taken. None: no such limit."""

    use: _Use
    requests: GcraDecision | None
    tokens: GcraDecision | None

    def refused_by(self) -> tuple[Kind, int, float] | None:
        """(kind, limit, seconds to wait) of the first limit that has no room."""
        limits = self.use.limits
        if self.requests is not None and not self.requests.allowed:
            return Kind.REQUESTS, limits.rpm or 0, self.requests.retry_after
        if self.tokens is not None and not self.tokens.allowed:
            return Kind.TOKENS, limits.tpm or 0, self.tokens.retry_after
        if limits.concurrency is not None and self.use.under_way >= limits.concurrency:
            return Kind.CONCURRENCY, limits.concurrency, CONCURRENCY_RETRY
        return None

    def meters(self) -> Iterator[Meter]:
        limits = self.use.limits
        if self.requests is not None:
            decision = self.requests
            limit = limits.rpm or 0
            yield Meter(Kind.REQUESTS, limit, decision.remaining, decision.reset_after)
        if self.tokens is not None:
            decision = self.tokens
            limit = limits.tpm or 0
            yield Meter(Kind.TOKENS, limit, decision.remaining, decision.reset_after)

    def take(self, tokens: int) -> tuple[_Use, int]:
        """The use, and the tokens that are now held there."""
        self.use.under_way += 1
        if self.requests is not None:
            self.use.requests = self.requests.state
        if self.tokens is None:
            return self.use, 0
        self.use.tokens = self.tokens.state
        return self.use, tokens


class MemoryLimitStore:
    """A `LimitStore` for one process."""

    def __init__(self) -> None:
        self._uses: dict[tuple[str, str], _Use] = {}
        self._reservations: dict[str, _Reservation] = {}
        self._none_due_before = math.inf
        self._last_id = 0

    def __len__(self) -> int:
        """Scopes that are remembered."""
        return len(self._uses)

    def reserve(
        self, requests: Sequence[LimitRequest], now: float
    ) -> list[LimitGranted | LimitRefused]:
        self._settle_overdue(now)
        return [self._reserve(request, now) for request in requests]

    def settle(self, settlements: Sequence[LimitSettlement], now: float) -> list[bool]:
        self._settle_overdue(now)
        return [self._settle(settlement, now) for settlement in settlements]

    def expire(self, now: float) -> int:
        self._settle_overdue(now)
        self._uses = {key: use for key, use in self._uses.items() if not use.idle(now)}
        return len(self._reservations)

    def count(self, uses: Sequence[ScopeUse], now: float) -> None:
        self._settle_overdue(now)
        for used in uses:
            self._use(used.limits, now).add(now, used.requests, used.tokens)

    def hand_over(self, now: float) -> list[ScopeUse]:
        """All that counts now, for another store to count; here it is forgotten.

        What is under way counts as reserved, and its settlement changes nothing any more.
        """
        self._settle_overdue(now)
        uses = [use.all_of_it(now) for use in self._uses.values()]
        self._uses.clear()
        self._reservations.clear()
        return uses

    def _settle_overdue(self, now: float) -> None:
        """Each as of its end, so that it makes no difference when anybody looks."""
        # Nearly all are settled long before their end, so this goes through them about once in the
        # life of the longest.
        if now < self._none_due_before:
            return
        by_end = sorted(self._reservations.items(), key=lambda item: item[1].expires_at)
        for id, held in by_end:
            if held.expires_at > now:
                break
            held.settle(held.expires_at, held.tokens)
            del self._reservations[id]
        ends = (held.expires_at for held in self._reservations.values())
        self._none_due_before = min(ends, default=math.inf)

    def _reserve(self, request: LimitRequest, now: float) -> LimitGranted | LimitRefused:
        uses = tuple(self._use(limits, now) for limits in request.scopes)
        judgements = [_judge(use, 1, request.tokens, now) for use in uses]
        for judgement in judgements:
            refusal = judgement.refused_by()
            if refusal is not None:
                kind, limit, retry_after = refusal
                unchanged = [_judge(use, 0, 0, now) for use in uses]
                return LimitRefused(
                    judgement.use.limits.scope, kind, limit, retry_after, _all_meters(unchanged)
                )
        held = tuple(judgement.take(request.tokens) for judgement in judgements)
        self._last_id += 1
        id = f"{request.owner}#{self._last_id}"
        expires_at = now + request.ttl
        self._reservations[id] = _Reservation(held, request.tokens, expires_at)
        self._none_due_before = min(self._none_due_before, expires_at)
        return LimitGranted(id, _all_meters(judgements))

    def _use(self, limits: ScopeLimits, now: float) -> _Use:
        use = self._uses.get((limits.scope, limits.id))
        if use is None:
            use = self._uses[limits.scope, limits.id] = _Use(limits)
        use.adopt(limits, now)
        return use

    def _settle(self, settlement: LimitSettlement, now: float) -> bool:
        held = self._reservations.pop(settlement.id, None)
        if held is None:
            return False
        held.settle(now, held.tokens if settlement.tokens is None else settlement.tokens)
        return True


def _rate(per_minute: int | None) -> float:
    """Units a second. What no limit counts any more is gone at once."""
    return math.inf if per_minute is None else per_minute / WINDOW


def _judge(use: _Use, requests: int, tokens: int, now: float) -> _Judgement:
    limits = use.limits
    by_requests = by_tokens = None
    if limits.rpm is not None:
        burst = limits.rpm if limits.burst is None else limits.burst
        by_requests = gcra(use.requests, now, requests, _rate(limits.rpm), burst)
    if limits.tpm is not None:
        by_tokens = reserve(use.tokens, now, tokens, _rate(limits.tpm), limits.tpm)
    return _Judgement(use, by_requests, by_tokens)


def _all_meters(judgements: Sequence[_Judgement]) -> tuple[Meter, ...]:
    return tuple(meter for judgement in judgements for meter in judgement.meters())
