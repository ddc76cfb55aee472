"""The way to the shared stores: batches, outages, what is done without them, and the return."""

import logging

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from signalbox.actors.key_pool import AttemptOutcome
from signalbox.actors.rate_limiter import Admission, KeyLimits, Refusal
from signalbox.actors.shared_state import (
    ASK_SECONDS,
    BATCH,
    HEARTBEAT,
    LONGEST_DEBT,
    MAX_TOLD,
    SLOWEST_PROBE,
)
from signalbox.errors import Failure, FailureKind
from signalbox.machines.breaker import TRIP_AFTER
from signalbox.machines.facts import BreakerState
from tests.fakes import no_fault
from tests.key_desk import SUCCESS
from tests.shared_station import Shared, Station, away

REJECTED = AttemptOutcome(Failure(FailureKind.KEY_REJECTED, "words"), None, None)
OUTAGE = Failure(FailureKind.SERVER_ERROR, "oops")
ROUTE = "openai:m"
BACK = SLOWEST_PROBE + 0.5
"""Seconds after which stores that are back have been found."""


@pytest.fixture
def shared() -> Shared:
    return Shared()


# ── batches ───────────────────────────────────────────────────────────────────────────────────


async def test_what_is_asked_at_one_time_is_one_call(
    autojump_clock: MockClock, shared: Shared
) -> None:
    station = Station(shared, rpm=40)
    async with station.running():
        assert len(await station.leases(100)) == 40
        assert shared.calls["acquire"] == 1


async def test_what_was_given_back_can_be_taken_in_the_same_batch(
    autojump_clock: MockClock, shared: Shared
) -> None:
    station, one = Station(shared), KeyLimits("ci", None, None, concurrency=1)
    async with station.running():
        for _ in range(3):
            admission = await station.admit(one)
            assert isinstance(admission, Admission)
            station.limiter.settle(admission, 0)
    assert shared.calls["reserve"] == 3


async def test_instances_share_keys_limits_and_breakers(
    autojump_clock: MockClock, shared: Shared
) -> None:
    here, there = Station(shared, rpm=10), Station(shared, rpm=10)
    one = KeyLimits("ci", rpm=1, tpm=None, concurrency=None)
    async with here.running(), there.running():
        assert len(await here.leases(6)) + len(await there.leases(6)) == 10
        assert isinstance(await here.admit(one), Admission)
        assert isinstance(await there.admit(one), Refusal)
        for _ in range(TRIP_AFTER):
            await fail_once(here)
        await wait_all_tasks_blocked()  # told, and not waited for
        [seen] = await there.health.snapshots([ROUTE], trio.current_time())
        assert seen.breaker is BreakerState.OPEN


async def fail_once(station: Station) -> None:
    number = await station.health.attempt_started(ROUTE)
    station.health.record(
        ROUTE,
        at=trio.current_time(),
        failure=OUTAGE,
        first_token=None,
        tokens_per_second=None,
        attempt=number,
    )


async def test_an_eviction_is_told_of_when_the_stores_say_so(
    autojump_clock: MockClock, shared: Shared
) -> None:
    station = Station(shared)
    async with station.running():
        for _ in range(2):
            station.pool.settle(await station.lease(), REJECTED)
    [alert] = station.alerts
    assert "refuses the key" in alert


# ── what nobody waits for ─────────────────────────────────────────────────────────────────────


async def test_a_lease_for_somebody_who_has_left_is_given_back(
    autojump_clock: MockClock, shared: Shared
) -> None:
    station = Station(shared, rpm=1)
    async with station.running():
        station.workers.seconds = 0.5
        with trio.move_on_after(0.1):
            await station.lease()
        await station.pool.statistics()
        assert shared.leases.open_leases(trio.current_time()) == []
        assert len(await station.leases(1)) == 1


