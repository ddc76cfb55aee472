"""A `Money` on stores of a test's choice, with a ledger that is a plain list of charges."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import trio
import trio.testing

from signalbox.actors.money import Hold, Money
from signalbox.actors.store_access import InProcess, StoreAccess
from signalbox.actors.supervisor import Supervisor
from signalbox.machines.budget import Budget, BudgetScope, Period
from signalbox.persistence.money_memory import MemoryMoneyStore
from signalbox.persistence.money_stores import MoneyStore, SpentQuery
from signalbox.types import NanoUSD
from tests.fakes import Fault, no_fault, supervised

USD = 1_000_000_000
TTL = 600.0
START = 1_700_000_000.0
"""The wall clock when the tests' monotonic one begins: Tuesday, 14 November 2023, 22:13:20 UTC."""


def dollars(amount: float) -> NanoUSD:
    return NanoUSD(round(amount * USD))


def budget(
    limit: float,
    id: str = "b",
    *,
    hard: bool = True,
    period: Period = Period.DAY,
    scope: BudgetScope = BudgetScope.KEY,
) -> Budget:
    """`limit`: US dollars."""
    subject = None if scope in (BudgetScope.GLOBAL, BudgetScope.REQUEST) else f"subject of {id}"
    return Budget(id, f"name of {id}", scope, subject, dollars(limit), period, hard)


class Entry(msgspec.Struct, frozen=True):
    request_id: str
    amount: NanoUSD
    at: float
    budget_ids: frozenset[str]


@dataclass
class PlainLedger:
    """Every charge, and the sums that are asked for. Each sum takes `seconds`."""

    fault: Fault = no_fault
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.queries: list[SpentQuery] = []

    def charge(self, entry: Entry) -> None:
        self.entries.setdefault(entry.request_id, entry)

    def sum(self, query: SpentQuery) -> NanoUSD:
        return NanoUSD(
            sum(
                entry.amount
                for entry in self.entries.values()
                if query.budget.id in entry.budget_ids
                and query.since <= entry.at
                and (query.until is None or entry.at < query.until)
                and entry.request_id not in query.without
            )
        )

    async def load(self, queries: Sequence[SpentQuery]) -> list[NanoUSD]:
        self.queries += queries
        await trio.sleep(self.seconds / 2)
        self.fault("load")
        sums = [self.sum(query) for query in queries]
        await trio.sleep(self.seconds / 2)
        return sums


class Desk:
    """Run it with `running`."""

    def __init__(
        self,
        ledger: PlainLedger | None = None,
        stores: Callable[[Supervisor], StoreAccess[MoneyStore]] | None = None,
    ) -> None:
        self.ledger = PlainLedger() if ledger is None else ledger
        self.supervisor, self.alerts = Supervisor(), list[str]()
        self.store = MemoryMoneyStore()
        access = InProcess[MoneyStore](self.store) if stores is None else stores(self.supervisor)
        self.money = Money(
            self.supervisor,
            access,
            self.ledger.load,
            wall_clock=self.now,
            alert=self.alerts.append,
        )
        self._numbers = 0

    def now(self) -> float:
        return START + trio.current_time()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with supervised(self.supervisor):
            await trio.testing.wait_all_tasks_blocked()
            yield

    def next_id(self) -> str:
        self._numbers += 1
        return f"{id(self)}-{self._numbers}"

    async def ask(
        self, want: float, *budgets: Budget, least: float | None = None, ttl: float = TTL
    ) -> object:
        """What a request of `want` dollars is told."""
        smallest = dollars(want if least is None else least)
        return await self.money.hold(self.next_id(), dollars(want), smallest, budgets, ttl=ttl)

    async def hold(
        self, want: float, *budgets: Budget, least: float | None = None, ttl: float = TTL
    ) -> Hold:
        held = await self.ask(want, *budgets, least=least, ttl=ttl)
        assert isinstance(held, Hold), held
        return held

    def record(self, hold: Hold, amount: float, at: float | None = None) -> Entry:
        """Makes a charge of `amount` dollars durable, and says nothing of it."""
        when = self.now() if at is None else at
        ids = frozenset(each.id for each in hold.budgets)
        entry = Entry(hold.id, dollars(amount), when, ids)
        self.ledger.charge(entry)
        return entry

    def charge(self, hold: Hold, amount: float, at: float | None = None) -> None:
        entry = self.record(hold, amount, at)
        self.money.settle(hold, entry.amount, entry.at)

    async def stands(self, watched: Budget) -> tuple[float | None, float | None]:
        """Spent and held, in dollars."""
        [standing] = await self.money.standing([watched])
        spent, held = standing.spent, standing.held
        return (None if spent is None else spent / USD, None if held is None else held / USD)
