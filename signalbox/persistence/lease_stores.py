"""The stores of leases on provider keys and of the gateway's own limits, as protocols.

Both take batches and answer in the same order, so that an engine over a network serves a batch in
one round trip. One call is one step: nobody else's request comes between its parts.

`now` and every `*_at` are the caller's monotonic clock, in seconds. An engine that several
processes share keeps a time of its own and translates.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from signalbox.adapters.protocol import RateLimits
from signalbox.errors import Failure, FailureKind
from signalbox.machines.facts import Headroom

PROBE_POLL = 1.0
"""Seconds after which a request that found a key under test looks again."""

NEVER_SENT = frozenset(
    {
        FailureKind.CONNECT_FAILED,
        FailureKind.CONNECT_TIMEOUT,
        FailureKind.UNSUPPORTED_PARAMETER,
    }
)
"""Failures before the provider could count the request."""


class KeyQuota(msgspec.Struct, frozen=True):
    """A key that may be leased, with its declared limits per minute; None: none declared."""

    key_id: str
    """`<provider>/<key>`: what stands before the slash names the pool."""
    rpm: int | None
    tpm: int | None


class LeaseRequest(msgspec.Struct, frozen=True):
    """One request and `tokens` expected tokens on one of `keys`, for `ttl` seconds at most.

    All keys are one provider's.
    """

    owner: str
    model: str
    tokens: int
    ttl: float
    keys: tuple[KeyQuota, ...]
    prefer: str | None = None
    """A key's id: that key is taken if it has room at all."""


class LeaseRecord(msgspec.Struct, frozen=True):
    """A lease that is held. `token` fences: it grows with every lease and never comes again."""

    id: str
    owner: str
    token: int
    key_id: str
    model: str
    tokens: int
    granted_at: float
    expires_at: float


class LeaseRefused(msgspec.Struct, frozen=True):
    reason: str
    available_at: float | None
    """When one of the keys will have room, if nothing else comes; None: no waiting helps."""


class AttemptOutcome(msgspec.Struct, frozen=True):
    """How an attempt on a leased key ended."""

    failure: Failure | None
    tokens: int | None
    """Used by the attempt; None: not known, the reservation stands."""
    rate_limits: RateLimits | None
    """What the answer's headers said."""
    observed_at: float | None = None
    """When the headers came; None: just now."""
    cancelled: bool = False
    """The gateway ended the attempt, so it proves nothing about the key."""


class LeaseSettlement(msgspec.Struct, frozen=True):
    lease_id: str
    token: int
    outcome: AttemptOutcome


class Settled(msgspec.Struct, frozen=True):
    done: bool
    """False: the lease had been settled, or had expired."""
    evicted: bool = False
    """The key was evicted by this, and was in use until now."""


class KeyCondition(msgspec.Struct, frozen=True):
    """What a store knows of a key."""

    key_id: str
    phase: str
    """A state of `machines.keys.KeyMachine`."""
    until: float | None
    """When a cooling or evicted key is tried again."""
    open_leases: int
    share: float | None
    """What remains (0 to 1) of its fullest limit; None: no limits known."""


class KeyUse(msgspec.Struct, frozen=True):
    """What somebody who could not ask the store has sent on a key within its window."""

    key_id: str
    requests: int
    tokens: int


class LeaseStore(Protocol):
    """Owns what must outlive the key pool's actor: leases, windows, cooldowns, evictions."""

    def acquire(
        self, requests: Sequence[LeaseRequest], now: float
    ) -> list[LeaseRecord | LeaseRefused]:
        """Leases the usable key with the largest remaining share, the least recently used of
        equals, and counts the request and its tokens on it."""
        ...

    def settle(self, settlements: Sequence[LeaseSettlement], now: float) -> list[Settled]:
        """Compare-and-delete: only a lease whose token matches is released, and only once."""
        ...

    def look(self, requests: Sequence[LeaseRequest], now: float) -> list[Headroom]:
        """What `acquire` would find for each alone, without taking it."""
        ...

    def expire(self, now: float) -> list[LeaseRecord]:
        """Releases the leases whose time is over; what they counted stays counted."""
        ...

    def count(self, uses: Sequence[KeyUse], now: float) -> None:
        """Adds to the windows what was sent without a lease, whether or not there is room.

        It counts as sent now, and so for longer than it must."""
        ...

    def open_leases(self, now: float) -> list[LeaseRecord]: ...

    def conditions(self, keys: Sequence[KeyQuota], now: float) -> list[KeyCondition]: ...


class Kind(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENCY = "concurrency"


class Scope(StrEnum):
    """Whose limit it is."""

    GLOBAL = "global"
    KEY = "key"


class ScopeLimits(msgspec.Struct, frozen=True):
    """The limits of one scope; None: no such limit. `rpm` and `tpm` are per minute.

    `burst` is how many requests may come at once; None: `rpm` of them. Tokens burst to `tpm`.
    """

    scope: Scope
    id: str
    rpm: int | None
    tpm: int | None
    concurrency: int | None
    burst: int | None


class LimitRequest(msgspec.Struct, frozen=True):
    """One request and `tokens` expected tokens under every scope, or under none."""

    owner: str
    tokens: int
    ttl: float
    scopes: tuple[ScopeLimits, ...]


class Meter(msgspec.Struct, frozen=True):
    """Where a limit on requests or tokens stands. `reset_after`: seconds until it is unused."""

    kind: Kind
    limit: int
    remaining: int
    reset_after: float


class LimitGranted(msgspec.Struct, frozen=True):
    id: str
    meters: tuple[Meter, ...]


class LimitRefused(msgspec.Struct, frozen=True):
    scope: Scope
    kind: Kind
    limit: int
    retry_after: float
    """Seconds; inf: it never fits."""
    meters: tuple[Meter, ...]


class LimitSettlement(msgspec.Struct, frozen=True):
    id: str
    tokens: int | None
    """Used; None: not known, the reservation counts as used."""


class ScopeUse(msgspec.Struct, frozen=True):
    """What somebody who could not ask the store has used of a scope, and has not drained yet."""

    limits: ScopeLimits
    requests: float
    tokens: float


class LimitStore(Protocol):
    """Owns the gateway's own limits: who has used how much, and who is under way."""

    def reserve(
        self, requests: Sequence[LimitRequest], now: float
    ) -> list[LimitGranted | LimitRefused]:
        """All scopes and kinds of a request, or nothing of it."""
        ...

    def settle(self, settlements: Sequence[LimitSettlement], now: float) -> list[bool]:
        """Frees the concurrency and counts the tokens, once; False where that is done already."""
        ...

    def expire(self, now: float) -> int:
        """Settles reservations whose time is over and forgets unused limits; how many are open."""
        ...

    def count(self, uses: Sequence[ScopeUse], now: float) -> None:
        """Adds to the buckets what was used without a reservation, whether or not there is room."""
        ...
