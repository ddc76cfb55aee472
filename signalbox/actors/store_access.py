"""How the owners of leases, limits and health reach their stores, wherever those are.

A store in this process is called at once. A store that several processes share is reached through
the actor of `shared_state.py`, and so by waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from signalbox.errors import Failure, FailureKind
from signalbox.machines.breaker import Verdict
from signalbox.machines.facts import Headroom, RouteHealth
from signalbox.persistence.health_stores import HealthReport, HealthStore
from signalbox.persistence.lease_stores import (
    AttemptOutcome,
    KeyCondition,
    KeyQuota,
    KeyUse,
    LeaseRecord,
    LeaseRefused,
    LeaseRequest,
    LeaseSettlement,
    LeaseStore,
    LimitGranted,
    LimitRefused,
    LimitRequest,
    LimitSettlement,
    LimitStore,
    ScopeLimits,
    ScopeUse,
    Settled,
)

StoreT = TypeVar("StoreT")
ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT")


class Turn(IntEnum):
    """The order within a batch: what is given back can be taken at once. What somebody has already,
    and says so, comes before its end."""

    BEGIN = 0
    GIVE_BACK = 1
    TAKE = 2
    LOOK = 3


@dataclass(frozen=True, slots=True, eq=False)
class Operation(Generic[StoreT, ItemT, AnswerT]):
    """One method of a store, which answers each item of a batch in order."""

    name: str
    turn: Turn
    call: Callable[[StoreT, Sequence[ItemT], float], Sequence[AnswerT]]
    share: Callable[[ItemT, int], ItemT] | None = None
    """The item under one of so many equal shares of its limits; None: it names no limits."""
    undo: Callable[[ItemT, AnswerT], Undo[StoreT] | None] | None = None
    """How to take back what was done for somebody who did not wait for the answer."""


@dataclass(frozen=True, slots=True)
class Undo(Generic[StoreT]):
    operation: Operation[StoreT, Any, Any]
    item: object


class Answered(msgspec.Struct, Generic[AnswerT], frozen=True):
    answers: Sequence[AnswerT]
    local: bool
    """This process answered in place of the shared store. What it granted is given back to it."""


class StoreAccess(Protocol[StoreT]):
    """`now` is the caller's time; a shared store acts at the time at which it gets to it."""

    @property
    def away(self) -> str | None:
        """Why a shared store cannot be asked now; None: it can, or there is none."""
        ...

    async def ask(
        self, operation: Operation[StoreT, ItemT, AnswerT], items: Sequence[ItemT], now: float
    ) -> Answered[AnswerT]:
        """Raises `StoreUnavailable` where the shared store is away and nobody may stand in."""
        ...

    def tell(
        self,
        operation: Operation[StoreT, ItemT, AnswerT],
        item: ItemT,
        now: float,
        *,
        local: bool,
        then: Callable[[AnswerT], None] | None = None,
    ) -> None:
        """Never waits and never fails. `local`: where the item was granted; see `Answered`.

        `then` is called with the answer when there is one.
        """
        ...


class InProcess(Generic[StoreT]):
    """The access to a store of this process: every call is one step, without a checkpoint."""

    away = None

    def __init__(self, store: StoreT) -> None:
        self._store = store

    async def ask(
        self, operation: Operation[StoreT, ItemT, AnswerT], items: Sequence[ItemT], now: float
    ) -> Answered[AnswerT]:
        return Answered(operation.call(self._store, items, now), local=False)

    def tell(
        self,
        operation: Operation[StoreT, ItemT, AnswerT],
        item: ItemT,
        now: float,
        *,
        local: bool,
        then: Callable[[AnswerT], None] | None = None,
    ) -> None:
        [answer] = operation.call(self._store, [item], now)
        if then is not None:
            then(answer)


# ── leases ────────────────────────────────────────────────────────────────────────────────────

NOT_SENT = AttemptOutcome(
    Failure(FailureKind.UNSUPPORTED_PARAMETER, "nothing was sent"),
    tokens=0,
    rate_limits=None,
    cancelled=True,
)


def _lease_share(request: LeaseRequest, parts: int) -> LeaseRequest:
    return replace(
        request,
        keys=tuple(
            KeyQuota(key.key_id, _part(key.rpm, parts), _part(key.tpm, parts))
            for key in request.keys
        ),
    )