async def test_an_answer_that_is_late_is_not_waited_for(
    autojump_clock: MockClock, shared: Shared
) -> None:
    station = Station(shared, rpm=1)
    async with station.running():
        start = trio.current_time()
        station.workers.seconds = ASK_SECONDS + 1
        assert (await station.lease()).local
        assert trio.current_time() == pytest.approx(start + ASK_SECONDS)
        station.workers.seconds = 0
        await trio.sleep(BACK)
        assert shared.leases.open_leases(trio.current_time()) == []
    assert len(station.alerts) == 1


# ── away ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_request_that_meets_the_outage_is_served(
    autojump_clock: MockClock, shared: Shared
) -> None:
    station = Station(shared)
    async with station.running():
        shared.fault = away
        assert len(await station.leases(50)) == 50
        assert station.state.away == "connection refused"
        assert shared.calls["acquire"] == 1
    [alert] = station.alerts
    assert "the shared state is away (connection refused)" in alert


async def test_what_waited_while_the_stores_were_lost_does_not_wait_for_the_next_try(
    autojump_clock: MockClock, shared: Shared
) -> None:
    station, answered_after = Station(shared), list[float]()

    async def lease_at(start: float) -> None:
        await trio.sleep_until(start)
        await station.lease()
        answered_after.append(trio.current_time() - start)

    async with station.running():
        sign_of_life = trio.current_time() + HEARTBEAT
        station.workers.seconds = 1.0
        shared.fault = away
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lease_at, sign_of_life - 0.5)
            nursery.start_soon(lease_at, sign_of_life)
    assert answered_after == [1.0, 0.5]


async def test_each_instance_keeps_to_its_share(autojump_clock: MockClock, shared: Shared) -> None:
    stations = [Station(shared, rpm=10) for _ in range(3)]
    async with stations[0].running(), stations[1].running(), stations[2].running():
        await trio.sleep(HEARTBEAT + 0.1)
        shared.fault = away
        assert [len(await station.leases(20)) for station in stations] == [3, 3, 3]
        answers = [await stations[0].admit(KeyLimits("ci", 7, None, None)) for _ in range(5)]
        assert sum(isinstance(answer, Admission) for answer in answers) == 2


async def test_a_share_is_never_nothing(autojump_clock: MockClock, shared: Shared) -> None:
    stations = [Station(shared, rpm=1) for _ in range(2)]
    async with stations[0].running(), stations[1].running():
        await trio.sleep(HEARTBEAT + 0.1)
        shared.fault = away
        assert [len(await station.leases(5)) for station in stations] == [1, 1]


async def test_an_outage_that_no_request_meets_is_found(
    autojump_clock: MockClock, shared: Shared
) -> None:
    station = Station(shared)
    async with station.running():
        shared.fault = away
        await trio.sleep(HEARTBEAT + 0.1)
        assert not station.state.statistics().up
        await trio.sleep(60)
        assert station.state.statistics().seconds_away == pytest.approx(60, abs=HEARTBEAT)
        assert shared.calls["announce"] < 20
    assert len(station.alerts) == 1


async def test_the_start_goes_on_without_the_stores(
    autojump_clock: MockClock, shared: Shared
) -> None:
    shared.fault = away
    station = Station(shared)
    async with station.running():
        assert (await station.lease()).local


async def test_where_nobody_may_stand_in_requests_are_refused(
    autojump_clock: MockClock, shared: Shared
) -> None:
    station = Station(shared, refuse=True)
    anyone = KeyLimits("ci", None, None, None)
    async with station.running():
        lease = await station.lease()
        shared.fault = away
        refusal = await station.admit(anyone)
        assert isinstance(refusal, Refusal)
        assert (refusal.kind, refusal.retry_after) == ("shared_state", 1.0)
        await station.limiter.sweep()
        # Who was admitted before goes on.
        await fail_once(station)
        assert (await station.lease()).local
        station.pool.settle(lease, SUCCESS)
        shared.fault = no_fault
        await trio.sleep(BACK)
        assert isinstance(await station.admit(anyone), Admission)
    assert "requests are refused" in station.alerts[0]


