"""The budgets' counters, as far as a store cannot have them by itself: the actor behind `money.py`.

* **The ledger's sums.** A store answers that it has no counter for a window; the actor loads it,
  and whoever asked asks again. All that is wanted at one time is one query. There is no gap between
  the sum and what is settled meanwhile, because a charge is durable before its hold is settled, and
  the sum leaves out exactly the requests whose holds are open when it begins: what it leaves out
  will be settled, what it holds will not be settled again.
* **This instance's open holds**, which a shared store that has lost its memory asks for.

It also lets holds lapse whose time is over.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import trio

from signalbox.actors.mailbox import Mailbox, MailboxClosed
from signalbox.actors.money_access import BEGIN_LOAD, END_LOAD, EXPIRE_HOLDS, FORGET, LEAVE, REJOIN
from signalbox.actors.store_access import AnswerT, ItemT, Operation, StoreAccess
from signalbox.actors.supervisor import ChildSpec, Supervisor
from signalbox.errors import MailboxFull, StoreUnavailable
from signalbox.machines.budget import Budget, Crossing
from signalbox.persistence.money_stores import (
    LoadAnswer,
    LoadBegun,
    LoadBusy,
    Loaded,
    LoadRequest,
    MoneyStore,
    NotLoaded,
    OpenHold,
    Rebuilding,
    SpentQuery,
)
from signalbox.types import NanoUSD

BEAT = 2.0
"""Seconds between two looks at the store: holds that lapse, and a memory that was lost, are found
also when no request comes."""
SOON = 0.05
"""Seconds until a counter is looked at again that another instance is loading."""
REJOIN_POLL = 0.5
PATIENCE = 10.0
"""Seconds for which a request waits for counters to be loaded or a store to be rebuilt: either
takes longer only where something is broken."""
ROUNDS = 10
"""How often a counter may be lost between its loading and its use before a request gives up."""

Load: TypeAlias = Callable[[Sequence[SpentQuery]], Awaitable[Sequence[NanoUSD]]]
"""The ledger's sums, in order. A charge counts there from the moment at which it is durable. Raises
`StoreUnavailable`, in its own time: nobody else ends it."""


@dataclass(slots=True, eq=False)
class _Wanted:
    """A counter that is to be loaded, and what those who wait for it are told."""

    budget: Budget
    over: trio.Event = field(default_factory=trio.Event)
    error: str | None = None


class BudgetCounters:
    """The way to a `MoneyStore` whose counters are loaded when they are asked for."""

    def __init__(
        self,
        supervisor: Supervisor,
        stores: StoreAccess[MoneyStore],
        load: Load,
        *,
        open_holds: Callable[[], tuple[OpenHold, ...]],
        tell_of: Callable[[Iterable[Crossing]], None],
        wall_clock: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        """`open_holds`: this instance's, as of now; asked with each beat, so that what is over may
        be forgotten. `tell_of`: of what a load has brought out."""
        self.stores = stores
        self.wall_clock = wall_clock
        self._load = load
        self._open_holds = open_holds
        self._tell_of = tell_of
        self._clock = clock
        self._name = secrets.token_hex(8)
        self._wanted: dict[str, _Wanted] = {}
        self._stale: set[str] = set()
        self._rebuilding: trio.Event | None = None
        self._beat_at = float("-inf")
        self._mailbox: Mailbox[None, None] = supervisor.add(
            ChildSpec(
                name="money",
                actor=self._run,
                capacity=1,
                capacity_reason="it only says that there is something to do",
            )
        )

    async def ask(
        self,
        operation: Operation[MoneyStore, ItemT, AnswerT],
        items: Sequence[ItemT],
        budgets: Iterable[Budget],
    ) -> Sequence[AnswerT]:
        """Answers that are neither `NotLoaded` nor `Rebuilding`. Raises `StoreUnavailable`.

        `budgets`: those that the items are under.
        """
        by_id = {budget.id: budget for budget in budgets}
        for _ in range(ROUNDS):
            await self._forget_stale()
            answers = (await self.stores.ask(operation, items, self.wall_clock())).answers
            missing = [each for each in answers if isinstance(each, NotLoaded)]
            if any(isinstance(each, Rebuilding) for each in answers):
                await self._rebuilt()
            elif missing:
                await self._loaded({by_id[id] for each in missing for id in each.budget_ids})
            else:
                return answers
        raise StoreUnavailable("the budgets' counters are lost as fast as they are loaded")

    def want(self, budgets: Iterable[Budget]) -> None:
        """Loads them with the next beat: nobody waits for them."""
        for budget in budgets:
            self._wanted.setdefault(budget.id, _Wanted(budget))

    def doubt(self, budget_ids: Iterable[str]) -> None:
        """Their counters lack something: they are loaded before anything more is asked."""
        self._stale.update(budget_ids)

    async def forget(self, budget_ids: Iterable[str]) -> None:
        """As `doubt`, and at once where the store can be asked."""
        self.doubt(budget_ids)
        with suppress(StoreUnavailable):
            await self._forget_stale()

    async def sums(self, queries: Sequence[SpentQuery]) -> Sequence[NanoUSD]:
        """Of the ledger alone. Raises `StoreUnavailable`."""
        return await self._load(queries)

    async def _forget_stale(self) -> None:
        if not self._stale:
            return
        stale, self._stale = self._stale, set()
        try:
            await self.stores.ask(FORGET, sorted(stale), self.wall_clock())
        except BaseException:
            self._stale |= stale
            raise

    async def _rebuilt(self) -> None:
        """Waits until every instance has told the store of its holds."""
        if self._rebuilding is None:
            self._rebuilding = trio.Event()
            self._wake()
        with trio.move_on_after(PATIENCE):
            await self._rebuilding.wait()
            return
        raise StoreUnavailable("the budgets' counters are being rebuilt")

    async def _loaded(self, budgets: Iterable[Budget]) -> None:
        wanted = [self._wanted.setdefault(each.id, _Wanted(each)) for each in budgets]
        self._wake()
        with trio.move_on_after(PATIENCE) as patience:
            for each in wanted:
                await each.over.wait()
        errors = [each.error for each in wanted if each.error is not None]
        if errors or patience.cancelled_caught:
            raise StoreUnavailable(errors[0] if errors else "the ledger does not answer")

    def _wake(self) -> None:
        # A full mailbox is about to be read.
        with suppress(MailboxFull, MailboxClosed):
            self._mailbox.tell(None)

    # ── the actor ─────────────────────────────────────────────────────────────────────────────

    async def _run(self, mailbox: Mailbox[None, None]) -> None:
        while True:
            with trio.move_on_after(await self._work()):
                if await mailbox.receive_batch(1):
                    continue
                break
        with suppress(StoreUnavailable):
            await self.stores.ask(LEAVE, [None], self.wall_clock())

    async def _work(self) -> float:
        """Does what is to be done; seconds after which to look again."""
        try:
            if self._rebuilding is None and self._clock() >= self._beat_at:
                await self._beat()
            if self._rebuilding is None or await self._rejoin(self._rebuilding):
                await self._load_wanted()
        except StoreUnavailable as error:
            for each in list(self._wanted.values()):
                self._have(each, str(error))
        if self._rebuilding is not None:
            return REJOIN_POLL
        return SOON if self._wanted else max(0.0, self._beat_at - self._clock())

    async def _beat(self) -> None:
        self._beat_at = self._clock() + BEAT
        self._open_holds()
        await self._forget_stale()
        answered = await self.stores.ask(EXPIRE_HOLDS, [None], self.wall_clock())
        if answered.answers[0] is not None:
            self._rebuilding = trio.Event()

    async def _rejoin(self, rebuilding: trio.Event) -> bool:
        """Tells the store of this instance's holds; whether it has its memory back."""
        answered = await self.stores.ask(REJOIN, [self._open_holds()], self.wall_clock())
        if not answered.answers[0]:
            return False
        rebuilding.set()
        self._rebuilding = None
        return True

    async def _load_wanted(self) -> None:
        wanted = list(self._wanted.values())
        if not wanted:
            return
        requests = [LoadRequest(each.budget, self._name) for each in wanted]
        begun = (await self.stores.ask(BEGIN_LOAD, requests, self.wall_clock())).answers
        loads = [
            (each, answer)
            for each, answer in zip(wanted, begun, strict=True)
            if self._is_to_be_summed(each, answer) and isinstance(answer, LoadBegun)
        ]
        if not loads:
            return
        sums = await self._load([answer.query for _, answer in loads])
        ends = [
            Loaded(each.budget, answer.token, spent)
            for (each, answer), spent in zip(loads, sums, strict=True)
        ]
        ended = await self.stores.ask(END_LOAD, ends, self.wall_clock())
        for (each, _), end in zip(loads, ended.answers, strict=True):
            self._tell_of(end.crossed)
            if end.done:
                self._have(each)

    def _is_to_be_summed(self, wanted: _Wanted, answer: LoadAnswer) -> bool:
        if isinstance(answer, LoadBusy) and answer.loaded:
            self._have(wanted)
        elif isinstance(answer, Rebuilding) and self._rebuilding is None:
            self._rebuilding = trio.Event()
        return isinstance(answer, LoadBegun)

    def _have(self, wanted: _Wanted, error: str | None = None) -> None:
        wanted.error = error
        wanted.over.set()
        self._wanted.pop(wanted.budget.id, None)