def _part(limit: int | None, parts: int) -> int | None:
    return None if limit is None else max(1, limit // parts)


def _give_lease_back(
    _: LeaseRequest, granted: LeaseRecord | LeaseRefused
) -> Undo[LeaseStore] | None:
    if isinstance(granted, LeaseRefused):
        return None
    return Undo(SETTLE_LEASE, LeaseSettlement(granted.id, granted.token, NOT_SENT))


def _count_keys(store: LeaseStore, uses: Sequence[KeyUse], now: float) -> Sequence[None]:
    store.count(uses, now)
    return [None] * len(uses)


SETTLE_LEASE: Operation[LeaseStore, LeaseSettlement, Settled] = Operation(
    "settle a lease", Turn.GIVE_BACK, lambda store, items, now: store.settle(items, now)
)
ACQUIRE: Operation[LeaseStore, LeaseRequest, LeaseRecord | LeaseRefused] = Operation(
    "lease a key",
    Turn.TAKE,
    lambda store, items, now: store.acquire(items, now),
    share=_lease_share,
    undo=_give_lease_back,
)
LOOK_AT_KEYS: Operation[LeaseStore, LeaseRequest, Headroom] = Operation(
    "look at keys",
    Turn.LOOK,
    lambda store, items, now: store.look(items, now),
    share=_lease_share,
)
EXPIRE_LEASES: Operation[LeaseStore, None, list[LeaseRecord]] = Operation(
    "expire leases", Turn.GIVE_BACK, lambda store, items, now: [store.expire(now) for _ in items]
)
CONDITIONS: Operation[LeaseStore, KeyQuota, KeyCondition] = Operation(
    "tell of keys", Turn.LOOK, lambda store, items, now: store.conditions(items, now)
)
COUNT_KEYS: Operation[LeaseStore, KeyUse, None] = Operation(
    "count the use of keys", Turn.GIVE_BACK, _count_keys
)

# ── limits ────────────────────────────────────────────────────────────────────────────────────


def _limit_share(request: LimitRequest, parts: int) -> LimitRequest:
    return replace(
        request,
        scopes=tuple(
            ScopeLimits(
                scope.scope,
                scope.id,
                _part(scope.rpm, parts),
                _part(scope.tpm, parts),
                _part(scope.concurrency, parts),
                _part(scope.burst, parts),
            )
            for scope in request.scopes
        ),
    )


def _give_admission_back(
    _: LimitRequest, granted: LimitGranted | LimitRefused
) -> Undo[LimitStore] | None:
    if isinstance(granted, LimitRefused):
        return None
    return Undo(SETTLE_ADMISSION, LimitSettlement(granted.id, 0))


def _count_scopes(store: LimitStore, uses: Sequence[ScopeUse], now: float) -> Sequence[None]:
    store.count(uses, now)
    return [None] * len(uses)


SETTLE_ADMISSION: Operation[LimitStore, LimitSettlement, bool] = Operation(
    "settle an admission", Turn.GIVE_BACK, lambda store, items, now: store.settle(items, now)
)
RESERVE: Operation[LimitStore, LimitRequest, LimitGranted | LimitRefused] = Operation(
    "admit a request",
    Turn.TAKE,
    lambda store, items, now: store.reserve(items, now),
    share=_limit_share,
    undo=_give_admission_back,
)
EXPIRE_LIMITS: Operation[LimitStore, None, int] = Operation(
    "expire limits", Turn.GIVE_BACK, lambda store, items, now: [store.expire(now) for _ in items]
)
COUNT_SCOPES: Operation[LimitStore, ScopeUse, None] = Operation(
    "count the use of limits", Turn.GIVE_BACK, _count_scopes
)

# ── health ────────────────────────────────────────────────────────────────────────────────────


def _end(store: HealthStore, reports: Sequence[HealthReport], now: float) -> Sequence[None]:
    store.ended(reports, now)
    return [None] * len(reports)


def _abandon(route_id: str, number: int) -> Undo[HealthStore]:
    return Undo(END_ATTEMPT, HealthReport(route_id, number, Verdict.NOTHING))


END_ATTEMPT: Operation[HealthStore, HealthReport, None] = Operation(
    "end an attempt", Turn.GIVE_BACK, _end
)
START_ATTEMPT: Operation[HealthStore, str, int] = Operation(
    "start an attempt",
    Turn.TAKE,
    lambda store, items, now: store.started(items, now),
    undo=_abandon,
)
LOOK_AT_ROUTES: Operation[HealthStore, str, RouteHealth] = Operation(
    "look at routes", Turn.LOOK, lambda store, items, now: store.look(items, now)
)
