"""Who waits for a key, and in which order they are served."""

from collections.abc import Sequence

import pytest
import trio
import trio.testing

from signalbox.actors.key_pool import MAX_WAITERS, TURN, AttemptOutcome, KeyPool, Lease
from signalbox.actors.store_access import Answered, AnswerT, InProcess, ItemT, Operation
from signalbox.machines.limits import WINDOW
from signalbox.persistence.lease_stores import LeaseStore
from signalbox.persistence.leases_memory import MemoryLeaseStore
from tests.key_desk import TTL, key


def waiting_room(rpm: int) -> tuple[KeyPool, list[int]]:
    """A pool on trio's own clock, and the list where those who got a lease sign."""
    return KeyPool([key("a", rpm=rpm)], InProcess(MemoryLeaseStore())), []


async def wait_and_lease(
    pool: KeyPool, number: int, served: list[int], deadline: float = 1e6
) -> None:
    """As a request does: being told of room and leasing are some steps apart."""
    while await pool.wait_for_room("openai", "m", 0, deadline):
        await trio.testing.wait_all_tasks_blocked()
        if isinstance(await pool.lease("openai", "m", 0, owner=str(number), ttl=TTL), Lease):
            served.append(number)
            return
    served.append(-number)


async def test_waiters_are_served_in_the_order_in_which_they_came(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool, served = waiting_room(rpm=3)
    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(wait_and_lease, pool, number, served)
            await trio.testing.wait_all_tasks_blocked()
    assert served == list(range(12))
    assert trio.current_time() >= 3 * WINDOW


async def test_room_that_one_waiter_does_not_use_goes_to_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool, served = waiting_room(rpm=1)
    start = trio.current_time()
    assert await pool.wait_for_room("openai", "m", 0, start + 9)
    await wait_and_lease(pool, 2, served)
    assert served == [2]
    assert trio.current_time() == pytest.approx(start + TURN)


class FarAway(InProcess[LeaseStore]):
    """A store whose answers are on their way for a second."""

    async def ask(
        self, operation: Operation[LeaseStore, ItemT, AnswerT], items: Sequence[ItemT], now: float
    ) -> Answered[AnswerT]:
        answered = await super().ask(operation, items, now)
        await trio.sleep(1)
        return answered


async def test_room_that_came_while_the_answer_was_on_its_way_is_found(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool = KeyPool([key("a", rpm=1)], FarAway(MemoryLeaseStore()))
    start, served = trio.current_time(), list[int]()
    await wait_and_lease(pool, 1, served)
    await trio.sleep_until(start + 1 + WINDOW - 0.5)
    await wait_and_lease(pool, 2, served)
    assert served == [1, 2]


async def test_a_settled_lease_wakes_the_first_in_the_queue(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool = KeyPool([key("a", tpm=100)], InProcess(MemoryLeaseStore()))
    lease = await pool.lease("openai", "m", 100, owner="r", ttl=TTL)
    assert isinstance(lease, Lease)
    woken = list[bool]()

    async def wait() -> None:
        woken.append(await pool.wait_for_room("openai", "m", 50, trio.current_time() + 70))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(5)
        pool.settle(lease, AttemptOutcome(None, tokens=10, rate_limits=None))
        await trio.testing.wait_all_tasks_blocked()
        assert woken == [True]
        assert (await pool.statistics()).waiting == {}


async def test_a_waiter_that_is_cancelled_vanishes_and_the_next_is_served(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool, served = waiting_room(rpm=1)
    start = trio.current_time()
    await wait_and_lease(pool, 1, served)
    async with trio.open_nursery() as nursery, trio.open_nursery() as leaving:
        leaving.start_soon(wait_and_lease, pool, 2, served)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(wait_and_lease, pool, 3, served)
        await trio.testing.wait_all_tasks_blocked()
        leaving.cancel_scope.cancel()
    assert served == [1, 3]
    assert trio.current_time() == pytest.approx(start + WINDOW)
    assert (await pool.statistics()).waiting == {}


async def test_nobody_waits_for_what_will_not_come_in_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool, served = waiting_room(rpm=1)
    start = trio.current_time()
    await wait_and_lease(pool, 1, served)
    assert not await pool.wait_for_room("openai", "m", 0, start + WINDOW - 1)
    assert not await pool.wait_for_room("nobody", "m", 0, start + WINDOW)
    assert trio.current_time() == start
    await wait_and_lease(pool, 2, served, deadline=start + WINDOW)
    assert served == [1, 2]


async def test_nobody_overtakes_and_whoever_is_late_gives_up_at_the_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool = KeyPool([key("a", tpm=100)], InProcess(MemoryLeaseStore()))
    start = trio.current_time()
    assert isinstance(await pool.lease("openai", "m", 100, owner="r", ttl=TTL), Lease)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.wait_for_room, "openai", "m", 50, start + WINDOW)
        await trio.testing.wait_all_tasks_blocked()
        [room] = await pool.headrooms([("openai", "m")], 0)
        assert room.available
        assert not await pool.wait_for_room("openai", "m", 0, start + 10)
        assert trio.current_time() == pytest.approx(start + 10)


async def test_the_queue_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    pool, served = waiting_room(rpm=1)
    await wait_and_lease(pool, 1, served)
    async with trio.open_nursery() as nursery:
        for _ in range(MAX_WAITERS):
            nursery.start_soon(pool.wait_for_room, "openai", "m", 0, 1e6)
        await trio.testing.wait_all_tasks_blocked()
        assert not await pool.wait_for_room("openai", "m", 0, 1e6)
        nursery.cancel_scope.cancel()
