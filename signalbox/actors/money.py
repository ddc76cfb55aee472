"""The owner of what requests may spend: holds under budgets, their settlement, alerts.

A request under hard budgets takes one hold before anything is sent, extends it while its answer
grows, and settles it when its charge is durable. The rules of counting are in `machines/budget.py`;
the counters lie in a `MoneyStore`, and `money_counters.py` sees to it that they are there.

Under soft budgets alone nothing is refused, so nobody waits: the hold is told to the store, which
counts it. Without any counted budget there is no store at all.

While a shared store is away, hard budgets cannot be asked (`MoneyAway`), and soft ones are granted
by this process; such charges are found in the ledger when the store is back. What is settled of
other holds waits in the bounded queue of `shared_state.py`; what is lost there lapses with its
hold, and that makes the counters load again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import trio

from signalbox.actors.money_access import EXTEND, HOLD, LOOK_AT_BUDGETS, OPEN_HOLD, SETTLE_HOLD
from signalbox.actors.money_counters import BudgetCounters, Load
from signalbox.actors.store_access import StoreAccess
from signalbox.actors.supervisor import Supervisor
from signalbox.errors import StoreUnavailable
from signalbox.machines.budget import MOST, Budget, BudgetScope, Crossing, Period, window_of
from signalbox.persistence.money_stores import (
    Extended,
    Extension,
    HoldGranted,
    HoldRefused,
    HoldRequest,
    HoldSettlement,
    MoneyStore,
    OpenHold,
    Settled,
    SpentQuery,
    Standing,
)
from signalbox.types import NanoUSD, usd

logger = logging.getLogger(__name__)


class MoneyAway(msgspec.Struct, frozen=True):
    """Hard budgets cannot be asked now."""

    why: str


@dataclass(slots=True, eq=False)
class Hold:
    """What one request may spend. `Money` makes and changes it."""

    id: str
    amount: NanoUSD
    """Now, with what it was extended by."""
    budgets: tuple[Budget, ...]
    """Those that are counted."""
    ceiling: NanoUSD = MOST
    """More than this it never is: the request's own limits."""
    local: bool = False
    """The store knows nothing of it: it need not be asked, or was away."""
    over: bool = False
    """Settled or released."""

    @property
    def hard(self) -> bool:
        """Whether something but its own ceiling bounds it."""
        return any(budget.hard for budget in self.budgets)


