"""A `Money` on stores of a test's choice, with a ledger that is a plain list of charges."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import redis
import trio
import trio.testing

from signalbox.actors.money import Hold, Money
from signalbox.actors.shared_state import SharedState
from signalbox.actors.store_access import InProcess, StoreAccess
from signalbox.actors.supervisor import Supervisor
from signalbox.machines.budget import Budget, BudgetScope, Period
from signalbox.persistence.instances_redis import RedisInstances
from signalbox.persistence.money_memory import MemoryMoneyStore
from signalbox.persistence.money_redis import NEWCOMERS_WAIT, RedisMoneyStore
from signalbox.persistence.money_stores import MoneyStore, SpentQuery
from signalbox.types import NanoUSD
from tests.fakes import Fault, InlineWorkers, no_fault, supervised

USD = 1_000_000_000
TTL = 600.0
START = 1_700_006_200.0
"""The wall clock when the tests' monotonic one begins: 200 s before Wednesday, 15 November 2023."""


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


class _Line:
    """A store on the far side of a connection, which `desk.fault` may cut."""

    def __init__(self, desk: Desk, store: object) -> None:
        self._desk, self._store = desk, store

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._store, name)

        def call(*arguments: Any) -> Any:
            self._desk.fault(name)
            return method(*arguments)

        return call


class Desk:
    """An instance with its `Money`, in process or on a Redis. Run it with `running`."""

    def __init__(
        self, ledger: PlainLedger | None = None, client: redis.Redis | None = None
    ) -> None:
        self.ledger = PlainLedger() if ledger is None else ledger
        self.supervisor, self.alerts = Supervisor(), list[str]()
        self.workers = InlineWorkers()
        self.clock_error = 0.0
        """Seconds by which the wall clock is wrong, here and on Redis."""
        self.fault: Fault = no_fault
        """Of each call of Redis."""
        self.state: SharedState | None = None
        self.name = secrets.token_hex(4)
        stores: StoreAccess[MoneyStore]
        if client is None:
            stores = InProcess(MemoryMoneyStore())
        else:
            instances: Any = _Line(self, RedisInstances(client, self.name, self.now))
            self.state = SharedState(
                self.supervisor, instances, self.workers, alert=self.alerts.append
            )
            store: Any = _Line(self, RedisMoneyStore(client, self.name, self.now))
            stores = self.state.access(store, None)
        self.money = Money(
            self.supervisor,
            stores,
            self.ledger.load,
            wall_clock=self.now,
            alert=self.alerts.append,
        )
        self._numbers = itertools.count(1)

    def now(self) -> float:
        return START + trio.current_time() + self.clock_error

    @asynccontextmanager
    async def starting(self) -> AsyncIterator[Desk]:
        async with supervised(self.supervisor):
            await trio.testing.wait_all_tasks_blocked()
            yield self

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Desk]:
        """On an empty Redis, from the moment on at which it may be asked."""
        async with self.starting():
            if self.state is not None:
                await trio.sleep(NEWCOMERS_WAIT + 1)
            yield self

    def next_id(self) -> str:
        return f"{self.name}-{next(self._numbers)}"

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


def ready(client: redis.Redis, name: str = "one", now: float = START) -> RedisMoneyStore:
    """A store whose memory is whole, and whose clock stands at `now` from then on."""
    at = [now - NEWCOMERS_WAIT - 1]
    store = RedisMoneyStore(client, name, lambda: at[0])
    store.rejoin([], 0.0)
    at[0] = now
    assert store.rejoin([], 0.0)
    return store