async def test_a_bug_in_a_store_costs_one_batch(autojump_clock: MockClock, shared: Shared) -> None:
    station = Station(shared)

    def bug(operation: str) -> None:
        shared.fault = no_fault
        raise RuntimeError("a bug")

    async with station.running():
        shared.fault = bug
        assert (await station.lease()).local
        await trio.sleep(BACK)
        assert not (await station.lease()).local


# ── back ──────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_used_meanwhile_counts_after_the_return(
    autojump_clock: MockClock, shared: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    station, ten = Station(shared, rpm=10), KeyLimits("ci", 10, None, None)
    async with station.running():
        await station.leases(2)
        shared.fault = away
        local = await station.leases(3)
        assert len(local) == 3
        for _ in range(4):
            assert isinstance(await station.admit(ten), Admission)
        shared.fault = no_fault
        with caplog.at_level(logging.WARNING):
            await trio.sleep(BACK)
        assert len(await station.leases(10)) == 5
        admitted = [isinstance(await station.admit(ten), Admission) for _ in range(10)]
        assert sum(admitted) == 6
        for lease in local:
            station.pool.settle(lease, SUCCESS)
        assert station.state.statistics().owed == 0
    assert len(station.alerts) == 1
    assert caplog.text.count("the shared state is back after") == 1


async def test_what_was_counted_once_is_not_counted_again(
    autojump_clock: MockClock, shared: Shared
) -> None:
    station = Station(shared, rpm=10)
    async with station.running():
        for _ in range(3):
            shared.fault = away
            assert len(await station.leases(1)) == 1
            shared.fault = no_fault
            await trio.sleep(BACK)
        assert len(await station.leases(10)) == 7


async def test_what_is_owed_stays_owed_when_the_return_fails(
    autojump_clock: MockClock, shared: Shared
) -> None:
    station = Station(shared, rpm=10)

    def no_counting(operation: str) -> None:
        if operation == "count":
            away(operation)

    async with station.running():
        shared.fault = away
        await station.leases(4)
        shared.fault = no_counting
        await trio.sleep(30)
        assert station.state.away is not None
        shared.fault = no_fault
        await trio.sleep(BACK)
        assert len(await station.leases(10)) == 6
    assert len(station.alerts) == 1


async def test_leases_from_before_the_outage_are_settled_once_after_it(
    autojump_clock: MockClock, shared: Shared
) -> None:
    station = Station(shared)
    async with station.running():
        leases = await station.leases(3)
        shared.fault = away
        await station.lease()
        for lease in [*leases, *leases]:
            station.pool.settle(lease, SUCCESS)
        assert station.state.statistics().owed == 6
        shared.fault = no_fault
        await trio.sleep(BACK)
        assert shared.leases.open_leases(trio.current_time()) == []
    assert shared.leases.settled == [True] * 3 + [False] * 3


async def test_debts_are_bounded_in_number_and_age_and_counted_when_lost(
    autojump_clock: MockClock, shared: Shared
) -> None:
    station = Station(shared)
    async with station.running():
        lease = await station.lease()
        shared.fault = away
        await station.lease()
        for _ in range(MAX_TOLD + 3):
            station.pool.settle(lease, SUCCESS)
        assert (station.state.statistics().owed, station.state.statistics().lost) == (MAX_TOLD, 3)
        await trio.sleep(LONGEST_DEBT)
        shared.fault = no_fault
        await trio.sleep(BACK)
        assert (station.state.statistics().owed, shared.leases.settled) == (0, [])
    assert [alert.partition(" (")[0] for alert in station.alerts] == [
        "the shared state is away",
        "settlements for the shared state are lost",
    ]


async def test_a_stop_settles_what_was_told_and_says_goodbye(
    autojump_clock: MockClock, shared: Shared
) -> None:
    station = Station(shared)
    async with station.running():
        for lease in await station.leases(2 * BATCH):
            station.pool.settle(lease, SUCCESS)
        assert len(shared.instances) == 1
    assert shared.leases.settled == [True] * 2 * BATCH
    assert shared.instances == set()
