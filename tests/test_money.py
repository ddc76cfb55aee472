"""What requests may spend: holds, extensions, settlements, alerts, in process and on Redis."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import redis
import trio
from trio.testing import MockClock

from signalbox.actors.money import Hold, MoneyAway
from signalbox.actors.money_counters import BEAT
from signalbox.machines.budget import BudgetScope, Period
from signalbox.persistence.money_stores import HoldRefused, SpentQuery
from signalbox.types import NanoUSD
from tests.fakes import database_away, no_fault
from tests.money_desk import START, USD, Desk, Entry, PlainLedger, budget, dollars
from tests.servers import private_redis

MakeDesk = Callable[..., Desk]


@pytest.fixture(scope="module")
def client() -> Iterator[redis.Redis]:
    with private_redis() as server, redis.Redis(unix_socket_path=str(server.address)) as client:
        yield client


@pytest.fixture(params=["in process", pytest.param("on Redis", marks=pytest.mark.system)])
def make_desk(request: pytest.FixtureRequest) -> MakeDesk:
    if request.param == "in process":
        return Desk
    client: redis.Redis = request.getfixturevalue("client")
    client.flushall()
    return partial(Desk, client=client)


DAY_END = START - START % 86_400 + 86_400


async def test_a_hold_takes_the_place_of_the_money_until_its_charge_does(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk, ten = make_desk(), budget(10)
    async with desk.running():
        held = await desk.hold(6, ten)
        assert await desk.stands(ten) == (0, 6)
        desk.charge(held, 2.5)
        assert await desk.stands(ten) == (2.5, 0)
        desk.money.settle(held, dollars(2.5), desk.now())
        desk.money.release(held)
        assert await desk.stands(ten) == (2.5, 0)


async def test_a_refusal_names_the_budget_with_the_least_left(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk = make_desk()
    ten, three = budget(10, "ten"), budget(3, "three", period=Period.WEEK)
    async with desk.running():
        await desk.hold(2, ten, three)
        refused = await desk.ask(9, ten, three)
        assert isinstance(refused, HoldRefused)
        assert (refused.budget, refused.spent, refused.held) == (three, 0, 2 * USD)
        assert refused.resets_at == DAY_END + 5 * 86_400
        assert refused.retry_at is None
        waiting_helps = await desk.ask(2, ten, three)
        assert isinstance(waiting_helps, HoldRefused)
        assert waiting_helps.retry_at == refused.resets_at


async def test_five_dollars_serve_three_calls_at_once_with_what_there_is(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    """Each might cost 2.46 dollars, if it wrote all of its 128,000 tokens."""
    desk, five = make_desk(), budget(5)
    async with desk.running():
        holds = [await desk.hold(2.46, five, least=0.01) for _ in range(3)]
        assert [hold.amount / USD for hold in holds] == [2.46, 2.46, 0.08]
        desk.charge(holds[0], 0.5)
        assert await desk.money.extend(holds[2], dollars(1)) == dollars(1)
        assert holds[2].amount == dollars(1.08)
        assert await desk.money.extend(holds[2], dollars(1)) == dollars(0.96)
        assert await desk.money.extend(holds[2], dollars(1)) == 0


async def test_nothing_is_held_for_a_request_without_counted_budgets(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk = make_desk()
    ceiling = budget(1, scope=BudgetScope.REQUEST)
    async with desk.running():
        free = await desk.hold(100)
        assert (free.amount, free.local) == (100 * USD, True)
        assert await desk.money.extend(free, NanoUSD(5)) == 5
        capped = await desk.hold(100, ceiling, least=0.5)
        assert capped.amount == USD
        assert await desk.money.extend(capped, NanoUSD(1)) == 0
        refused = await desk.ask(100, ceiling, least=1.5)
        assert isinstance(refused, HoldRefused)
        assert (refused.budget, refused.resets_at, refused.retry_at) == (ceiling, None, None)
        desk.charge(free, 3)
        desk.charge(capped, 1)
    assert desk.ledger.queries == []


async def test_a_request_s_own_ceiling_bounds_its_hold_under_other_budgets(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk, ten = make_desk(), budget(10)
    async with desk.running():
        held = await desk.hold(8, ten, budget(3, "own", scope=BudgetScope.REQUEST), least=1)
        assert await desk.stands(ten) == (0, 3)
        assert await desk.money.extend(held, NanoUSD(1)) == 0


async def test_an_unknown_price_counts_as_nothing(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk, ten = make_desk(), budget(10)
    async with desk.running():
        held = await desk.hold(6, ten)
        desk.money.settle(held, None, desk.now())
        assert await desk.stands(ten) == (0, 0)


async def test_soft_budgets_refuse_nobody_and_are_counted(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk, soft, hard = make_desk(), budget(1, "soft", hard=False), budget(10, "hard")
    async with desk.running():
        alone = await desk.hold(5, soft)
        assert await desk.money.extend(alone, dollars(2)) == dollars(2)
        both = await desk.hold(4, soft, hard)
        assert await desk.stands(soft) == (0, 9)
        desk.charge(alone, 6)
        desk.charge(both, 3)
        assert await desk.stands(soft) == (9, 0)
        assert await desk.stands(hard) == (3, 0)


# ── what the ledger says ──────────────────────────────────────────────────────────────────────


async def test_what_was_spent_before_the_start_counts(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk, ten = make_desk(), budget(10)
    desk.ledger.charge(Entry("before", dollars(7), START - 60, frozenset("b")))
    desk.ledger.charge(Entry("yesterday", dollars(7), DAY_END - 86_401, frozenset("b")))
    desk.ledger.charge(Entry("another's", dollars(7), START - 60, frozenset("a")))
    async with desk.running():
        held = await desk.hold(9, ten, least=1)
        assert held.amount == dollars(3)
    [query] = desk.ledger.queries
    assert query == SpentQuery(ten, DAY_END - 86_400, DAY_END, ())


async def test_a_thousand_first_requests_ask_the_ledger_once_and_stay_within_the_limit(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk, ten, other = make_desk(PlainLedger(seconds=0.1)), budget(10), budget(900, "other")
    chance = random.Random(1)
    charged, refused = list[float](), list[object]()

    async def request() -> None:
        answer = await desk.ask(chance.uniform(0.01, 0.5), ten, other, least=0.01)
        if not isinstance(answer, Hold):
            refused.append(answer)
            return
        await trio.sleep(chance.uniform(0, 5))
        await desk.money.extend(answer, dollars(chance.uniform(0, 0.3)))
        await trio.sleep(chance.uniform(0, 5))
        charged.append(chance.uniform(0, answer.amount / USD))
        desk.charge(answer, charged[-1])
        [standing] = await desk.money.standing([ten])
        assert standing.spent is not None
        assert standing.held is not None
        assert standing.spent + standing.held <= ten.limit

    async with desk.running():
        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(request)
        spent, held = await desk.stands(ten)
    assert len(desk.ledger.queries) == 2
    assert held == 0
    assert spent is not None
    assert spent == pytest.approx(sum(charged))
    assert spent <= 10
    assert len(charged) > 20
    assert all(isinstance(each, HoldRefused) for each in refused)


async def test_requests_that_end_while_a_counter_is_loaded_count_once(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk, ten = make_desk(), budget(10)
    async with desk.running():
        early, during, late = [await desk.hold(1, ten) for _ in range(3)]
        desk.ledger.seconds = 8
        await desk.money.forget(["b"])
        desk.record(early, 1)
        async with trio.open_nursery() as nursery:

            async def look() -> None:
                assert await desk.stands(ten) == (2, 1)

            nursery.start_soon(look)
            await trio.sleep(2)
            desk.money.settle(early, dollars(1), desk.now())
            await trio.sleep(5)
            desk.charge(during, 1)
        assert {*desk.ledger.queries[-1].without} == {early.id, during.id, late.id}


async def test_a_new_window_begins_with_what_the_ledger_has_for_it(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk, ten = make_desk(), budget(10)
    async with desk.running():
        spent, running, in_time = (
            await desk.hold(4, ten),
            await desk.hold(3, ten, ttl=10_000),
            await desk.hold(2, ten, ttl=10_000),
        )
        desk.charge(spent, 4)
        assert await desk.stands(ten) == (4, 5)
        await trio.sleep(DAY_END - desk.now())
        # Open holds count in whatever window is current; a charge counts in that of its own time.
        assert await desk.stands(ten) == (0, 5)
        desk.charge(running, 3)
        desk.charge(in_time, 2, at=DAY_END - 1)
        assert await desk.stands(ten) == (3, 0)


async def test_a_clock_that_is_put_back_finds_the_earlier_window_as_it_was(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk, ten = make_desk(), budget(10)
    async with desk.running():
        desk.charge(await desk.hold(4, ten), 4)
        await trio.sleep(DAY_END - desk.now())
        desk.charge(await desk.hold(2, ten), 2)
        assert await desk.stands(ten) == (2, 0)
        desk.clock_error = -3600.0
        assert await desk.stands(ten) == (4, 0)
        desk.clock_error = 0.0
        assert await desk.stands(ten) == (2, 0)


async def test_a_hold_lapses_and_a_charge_that_its_holder_made_is_found(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk, ten = make_desk(), budget(10)
    async with desk.running():
        charged, gone = await desk.hold(3, ten, ttl=60), await desk.hold(2, ten, ttl=60)
        slow = await desk.hold(1, ten, ttl=60)
        desk.record(charged, 2.5)
        await trio.sleep(59)
        assert await desk.stands(ten) == (0, 6)
        await trio.sleep(1)
        assert await desk.stands(ten) == (2.5, 0)
        assert await desk.money.extend(gone, NanoUSD(1)) == 0
        # Both come late: one with a charge that has been found, one with a new one.
        desk.money.settle(charged, dollars(2.5), desk.now())
        desk.charge(slow, 0.25)
        assert await desk.stands(ten) == (2.75, 0)


async def test_a_hold_that_nobody_ends_is_forgotten_with_its_time(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk, ten = make_desk(), budget(10)
    async with desk.running():
        desk.charge(await desk.hold(1, ten), 1)
        await desk.hold(1, ten, ttl=10)
        await desk.hold(1, budget(1, "soft", hard=False), ttl=10)
        assert desk.money.open_holds == 2
        await trio.sleep(10 + BEAT)
        assert desk.money.open_holds == 0


async def test_an_unreachable_ledger_is_told_to_all_who_wait_and_asked_again(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk, ten = make_desk(PlainLedger(database_away, seconds=4)), budget(10)
    answers = list[object]()

    async def request() -> None:
        answers.append(await desk.ask(1, ten))

    async with desk.running():
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(request)
        assert trio.current_time() <= start + 4
        assert all(isinstance(answer, MoneyAway) for answer in answers)
        assert await desk.stands(ten) == (None, None)
        soft = await desk.hold(1, budget(1, "soft", hard=False))
        assert soft.amount == USD
        desk.ledger.fault = no_fault
        await desk.hold(1, ten)
    assert "database does not answer" in str(answers[0])


async def test_what_changed_otherwise_is_loaded_again(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk, ten = make_desk(), budget(10)
    async with desk.running():
        held = await desk.hold(1, ten)
        desk.ledger.charge(Entry("adjustment", dollars(5), desk.now(), frozenset("b")))
        assert await desk.stands(ten) == (0, 1)
        await desk.money.forget(["b", "unknown"])
        assert await desk.stands(ten) == (5, 1)
        desk.charge(held, 1)
        assert await desk.stands(ten) == (6, 0)


async def test_a_limit_counts_as_each_request_knows_it(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk = make_desk()
    async with desk.running():
        held = await desk.hold(8, budget(10))
        assert isinstance(await desk.ask(3, budget(9)), HoldRefused)
        assert isinstance(await desk.ask(3, budget(5)), HoldRefused)
        await desk.hold(3, budget(20))
        assert await desk.money.extend(held, dollars(1)) == 0


# ── alerts ────────────────────────────────────────────────────────────────────────────────────


async def test_alerts_come_once_for_each_threshold(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk, ten = make_desk(), budget(10)
    async with desk.running():
        held = await desk.hold(8, ten)
        assert len(desk.alerts) == 1
        desk.money.release(held)
        desk.charge(await desk.hold(9, ten), 9)
        assert len(desk.alerts) == 1
        desk.charge(await desk.hold(1, ten), 3)
        desk.charge(await desk.hold(0, ten), 3)
        await trio.sleep(DAY_END - desk.now())
        desk.charge(await desk.hold(9, ten), 9)
    assert [alert.partition(":")[0] for alert in desk.alerts] == [
        "the budget name of b is at 80% or more",
        "the budget name of b is at 100% or more",
        "the budget name of b is exceeded, by a charge larger than its hold",
        "the budget name of b is at 80% or more",
    ]
    assert "$12 are spent and $0 held of $10 for key subject of b per day" in (desk.alerts[2])


async def test_a_soft_budget_alerts_within_a_beat_of_its_first_request(
    autojump_clock: MockClock, make_desk: MakeDesk
) -> None:
    desk, soft = make_desk(), budget(1, hard=False)
    async with desk.running():
        desk.charge(await desk.hold(0.1, soft), 2)
        assert desk.alerts == []
        await trio.sleep(BEAT + 0.1)
        assert len(desk.alerts) == 2
        desk.charge(await desk.hold(0.1, soft), 2)
    assert len(desk.alerts) == 2
