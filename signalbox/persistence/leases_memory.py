"""Leases on provider keys in the memory of one process.

Every method runs to its end without a checkpoint, so on one trio loop each is one step. The store
is made by `app.py` and outlives the actor that uses it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from signalbox.adapters.protocol import RateLimits
from signalbox.machines.facts import Headroom, Unavailable
from signalbox.machines.keys import (
    MODEL_PARKING,
    PARKS_MODEL,
    Finding,
    KeyPhase,
    KeyState,
    Verdict,
    answered,
    at_time,
    finding,
    leased,
    usable,
)
from signalbox.machines.limits import MAX_WINDOW_ENTRIES, Allowance, Entry, SlidingWindow, learn
from signalbox.persistence.lease_stores import (
    NEVER_SENT,
    PROBE_POLL,
    AttemptOutcome,
    KeyCondition,
    KeyQuota,
    KeyUse,
    LeaseRecord,
    LeaseRefused,
    LeaseRequest,
    LeaseSettlement,
    Settled,
)


class _ModelUse:
    """A key's use for one model: providers state most limits per key and model."""

    __slots__ = ("forbidden_until", "open_requests", "open_tokens", "requests", "tokens")

    def __init__(self) -> None:
        self.forbidden_until = -math.inf
        self.open_requests = 0
        self.open_tokens = 0
        self.requests: Allowance | None = None
        self.tokens: Allowance | None = None

    def idle(self, now: float) -> bool:
        beliefs = (self.requests, self.tokens)
        return (
            self.open_requests == 0
            and self.forbidden_until <= now
            and all(belief is None or belief.until <= now for belief in beliefs)
        )

    def spend(self, tokens: int) -> None:
        self.open_requests += 1
        self.open_tokens += tokens
        if self.requests is not None:
            self.requests = self.requests.spend(1)
        if self.tokens is not None:
            self.tokens = self.tokens.spend(tokens)

    def learn(self, said: RateLimits, observed_at: float) -> None:
        self.requests = learn(
            self.requests,
            remaining=said.remaining_requests,
            limit=said.limit_requests,
            reset=said.reset_requests,
            observed_at=observed_at,
            in_flight=self.open_requests,
        )
        self.tokens = learn(
            self.tokens,
            remaining=said.remaining_tokens,
            limit=said.limit_tokens,
            reset=said.reset_tokens,
            observed_at=observed_at,
            in_flight=self.open_tokens,
        )


class _Key:
    """All that is known of one key."""

    __slots__ = ("last_used", "models", "open_leases", "state", "window")

    def __init__(self, window: SlidingWindow) -> None:
        self.state = KeyState()
        self.window = window
        self.models: dict[str, _ModelUse] = {}
        self.open_leases = 0
        self.last_used = 0


class _Held(msgspec.Struct):
    record: LeaseRecord
    key: _Key
    use: _ModelUse
    entry: Entry | None
    """None where the key has no declared limits, so that nothing needs a log."""


class _Room(msgspec.Struct, frozen=True):
    """When a key has room. `at` None: never, as far as can be foreseen."""

    at: float | None
    reason: Unavailable | None
    """None: it has room now."""
    share: float | None


