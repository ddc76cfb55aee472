"""The provider keys: who may use which key now, and how each attempt on one ended.

The state that counts lies in the `LeaseStore`, so a pool that is restarted goes on with the leases,
windows and cooldowns as they were. The pool keeps the secrets, the queue of those who wait, and the
sweep that frees leases whose holder never came back.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import trio

from signalbox.actors.mailbox import Mailbox
from signalbox.actors.sweeps import sweep_until_closed
from signalbox.errors import Failure
from signalbox.machines.facts import Headroom, Unavailable
from signalbox.machines.keys import EVICTION
from signalbox.persistence.lease_stores import (
    AttemptOutcome,
    KeyCondition,
    KeyQuota,
    LeaseRefused,
    LeaseRequest,
    LeaseSettlement,
    LeaseStore,
)
from signalbox.types import Secret

__all__ = [
    "AttemptOutcome",
    "Denied",
    "KeyPool",
    "KeyPoolStatistics",
    "KeyStatistics",
    "Lease",
    "ProviderKey",
    "anonymous_key",
]

logger = logging.getLogger(__name__)

MAX_WAITERS = 1024
"""Per provider. A request waits 30 s at most by default, in which 2,000 RPM free a thousand places:
whoever is further back would wait in vain."""

TURN = 0.1
"""Seconds that the room found for one waiter is left to it before the next one looks, unless a
lease was asked for sooner. A request that was woken still decides before it leases."""

ROUNDING = 1e-6
"""Seconds by which a deadline that was computed from `available_at` may fall short of it."""

SWEEP_INTERVAL = 5.0
"""Seconds. Expiry is also checked on use; the sweep is for what nobody comes back to."""


@dataclass(frozen=True, slots=True)
class ProviderKey:
    """One key of a provider. `rpm` and `tpm` are its declared limits; None: none declared."""

    id: str
    provider: str
    label: str
    """What people and traces call it; no part of the secret."""
    secret: Secret | None
    rpm: int | None
    tpm: int | None


def anonymous_key(provider: str) -> ProviderKey:
    """What stands for the keys of a provider that needs none (`keys = []`)."""
    return ProviderKey(f"{provider}/none", provider, "no key", secret=None, rpm=None, tpm=None)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to send one request on a key until `expires_at` (monotonic)."""

    id: str
    key: ProviderKey
    model: str
    token: int
    """Fencing token: grows with every lease."""
    expires_at: float
    reserved_tokens: int


@dataclass(frozen=True, slots=True)
class Denied:
    reason: str
    available_at: float | None
    """Monotonic; None: no waiting helps."""


@dataclass(frozen=True, slots=True)
class KeyStatistics:
    provider: str
    label: str
    condition: KeyCondition


@dataclass(frozen=True, slots=True)
class KeyPoolStatistics:
    keys: tuple[KeyStatistics, ...]
    open_leases: int
    waiting: Mapping[str, int]
    """Requests in the queue of each provider that has one."""


class _Waiter:
    """One place in a provider's queue. It looks for itself whenever it is woken."""

    def __init__(self) -> None:
        self._woken = trio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def woken(self, seconds: float) -> None:
        """Returns when it is woken, after `seconds` at the latest."""
        with trio.move_on_after(seconds):
            await self._woken.wait()
        self._woken = trio.Event()


class _Queue:
    """Those who wait for a key of one provider, first come, first served."""

    def __init__(self) -> None:
        self.waiters: deque[_Waiter] = deque()
        self.turn_ends = -math.inf
        """Until then the room is left to the waiter that was told of it last."""

    def wake_first(self) -> None:
        if self.waiters:
            self.waiters[0].wake()

    def end_turn(self) -> None:
        self.turn_ends = -math.inf
        self.wake_first()


