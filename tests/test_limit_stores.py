"""The limits in process and on Redis answer alike, keep their bounds, and leave nothing behind."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import trio
import trio.testing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis.backoff import NoBackoff
from redis.retry import Retry

from signalbox.actors.rate_limiter import Admission, KeyLimits, RateLimiter
from signalbox.actors.store_access import InProcess
from signalbox.errors import StoreUnavailable
from signalbox.persistence.lease_stores import (
    LimitGranted,
    LimitRefused,
    LimitRequest,
    LimitSettlement,
    LimitStore,
    Scope,
    ScopeLimits,
    ScopeUse,
)
from signalbox.persistence.limits_memory import MemoryLimitStore
from signalbox.persistence.limits_redis import RedisLimitStore
from tests.limit_oracle import CheckedLimits
from tests.lost_answers import losing_an_answer
from tests.servers import private_redis

pytestmark = pytest.mark.system

Reservation = tuple[str, str]
"""The ids of one reservation: in process, on Redis."""


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    with private_redis() as server:
        yield server.address


@pytest.fixture
def client(socket: Path) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=str(socket)) as client:
        client.flushall()
        yield client


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limits_of(
    scope: Scope,
    id: str,
    rpm: int | None = None,
    tpm: int | None = None,
    concurrency: int | None = None,
    burst: int | None = None,
) -> ScopeLimits:
    return ScopeLimits(scope, id, rpm, tpm, concurrency, burst)


def asked(*scopes: ScopeLimits, tokens: int = 0, ttl: float = 60.0) -> LimitRequest:
    return LimitRequest("r", tokens, ttl, scopes)


# ── the same answers ──────────────────────────────────────────────────────────────────────────


def some_limits(scope: Scope, ids: list[str]) -> st.SearchStrategy[ScopeLimits]:
    per_minute = st.none() | st.integers(1, 8) | st.sampled_from([60, 1000, 7_000_000])
    return st.builds(
        ScopeLimits,
        scope=st.just(scope),
        id=st.sampled_from(ids),
        rpm=per_minute,
        tpm=per_minute,
        concurrency=st.none() | st.integers(1, 4),
        burst=st.none() | st.integers(1, 5),
    )


of_everyone, of_a_key = some_limits(Scope.GLOBAL, [""]), some_limits(Scope.KEY, ["ci", "clé:{x}"])
requests = st.builds(
    LimitRequest,
    owner=st.just("r"),
    tokens=st.integers(0, 10) | st.sampled_from([60, 900, 6_000_000]),
    ttl=st.sampled_from([5.0, 30.0, 77.7]),
    scopes=st.one_of(of_a_key.map(lambda limits: (limits,)), st.tuples(of_everyone, of_a_key)),
)


class BothStores(RuleBasedStateMachine):
    """One clock, the same calls to both stores."""

    reservations: Bundle[Reservation] = Bundle("reservations")

    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        client.flushall()
        self.client, self.clock = client, Clock()
        self.scopes = MemoryLimitStore()
        self.memory, self.redis = CheckedLimits(self.scopes), RedisLimitStore(client, self.clock)
        self.refused: tuple[LimitRequest, float] | None = None

    @rule(target=reservations, batch=st.lists(requests, max_size=4))
    def reserve(self, batch: list[LimitRequest]) -> Any:
        here = self.memory.reserve(batch, self.clock.now)
        there = self.redis.reserve(batch, self.clock.now)
        pairs: list[Reservation] = []
        for request, mine, other in zip(batch, here, there, strict=True):
            if isinstance(mine, LimitGranted) and isinstance(other, LimitGranted):
                assert mine.meters == other.meters
                pairs.append((mine.id, other.id))
            else:
                assert mine == other
            if isinstance(mine, LimitRefused) and math.isfinite(mine.retry_after):
                self.refused = request, mine.retry_after
        return multiple(*pairs)

    @rule(batch=st.lists(st.tuples(reservations, st.none() | st.integers(0, 2000)), max_size=4))
    def settle(self, batch: list[tuple[Reservation, int | None]]) -> None:
        """Of open reservations and of those that are over, some of them twice in a batch."""
        here = [LimitSettlement(pair[0], tokens) for pair, tokens in batch]
        there = [LimitSettlement(pair[1], tokens) for pair, tokens in batch]
        done = self.memory.settle(here, self.clock.now)
        assert self.redis.settle(there, self.clock.now) == done

    @rule(tokens=st.none() | st.integers(0, 9))
    def settle_what_nobody_reserved(self, tokens: int | None) -> None:
        unknown = [LimitSettlement("r#0", tokens)]
        assert self.memory.settle(unknown, self.clock.now) == [False]
        assert self.redis.settle(unknown, self.clock.now) == [False]

    @rule(
        limits=of_everyone | of_a_key,
        requests=st.floats(0, 20),
        tokens=st.floats(0, 2000),
    )
    def count(self, limits: ScopeLimits, requests: float, tokens: float) -> None:
        uses = [ScopeUse(limits, requests, tokens)]
        self.memory.count(uses, self.clock.now)
        self.redis.count(uses, self.clock.now)

    @rule()
    def expire(self) -> None:
        still_open = self.memory.expire(self.clock.now)
        assert self.redis.expire(self.clock.now) == still_open

    @rule(seconds=st.floats(0, 90) | st.sampled_from([5.0, 25.0, 30.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @precondition(lambda self: self.refused is not None)
    @rule(target=reservations)
    def come_back_as_told(self) -> Any:
        assert self.refused is not None
        request, retry_after = self.refused
        self.refused = None
        self.clock.now += retry_after
        return self.reserve([request])

    @invariant()
    def every_key_of_redis_ends(self) -> None:
        assert all(self.client.pttl(key) > 0 for key in self.client.scan_iter())

    def teardown(self) -> None:
        self.clock.now += 1e9
        self.expire()
        assert (len(self.memory.open), len(self.scopes)) == (0, 0)


def test_both_stores_give_the_same_answers_and_keep_every_bound(client: redis.Redis) -> None:
    class OnThisRedis(BothStores):
        def __init__(self) -> None:
            super().__init__(client)

    run_state_machine_as_test(
        OnThisRedis, settings=settings(max_examples=100, stateful_step_count=30)
    )


# ── each store alone ──────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["memory", "redis"])
def bench(request: pytest.FixtureRequest, client: redis.Redis) -> tuple[LimitStore, Clock]:
    clock = Clock()
    if request.param == "memory":
        return MemoryLimitStore(), clock
    return RedisLimitStore(client, clock), clock


def test_the_places_and_tokens_of_the_dead_come_free_at_their_end_without_a_sweep(
    bench: tuple[LimitStore, Clock],
) -> None:
    store, clock = bench
    request = asked(limits_of(Scope.KEY, "ci", tpm=60, concurrency=1), tokens=60, ttl=10.0)
    [dead] = store.reserve([request], clock.now)
    assert isinstance(dead, LimitGranted)
    clock.now += 9.0
    assert isinstance(store.reserve([request], clock.now)[0], LimitRefused)
    # At 10 s it counts as estimated; at 70 s that has drained, whoever looked in between.
    clock.now += 61.0
    assert isinstance(store.reserve([request], clock.now)[0], LimitGranted)
    assert store.settle([LimitSettlement(dead.id, 0)], clock.now) == [False]


def test_a_limit_that_came_later_is_not_paid_with_reservations_from_before(
    bench: tuple[LimitStore, Clock],
) -> None:
    store, clock = bench
    without, limited = limits_of(Scope.KEY, "ci"), limits_of(Scope.KEY, "ci", tpm=10)
    [early, late] = store.reserve([asked(without, tokens=10), asked(limited, tokens=10)], clock.now)
    assert isinstance(early, LimitGranted)
    assert isinstance(late, LimitGranted)
    store.settle([LimitSettlement(early.id, 0)], clock.now)
    assert isinstance(store.reserve([asked(limited, tokens=1)], clock.now)[0], LimitRefused)


def test_whoever_comes_back_exactly_as_told_is_served(bench: tuple[LimitStore, Clock]) -> None:
    store, clock = bench
    request = asked(limits_of(Scope.KEY, "ci", rpm=7, burst=1))
    for _ in range(100):
        [first, refused] = store.reserve([request, request], clock.now)
        assert isinstance(first, LimitGranted)
        assert isinstance(refused, LimitRefused)
        clock.now += refused.retry_after


def test_a_raised_limit_does_not_drain_the_time_before_it(bench: tuple[LimitStore, Clock]) -> None:
    store, clock = bench
    slow, quick = limits_of(Scope.KEY, "ci", rpm=1), limits_of(Scope.KEY, "ci", rpm=600, burst=1)
    store.reserve([asked(slow)], clock.now)
    clock.now += 30.0
    [refused] = store.reserve([asked(quick)], clock.now)
    assert isinstance(refused, LimitRefused)
    assert refused.retry_after == pytest.approx(0.05)


@pytest.mark.parametrize("on_redis", [False, True])
async def test_a_thousand_callers_never_pass_a_limit(
    on_redis: bool, client: redis.Redis, autojump_clock: trio.testing.MockClock
) -> None:
    chance, refused = random.Random(0), set[str]()
    store = RedisLimitStore(client, trio.current_time) if on_redis else MemoryLimitStore()
    everyone = KeyLimits("", rpm=200, tpm=20_000, concurrency=40, burst=20)
    limiter = RateLimiter(InProcess(CheckedLimits(store)), everyone)
    keys = [KeyLimits(name, rpm=90, tpm=9000, concurrency=12, burst=30) for name in "abc"]

    async def call() -> None:
        await trio.sleep(chance.uniform(0, 120))
        admitted = await limiter.admit(chance.choice(keys), chance.randint(1, 300), "r", ttl=100)
        if isinstance(admitted, Admission):
            await trio.sleep(chance.uniform(0, 12))
            limiter.settle(admitted, chance.choice([None, chance.randint(0, 400)]))
        else:
            refused.add(admitted.kind)

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(call)
    assert refused == {"requests", "tokens", "concurrency"}


# ── Redis alone ───────────────────────────────────────────────────────────────────────────────


def test_keys_outlive_what_they_remember_and_no_longer(client: redis.Redis) -> None:
    """An open reservation ends after 100 s, and its 60 tokens take another 60 to drain."""
    store = RedisLimitStore(client)
    request = asked(limits_of(Scope.KEY, "ci", tpm=60), tokens=60, ttl=100.0)
    [granted] = store.reserve([request], 0.0)
    lives = [client.ttl(key) for key in client.scan_iter()]
    assert len(lives) == 3
    assert all(150 <= life <= 165 for life in lives)
    assert isinstance(granted, LimitGranted)
    store.settle([LimitSettlement(granted.id, 0)], 0.0)
    assert client.dbsize() == 0


def test_without_a_clock_it_counts_in_redis_own_time(client: redis.Redis) -> None:
    store = RedisLimitStore(client)
    request = asked(limits_of(Scope.KEY, "ci", rpm=1))
    assert isinstance(store.reserve([request], 0.0)[0], LimitGranted)
    [refused] = store.reserve([request], math.inf)
    assert isinstance(refused, LimitRefused)
    assert 0 < refused.retry_after <= 60


def test_a_flush_forgets_and_no_id_comes_again(client: redis.Redis) -> None:
    request = asked(limits_of(Scope.KEY, "ci", concurrency=1))
    stores = [RedisLimitStore(client) for _ in range(2)]
    ids = set()
    for store in [*stores, *stores]:
        [granted] = store.reserve([request], 0.0)
        assert isinstance(granted, LimitGranted)
        ids.add(granted.id)
        client.flushall()
        client.script_flush()
        assert store.settle([LimitSettlement(granted.id, 0)], 0.0) == [False]
    assert len(ids) == 4


def test_a_call_that_the_client_repeats_counts_once(socket: Path, client: redis.Redis) -> None:
    RedisLimitStore(client).expire(0.0)  # loads the script
    request = asked(limits_of(Scope.KEY, "ci", rpm=2, concurrency=2))
    with losing_an_answer(socket, repeats=1) as forgetful:
        store = RedisLimitStore(forgetful)
        answers = [store.reserve([request], 0.0)[0] for _ in range(3)]
    assert [isinstance(answer, LimitGranted) for answer in answers] == [True, True, False]


def test_what_was_reserved_without_an_answer_is_given_back(
    socket: Path, client: redis.Redis
) -> None:
    request = asked(limits_of(Scope.KEY, "ci", tpm=10, concurrency=1), tokens=10)
    others = RedisLimitStore(client)
    assert others.expire(0.0) == 0  # which loads the script
    with losing_an_answer(socket, repeats=0) as forgetful:
        store = RedisLimitStore(forgetful)
        with pytest.raises(StoreUnavailable, match="lost"):
            store.reserve([request], 0.0)
        assert others.expire(0.0) == 1
        assert isinstance(store.reserve([request], 0.0)[0], LimitGranted)


def test_a_redis_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    absent = redis.Redis(unix_socket_path=str(tmp_path / "none"), retry=Retry(NoBackoff(), 0))
    with pytest.raises(StoreUnavailable, match="Redis"):
        RedisLimitStore(absent).reserve([asked()], 0.0)
