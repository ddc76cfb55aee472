"""The gateway's own limits in the memory of one process. Each method is one step, as in
`leases_memory.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from signalbox.machines.limits import Bucket, GcraDecision, gcra, reconcile, reserve
from signalbox.persistence.lease_stores import (
    Kind,
    LimitGranted,
    LimitRefused,
    LimitRequest,
    LimitSettlement,
    Meter,
    ScopeLimits,
)

CONCURRENCY_RETRY = 1.0
"""Seconds to wait for a place: nobody can say when a request under way will end."""

_MINUTE = 60.0


@dataclass(slots=True)
class _Use:
    """What one scope has used. `limits` are those of the last request, which drain it."""

    limits: ScopeLimits
    requests: Bucket = field(default_factory=Bucket)
    tokens: Bucket = field(default_factory=Bucket)
    under_way: int = 0

    def idle(self, now: float) -> bool:
        requests = self.requests.drained(now, (self.limits.rpm or 0) / _MINUTE)
        tokens = self.tokens.drained(now, (self.limits.tpm or 0) / _MINUTE)
        return self.under_way == 0 and requests.idle and tokens.idle


@dataclass(frozen=True, slots=True)
class _Reservation:
    uses: tuple[_Use, ...]
    tokens: int
    expires_at: float


@dataclass(frozen=True, slots=True)
class _Judgement:
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

    def take(self) -> None:
        if self.requests is not None:
            self.use.requests = self.requests.state
        if self.tokens is not None:
            self.use.tokens = self.tokens.state
        self.use.under_way += 1


class MemoryLimitStore:
    """A `LimitStore` for one process."""

    def __init__(self) -> None:
        self._uses: dict[tuple[str, str], _Use] = {}
        self._reservations: dict[str, _Reservation] = {}
        self._last_id = 0

    def __len__(self) -> int:
        """Scopes that are remembered."""
        return len(self._uses)

    def reserve(
        self, requests: Sequence[LimitRequest], now: float
    ) -> list[LimitGranted | LimitRefused]:
        return [self._reserve(request, now) for request in requests]

    def settle(self, settlements: Sequence[LimitSettlement], now: float) -> list[bool]:
        return [self._settle(settlement, now) for settlement in settlements]

    def expire(self, now: float) -> int:
        over = [id for id, held in self._reservations.items() if held.expires_at <= now]
        for reservation in over:
            self._settle(LimitSettlement(reservation, None), now)
        self._uses = {key: use for key, use in self._uses.items() if not use.idle(now)}
        return len(self._reservations)

    def _reserve(self, request: LimitRequest, now: float) -> LimitGranted | LimitRefused:
        uses = tuple(self._use(limits) for limits in request.scopes)
        judgements = [_judge(use, 1, request.tokens, now) for use in uses]
        for judgement in judgements:
            refusal = judgement.refused_by()
            if refusal is not None:
                kind, limit, retry_after = refusal
                unchanged = [_judge(use, 0, 0, now) for use in uses]
                return LimitRefused(
                    judgement.use.limits.scope, kind, limit, retry_after, _all_meters(unchanged)
                )
        for judgement in judgements:
            judgement.take()
        self._last_id += 1
        id = f"{request.owner}#{self._last_id}"
        self._reservations[id] = _Reservation(uses, request.tokens, now + request.ttl)
        return LimitGranted(id, _all_meters(judgements))

    def _use(self, limits: ScopeLimits) -> _Use:
        use = self._uses.get((limits.scope, limits.id))
        if use is None:
            use = self._uses[limits.scope, limits.id] = _Use(limits)
        use.limits = limits
        return use

    def _settle(self, settlement: LimitSettlement, now: float) -> bool:
        held = self._reservations.pop(settlement.id, None)
        if held is None:
            return False
        used = held.tokens if settlement.tokens is None else settlement.tokens
        for use in held.uses:
            use.under_way -= 1
            # The limit may have been taken away meanwhile; what it held is freed all the same.
            counted = 0 if use.limits.tpm is None else used
            rate = (use.limits.tpm or 0) / _MINUTE
            use.tokens = reconcile(use.tokens, now, held.tokens, counted, rate)
        return True


def _judge(use: _Use, requests: int, tokens: int, now: float) -> _Judgement:
    limits = use.limits
    by_requests = by_tokens = None
    if limits.rpm is not None:
        burst = limits.rpm if limits.burst is None else limits.burst
        by_requests = gcra(use.requests, now, requests, limits.rpm / _MINUTE, burst)
    if limits.tpm is not None:
        by_tokens = reserve(use.tokens, now, tokens, limits.tpm / _MINUTE, limits.tpm)
    return _Judgement(use, by_requests, by_tokens)


def _all_meters(judgements: Sequence[_Judgement]) -> tuple[Meter, ...]:
    return tuple(meter for judgement in judgements for meter in judgement.meters())
