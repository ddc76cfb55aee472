"""What a route's recent past says of it, and its breaker as others see it."""

import pytest

from signalbox.actors.health import HALF_LIFE, MAX_ROUTES, Health
from signalbox.errors import Failure, FailureKind
from signalbox.machines.breaker import BASE_DELAY, TRIP_AFTER
from signalbox.machines.facts import BreakerState, RouteHealth
from signalbox.machines.probes import PATIENCE

ROUTE = "openai:gpt"
START = 1000.0
OUTAGE = Failure(FailureKind.SERVER_ERROR, "oops")
LIMITED = Failure(FailureKind.RATE_LIMITED, "slow down")
MISTAKE = Failure(FailureKind.INVALID_REQUEST, "no")


class Bench:
    """A `Health` with a clock in hand."""

    def __init__(self) -> None:
        self.now = START
        self.health = Health(lambda: self.now)

    def start(self) -> int:
        return self.health.attempt_started(ROUTE)

    def end(
        self,
        attempt: int | None = None,
        failure: Failure | None = None,
        *,
        first_token: float | None = None,
        speed: float | None = None,
        cancelled: bool = False,
    ) -> None:
        self.health.record(
            ROUTE,
            at=self.now,
            failure=failure,
            first_token=first_token,
            tokens_per_second=speed,
            cancelled=cancelled,
            attempt=attempt,
        )

    def attempt(self, failure: Failure | None = None) -> None:
        self.end(self.start(), failure)

    def seen(self) -> RouteHealth:
        return self.health.snapshot(ROUTE, self.now)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def tripped(bench: Bench) -> None:
    for _ in range(TRIP_AFTER):
        bench.attempt(OUTAGE)
    assert bench.seen().breaker is BreakerState.OPEN


def test_nothing_is_known_of_a_new_route(bench: Bench) -> None:
    assert bench.seen() == RouteHealth()


def test_measurements_are_averaged(bench: Bench) -> None:
    bench.end(bench.start(), first_token=0.2, speed=40.0)
    bench.end(bench.start(), first_token=0.4, speed=60.0)
    bench.attempt(OUTAGE)
    assert bench.seen().first_token == pytest.approx(0.3)
    assert bench.seen().tokens_per_second == pytest.approx(50)
    assert bench.seen().success_rate == pytest.approx(2 / 3)
    assert bench.seen().samples == 3


def test_a_measurement_weighs_half_after_its_half_life(bench: Bench) -> None:
    bench.end(bench.start(), first_token=1.0)
    bench.now += HALF_LIFE
    bench.end(bench.start(), first_token=4.0)
    assert bench.seen().first_token == pytest.approx((0.5 * 1.0 + 4.0) / 1.5)


def test_an_outage_is_remembered_with_its_time(bench: Bench) -> None:
    bench.now += 7
    bench.attempt(OUTAGE)
    bench.now += 1
    bench.attempt()
    assert bench.seen().last_outage_at == START + 7


@pytest.mark.parametrize("failure", [LIMITED, MISTAKE])
def test_what_is_not_the_routes_fault_does_not_count(bench: Bench, failure: Failure) -> None:
    for _ in range(100):
        bench.attempt(failure)
    assert bench.seen() == RouteHealth()


def test_a_cancelled_attempt_counts_only_for_what_it_measured(bench: Bench) -> None:
    bench.end(bench.start(), OUTAGE, first_token=0.2, cancelled=True)
    assert bench.seen() == RouteHealth(first_token=0.2)


def test_an_open_breaker_says_when_it_lets_a_probe_through(bench: Bench) -> None:
    tripped(bench)
    assert bench.seen().breaker_reopens_at == START + BASE_DELAY
    bench.now += BASE_DELAY
    assert bench.seen().breaker is BreakerState.HALF_OPEN
    assert bench.seen().breaker_reopens_at is None


def test_while_a_probe_is_out_the_route_is_shown_as_open(bench: Bench) -> None:
    tripped(bench)
    bench.now += BASE_DELAY
    probe = bench.start()
    assert bench.seen().breaker is BreakerState.OPEN
    assert bench.seen().breaker_reopens_at == bench.now + PATIENCE
    bench.end(probe)
    assert bench.seen().breaker is BreakerState.CLOSED


def test_a_cancelled_probe_frees_its_place(bench: Bench) -> None:
    tripped(bench)
    bench.now += BASE_DELAY
    bench.end(bench.start(), cancelled=True)
    assert bench.seen().breaker is BreakerState.HALF_OPEN


def test_an_attempt_from_before_the_outage_is_not_the_probe(bench: Bench) -> None:
    old = bench.start()
    tripped(bench)
    bench.now += BASE_DELAY
    probe = bench.start()
    bench.end(old)
    assert bench.seen().breaker is BreakerState.OPEN
    bench.end(probe, OUTAGE)
    assert bench.seen().breaker_reopens_at == bench.now + 2 * BASE_DELAY


def test_a_result_without_its_attempt_is_taken_for_the_probes(bench: Bench) -> None:
    tripped(bench)
    bench.now += BASE_DELAY
    bench.start()
    bench.end()
    assert bench.seen().breaker is BreakerState.CLOSED


def test_the_number_of_routes_is_bounded_and_the_least_recently_used_is_forgotten(
    bench: Bench,
) -> None:
    def name_models(count: int) -> None:
        for number in range(count):
            bench.health.attempt_started(f"openai:made-up-{number}")

    bench.attempt(OUTAGE)
    name_models(MAX_ROUTES - 1)
    bench.attempt(OUTAGE)
    bench.health.attempt_started("openai:one-more")
    assert len(bench.health) == MAX_ROUTES
    assert bench.seen().samples == 2
    name_models(MAX_ROUTES)
    assert bench.seen() == RouteHealth()
