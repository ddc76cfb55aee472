"""Budgets in process and on Redis, driven side by side, beside a model that is written otherwise:
it keeps every charge and every hold for ever and adds them up when it is asked.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)
from msgspec.structs import replace

from signalbox.machines.budget import MOST, Budget, BudgetScope, Period
from signalbox.persistence.money_memory import MemoryMoneyStore
from signalbox.persistence.money_redis import NEWCOMERS_WAIT, VETERANS_WAIT, RedisMoneyStore
from signalbox.persistence.money_stores import (
    LONGEST_TTL,
    Extended,
    Extension,
    HoldGranted,
    HoldRefused,
    HoldRequest,
    HoldSettlement,
    LoadBegun,
    LoadBusy,
    Loaded,
    LoadRequest,
    MoneyStore,
    NotLoaded,
    OpenHold,
    Standing,
)
from signalbox.types import NanoUSD
from tests.lease_twins import BARE_KEYS
from tests.money_desk import Entry, PlainLedger
from tests.window_oracle import begin_of

# Every time is a multiple of 1/64 and below 2³¹, so that all sums are exact on both sides.
NEW_YEAR = 1_735_689_600.0
"""Of 2025, a Wednesday: hours, days, months and, two days before, weeks end near by."""

PERIODS = {"g": Period.HOUR, "k": Period.DAY, "u": Period.WEEK, "t": Period.MONTH, "s": Period.HOUR}
SOFT = "s"
LIMITS = (0, 60, 100, 100, 100, 250, 6 * 10**15)

amounts = st.sampled_from([0, 1, 10, 10, 30, 60, 110, 10**14])


@st.composite
def some_budgets(draw: st.DrawFn, ids: str = "gkuts") -> tuple[Budget, ...]:
    """Each request may know another limit: those are changed while it is under way."""
    chosen = draw(st.sets(st.sampled_from(ids), min_size=1, max_size=3))
    return tuple(budget_of(id, draw(st.sampled_from(LIMITS))) for id in sorted(chosen))


def budget_of(id: str, limit: int) -> Budget:
    hard = id != SOFT
    return Budget(id, id, BudgetScope.TAG, id, NanoUSD(limit), PERIODS[id], hard, (0.5, 1.0))


ANY_LIMIT = [budget_of(id, 100) for id in PERIODS]

requests = st.tuples(amounts, amounts, st.sampled_from([5000.0, 600.0, 20.0]), some_budgets())
"""(least, how much more is wanted, TTL, budgets)"""


@dataclass
class Held:
    """A hold of the model's."""

    amount: int
    ends_at: float
    budgets: tuple[Budget, ...]


@dataclass
class Model:
    """What the rules come to."""

    ledger: PlainLedger = field(default_factory=PlainLedger)
    open: dict[str, Held] = field(default_factory=dict)

    def lapse(self, now: float) -> None:
        self.open = {id: held for id, held in self.open.items() if held.ends_at > now}

    def held(self, budget_id: str) -> int:
        return sum(
            held.amount
            for held in self.open.values()
            if budget_id in [budget.id for budget in held.budgets]
        )

    def spent(self, budget_id: str, now: float) -> int:
        """What was charged to requests whose holds are over, in the window that is current."""
        begin = begin_of(PERIODS[budget_id], now)
        return sum(
            entry.amount
            for entry in self.ledger.entries.values()
            if budget_id in entry.budget_ids
            and entry.request_id not in self.open
            and begin_of(PERIODS[budget_id], entry.at) == begin
        )

    def room(self, budgets: Sequence[Budget], now: float) -> int:
        return min(
            (
                max(0, budget.limit - self.spent(budget.id, now) - self.held(budget.id))
                for budget in budgets
                if budget.hard
            ),
            default=MOST,
        )


