"""Health in process and on a real Redis: one made-up clock, the same calls, equal answers."""

import itertools
from collections.abc import Iterator, Sequence

import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from signalbox.machines.breaker import BASE_DELAY, RECENT, RECENT_SECONDS, TRIP_AFTER, Verdict
from signalbox.machines.facts import BreakerState, RouteHealth
from signalbox.machines.probes import MAX_OPEN, PATIENCE
from signalbox.machines.route_health import WINDOW_SAMPLES, WINDOW_SECONDS
from signalbox.persistence.health_memory import MemoryHealthStore
from signalbox.persistence.health_redis import FORGET_AFTER, RedisHealthStore
from signalbox.persistence.health_stores import HealthReport
from tests.servers import private_redis

ROUTES = ("openai:gpt", "azure:gpt", "groq:*", "any:\ud800{x}")
MAX_ROUTES = 3
"""One less than there are, so that routes are forgotten."""

ROUTE = st.sampled_from(ROUTES)
VERDICT = st.sampled_from([*Verdict, Verdict.FAULT])
MEASURED = st.none() | st.floats(0.001, 1000)
TICKS_A_SECOND = 8
"""Times are whole ticks, which doubles add and subtract exactly."""
WAITS = st.sampled_from([0.125, RECENT_SECONDS, PATIENCE, WINDOW_SECONDS]) | st.integers(
    1, 600 * TICKS_A_SECOND
).map(lambda ticks: ticks / TICKS_A_SECOND)


@pytest.fixture(scope="module")
def client() -> Iterator[redis.Redis]:
    with (
        private_redis() as server,
        redis.Redis(unix_socket_path=str(server.address)) as connected,
    ):
        yield connected


