"""One store's side of `shared_state.py`: its users' way in, and the calls that come of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol

from msgspec.structs import replace

from signalbox.actors.store_access import (
    Answered,
    AnswerT,
    InProcess,
    ItemT,
    Operation,
    StoreT,
    Turn,
)
from signalbox.errors import StoreUnavailable


class Way(Protocol):
    """The way to all shared stores, which is open or not."""

    @property
    def away(self) -> str | None: ...

    @property
    def live_instances(self) -> int: ...

    async def ask(
        self,
        access: SharedAccess[StoreT],
        operation: Operation[StoreT, ItemT, AnswerT],
        items: Sequence[ItemT],
    ) -> Sequence[AnswerT] | None:
        """None: the stores are away."""
        ...

    def tell(
        self,
        access: SharedAccess[StoreT],
        operation: Operation[StoreT, ItemT, AnswerT],
        item: ItemT,
        then: Callable[[AnswerT], None] | None,
    ) -> None: ...


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """Items for one operation of one store, from one ask or tell."""

    access: SharedAccess[Any]
    operation: Operation[Any, Any, Any]
    items: Sequence[Any]
    at: float
    then: Callable[[Any], None] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What several calls have in common: one call of a store."""

    access: SharedAccess[Any]
    operation: Operation[Any, Any, Any]
    calls: list[Call]

    def run(self, now: float) -> Sequence[Any]:
        items = [item for call in self.calls for item in call.items]
        return self.operation.call(self.access.shared, items, now)


def run_jobs(
    jobs: Sequence[Job], now: float
) -> tuple[list[Sequence[Any]], StoreUnavailable | None]:
    """In a thread: the answers of the jobs that were done, and what kept the rest from it."""
    done: list[Sequence[Any]] = []
    for job in jobs:
        try:
            done.append(job.run(now))
        except StoreUnavailable as error:
            return done, error
    return done, None


@dataclass(frozen=True, slots=True, eq=False)
class Debt(Generic[StoreT, ItemT]):
    """How what a local store has used is brought to the shared one."""

    hand_over: Callable[[float], Sequence[ItemT]]
    """What the local store has counted, which it forgets."""
    count: Operation[StoreT, ItemT, None]


class SharedAccess(Generic[StoreT]):
    """A `StoreAccess` to a shared store. `SharedState.access` makes it."""

    def __init__(
        self,
        state: Way,
        shared: StoreT,
        local: StoreT | None,
        debt: Debt[StoreT, Any] | None,
        *,
        stand_in: bool,
    ) -> None:
        self.shared = shared
        self._state = state
        self._local = None if local is None else InProcess(local)
        self.stand_in = stand_in
        self._debt = debt
        self._owed: list[Any] = []

    @property
    def away(self) -> str | None:
        return self._state.away

    async def ask(
        self, operation: Operation[StoreT, ItemT, AnswerT], items: Sequence[ItemT], now: float
    ) -> Answered[AnswerT]:
        answers = await self._state.ask(self, operation, items)
        if answers is not None:
            return Answered(answers, local=False)
        if self._local is None or (operation.turn is Turn.TAKE and not self.stand_in):
            raise StoreUnavailable(self._state.away or "the shared state is away")
        share, parts = operation.share, self._state.live_instances
        shares = items if share is None else [share(item, parts) for item in items]
        return replace(await self._local.ask(operation, shares, now), local=True)

    def tell(
        self,
        operation: Operation[StoreT, ItemT, AnswerT],
        item: ItemT,
        now: float,
        *,
        local: bool,
        then: Callable[[AnswerT], None] | None = None,
    ) -> None:
        if local and self._local is not None:
            self._local.tell(operation, item, now, local=True, then=then)
        else:
            self._state.tell(self, operation, item, then)

    def owed_calls(self, now: float) -> list[Call]:
        """What this process has used since the shared store was last told, as a call to count it.

        It stays owed until `paid`.
        """
        if self._debt is None:
            return []
        self._owed += self._debt.hand_over(now)
        return [Call(self, self._debt.count, tuple(self._owed), now)] if self._owed else []

    def paid(self) -> None:
        self._owed.clear()