class Driver:
    """One store, whose counters are loaded from the model's ledger when they are not there."""

    def __init__(self, store: MoneyStore, model: Model) -> None:
        self.store, self.model = store, model
        self.slow: list[tuple[Budget, LoadBegun, NanoUSD | None]] = []
        """Loads that somebody else has begun, with the ledger's sum if it is known."""

    def until_loaded(self, ask: Callable[[], Sequence[Any]], now: float) -> list[Any]:
        for _ in range(4):
            answers = list(ask())
            missing = {
                id for each in answers if isinstance(each, NotLoaded) for id in each.budget_ids
            }
            if not missing:
                return answers
            self.load([budget for budget in ANY_LIMIT if budget.id in missing], now)
        raise AssertionError("the counters do not stay loaded")

    def load(self, budgets: Sequence[Budget], now: float) -> None:
        begun = self.store.begin_loads([LoadRequest(each, "driver") for each in budgets], now)
        if any(isinstance(answer, LoadBusy) and not answer.loaded for answer in begun):
            self.end_slow(now)
        self.end(
            [
                (budget, answer, None)
                for budget, answer in zip(budgets, begun, strict=True)
                if isinstance(answer, LoadBegun)
            ],
            now,
        )

    def begin_slowly(self, budgets: Sequence[Budget], now: float, *, sum_at_once: bool) -> None:
        self.store.forget([budget.id for budget in budgets], now)
        self._begin_slowly(budgets, now, sum_at_once=sum_at_once)

    def begin_slowly_again(self, now: float, *, sum_at_once: bool) -> None:
        lost, self.slow = self.slow, []
        self._begin_slowly([budget for budget, _, _ in lost], now, sum_at_once=sum_at_once)

    def _begin_slowly(self, budgets: Sequence[Budget], now: float, *, sum_at_once: bool) -> None:
        begun = self.store.begin_loads([LoadRequest(each, "slow") for each in budgets], now)
        for budget, answer in zip(budgets, begun, strict=True):
            if isinstance(answer, LoadBegun):  # else the driver has loaded it meanwhile
                spent = self.model.ledger.sum(answer.query) if sum_at_once else None
                self.slow.append((budget, answer, spent))

    def end_slow(self, now: float) -> None:
        slow, self.slow = self.slow, []
        self.end(slow, now)

    def end(self, loads: Sequence[tuple[Budget, LoadBegun, NanoUSD | None]], now: float) -> None:
        sums = [
            self.model.ledger.sum(begun.query) if spent is None else spent
            for _, begun, spent in loads
        ]
        self.store.end_loads(
            [
                Loaded(budget, begun.token, spent)
                for (budget, begun, _), spent in zip(loads, sums, strict=True)
            ],
            now,
        )