class KeyPool:
    """Leases keys, and takes them back with what was learnt."""

    def __init__(
        self,
        keys: Sequence[ProviderKey],
        store: LeaseStore,
        clock: Callable[[], float] = trio.current_time,
        alert: Callable[[str], None] = logger.warning,
    ) -> None:
        self._keys = {key.id: key for key in keys}
        if len(self._keys) != len(keys):
            raise ValueError("two provider keys have the same id")
        quotas: dict[str, list[KeyQuota]] = defaultdict(list)
        for key in keys:
            quotas[key.provider].append(KeyQuota(key.id, key.rpm, key.tpm))
        self._quotas = {provider: tuple(listed) for provider, listed in quotas.items()}
        self._queues = {provider: _Queue() for provider in quotas}
        self._store = store
        self._clock = clock
        self._alert = alert

    async def lease(
        self,
        provider: str,
        model: str,
        tokens: int,
        *,
        owner: str,
        ttl: float,
        exclude: frozenset[str] = frozenset(),
    ) -> Lease | Denied:
        """The usable key with the largest remaining share, with one request and `tokens` reserved.

        `exclude` names keys by id. A request that finds room takes it even while others wait in
        `wait_for_room`: to keep room free for them would leave keys idle.
        """
        usable = self._usable(provider, exclude)
        if not usable and provider in self._quotas:
            return Denied(Unavailable.ALL_TRIED, None)
        request = LeaseRequest(owner, model, tokens, ttl, usable)
        [granted] = self._store.acquire([request], self._clock())
        if provider in self._queues:
            self._queues[provider].end_turn()
        if isinstance(granted, LeaseRefused):
            return Denied(granted.reason, granted.available_at)
        return Lease(
            id=granted.id,
            key=self._keys[granted.key_id],
            model=granted.model,
            token=granted.token,
            expires_at=granted.expires_at,
            reserved_tokens=granted.tokens,
        )

    def settle(self, lease: Lease, outcome: AttemptOutcome) -> bool:
        """Releases the lease and learns from how the attempt ended.

        False, and nothing is changed, when the lease had been settled or had expired.
        """
        settlement = LeaseSettlement(lease.id, lease.token, outcome)
        [settled] = self._store.settle([settlement], self._clock())
        if settled.evicted and outcome.failure is not None:
            self._alert(_eviction_alert(lease.key, outcome.failure))
        self._queues[lease.key.provider].wake_first()
        return settled.done

    def headroom(
        self,
        provider: str,
        model: str,
        tokens: int,
        *,
        exclude: frozenset[str] = frozenset(),
    ) -> Headroom:
        """Whether a lease would be granted now, and else when."""
        request = LeaseRequest("", model, tokens, 0.0, self._usable(provider, exclude))
        return self._store.look(request, self._clock())

    def _usable(self, provider: str, exclude: frozenset[str]) -> tuple[KeyQuota, ...]:
        quotas = self._quotas.get(provider, ())
        if not exclude:
            return quotas
        return tuple(quota for quota in quotas if quota.key_id not in exclude)

    async def wait_for_room(
        self,
        provider: str,
        model: str,
        tokens: int,
        deadline: float,
        *,
        exclude: frozenset[str] = frozenset(),
    ) -> bool:
        """Waits in the provider's queue until it is first and a key has room: then True.

        First come, first served, and one at a time: the next one looks when a lease was asked for.
        False, without a wait, when no room is to be expected before `deadline` (monotonic) or when
        `MAX_WAITERS` wait already.
        """
        await trio.lowlevel.checkpoint()
        queue = self._queues.get(provider)
        if queue is None or len(queue.waiters) >= MAX_WAITERS:
            return False
        waiter = _Waiter()
        queue.waiters.append(waiter)
        try:
            while True:
                now = self._clock()
                room = self.headroom(provider, model, tokens, exclude=exclude)
                room_at = max(now, queue.turn_ends) if room.available else room.available_at
                first = queue.waiters[0] is waiter
                if first and room_at == now:
                    queue.turn_ends = now + TURN
                    return True
                if room_at is None or room_at > deadline + ROUNDING or now >= deadline:
                    return False
                await waiter.woken((room_at if first else deadline) - now)
        finally:
            queue.waiters.remove(waiter)
            queue.wake_first()

    async def run(self, mailbox: Mailbox[None, None]) -> None:
        await sweep_until_closed(mailbox, SWEEP_INTERVAL, self.sweep)

    def sweep(self) -> None:
        """Frees the leases whose time is over."""
        for record in self._store.expire(self._clock()):
            logger.warning(
                "a lease of %s on key %s was not settled in time", record.owner, record.key_id
            )
        for queue in self._queues.values():
            queue.wake_first()

    def statistics(self) -> KeyPoolStatistics:
        now = self._clock()
        keys = [
            KeyStatistics(provider, self._keys[condition.key_id].label, condition)
            for provider, quotas in self._quotas.items()
            for condition in self._store.conditions(quotas, now)
        ]
        return KeyPoolStatistics(
            keys=tuple(keys),
            open_leases=sum(key.condition.open_leases for key in keys),
            waiting={
                name: len(queue.waiters) for name, queue in self._queues.items() if queue.waiters
            },
        )


def _eviction_alert(key: ProviderKey, failure: Failure) -> str:
    return (
        f"{key.provider} refuses the key {key.label} ({failure.kind}: {failure.message}); "
        f"it is not used, and tried again every {EVICTION / 60:.0f} minutes"
    )
