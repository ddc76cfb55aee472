"""Leases on provider keys in Redis, for gateways that share their keys.

The rules are those of `MemoryLeaseStore`, in `lua/leases*.lua`. A provider's pool is a slot of its
own, `{sb:pool:<provider>}`: one script call is one step of that pool, and a batch that touches
several pools is one pipeline. The time is Redis' own; the caller's clock is translated on the way
in and out, to a microsecond.

Redis must not evict (`maxmemory-policy noeviction`): half a pool is worse than none. After a flush
the fencing tokens start again, so a lease is also named by a number that nobody can guess.
"""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import redis

from signalbox.adapters.protocol import RateLimits
from signalbox.errors import StoreUnavailable
from signalbox.machines import keys as key_machine
from signalbox.machines.facts import Headroom, Unavailable
from signalbox.machines.keys import PARKS_MODEL, Finding, finding
from signalbox.machines.limits import LONGEST_BELIEF, MAX_WINDOW_ENTRIES, WINDOW
from signalbox.machines.probes import MAX_OPEN, PATIENCE
from signalbox.persistence.lease_stores import (
    NEVER_SENT,
    PROBE_POLL,
    KeyCondition,
    KeyQuota,
    KeyUse,
    LeaseRecord,
    LeaseRefused,
    LeaseRequest,
    LeaseSettlement,
    Settled,
)
from signalbox.persistence.redis_scripts import Constant, RedisScript

LIFETIME = int(key_machine.MAX_RETRY_AFTER) + 3600
"""Seconds for which a pool is remembered that no gateway asks for: longer than any cooldown."""

MOST_TOKENS = 2**40
"""More than this was not used by an attempt, whatever a provider says: thousands of them still add
up without rounding."""

MAX_IN_DOUBT = 1024
"""Requests for leases to be undone once Redis answers. A failure leaves one batch of them, and
nothing more is asked before the next answer; the leases that are forgotten end with their time."""

_PARTS = ("leases_slot", "leases_keys", "leases_windows", "leases_models")


class RedisLeaseStore:
    """A `LeaseStore` for all processes that use this Redis. `window_entries` bounds each key's log.

    Every method raises `StoreUnavailable` where Redis cannot be asked. What was asked may have been
    done by then: its leases are taken back before the next call.
    """

    def __init__(
        self,
        client: redis.Redis,
        clock: Callable[[], float] | None = None,
        *,
        window_entries: int = MAX_WINDOW_ENTRIES,
    ) -> None:
        size = {"WINDOW_ENTRIES": window_entries, "BLOCK": math.isqrt(window_entries)}
        self._script = RedisScript(
            client, "leases", clock, parts=_PARTS, constants=_CONSTANTS | size
        )
        self._pools: set[str] = set()
        """The providers that were asked for: those whose leases are looked after here."""
        self._in_doubt: deque[tuple[str, list[str]]] = deque(maxlen=MAX_IN_DOUBT)
        """A pool, and the ids that a lease there may have, by the key that was chosen."""

    def acquire(
        self, requests: Sequence[LeaseRequest], now: float
    ) -> list[LeaseRecord | LeaseRefused]:
        asked = [
            (_pool_of(request.keys), (request, secrets.token_hex(16)))
            for request in requests
            if request.keys
        ]
        try:
            answers = iter(self._each("acquire", asked, now))
        except StoreUnavailable:
            self._in_doubt.extend((pool, _ids(*request)) for pool, request in asked)
            raise
        return [
            _granted(next(answers))
            if request.keys
            else LeaseRefused(Unavailable.NO_KEY, available_at=None)
            for request in requests
        ]

    def settle(self, settlements: Sequence[LeaseSettlement], now: float) -> list[Settled]:
        reports = [(_provider(each.lease_id), _report(each)) for each in settlements]
        return [msgspec.convert(answer, Settled) for answer in self._each("settle", reports, now)]

    def look(self, requests: Sequence[LeaseRequest], now: float) -> list[Headroom]:
        asked = [(_pool_of(request.keys), request) for request in requests if request.keys]
        answers = iter(self._each("look", asked, now))
        return [
            msgspec.convert(next(answers), Headroom)
            if request.keys
            else Headroom(available=False, reason=Unavailable.NO_KEY)
            for request in requests
        ]

    def expire(self, now: float) -> list[LeaseRecord]:
        return self._of_all_pools("expire", now)

    def count(self, uses: Sequence[KeyUse], now: float) -> None:
        self._each("count", [(_provider(use.key_id), use) for use in uses], now)

    def open_leases(self, now: float) -> list[LeaseRecord]:
        return self._of_all_pools("open_leases", now)

    def conditions(self, keys: Sequence[KeyQuota], now: float) -> list[KeyCondition]:
        asked = [(_provider(quota.key_id), quota) for quota in keys]
        answers = self._each("conditions", asked, now)
        return [msgspec.convert(answer, KeyCondition) for answer in answers]

    def _take_back(self, now: float) -> None:
        in_doubt, self._in_doubt = list(self._in_doubt), deque(maxlen=MAX_IN_DOUBT)
        try:
            self._each("take_back", in_doubt, now)
        except StoreUnavailable:
            self._in_doubt.extend(in_doubt)
            raise

    def _of_all_pools(self, operation: str, now: float) -> list[LeaseRecord]:
        answers = self._call(operation, dict.fromkeys(self._pools, ()), now)
        return [msgspec.convert(lease, LeaseRecord) for leases in answers for lease in leases]

    def _each(self, operation: str, items: Sequence[tuple[str, object]], now: float) -> list[Any]:
        """An answer to each of the items, which come with the pools they are about."""
        places: dict[str, list[int]] = {}
        for place, (pool, _) in enumerate(items):
            places.setdefault(pool, []).append(place)
        self._pools.update(places)
        batches = {pool: [items[place][1] for place in taken] for pool, taken in places.items()}
        answers: list[Any] = [None] * len(items)
        for taken, batch in zip(places.values(), self._call(operation, batches, now), strict=True):
            for place, answer in zip(taken, batch, strict=True):
                answers[place] = answer
        return answers

    def _call(
        self, operation: str, batches: Mapping[str, Sequence[object]], now: float
    ) -> list[Any]:
        if self._in_doubt:
            self._take_back(now)
        return self._script.batch(
            [([f"{{sb:pool:{pool}}}"], (operation, now, batch)) for pool, batch in batches.items()]
        )


