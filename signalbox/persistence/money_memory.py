"""Budgets and holds in the memory of one process. Each method is one step, as in
`leases_memory.py`."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Sequence

import msgspec

from signalbox.machines.budget import Budget, Counter, Crossing, grantable, window_of
from signalbox.persistence.money_stores import (
    LONGEST_TTL,
    ExtendAnswer,
    Extended,
    Extension,
    HoldAnswer,
    HoldGranted,
    HoldRefused,
    HoldRequest,
    HoldSettlement,
    LoadAnswer,
    LoadBegun,
    LoadBusy,
    Loaded,
    LoadEnded,
    LoadRequest,
    NotLoaded,
    OpenHold,
    Settled,
    SpentQuery,
    Standing,
    StandingAnswer,
)
from signalbox.types import NanoUSD

IDLE = 3600.0
"""Seconds after which a counter that nobody asks for is forgotten; it is loaded again."""

MAX_SETTLED = 65_536
"""Charges that are remembered, so that one that is told again changes nothing; 150 bytes each. One
that comes after so many others makes its counters load again, and is not counted twice either."""


class _Open(msgspec.Struct):
    amount: NanoUSD
    ends_at: float
    budgets: tuple[Budget, ...]


class MemoryMoneyStore:
    """A `MoneyStore` for one process. What it forgets is in the ledger."""

    def __init__(self) -> None:
        self._counters: dict[str, Counter] = {}
        self._asked_at: dict[str, float] = {}
        """When a counter was last of use."""
        self._open: dict[str, _Open] = {}
        self._settled: dict[str, None] = {}
        """Ids of requests, the oldest first."""
        self._none_due_before = math.inf

    def __len__(self) -> int:
        """Counters that are remembered."""
        return len(self._counters)

    def hold(self, requests: Sequence[HoldRequest], now: float) -> list[HoldAnswer]:
        self._lapse(now)
        return [self._hold(request, now) for request in requests]

    def extend(self, extensions: Sequence[Extension], now: float) -> list[ExtendAnswer]:
        self._lapse(now)
        return [self._extend(extension, now) for extension in extensions]

    def open(self, holds: Sequence[OpenHold], now: float) -> list[HoldGranted]:
        self._lapse(now)
        return [self._open_if_new(hold, now) for hold in holds]

    def settle(self, settlements: Sequence[HoldSettlement], now: float) -> list[Settled]:
        self._lapse(now)
        return [self._settle(settlement, now) for settlement in settlements]

    def begin_loads(self, requests: Sequence[LoadRequest], now: float) -> list[LoadAnswer]:
        self._lapse(now)
        return [self._begin_load(request, now) for request in requests]

    def end_loads(self, loads: Sequence[Loaded], now: float) -> list[LoadEnded]:
        self._lapse(now)
        return [self._end_load(load, now) for load in loads]

    def standings(self, budgets: Sequence[Budget], now: float) -> list[StandingAnswer]:
        self._lapse(now)
        return [self._standing(budget, now) for budget in budgets]

    def forget(self, budget_ids: Sequence[str], now: float) -> list[None]:
        for budget_id in budget_ids:
            counter = self._counters.get(budget_id)
            if counter is not None:
                counter.doubt()
        return [None] * len(budget_ids)

    def expire(self, now: float) -> None:
        """Forgets as well the counters that are of no use any more."""
        self._lapse(now)
        for id, counter in list(self._counters.items()):
            if not counter.holds and self._is_stale(id, counter, now):
                del self._counters[id], self._asked_at[id]

    def _is_stale(self, id: str, counter: Counter, now: float) -> bool:
        if counter.window is None or not counter.window.contains(now):
            return True
        return abs(now - self._asked_at[id]) > IDLE and not counter.has_told

    def rejoin(self, holds: Sequence[OpenHold], now: float) -> bool:
        """This memory ends with the process that tells it: there is never anything new."""
        return True

    def leave(self, now: float) -> None:
        """There is nobody else."""

    def _counter(self, budget: Budget, now: float) -> Counter:
        counter = self._counters.get(budget.id)
        if counter is None:
            counter = self._counters[budget.id] = Counter()
        self._asked_at[budget.id] = now
        counter.enter(window_of(budget.period, now))
        return counter

    def _hold(self, request: HoldRequest, now: float) -> HoldAnswer:
        known = self._open.get(request.id)
        if known is not None:
            return HoldGranted(request.id, known.amount)
        hard = _hard(request.budgets)
        unloaded = self._unloaded(hard, now)
        if unloaded:
            return NotLoaded(unloaded)
        left = [self._counter(budget, now).left(budget.limit) for budget in hard]
        amount = grantable(request.want, request.least, left)
        if amount is None:
            return self._refused(hard[left.index(min(left))], request.least, now)
        return self._open_if_new(OpenHold(request.id, amount, request.ttl, request.budgets), now)

    def _refused(self, budget: Budget, least: NanoUSD, now: float) -> HoldRefused:
        counter = self._counter(budget, now)
        resets_at = window_of(budget.period, now).end
        return HoldRefused(budget, counter.spent, counter.held, resets_at, least)

    def _open_if_new(self, hold: OpenHold, now: float) -> HoldGranted:
        known = self._open.get(hold.id)
        if known is not None:
            return HoldGranted(hold.id, known.amount)
        if hold.id in self._settled:
            return HoldGranted(hold.id, NanoUSD(0))
        ends_at = now + min(hold.ttl, LONGEST_TTL)
        self._open[hold.id] = _Open(hold.amount, ends_at, hold.budgets)
        self._none_due_before = min(self._none_due_before, ends_at)
        for budget in hold.budgets:
            self._counter(budget, now).open(hold.id, hold.amount)
        return HoldGranted(
            hold.id,
            hold.amount,
            self._crossed(hold.budgets, now, fresh=True),
            self._unloaded(hold.budgets, now),
        )

    def _extend(self, extension: Extension, now: float) -> ExtendAnswer:
        held = self._open.get(extension.id)
        if held is None:
            return Extended(NanoUSD(0))
        hard = _hard(extension.budgets)
        unloaded = self._unloaded(hard, now)
        if unloaded:
            return NotLoaded(unloaded)
        left = [self._counter(budget, now).left(budget.limit) for budget in hard]
        amount = min([extension.want, *left])
        held.amount = NanoUSD(held.amount + amount)
        for budget in held.budgets:
            self._counter(budget, now).extend(extension.id, amount)
        return Extended(amount, self._crossed(held.budgets, now, fresh=False))

    def _settle(self, settlement: HoldSettlement, now: float) -> Settled:
        id, amount = settlement.id, settlement.amount
        held = self._open.pop(id, None)
        if id in self._settled or (held is None and not amount):
            return Settled(done=False)
        if amount:
            self._remember(id)
        budgets = settlement.budgets if held is None else held.budgets
        for budget in budgets:
            self._counter(budget, now).settle(id, amount, settlement.at)
        return Settled(
            done=True,
            crossed=self._crossed(budgets, now, fresh=False),
            unloaded=self._unloaded(budgets, now),
        )

    def _remember(self, id: str) -> None:
        self._settled[id] = None
        if len(self._settled) > MAX_SETTLED:
            del self._settled[next(iter(self._settled))]

    def _begin_load(self, request: LoadRequest, now: float) -> LoadAnswer:
        budget, window = request.budget, window_of(request.budget.period, now)
        counter = self._counter(budget, now)
        if counter.loaded or counter.is_loaded_by_another(request.loader, now):
            return LoadBusy(counter.loaded)
        token = secrets.token_hex(16)
        without = counter.begin(token, request.loader, now)
        return LoadBegun(token, SpentQuery(budget, window.start, window.end, without))

    def _end_load(self, load: Loaded, now: float) -> LoadEnded:
        done = self._counter(load.budget, now).end(load.token, load.spent, now)
        return LoadEnded(done, self._crossed([load.budget], now, fresh=True))

    def _standing(self, budget: Budget, now: float) -> StandingAnswer:
        counter = self._counter(budget, now)
        if not counter.loaded:
            return NotLoaded((budget.id,))
        resets_at = window_of(budget.period, now).end
        return Standing(budget, counter.spent, counter.held, resets_at)

    def _lapse(self, now: float) -> None:
        # Nearly all are settled long before their end, so this goes through them about once in the
        # life of the longest.
        if now < self._none_due_before:
            return
        for id, held in list(self._open.items()):
            if held.ends_at <= now:
                del self._open[id]
                for budget in held.budgets:
                    self._counter(budget, now).lapse(id)
        self._none_due_before = min(
            (each.ends_at for each in self._open.values()), default=math.inf
        )

    def _unloaded(self, budgets: Iterable[Budget], now: float) -> tuple[str, ...]:
        return tuple(each.id for each in budgets if not self._counter(each, now).loaded)

    def _crossed(
        self, budgets: Iterable[Budget], now: float, *, fresh: bool
    ) -> tuple[Crossing, ...]:
        return tuple(
            crossing
            for each in budgets
            for crossing in self._counter(each, now).crossed(each, fresh=fresh)
        )


def _hard(budgets: Iterable[Budget]) -> list[Budget]:
    return [budget for budget in budgets if budget.hard]
