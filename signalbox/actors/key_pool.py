"""The provider keys: who may use which key now, and how each attempt on one ended.

The state that counts lies in the `LeaseStore`, so a pool that is restarted goes on with the leases,
windows and cooldowns as they were, and several processes may share it. The pool keeps the secrets,
the queue of those who wait, and the sweep that frees leases whose holder never came back.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence

import msgspec
import trio

from signalbox.actors.mailbox import Mailbox
from signalbox.actors.store_access import (
    ACQUIRE,
    CONDITIONS,
    EXPIRE_LEASES,
    LOOK_AT_KEYS,
    SETTLE_LEASE,
    StoreAccess,
)
from signalbox.actors.sweeps import sweep_until_closed
from signalbox.config import Credential
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
    Settled,
)
from signalbox.types import Secret

__all__ = [
    "CALLERS_KEY",
    "AttemptOutcome",
    "Denied",
    "KeyPool",
    "KeyPoolStatistics",
    "KeyStatistics",
    "Lease",
    "ProviderKey",
    "anonymous_key",
    "callers_key",
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


class ProviderKey(msgspec.Struct, frozen=True):
    """One key of a provider. `rpm` and `tpm` are its declared limits; None: none declared."""

    id: str
    provider: str
    label: str
    """What people and traces call it; no part of the secret."""
    secret: Secret | None
    rpm: int | None
    tpm: int | None
    credential: Credential | None = None
    """What its secret is asked for with, where that is a token that ends (`credentials.py`)."""


def anonymous_key(provider: str) -> ProviderKey:
    """What stands for the keys of a provider that needs none (`keys = []`)."""
    return ProviderKey(f"{provider}/none", provider, "no key", secret=None, rpm=None, tpm=None)


CALLERS_KEY = "byok"
"""The id of every key that came with a request."""


def callers_key(provider: str, secret: Secret) -> ProviderKey:
    """A key that came with a request. No pool holds it, and nothing is remembered of it."""
    return ProviderKey(CALLERS_KEY, provider, "the caller's own key", secret, rpm=None, tpm=None)


class Lease(msgspec.Struct, frozen=True):
    """The right to send one request on a key until `expires_at` (monotonic)."""

    id: str
    key: ProviderKey
    model: str
    token: int
    """Fencing token: grows with every lease."""
    expires_at: float
    reserved_tokens: int
    local: bool = False
    """Granted by this process while the shared store was away."""


class Denied(msgspec.Struct, frozen=True):
    reason: str
    available_at: float | None
    """Monotonic; None: no waiting helps."""


class KeyStatistics(msgspec.Struct, frozen=True):
    provider: str
    label: str
    condition: KeyCondition


class KeyPoolStatistics(msgspec.Struct, frozen=True):
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
        """Returns when it is woken, after `seconds` at the latest: at once where they are over, as
        they may be when a shared store's answer took its time."""
        with trio.move_on_after(max(0.0, seconds)):
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
        stores: StoreAccess[LeaseStore],
        clock: Callable[[], float] = trio.current_time,
        alert: Callable[[str], None] = logger.warning,
    ) -> None:
        self._keys: dict[str, ProviderKey] = {}
        """Also those that are no longer configured: requests that began with them go on."""
        self._quotas: dict[str, tuple[KeyQuota, ...]] = {}
        self._configured: frozenset[str] = frozenset()
        """Providers; requests that began before a change may still need one of the others."""
        self._queues: dict[str, _Queue] = {}
        self._stores = stores
        self._clock = clock
        self._alert = alert
        self.configure(keys)

    def configure(self, keys: Sequence[ProviderKey]) -> None:
        """Leases these from now on. What is known of a key stays known under its id.

        A key that its provider no longer has is leased no more. One of a provider that is gone is
        still there for the requests that began before: no other has a route to it.
        """
        if len({key.id for key in keys}) != len(keys):
            raise ValueError("two provider keys have the same id")
        quotas: dict[str, list[KeyQuota]] = defaultdict(list)
        for key in keys:
            quotas[key.provider].append(KeyQuota(key.id, key.rpm, key.tpm))
        self._keys.update({key.id: key for key in keys})
        self._configured = frozenset(quotas)
        for provider, listed in quotas.items():
            self._quotas[provider] = tuple(listed)
            self._queues.setdefault(provider, _Queue())
        for queue in self._queues.values():
            queue.wake_first()

    async def lease(
        self,
        provider: str,
        model: str,
        tokens: int,
        *,
        owner: str,
        ttl: float,
        exclude: frozenset[str] = frozenset(),
        prefer: str | None = None,
        only: str | None = None,
    ) -> Lease | Denied:
        """The usable key with the largest remaining share, with one request and `tokens` reserved.

        `exclude`, `prefer` and `only` name keys by id; the preferred one is taken if it has room at
        all. A request that finds room takes it even while others wait in `wait_for_room`: to keep
        room free for them would leave keys idle.
        """
        usable = self._usable(provider, exclude, only)
        if not usable and provider in self._quotas:
            return Denied(Unavailable.ALL_TRIED, None)
        request = LeaseRequest(owner, model, tokens, ttl, usable, prefer)
        answered = await self._stores.ask(ACQUIRE, [request], self._clock())
        [granted] = answered.answers
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
            local=answered.local,
        )

    def settle(self, lease: Lease, outcome: AttemptOutcome) -> None:
        """Releases the lease and learns from how the attempt ended. Never waits.

        Nothing is changed where the lease had been settled or had expired.
        """

        def learnt(settled: Settled) -> None:
            if settled.evicted and outcome.failure is not None:
                self._alert(_eviction_alert(lease.key, outcome.failure))

        settlement = LeaseSettlement(lease.id, lease.token, outcome)
        self._stores.tell(SETTLE_LEASE, settlement, self._clock(), local=lease.local, then=learnt)
        self._queues[lease.key.provider].wake_first()

    async def headrooms(
        self, asks: Sequence[tuple[str, str]], tokens: int, *, only: str | None = None
    ) -> list[Headroom]:
        """Whether a lease would be granted now, and else when, for each (provider, model)."""
        requests = [
            LeaseRequest("", model, tokens, 0.0, self._usable(provider, frozenset(), only))
            for provider, model in asks
        ]
        return await self._look(requests)

    async def _look(self, requests: Sequence[LeaseRequest]) -> list[Headroom]:
        return list((await self._stores.ask(LOOK_AT_KEYS, requests, self._clock())).answers)

    def _usable(
        self, provider: str, exclude: frozenset[str], only: str | None
    ) -> tuple[KeyQuota, ...]:
        quotas = self._quotas.get(provider, ())
        if not exclude and only is None:
            return quotas
        return tuple(
            quota
            for quota in quotas
            if quota.key_id not in exclude and only in (None, quota.key_id)
        )

    async def wait_for_room(
        self,
        provider: str,
        model: str,
        tokens: int,
        deadline: float,
        *,
        exclude: frozenset[str] = frozenset(),
        only: str | None = None,
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
        request = LeaseRequest("", model, tokens, 0.0, self._usable(provider, exclude, only))
        waiter = _Waiter()
        queue.waiters.append(waiter)
        try:
            while True:
                [room] = await self._look([request])
                now = self._clock()
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

    async def sweep(self) -> None:
        """Frees the leases whose time is over."""
        answered = await self._stores.ask(EXPIRE_LEASES, [None], self._clock())
        for record in answered.answers[0]:
            logger.warning(
                "a lease of %s on key %s was not settled in time", record.owner, record.key_id
            )
        for queue in self._queues.values():
            queue.wake_first()

    async def statistics(self) -> KeyPoolStatistics:
        quotas = [
            quota
            for name in self._quotas
            if name in self._configured
            for quota in self._quotas[name]
        ]
        answered = await self._stores.ask(CONDITIONS, quotas, self._clock())
        keys = [self._statistics_of(condition) for condition in answered.answers]
        return KeyPoolStatistics(
            keys=tuple(keys),
            open_leases=sum(key.condition.open_leases for key in keys),
            waiting={
                name: len(queue.waiters) for name, queue in self._queues.items() if queue.waiters
            },
        )

    def _statistics_of(self, condition: KeyCondition) -> KeyStatistics:
        key = self._keys[condition.key_id]
        return KeyStatistics(key.provider, key.label, condition)


def _eviction_alert(key: ProviderKey, failure: Failure) -> str:
    return (
        f"{key.provider} refuses the key {key.label} ({failure.kind}: {failure.message}); "
        f"it is not used, and tried again every {EVICTION / 60:.0f} minutes"
    )