class _Report(msgspec.Struct, frozen=True):
    """A settlement, as far as the script needs it."""

    lease_id: str
    token: int
    finding: Finding
    never_sent: bool
    parks_model: bool
    used: int | None
    rate_limits: RateLimits | None
    observed_at: float | None


def _report(settlement: LeaseSettlement) -> _Report:
    outcome = settlement.outcome
    kind = None if outcome.failure is None else outcome.failure.kind
    return _Report(
        lease_id=settlement.lease_id,
        token=settlement.token,
        finding=finding(outcome.failure, cancelled=outcome.cancelled),
        never_sent=kind in NEVER_SENT,
        parks_model=kind in PARKS_MODEL,
        used=None if outcome.tokens is None else min(outcome.tokens, MOST_TOKENS),
        rate_limits=outcome.rate_limits,
        observed_at=outcome.observed_at,
    )


def _ids(request: LeaseRequest, nonce: str) -> list[str]:
    """Those that a lease may get, as the script names it."""
    return [f"{quota.key_id}#{nonce}" for quota in request.keys]


def _granted(answer: Any) -> LeaseRecord | LeaseRefused:
    if "reason" in answer:
        return msgspec.convert(answer, LeaseRefused)
    return msgspec.convert(answer, LeaseRecord)


def _pool_of(keys: Iterable[KeyQuota]) -> str:
    pools = {_provider(quota.key_id) for quota in keys}
    if len(pools) != 1:
        raise ValueError(f"keys of {', '.join(sorted(pools))}; expected one provider's")
    return pools.pop()


def _provider(key_id: str) -> str:
    """Of a key's id, or of a lease's, which begins with its key's."""
    provider, slash, _ = key_id.partition("/")
    if not slash:
        raise ValueError(f"the key id {key_id!r} names no provider; expected <provider>/<key>")
    return provider


def _key_transitions() -> dict[str, Constant]:
    """What follows on `<phase> <event>`; False where the event is ignored."""
    follows: dict[str, Constant] = {
        f"{phase} {event}": target for (phase, event), target in key_machine.TRANSITIONS.items()
    }
    return follows | {f"{phase} {event}": False for phase, event in key_machine.IGNORED}


_CONSTANTS: dict[str, Constant] = {
    "LIFETIME": LIFETIME,
    "WINDOW": WINDOW,
    "LONGEST_BELIEF": LONGEST_BELIEF,
    "MODEL_PARKING": key_machine.MODEL_PARKING,
    "BASE_COOLDOWN": key_machine.BASE_COOLDOWN,
    "MAX_COOLDOWN": key_machine.MAX_COOLDOWN,
    "EVICTION": key_machine.EVICTION,
    "PROBE_PATIENCE": PATIENCE,
    "PROBE_POLL": PROBE_POLL,
    "MAX_OPEN_PROBES": MAX_OPEN,
    "KEY_TRANSITIONS": _key_transitions(),
    "UNAVAILABLE": {reason.name: str(reason) for reason in Unavailable},
}