class StoresAgree(RuleBasedStateMachine):
    """Two stores that are told the same, and what must hold of both."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        client.flushdb()
        self.client = client
        self.now = 64.0
        self.memory = MemoryHealthStore(MAX_ROUTES)
        # Redis' clock began at another time than the caller's.
        self.redis = RedisHealthStore(client, lambda: self.now + 2**20, MAX_ROUTES)
        self.under_way: list[tuple[str, int]] = []

    def begin(self, route_ids: Sequence[str]) -> list[tuple[str, int]]:
        numbers = self.memory.started(route_ids, self.now)
        assert self.redis.started(route_ids, self.now) == numbers
        return list(zip(route_ids, numbers, strict=True))

    def finish(self, reports: Sequence[HealthReport]) -> None:
        self.memory.ended(reports, self.now)
        self.redis.ended(reports, self.now)

    def look(self, route_id: str) -> RouteHealth:
        return self.redis.look([route_id], self.now)[0]

    @rule(route_ids=st.lists(ROUTE, max_size=5))
    def attempts_start(self, route_ids: list[str]) -> None:
        self.under_way += self.begin(route_ids)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def attempts_end(self, data: st.DataObject) -> None:
        over = data.draw(st.lists(st.sampled_from(self.under_way), unique=True))
        self.finish(
            [
                HealthReport(*attempt, data.draw(VERDICT), data.draw(MEASURED), data.draw(MEASURED))
                for attempt in over
            ]
        )
        self.under_way = [attempt for attempt in self.under_way if attempt not in over]

    @rule(
        route_id=ROUTE,
        said=st.lists(VERDICT, min_size=1, max_size=RECENT),
        copies=st.sampled_from([1, 1, WINDOW_SAMPLES]),
        measured=st.lists(MEASURED, min_size=1, max_size=5),
        pause=WAITS,
    )
    def many_attempts_end_at_once_and_again(
        self,
        route_id: str,
        said: list[Verdict],
        copies: int,
        measured: list[float | None],
        pause: float,
    ) -> None:
        verdicts = (said * copies)[: WINDOW_SAMPLES + 10]
        for _ in range(2):
            attempts = self.begin([route_id] * len(verdicts))
            values = itertools.cycle(measured)
            self.finish(
                [
                    HealthReport(*attempt, verdict, next(values), measured[0])
                    for attempt, verdict in zip(attempts, verdicts, strict=True)
                ]
            )
            self.now += pause

    @rule(
        route_id=ROUTE,
        said=st.lists(VERDICT, min_size=1, max_size=8)
        | st.sampled_from([1, 3, MAX_OPEN + 2]).map(lambda count: [None] * count),
        late=VERDICT,
    )
    def an_outage_is_probed(self, route_id: str, said: list[Verdict | None], late: Verdict) -> None:
        """None: it has not answered when its patience is over. The first of those answers late."""
        attempts = self.begin([route_id] * TRIP_AFTER)
        self.finish([HealthReport(*attempt, Verdict.FAULT) for attempt in attempts])
        unanswered = []
        for verdict in said:
            self.now = self.look(route_id).breaker_reopens_at or self.now
            [attempt] = self.begin([route_id])
            if verdict is None:
                unanswered.append(attempt)
            else:
                self.finish([HealthReport(*attempt, verdict)])
        self.finish([HealthReport(*attempt, late) for attempt in unanswered[:1]])
        self.under_way += unanswered[1:]

    @rule(seconds=WAITS)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(route_id=ROUTE)
    def the_provider_recovers(self, route_id: str) -> None:
        """One probe at a time goes out, and when it succeeds the breaker closes."""
        reopens_at = self.look(route_id).breaker_reopens_at
        if reopens_at is None:
            return
        self.now = reopens_at
        assert self.look(route_id).breaker is BreakerState.HALF_OPEN
        probe, second = self.begin([route_id] * 2)
        self.under_way.append(second)
        self.shows_the_probe(route_id, self.now + PATIENCE)
        self.finish([HealthReport(*second, Verdict.UP)])
        self.shows_the_probe(route_id, self.now + PATIENCE)
        self.finish([HealthReport(*probe, Verdict.UP)])
        assert self.look(route_id).breaker is BreakerState.CLOSED

    def shows_the_probe(self, route_id: str, until: float) -> None:
        health = self.look(route_id)
        assert (health.breaker, health.breaker_reopens_at) == (BreakerState.OPEN, until)

    @invariant()
    def answers_are_equal(self) -> None:
        # To the last bit: both do the same operations, `pow` by the same library of C.
        assert self.redis.look(ROUTES, self.now) == self.memory.look(ROUTES, self.now)

    @invariant()
    def no_key_stays_for_ever(self) -> None:
        pipeline = self.client.pipeline()
        for key in self.client.scan_iter():
            pipeline.ttl(key)
        assert all(0 < seconds <= FORGET_AFTER for seconds in pipeline.execute())

    @invariant()
    def the_number_of_routes_is_bounded(self) -> None:
        assert len(self.memory) <= MAX_ROUTES
        assert len(self.client.keys("{sb:health}:route:*")) == len(self.memory)


@pytest.mark.system
def test_memory_and_redis_agree(client: redis.Redis) -> None:
    class OnThisRedis(StoresAgree):
        def __init__(self) -> None:
            super().__init__(client)

    run_state_machine_as_test(
        OnThisRedis, settings=settings(max_examples=60, stateful_step_count=40)
    )


@pytest.mark.system
def test_processes_share_what_they_learn_and_no_number_comes_twice(client: redis.Redis) -> None:
    client.flushdb()
    first, second = RedisHealthStore(client), RedisHealthStore(client)
    numbers = first.started(ROUTES, 10.0) + second.started(ROUTES, 5000.0)
    assert len(set(numbers)) == len(numbers)
    first.ended([HealthReport(ROUTES[0], numbers[0], Verdict.FAULT)] * TRIP_AFTER, 10.0)
    # By Redis' own clock, on which little has passed: a minute is far more than this test takes.
    [health] = second.look(ROUTES[:1], 5000.0)
    assert health.breaker is BreakerState.OPEN
    assert health.last_outage_at is not None
    assert 4940.0 < health.last_outage_at <= 5000.0
    assert health.breaker_reopens_at == pytest.approx(health.last_outage_at + BASE_DELAY)


def test_the_route_that_was_learnt_of_longest_ago_is_forgotten() -> None:
    store = MemoryHealthStore(max_routes=2)
    for route_id in ("a", "b", "a", "c"):
        store.ended([HealthReport(route_id, 0, Verdict.UP)], 1.0)
    assert [health.samples for health in store.look(["a", "b", "c"], 1.0)] == [2, 0, 1]
