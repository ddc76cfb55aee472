"""Instances that share budgets on Redis: what they hold together, and a Redis that is lost."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from signalbox.actors.money import Hold, MoneyAway
from signalbox.actors.money_counters import BEAT
from signalbox.actors.shared_state import SLOWEST_PROBE
from signalbox.errors import StoreUnavailable
from signalbox.machines.budget import LOAD_PATIENCE, Budget, Period, window_of
from signalbox.persistence.instances_redis import LIFETIME, open_redis
from signalbox.persistence.money_redis import NEWCOMERS_WAIT, VETERANS_WAIT, RedisMoneyStore
from signalbox.persistence.money_stores import (
    HoldGranted,
    HoldRefused,
    HoldRequest,
    LoadBegun,
    Loaded,
    LoadRequest,
    OpenHold,
    Rebuilding,
    Standing,
)
from signalbox.types import NanoUSD
from tests.fakes import no_fault
from tests.lost_answers import losing_an_answer
from tests.money_desk import START, USD, Desk, PlainLedger, budget, dollars, ready
from tests.servers import private_redis, redis_in
from tests.shared_station import away

pytestmark = pytest.mark.system

BACK = SLOWEST_PROBE + 1.5
"""Seconds after which a Redis that is back has been found."""


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    with private_redis() as server:
        yield server.address


@pytest.fixture
def client(socket: Path) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=str(socket)) as client:
        client.flushall()
        yield client


# ── two instances ─────────────────────────────────────────────────────────────────────────────


class Spending:
    """What two instances have really spent, and may still spend."""

    def __init__(self, limit: Budget, *desks: Desk) -> None:
        self.limit, self.desks = limit, desks
        self.chance = random.Random(7)
        self.open: dict[str, NanoUSD] = {}
        self.charged = 0
        self.answers: list[object] = []

    async def requests(self, count: int, *, within: float) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(self.request, self.chance.uniform(0, within))

    async def request(self, after: float) -> None:
        await trio.sleep(after)
        desk = self.chance.choice(self.desks)
        hold = await desk.ask(self.chance.uniform(0.01, 0.4), self.limit, least=0.01)
        self.answers.append(hold)
        if not isinstance(hold, Hold):
            return
        self.holds(hold)
        await trio.sleep(self.chance.uniform(0, 4))
        await desk.money.extend(hold, dollars(self.chance.uniform(0, 0.2)))
        self.holds(hold)
        await trio.sleep(self.chance.uniform(0, 4))
        amount = self.chance.randint(0, hold.amount)
        del self.open[hold.id]
        self.charged += amount
        desk.charge(hold, amount / USD)

    def holds(self, hold: Hold) -> None:
        self.open[hold.id] = hold.amount
        assert self.charged + sum(self.open.values()) <= self.limit.limit

    def granted(self) -> int:
        return sum(isinstance(answer, Hold) for answer in self.answers)

    def away(self) -> int:
        return sum(isinstance(answer, MoneyAway) for answer in self.answers)


async def test_a_thousand_requests_to_two_instances_stay_within_the_limit(
    autojump_clock: MockClock, client: redis.Redis
) -> None:
    ledger = PlainLedger(seconds=0.1)
    here, there = Desk(ledger, client), Desk(ledger, client)
    spending = Spending(budget(20), here, there)
    async with here.running(), there.running():
        await spending.requests(1000, within=5)
        assert await here.stands(spending.limit) == (spending.charged / USD, 0)
    assert 50 < spending.granted() < 1000
    assert spending.away() == 0
    # Whoever asked first has loaded the counter, and the other has waited for it.
    assert len(ledger.queries) == 1


async def test_a_flush_in_the_middle_is_made_good_before_anything_is_granted(
    autojump_clock: MockClock, client: redis.Redis
) -> None:
    ledger = PlainLedger(seconds=0.1)
    here, there = Desk(ledger, client), Desk(ledger, client)
    spending = Spending(budget(40), here, there)

    async def flush() -> None:
        for after in (3.0, 0.5, 7.0):
            await trio.sleep(after)
            client.flushall()
            client.script_flush()

    async with here.running(), there.running():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flush)
            await spending.requests(600, within=20)
        await trio.sleep(BACK)
        assert await there.stands(spending.limit) == (spending.charged / USD, 0)
    assert spending.away() == 0
    assert spending.granted() > 100


async def test_a_restart_in_the_middle_refuses_until_all_is_counted_again(
    autojump_clock: MockClock,
) -> None:
    ledger, ten, soft = PlainLedger(), budget(40), budget(1, "soft", hard=False)
    with tempfile.TemporaryDirectory(prefix="signalbox-redis-") as name, ExitStack() as running:
        server = running.enter_context(redis_in(Path(name)))
        clients = [open_redis(f"unix://{name}/redis.sock") for _ in range(2)]
        here, there = (Desk(ledger, client) for client in clients)
        spending = Spending(ten, here, there)
        async with here.running(), there.running():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: spending.requests(400, within=30))
                await trio.sleep(5)
                held = await here.hold(1, ten, soft)
                spending.holds(held)
                server.process.kill()
                running.close()
                refused = await there.ask(1, ten)
                assert isinstance(refused, MoneyAway)
                assert refused.why
                local = await there.hold(3, soft)
                assert local.local
                there.charge(local, 3)
                assert await here.money.extend(held, NanoUSD(1)) == 0
                assert (await here.stands(ten))[1] is None
                await trio.sleep(5)
                running.enter_context(redis_in(Path(name)))
            spending.charged += held.amount
            del spending.open[held.id]
            here.charge(held, 1)
            await trio.sleep(BACK)
            for desk in (here, there):
                assert await desk.stands(ten) == (spending.charged / USD, 0)
                assert await desk.stands(soft) == (4, 0)
                assert desk.state is not None
                assert desk.state.statistics().lost == 0
        for client in clients:
            client.close()
    assert 0 < spending.away() < 200
    assert spending.granted() > 100
    assert sum("the shared state is away" in alert for alert in here.alerts) == 1


async def test_settlements_wait_for_a_redis_that_is_away_with_its_memory(
    autojump_clock: MockClock, client: redis.Redis
) -> None:
    desk, ten, soft = Desk(client=client), budget(10), budget(10, "soft", hard=False)
    async with desk.running():
        held = await desk.hold(4, ten, soft)
        await desk.stands(soft)
        desk.fault = away
        assert isinstance(await desk.ask(1, ten), MoneyAway)
        desk.charge(held, 3)
        desk.charge(await desk.hold(1, soft), 1)
        desk.fault = no_fault
        await trio.sleep(BACK)
        assert await desk.stands(ten) == (3, 0)
        assert await desk.stands(soft) == (4, 0)


# ── who lives ─────────────────────────────────────────────────────────────────────────────────


async def test_an_instance_that_is_new_after_a_loss_waits_for_those_from_before(
    autojump_clock: MockClock, client: redis.Redis
) -> None:
    old, new, ten = Desk(client=client), Desk(client=client), budget(10)
    async with old.running():
        await old.hold(8, ten)
        old.fault = away
        client.flushall()
        async with trio.open_nursery() as nursery:

            async def cut_off_for_a_while() -> None:
                await trio.sleep(NEWCOMERS_WAIT - 4)
                old.fault = no_fault

            nursery.start_soon(cut_off_for_a_while)
            async with new.starting():
                held = await new.hold(5, ten, least=1)
                assert held.amount == dollars(2)


async def test_whoever_is_dead_is_not_waited_for_and_whoever_comes_back_tells_its_holds(
    autojump_clock: MockClock, client: redis.Redis
) -> None:
    ledger, ten = PlainLedger(), budget(10)
    here, there = Desk(ledger, client), Desk(ledger, client)
    async with here.running(), there.running():
        silent = await there.hold(6, ten)
        await here.hold(1, ten)
        there.fault = away
        client.flushall()
        start = trio.current_time()
        assert isinstance(await here.ask(1, ten), MoneyAway)
        await trio.sleep(start + LIFETIME + 1 - trio.current_time())
        there.record(silent, 5)
        await here.hold(3, ten)
        assert await here.stands(ten) == (5, 4)
        there.fault = no_fault
        await trio.sleep(BACK)
        # More than there is: nobody knew of it. Nothing is granted before that is over.
        assert await here.stands(ten) == (0, 10)
        assert isinstance(await here.ask(0.01, ten), HoldRefused)
        there.charge(silent, 5)
        await wait_all_tasks_blocked()
        assert await here.stands(ten) == (5, 4)


async def test_an_instance_that_has_left_is_not_waited_for(
    autojump_clock: MockClock, client: redis.Redis
) -> None:
    here, ten = Desk(client=client), budget(10)
    async with here.running():
        async with Desk(client=client).running():
            pass
        await trio.sleep(BEAT + 0.1)
        client.flushall()
        start = trio.current_time()
        await here.hold(1, ten)
        assert trio.current_time() - start < VETERANS_WAIT + 1


async def test_the_holds_of_a_dead_instance_lapse_and_its_charges_are_found(
    autojump_clock: MockClock, client: redis.Redis
) -> None:
    ledger, ten = PlainLedger(), budget(10)
    here = Desk(ledger, client)
    async with here.running():
        async with Desk(ledger, client).running() as dead:
            charged = await dead.hold(4, ten, ttl=60)
            await dead.hold(5, ten, ttl=60)
            dead.record(charged, 3)
        assert await here.stands(ten) == (0, 9)
        await trio.sleep(60)
        assert await here.stands(ten) == (3, 0)


# ── one store ─────────────────────────────────────────────────────────────────────────────────


def load(store: RedisMoneyStore, *budgets: Budget) -> None:
    begun = store.begin_loads([LoadRequest(each, "test") for each in budgets], 0.0)
    for each, answer in zip(budgets, begun, strict=True):
        assert isinstance(answer, LoadBegun)
        [end] = store.end_loads([Loaded(each, answer.token, NanoUSD(0))], 0.0)
        assert end.done


def request(id: str, amount: int, *budgets: Budget) -> HoldRequest:
    return HoldRequest(id, NanoUSD(amount), NanoUSD(amount), 100.0, budgets)


@given(st.sampled_from(Period), st.floats(0, 7e9) | st.integers(0, 7_000_000).map(float))
def test_its_windows_are_those_of_the_machine(socket: Path, period: Period, at: float) -> None:
    with redis.Redis(unix_socket_path=str(socket)) as client:
        client.flushall()
        [begun] = ready(client, now=at).begin_loads(
            [LoadRequest(budget(1, period=period), "test")], 0.0
        )
    assert isinstance(begun, LoadBegun)
    window = window_of(period, at)
    assert (begun.query.since, begun.query.until) == (window.start, window.end)


def test_parallel_processes_hold_exactly_what_there_is(socket: Path, client: redis.Redis) -> None:
    limit = budget(1)
    load(ready(client), limit)

    def ask(process: int) -> list[NanoUSD]:
        with redis.Redis(unix_socket_path=str(socket)) as own:
            store = RedisMoneyStore(own, str(process), lambda: START)
            store.rejoin([], 0.0)
            answers = [
                store.hold([request(f"{process}-{n}", USD // 300, limit)], 0.0)[0]
                for n in range(125)
            ]
        return [answer.amount for answer in answers if isinstance(answer, HoldGranted)]

    with ThreadPoolExecutor(8) as processes:
        granted = [amount for amounts in processes.map(ask, range(8)) for amount in amounts]
    assert granted == [USD // 300] * 300


def test_two_that_rebuild_at_once_do_it_once(client: redis.Redis) -> None:
    at = [START]
    stores = [RedisMoneyStore(client, name, lambda: at[0]) for name in ("one", "other")]
    for store in stores:
        store.rejoin([], 0.0)
    at[0] += NEWCOMERS_WAIT
    assert [store.rejoin([], 0.0) for store in stores] == [True, True]
    assert [store.expire(0.0) for store in [*stores, *stores]] == [None] * 4
    client.flushall()
    ten = budget(10)
    asked = [request("r", 1, ten)]
    assert stores[0].hold(asked, 0.0) == [Rebuilding(told=False)]
    holds = [OpenHold(str(n), dollars(n + 1), 50.0, (ten,)) for n in range(2)]
    for store, hold in zip(stores, holds, strict=True):
        assert not store.rejoin([hold], 0.0)
        assert store.hold(asked, 0.0) == [Rebuilding(told=True)]
    at[0] += VETERANS_WAIT
    for store, hold in zip(stores, holds, strict=True):
        assert store.rejoin([hold], 0.0)
    load(stores[0], ten)
    [standing] = stores[1].standings([ten], 0.0)
    assert isinstance(standing, Standing)
    assert standing.held == dollars(3)


def test_one_load_at_a_time_until_its_loader_is_taken_for_dead(client: redis.Redis) -> None:
    at, ten = [START], budget(10)
    ready(client)
    store = RedisMoneyStore(client, "one", lambda: at[0])
    [first] = store.begin_loads([LoadRequest(ten, "dead")], 0.0)
    assert isinstance(first, LoadBegun)
    [busy] = store.begin_loads([LoadRequest(ten, "other")], 0.0)
    assert not isinstance(busy, LoadBegun)
    at[0] += LOAD_PATIENCE
    [second] = store.begin_loads([LoadRequest(ten, "other")], 0.0)
    assert isinstance(second, LoadBegun)
    late, good = (
        store.end_loads([Loaded(ten, begun.token, NanoUSD(1))], 0.0)[0] for begun in (first, second)
    )
    assert (late.done, good.done) == (False, True)


def test_what_was_held_without_an_answer_is_given_back(socket: Path, client: redis.Redis) -> None:
    ten = budget(10)
    others = ready(client)
    load(others, ten)
    with losing_an_answer(socket, repeats=0) as forgetful:
        store = RedisMoneyStore(forgetful, "one", lambda: START)
        with pytest.raises(StoreUnavailable, match="lost"):
            store.hold([request("a", 8 * USD, ten)], 0.0)
        assert isinstance(others.hold([request("b", 8 * USD, ten)], 0.0)[0], HoldRefused)
        assert isinstance(store.hold([request("c", 8 * USD, ten)], 0.0)[0], HoldGranted)


def test_a_call_that_the_client_repeats_holds_once(socket: Path, client: redis.Redis) -> None:
    ten = budget(10)
    load(ready(client), ten)
    with losing_an_answer(socket, repeats=1) as forgetful:
        store = RedisMoneyStore(forgetful, "one", lambda: START)
        for id, held in (("a", 4), ("b", 8)):
            [answer] = store.hold([request(id, 4 * USD, ten)], 0.0)
            assert isinstance(answer, HoldGranted)
            [standing] = store.standings([ten], 0.0)
            assert isinstance(standing, Standing)
            assert standing.held == held * USD


def test_without_a_clock_its_windows_are_those_of_redis_own_time(client: redis.Redis) -> None:
    store, hour = RedisMoneyStore(client, "one"), budget(1, period=Period.HOUR)
    store.rejoin([], 0.0)
    client.hset("{sb:money}:epoch", "ready", "1")
    [begun] = store.begin_loads([LoadRequest(hour, "test")], 0.0)
    assert isinstance(begun, LoadBegun)
    seconds, _ = client.time()
    assert begun.query.since in (seconds - seconds % 3600, seconds - seconds % 3600 - 3600)


def test_a_limit_that_no_double_holds_is_the_most_that_one_does(client: redis.Redis) -> None:
    store, huge = ready(client), budget(1e30)
    load(store, huge)
    [answer] = store.hold([request("a", 8_999_999 * USD, huge)], 0.0)
    assert isinstance(answer, HoldGranted)
    [refused] = store.hold([request("b", 2 * USD, huge)], 0.0)
    assert isinstance(refused, HoldRefused)
    assert refused.held == 8_999_999 * USD