class MemoryLeaseStore:
    """A `LeaseStore` for one process. `window_entries` bounds the log of each key."""

    def __init__(self, window_entries: int = MAX_WINDOW_ENTRIES) -> None:
        self._window_entries = window_entries
        self._keys: dict[str, _Key] = {}
        self._held: dict[str, _Held] = {}
        self._last_token = 0

    def __len__(self) -> int:
        """Pairs of key and model that are remembered."""
        return sum(len(key.models) for key in self._keys.values())

    def acquire(
        self, requests: Sequence[LeaseRequest], now: float
    ) -> list[LeaseRecord | LeaseRefused]:
        return [self._acquire(request, now) for request in requests]

    def settle(self, settlements: Sequence[LeaseSettlement], now: float) -> list[Settled]:
        return [self._settle(settlement, now) for settlement in settlements]

    def look(self, requests: Sequence[LeaseRequest], now: float) -> list[Headroom]:
        return [self._look(request, now) for request in requests]

    def _look(self, request: LeaseRequest, now: float) -> Headroom:
        best, room = self._best(request, now)
        return Headroom(
            available=best is not None,
            share=room.share,
            available_at=None if best is not None else room.at,
            reason=room.reason or "",
        )

    def expire(self, now: float) -> list[LeaseRecord]:
        over = [held for held in self._held.values() if held.record.expires_at <= now]
        for held in over:
            self._abandon(held, now)
        for key in self._keys.values():
            key.window.slide(now)
            key.models = {name: use for name, use in key.models.items() if not use.idle(now)}
        return [held.record for held in over]

    def count(self, uses: Sequence[KeyUse], now: float) -> None:
        for use in uses:
            self._key(use.key_id).window.count(now, use.tokens, use.requests)

    def hand_over(self, now: float) -> list[KeyUse]:
        """What the windows hold, for another store to count; here it is forgotten.

        The leases stay open. What they reserved was handed over, and is not reconciled any more.
        """
        uses = []
        for key_id, key in self._keys.items():
            key.window.slide(now)
            if key.window.requests:
                uses.append(KeyUse(key_id, key.window.requests, key.window.tokens))
            key.window.slide(math.inf)
        return uses

    def open_leases(self, now: float) -> list[LeaseRecord]:
        return [held.record for held in self._held.values()]

    def conditions(self, keys: Sequence[KeyQuota], now: float) -> list[KeyCondition]:
        return [self._condition(quota, now) for quota in keys]

    def _condition(self, quota: KeyQuota, now: float) -> KeyCondition:
        key = self._key(quota.key_id)
        state = at_time(key.state, now)
        waits = state.phase in (KeyPhase.COOLING, KeyPhase.EVICTED)
        return KeyCondition(
            key_id=quota.key_id,
            phase=state.phase,
            until=state.until if waits else None,
            open_leases=key.open_leases,
            share=key.window.share(now, quota.rpm, quota.tpm),
        )

    def _key(self, key_id: str) -> _Key:
        key = self._keys.get(key_id)
        if key is None:
            key = self._keys[key_id] = _Key(SlidingWindow(max_entries=self._window_entries))
        return key

    def _acquire(self, request: LeaseRequest, now: float) -> LeaseRecord | LeaseRefused:
        quota, room = self._best(request, now)
        if quota is None:
            return LeaseRefused(room.reason or "", room.at)
        key = self._key(quota.key_id)
        self._last_token += 1
        record = LeaseRecord(
            id=f"{quota.key_id}#{self._last_token}",
            owner=request.owner,
            token=self._last_token,
            key_id=quota.key_id,
            model=request.model,
            tokens=request.tokens,
            granted_at=now,
            expires_at=now + request.ttl,
        )
        limited = quota.rpm is not None or quota.tpm is not None
        entry = key.window.count(now, request.tokens) if limited else None
        use = key.models.setdefault(request.model, _ModelUse())
        use.spend(request.tokens)
        key.state = leased(at_time(key.state, now), record.token, now)
        key.last_used = record.token
        key.open_leases += 1
        self._held[record.id] = _Held(record, key, use, entry)
        return record

    def _best(self, request: LeaseRequest, now: float) -> tuple[KeyQuota | None, _Room]:
        """The key to lease with its room; without one, the room of the key that is free first."""
        if not request.keys:
            return None, _Room(None, Unavailable.NO_KEY, None)
        rooms = [(quota, self._room(quota, request, now)) for quota in request.keys]
        free = [(quota, room) for quota, room in rooms if room.reason is None]
        preferred = [pair for pair in free if pair[0].key_id == request.prefer]
        if preferred:
            return preferred[0]
        if free:
            return max(free, key=lambda pair: self._preference(*pair))
        _, soonest = min(rooms, key=lambda pair: math.inf if pair[1].at is None else pair[1].at)
        return None, soonest

    def _preference(self, quota: KeyQuota, room: _Room) -> tuple[float, int]:
        share = 1.0 if room.share is None else room.share
        return share, -self._key(quota.key_id).last_used

    def _room(self, quota: KeyQuota, request: LeaseRequest, now: float) -> _Room:
        key = self._key(quota.key_id)
        use = key.models.get(request.model)
        waits = _state_waits(at_time(key.state, now), now)
        waits += _window_waits(key.window, quota, request.tokens, now)
        if use is not None:
            waits += _model_waits(use, request.tokens, now)
        if not waits:
            return _Room(now, None, _share(key, use, quota, now))
        last, reason = max(waits, key=_end_of_wait)
        return _Room(last, reason, None)

    def _settle(self, settlement: LeaseSettlement, now: float) -> Settled:
        held = self._held.get(settlement.lease_id)
        if held is None or held.record.token != settlement.token:
            return Settled(done=False)
        if held.record.expires_at <= now:
            self._abandon(held, now)
            return Settled(done=False)
        self._release(held)
        outcome = settlement.outcome
        self._reconcile(held, outcome)
        _teach(held.use, outcome, now)
        key = held.key
        before = at_time(key.state, now)
        found = finding(outcome.failure, cancelled=outcome.cancelled)
        key.state = answered(before, held.record.token, found, now)
        return Settled(done=True, evicted=before.evictions == 0 and key.state.evictions > 0)

    def _abandon(self, held: _Held, now: float) -> None:
        """The lease's time is over. It may have been sent, so what it counted stays."""
        self._release(held)
        key = held.key
        ended = Finding(Verdict.NOTHING)
        key.state = answered(at_time(key.state, now), held.record.token, ended, now)

    def _release(self, held: _Held) -> None:
        del self._held[held.record.id]
        held.key.open_leases -= 1
        held.use.open_requests -= 1
        held.use.open_tokens -= held.record.tokens

    def _reconcile(self, held: _Held, outcome: AttemptOutcome) -> None:
        if held.entry is None:
            return
        if outcome.failure is not None and outcome.failure.kind in NEVER_SENT:
            held.key.window.cancel(held.entry, held.record.tokens)
        elif outcome.tokens is not None:
            held.key.window.reconcile(held.entry, held.record.tokens, outcome.tokens)


