"""What is told of attempts on a route, and the budgets of extra calls."""

import pytest

from signalbox.actors.health import Health
from signalbox.actors.store_access import InProcess
from signalbox.errors import Failure, FailureKind
from signalbox.machines.breaker import TRIP_AFTER
from signalbox.machines.budgets import HEDGES, RETRIES
from signalbox.machines.facts import BreakerState, RouteHealth
from signalbox.persistence.health_memory import MemoryHealthStore
from signalbox.persistence.health_stores import MAX_ROUTES
from tests.key_desk import Clock

ROUTE = "openai:gpt"
OUTAGE = Failure(FailureKind.SERVER_ERROR, "oops")
LIMITED = Failure(FailureKind.RATE_LIMITED, "slow down")
MISTAKE = Failure(FailureKind.INVALID_REQUEST, "no")


class Bench:
    """A `Health` with a clock in hand."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.health = Health(InProcess(MemoryHealthStore()), self.clock)

    def end(
        self, attempt: int | None, failure: Failure | None = None, *, cancelled: bool = False
    ) -> None:
        self.health.record(
            ROUTE,
            at=self.clock.now,
            failure=failure,
            first_token=0.2,
            tokens_per_second=None,
            cancelled=cancelled,
            attempt=attempt,
        )

    async def attempt(self, failure: Failure | None = None, *, retry: bool = False) -> None:
        self.end(await self.health.attempt_started(ROUTE, retry=retry), failure)

    async def seen(self) -> RouteHealth:
        [health] = await self.health.snapshots([ROUTE], self.clock.now)
        return health


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_routes_are_told_of_in_the_order_of_the_question(bench: Bench) -> None:
    await bench.attempt()
    unknown, known = await bench.health.snapshots(["openai:other", ROUTE], bench.clock.now)
    assert (unknown, known.samples) == (RouteHealth(), 1)


@pytest.mark.parametrize(("failure", "rate"), [(None, 1.0), (OUTAGE, 0.0)])
async def test_success_and_the_providers_faults_count(
    bench: Bench, failure: Failure | None, rate: float
) -> None:
    await bench.attempt(failure)
    assert (await bench.seen()).success_rate == rate


@pytest.mark.parametrize("failure", [LIMITED, MISTAKE])
async def test_what_is_not_the_routes_fault_does_not_count(bench: Bench, failure: Failure) -> None:
    await bench.attempt(failure)
    assert (await bench.seen()).samples == 0


async def test_a_cancelled_attempt_counts_only_for_what_it_measured(bench: Bench) -> None:
    bench.end(await bench.health.attempt_started(ROUTE), OUTAGE, cancelled=True)
    seen = await bench.seen()
    assert (seen.samples, seen.first_token) == (0, 0.2)


async def test_an_attempt_that_never_started_says_nothing(bench: Bench) -> None:
    for _ in range(TRIP_AFTER):
        bench.end(None, OUTAGE)
    assert await bench.seen() == RouteHealth()


async def test_faults_open_the_breaker_and_one_probe_closes_it(bench: Bench) -> None:
    for _ in range(TRIP_AFTER):
        await bench.attempt(OUTAGE)
    opened = await bench.seen()
    assert (opened.breaker, bench.health.routes) == (BreakerState.OPEN, [ROUTE])
    assert opened.breaker_reopens_at is not None
    bench.clock.now = opened.breaker_reopens_at
    await bench.attempt()
    assert (await bench.seen()).breaker is BreakerState.CLOSED


async def test_retries_are_out_of_the_budget_of_their_route(bench: Bench) -> None:
    retries = 0
    while bench.health.may_retry(ROUTE):
        await bench.attempt(retry=True)
        retries += 1
    assert retries == RETRIES.reserve
    assert bench.health.may_retry("openai:other")
    for _ in range(round(1 / RETRIES.ratio)):
        await bench.attempt()
    assert bench.health.may_retry(ROUTE)


async def test_hedges_are_out_of_one_budget_which_ordinary_calls_fill(bench: Bench) -> None:
    hedges = 0
    while bench.health.may_hedge():
        await bench.health.attempt_started(f"openai:{hedges}", hedge=True)
        hedges += 1
    assert hedges == HEDGES.reserve
    for number in range(round(1 / HEDGES.ratio)):
        await bench.health.attempt_started(f"openai:{number}")
    assert bench.health.may_hedge()


async def test_the_number_of_budgets_is_bounded(bench: Bench) -> None:
    for number in range(MAX_ROUTES + 1):
        await bench.health.attempt_started(f"openai:made-up-{number}")
    assert len(bench.health.routes) == MAX_ROUTES
    assert bench.health.routes[-1] == f"openai:made-up-{MAX_ROUTES}"