class Money:
    """Holds, extends and settles. See the module's text."""

    def __init__(
        self,
        supervisor: Supervisor,
        stores: StoreAccess[MoneyStore],
        load: Load,
        *,
        wall_clock: Callable[[], float],
        alert: Callable[[str], None] = logger.warning,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        """`wall_clock`: Unix seconds. `alert` is called once for each threshold of a budget in each
        of its windows, and when a charge broke a hard limit."""
        self._alert = alert
        self._clock = clock
        self._open: dict[str, tuple[Hold, float]] = {}
        """What the store knows of, with the time at which it ends."""
        self._stores = stores
        self._counters = BudgetCounters(
            supervisor,
            stores,
            load,
            open_holds=self._open_holds,
            tell_of=self._tell_of,
            wall_clock=wall_clock,
            clock=clock,
        )

    @property
    def open_holds(self) -> int:
        """Of this instance, as far as a store knows of them."""
        return len(self._open)

    async def hold(
        self, id: str, want: NanoUSD, least: NanoUSD, budgets: Sequence[Budget], *, ttl: float
    ) -> Hold | HoldRefused | MoneyAway:
        """A hold of `want`, or of what there is left, but not of less than `least`.

        `id` is the request's. A hold that nobody settled or released within `ttl` seconds is given
        up by the store: its holder is gone.
        """
        least = _bounded(least)
        own = [each for each in budgets if each.scope is BudgetScope.REQUEST and each.hard]
        for budget in own:
            if least > budget.limit:
                return HoldRefused(budget, NanoUSD(0), NanoUSD(0), None, least)
        ceiling = min([MOST, *(budget.limit for budget in own)])
        want = min(ceiling, _bounded(max(want, least)))
        counted = tuple(each for each in budgets if each.scope is not BudgetScope.REQUEST)
        hold = Hold(id, want, counted, ceiling)
        if not hold.hard:
            self._open_softly(hold, ttl)
            return hold
        request = HoldRequest(id, want, least, ttl, counted)
        try:
            [answer] = await self._counters.ask(HOLD, [request], counted)
        except StoreUnavailable as error:
            return MoneyAway(str(error))
        if isinstance(answer, HoldRefused):
            return answer
        assert isinstance(answer, HoldGranted)
        hold.amount = answer.amount
        self._open[id] = hold, self._clock() + ttl
        self._after(counted, answer)
        return hold

    def _open_softly(self, hold: Hold, ttl: float) -> None:
        hold.local = not hold.budgets or self._stores.away is not None
        if hold.local:
            return
        self._open[hold.id] = hold, self._clock() + ttl
        self._stores.tell(
            OPEN_HOLD,
            OpenHold(hold.id, hold.amount, ttl, hold.budgets),
            self._counters.wall_clock(),
            local=False,
            then=partial(self._after, hold.budgets),
        )

    async def extend(self, hold: Hold, want: NanoUSD) -> NanoUSD:
        """How much more was granted, 0 to `want`. Waits only where a hard budget must be asked.

        0 too where that cannot be asked now, and where the hold is over.
        """
        want = NanoUSD(min(want, hold.ceiling - hold.amount))
        if want <= 0 or hold.over:
            return NanoUSD(0)
        granted = want
        if hold.hard:
            extension = Extension(hold.id, want, hold.budgets)
            try:
                [answer] = await self._counters.ask(EXTEND, [extension], hold.budgets)
            except StoreUnavailable:
                return NanoUSD(0)
            assert isinstance(answer, Extended)
            granted = answer.amount
            self._tell_of(answer.crossed)
        hold.amount = NanoUSD(hold.amount + granted)
        return granted

    def settle(self, hold: Hold, amount: NanoUSD | None, at: float) -> None:
        """The request was charged `amount` at the Unix time `at`, and the charge is durable.

        Never waits. Again: nothing happens. None: the price is unknown, nothing is counted.
        """
        if hold.over:
            return
        hold.over = True
        self._open.pop(hold.id, None)
        if not hold.local:
            settlement = HoldSettlement(hold.id, _bounded(amount or NanoUSD(0)), at, hold.budgets)
            self._stores.tell(
                SETTLE_HOLD,
                settlement,
                self._counters.wall_clock(),
                local=False,
                then=partial(self._after, hold.budgets),
            )
        elif amount:
            self._counters.doubt(budget.id for budget in hold.budgets)

    def release(self, hold: Hold) -> None:
        """Nothing was charged, and nothing will be under this hold. Never waits."""
        self.settle(hold, None, 0.0)

    async def standing(self, budgets: Sequence[Budget]) -> list[Standing]:
        """Where the budgets stand, in order. What cannot be known now is None."""
        counted = [each for each in budgets if each.scope is not BudgetScope.REQUEST]
        try:
            answers = await self._counters.ask(LOOK_AT_BUDGETS, counted, counted)
        except StoreUnavailable:
            answers = await self._standing_in_the_ledger(counted)
        found = {each.budget.id: each for each in answers if isinstance(each, Standing)}
        unused = NanoUSD(0)
        return [found.get(each.id) or Standing(each, unused, unused, None) for each in budgets]

    async def _standing_in_the_ledger(self, budgets: Sequence[Budget]) -> list[Standing]:
        now = self._counters.wall_clock()
        windows = [window_of(budget.period, now) for budget in budgets]
        queries = [
            SpentQuery(budget, window.start, window.end, ())
            for budget, window in zip(budgets, windows, strict=True)
        ]
        spent: Sequence[NanoUSD | None]
        try:
            spent = await self._counters.sums(queries)
        except StoreUnavailable:
            spent = [None] * len(budgets)
        return [
            Standing(budget, amount, None, window.end)
            for budget, amount, window in zip(budgets, spent, windows, strict=True)
        ]

    async def forget(self, budget_ids: Iterable[str]) -> None:
        """What these budgets are, or what the ledger says of them, was changed otherwise than by
        charges: their counters are loaded again before anything more is granted."""
        await self._counters.forget(budget_ids)

    def _open_holds(self) -> tuple[OpenHold, ...]:
        now = self._clock()
        self._open = {id: held for id, held in self._open.items() if held[1] > now}
        return tuple(
            OpenHold(hold.id, hold.amount, ends_at - now, hold.budgets)
            for hold, ends_at in self._open.values()
        )

    def _after(self, budgets: Sequence[Budget], answer: HoldGranted | Settled) -> None:
        self._tell_of(answer.crossed)
        self._counters.want(each for each in budgets if each.id in answer.unloaded)

    def _tell_of(self, crossed: Iterable[Crossing]) -> None:
        for crossing in crossed:
            self._alert(crossing_message(crossing))


def crossing_message(crossing: Crossing) -> str:
    """For whoever watches over the budget."""
    budget = crossing.budget
    of = f"${usd(budget.limit):f} for {budget.scope}"
    if budget.subject is not None:
        of += f" {budget.subject}"
    of += " in all" if budget.period is Period.TOTAL else f" per {budget.period}"
    stands = f"${usd(crossing.spent):f} are spent and ${usd(crossing.held):f} held of {of}"
    if crossing.fraction is None:
        return f"the budget {budget.name} is exceeded, by a charge larger than its hold: {stands}"
    return f"the budget {budget.name} is at {crossing.fraction:.0%} or more: {stands}"


def _bounded(amount: NanoUSD) -> NanoUSD:
    return min(MOST, max(NanoUSD(0), amount))