def _teach(use: _ModelUse, outcome: AttemptOutcome, now: float) -> None:
    if outcome.rate_limits is not None:
        use.learn(outcome.rate_limits, now if outcome.observed_at is None else outcome.observed_at)
    if outcome.failure is not None and outcome.failure.kind in PARKS_MODEL:
        use.forbidden_until = now + MODEL_PARKING


_Wait = tuple[float | None, Unavailable]
"""(when it is over, None for no time that waiting could aim at; why)"""


def _end_of_wait(wait: _Wait) -> float:
    return math.inf if wait[0] is None else wait[0]


def _state_waits(state: KeyState, now: float) -> list[_Wait]:
    if usable(state, now):
        return []
    if state.phase is KeyPhase.EVICTED:
        # Nothing says that it will be better then: a request is not to wait for it.
        return [(None, Unavailable.EVICTED)]
    if state.phase is KeyPhase.COOLING:
        return [(state.until, Unavailable.COOLING)]
    return [(min(state.probes.vacant_at, now + PROBE_POLL), Unavailable.PROBING)]


def _window_waits(window: SlidingWindow, quota: KeyQuota, tokens: int, now: float) -> list[_Wait]:
    at = window.available_at(now, tokens, quota.rpm, quota.tpm)
    if at is None:
        return [(None, Unavailable.TOO_LARGE)]
    if at <= now:
        return []
    requests_full = quota.rpm is not None and window.requests >= quota.rpm
    return [(at, Unavailable.REQUESTS if requests_full else Unavailable.TOKENS)]


def _model_waits(use: _ModelUse, tokens: int, now: float) -> list[_Wait]:
    waits: list[_Wait] = []
    if use.forbidden_until > now:
        waits.append((None, Unavailable.FORBIDDEN))
    for belief, cost, reason in (
        (use.requests, 1, Unavailable.REQUESTS),
        (use.tokens, tokens, Unavailable.TOKENS),
    ):
        if belief is not None and (at := belief.available_at(now, cost)) > now:
            waits.append((at, reason))
    return waits


def _share(key: _Key, use: _ModelUse | None, quota: KeyQuota, now: float) -> float | None:
    least = key.window.share(now, quota.rpm, quota.tpm)
    for belief in () if use is None else (use.requests, use.tokens):
        share = None if belief is None else belief.share(now)
        if share is not None and (least is None or share < least):
            least = share
    return least