class MoneyTwins(RuleBasedStateMachine):
    held: Bundle[str] = Bundle("held")
    """Requests that have, or had, a hold, and are not charged."""
    charged: Bundle[str] = Bundle("charged")

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        client.flushall()
        self.client = client
        self.now = NEW_YEAR - 3 * 86_400
        self.model = Model()
        self.redis = RedisMoneyStore(client, "one", lambda: self.now)
        self.drivers = [Driver(MemoryMoneyStore(), self.model), Driver(self.redis, self.model)]
        self.budgets: dict[str, tuple[Budget, ...]] = {}
        """Of each request that ever was."""
        self.numbers = itertools.count(1)
        self.flushed = self.may_flush = self.may_be_slow = False
        assert not self.redis.rejoin([], self.now)
        self.now += NEWCOMERS_WAIT
        assert self.redis.rejoin([], self.now)
        assert self.redis.expire(self.now) is None

    @initialize(
        before=st.sampled_from([0.0, 30.0, 1800.0, 86_400.0]),
        may_flush=st.booleans(),
        may_be_slow=st.booleans(),
    )
    def begin_near_the_end_of_a_window(
        self, before: float, may_flush: bool, may_be_slow: bool
    ) -> None:
        self.now = NEW_YEAR - before
        self.may_flush, self.may_be_slow = may_flush, may_be_slow

    def both(self, ask: Callable[[MoneyStore], Sequence[Any]]) -> list[Any]:
        """What both stores answer, once their counters are loaded."""
        self.model.lapse(self.now)
        mine, other = (
            driver.until_loaded(lambda: ask(driver.store), self.now)  # noqa: B023 - called at once
            for driver in self.drivers
        )
        assert [self.comparable(each) for each in mine] == [self.comparable(each) for each in other]
        return mine

    def comparable(self, answer: Any) -> Any:
        """Without what a flush makes different: which charges were settled already, what was told
        of, which counters are loaded."""
        if not self.flushed or answer is None:
            return answer
        fields = {"unloaded": (), "crossed": (), "done": True}
        return replace(answer, **{key: fields[key] for key in fields if hasattr(answer, key)})

    # ── holds ─────────────────────────────────────────────────────────────────────────────────

    @rule(target=held, batch=st.lists(requests, min_size=1, max_size=3))
    def hold(self, batch: list[tuple[int, int, float, tuple[Budget, ...]]]) -> Any:
        # All loaded, so that the batch is granted in its order.
        self.both(lambda store: store.standings(ANY_LIMIT, self.now))
        asked = [
            HoldRequest(self.next_id(), NanoUSD(least + more), NanoUSD(least), ttl, budgets)
            for least, more, ttl, budgets in batch
        ]
        for each in asked:
            self.budgets[each.id] = each.budgets
        answers = self.both(lambda store: store.hold(asked, self.now))
        granted = []
        for request, answer in zip(asked, answers, strict=True):
            room = self.model.room(request.budgets, self.now)
            amount = min(request.want, room)
            if amount < request.least:
                self.check_refusal(request, answer, room)
                continue
            assert isinstance(answer, HoldGranted)
            assert answer.amount == amount
            self.model.open[request.id] = Held(amount, self.now + request.ttl, request.budgets)
            self.check_ceilings(request.budgets, amount)
            granted.append(request.id)
        return multiple(*granted)

    def next_id(self) -> str:
        return f"r{next(self.numbers)}"

    def check_refusal(self, request: HoldRequest, answer: object, room: int) -> None:
        assert isinstance(answer, HoldRefused)
        refusing = answer.budget
        assert refusing in request.budgets
        assert refusing.hard
        assert answer.spent == self.model.spent(refusing.id, self.now)
        assert answer.held == self.model.held(refusing.id)
        assert max(0, refusing.limit - answer.spent - answer.held) == room

    def check_ceilings(self, budgets: Sequence[Budget], granted: int) -> None:
        for budget in budgets:
            if budget.hard and granted:
                spent = self.model.spent(budget.id, self.now)
                assert spent + self.model.held(budget.id) <= budget.limit

    @rule(target=held, amount=amounts, ttl=st.sampled_from([5000.0, 20.0]))
    def open_under_a_soft_budget(self, amount: int, ttl: float) -> str:
        id = self.next_id()
        budgets = self.budgets[id] = (budget_of(SOFT, 100),)
        hold = OpenHold(id, NanoUSD(amount), ttl, budgets)
        for _ in range(2):  # told again, it is the same
            [answer] = self.both(lambda store: store.open([hold], self.now))
            assert answer.amount == amount
        self.model.open[id] = Held(amount, self.now + ttl, budgets)
        return id

    @rule(id=held, want=amounts)
    def extend(self, id: str, want: int) -> None:
        extension = Extension(id, NanoUSD(want), self.budgets[id])
        [answer] = self.both(lambda store: store.extend([extension], self.now))
        assert isinstance(answer, Extended)
        known = self.model.open.get(id)
        expected = 0
        if known is not None:
            expected = min(want, self.model.room(known.budgets, self.now))
            known.amount += expected
            self.check_ceilings(known.budgets, expected)
        assert answer.amount == expected

    @rule(id=held)
    def ask_again(self, id: str) -> None:
        """The answer was lost."""
        if id in self.model.open:
            request = HoldRequest(id, NanoUSD(5), NanoUSD(5), 10.0, self.budgets[id])
            [answer] = self.both(lambda store: store.hold([request], self.now))
            lapsed = id not in self.model.open
            assert lapsed or answer.amount == self.model.open[id].amount
            if lapsed and isinstance(answer, HoldGranted):
                self.model.open[id] = Held(answer.amount, self.now + 10.0, self.budgets[id])

    # ── ends ──────────────────────────────────────────────────────────────────────────────────

    @rule(
        target=charged,
        id=consumes(held),
        amount=amounts,
        age=st.sampled_from([0.0, 0.0, 0.0, 10.0, 4000.0]),
    )
    def charge(self, id: str, amount: int, age: float) -> str:
        """In time or late, more than was held or less. `age`: of the charge, when it is told."""
        self.record(id, amount, age)
        self.settle([id])
        return id

    def record(self, id: str, amount: int, age: float = 0.0) -> None:
        ids = frozenset(budget.id for budget in self.budgets[id])
        self.model.ledger.charge(Entry(id, NanoUSD(amount), self.now - age, ids))

    def settle(self, ids: Sequence[str]) -> None:
        settlements = [
            HoldSettlement(id, entry.amount, entry.at, self.budgets[id])
            for id in ids
            for entry in [self.model.ledger.entries[id]]
        ]
        self.both(lambda store: store.settle(settlements, self.now))
        for id in ids:
            self.model.open.pop(id, None)

    # While a soft budget is loaded, such a charge is counted beside its hold until that is over.
    @precondition(lambda self: not self.drivers[0].slow)
    @rule(id=consumes(held), amount=amounts)
    def charge_and_crash(self, id: str, amount: int) -> None:
        """The charge is durable, and nobody says so."""
        self.model.lapse(self.now)
        if id in self.model.open:
            self.record(id, amount)

    @rule(ids=st.lists(charged, min_size=1, max_size=3))
    def settle_again(self, ids: list[str]) -> None:
        self.settle(ids)

    @rule(id=consumes(held))
    def release(self, id: str) -> None:
        nothing = HoldSettlement(id, NanoUSD(0), 0.0, self.budgets[id])
        [answer] = self.both(lambda store: store.settle([nothing], self.now))
        assert answer.done is (self.model.open.pop(id, None) is not None)

    # ── the ledger ────────────────────────────────────────────────────────────────────────────

    @rule(budgets=some_budgets(), amount=amounts)
    def adjust(self, budgets: tuple[Budget, ...], amount: int) -> None:
        """Something else than a request changes the ledger."""
        id = self.next_id()
        self.budgets[id] = budgets
        self.record(id, amount)
        ids = [budget.id for budget in budgets]
        self.both(lambda store: store.forget(ids, self.now))

    @precondition(lambda self: self.may_be_slow)
    @rule(budgets=some_budgets(), sum_at_once=st.booleans(), again=st.booleans())
    def begin_to_load_slowly(
        self, budgets: tuple[Budget, ...], sum_at_once: bool, again: bool
    ) -> None:
        """`again`: what was begun last, whose sum is lost."""
        self.model.lapse(self.now)
        for driver in self.drivers:
            if again:
                driver.begin_slowly_again(self.now, sum_at_once=sum_at_once)
            else:
                driver.end_slow(self.now)
                driver.begin_slowly(budgets, self.now, sum_at_once=sum_at_once)
        mine, other = ([begun.query for _, begun, _ in driver.slow] for driver in self.drivers)
        assert [replace(query, without=tuple(sorted(query.without))) for query in mine] == [
            replace(query, without=tuple(sorted(query.without))) for query in other
        ]

    @rule()
    def end_slow_loads(self) -> None:
        self.model.lapse(self.now)
        for driver in self.drivers:
            driver.end_slow(self.now)

    # ── time ──────────────────────────────────────────────────────────────────────────────────

    @rule(
        seconds=st.integers(1, 640).map(lambda n: n / 64)
        | st.sampled_from([60.0, 600.0, 3600.0, 86_400.0, 20 * 86_400.0])
    )
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.model.open)
    @rule(short=st.sampled_from([0.0, 1 / 64]))
    def wait_for_the_next_end(self, short: float) -> None:
        ends = min(held.ends_at for held in self.model.open.values())
        self.now = max(self.now, ends - short)

    # What was charged while a counter was loaded is told from what came later by the clock.
    @precondition(lambda self: not self.may_be_slow)
    @rule(seconds=st.sampled_from([1.0, 60.0, 3600.0, 86_400.0]))
    def put_the_clock_back(self, seconds: float) -> None:
        self.now = max(NEW_YEAR - 40 * 86_400, self.now - seconds)

    @rule()
    def sweep(self) -> None:
        self.model.lapse(self.now)
        for driver in self.drivers:
            driver.store.expire(self.now)
            driver.store.forget(list(PERIODS), self.now)

    # ── Redis alone ───────────────────────────────────────────────────────────────────────────

    # A clock that was put back makes holds last longer than they may when they are told again.
    @precondition(lambda self: self.may_flush and self.longest_rest() <= LONGEST_TTL)
    @rule()
    def flush(self) -> None:
        """The holds are told again; what was settled is in the ledger alone."""
        self.flushed = True
        self.client.flushall()
        self.client.script_flush()
        self.model.lapse(self.now)
        request = HoldRequest("r", NanoUSD(0), NanoUSD(0), 1.0, tuple(ANY_LIMIT))
        assert "Rebuilding" in str(self.redis.hold([request], self.now))
        holds = [
            OpenHold(id, NanoUSD(held.amount), held.ends_at - self.now, held.budgets)
            for id, held in self.model.open.items()
        ]
        self.redis.rejoin(holds, self.now)
        self.now += VETERANS_WAIT
        assert self.redis.rejoin([], self.now)
        assert self.redis.expire(self.now) is None

    def longest_rest(self) -> float:
        return max((held.ends_at - self.now for held in self.model.open.values()), default=0.0)

    # ── always ────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def both_stand_where_the_model_does(self) -> None:
        if any(driver.slow for driver in self.drivers):
            return
        for standing in self.both(lambda store: store.standings(ANY_LIMIT, self.now)):
            assert isinstance(standing, Standing)
            assert standing.spent == self.model.spent(standing.budget.id, self.now)
            assert standing.held == self.model.held(standing.budget.id)

    @invariant()
    def nothing_stays_on_redis_for_ever(self) -> None:
        assert self.client.eval(BARE_KEYS, 0) == []
