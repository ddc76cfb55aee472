"""The leases in process and on Redis answer alike, and no key is leased past its limits."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from msgspec.structs import replace

from signalbox.errors import Failure, FailureKind, StoreUnavailable
from signalbox.machines.facts import Unavailable
from signalbox.persistence.lease_stores import (
    AttemptOutcome,
    KeyQuota,
    LeaseRecord,
    LeaseRefused,
    LeaseRequest,
    LeaseSettlement,
    LeaseStore,
)
from signalbox.persistence.leases_memory import MemoryLeaseStore
from signalbox.persistence.leases_redis import RedisLeaseStore
from tests.lease_twins import LeaseTwins
from tests.lost_answers import losing_an_answer
from tests.servers import private_redis

pytestmark = pytest.mark.system

NOW = 1000.0
UNLIMITED = KeyQuota("p/1", rpm=None, tpm=None)
SUCCESS = AttemptOutcome(failure=None, tokens=None, rate_limits=None)
UNSENT = replace(SUCCESS, failure=Failure(FailureKind.CONNECT_FAILED, ""))
RATE_LIMITED = replace(SUCCESS, failure=Failure(FailureKind.RATE_LIMITED, "", retry_after=1.0))


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    with private_redis() as server:
        yield server.address


@pytest.fixture
def client(socket: Path) -> Iterator[redis.Redis]:
    with redis.Redis(unix_socket_path=str(socket)) as client:
        client.flushall()
        yield client


def request(*keys: KeyQuota, ttl: float = 100.0) -> LeaseRequest:
    return LeaseRequest("o", "m", 1, ttl, keys)


def lease(store: LeaseStore, now: float, *keys: KeyQuota, ttl: float = 100.0) -> LeaseRecord:
    [granted] = store.acquire([request(*keys, ttl=ttl)], now)
    assert isinstance(granted, LeaseRecord), granted
    return granted


def settled(store: LeaseStore, held: LeaseRecord, outcome: AttemptOutcome, now: float) -> bool:
    [answer] = store.settle([LeaseSettlement(held.id, held.token, outcome)], now)
    return answer.done


def test_both_stores_answer_alike(client: redis.Redis) -> None:
    class OnThisRedis(LeaseTwins):
        def __init__(self) -> None:
            super().__init__(client)

    run_state_machine_as_test(
        OnThisRedis, settings=settings(max_examples=80, stateful_step_count=40)
    )


@given(st.floats(allow_nan=False) | st.integers(-(2**53), 2**53))
def test_numbers_keep_all_their_bits_through_lua(socket: Path, number: float) -> None:
    with redis.Redis(unix_socket_path=str(socket)) as client:
        script = "return cmsgpack.pack(cmsgpack.unpack(ARGV[1]))"
        assert msgspec.msgpack.decode(client.eval(script, 0, msgspec.msgpack.encode(number))) == (
            number
        )


def test_parallel_gateways_never_pass_a_keys_limit(socket: Path, client: redis.Redis) -> None:
    quota = KeyQuota("p/1", rpm=300, tpm=None)

    def ask(times: int) -> list[int]:
        """The tokens of the leases that one gateway was granted."""
        with redis.Redis(unix_socket_path=str(socket)) as own:
            store = RedisLeaseStore(own, lambda: NOW)
            answers = [store.acquire([request(quota)], NOW)[0] for _ in range(times)]
        return [answer.token for answer in answers if isinstance(answer, LeaseRecord)]

    with ThreadPoolExecutor(8) as gateways:
        tokens = [token for granted in gateways.map(ask, [125] * 8) for token in granted]
    assert sorted(tokens) == [*range(1, 301)]


def test_the_lease_of_a_dead_gateway_comes_free_after_its_time(client: redis.Redis) -> None:
    now = NOW
    dead, alive = (RedisLeaseStore(client, lambda: now) for _ in range(2))
    assert settled(dead, lease(dead, now, UNLIMITED), RATE_LIMITED, now)
    now += 2
    probe = lease(dead, now, UNLIMITED, ttl=5)
    [refused] = alive.acquire([request(UNLIMITED)], now)
    assert refused == LeaseRefused(Unavailable.PROBING, now + 1)
    now += 5
    assert alive.expire(now) == [probe]
    assert lease(alive, now, UNLIMITED).token > probe.token
    assert not settled(dead, probe, SUCCESS, now)


def test_a_lease_without_an_answer_is_given_back(socket: Path, client: redis.Redis) -> None:
    others, keys = RedisLeaseStore(client), [KeyQuota(f"p/{n}", rpm=1, tpm=10) for n in range(2)]
    lease(others, NOW, keys[0])
    with losing_an_answer(socket, repeats=0) as forgetful:
        store = RedisLeaseStore(forgetful)
        with pytest.raises(StoreUnavailable, match="lost"):
            store.acquire([request(*keys)], NOW)
        assert len(others.open_leases(NOW)) == 2
        assert lease(store, NOW, *keys).key_id == "p/1"
    assert len(others.open_leases(NOW)) == 2


def test_a_lease_from_before_a_flush_does_not_settle_a_later_one(client: redis.Redis) -> None:
    store = RedisLeaseStore(client, lambda: NOW)
    old = lease(store, NOW, UNLIMITED)
    client.flushall()
    new = lease(store, NOW, UNLIMITED)
    assert new.token == old.token
    assert not settled(store, old, SUCCESS, NOW)
    assert store.open_leases(NOW) == [new]


def test_a_lease_that_outlived_its_window_changes_no_other_entry(client: redis.Redis) -> None:
    store = RedisLeaseStore(client, lambda: NOW)
    quota = KeyQuota("p/1", rpm=None, tpm=100)
    old = lease(store, NOW, quota)
    client.delete("{sb:pool:p}:window:p/1")
    lease(store, NOW, quota)
    before = store.conditions([quota], NOW)[0].share
    assert settled(store, old, replace(SUCCESS, tokens=90), NOW)
    assert store.conditions([quota], NOW)[0].share == before


def test_redis_own_time_is_translated_to_the_callers(client: redis.Redis) -> None:
    held = lease(RedisLeaseStore(client), NOW, UNLIMITED, ttl=100)
    assert held.granted_at == pytest.approx(NOW, abs=1e-6)
    assert held.expires_at == pytest.approx(NOW + 100, abs=1e-6)


def test_scripts_that_redis_forgot_are_loaded_again(client: redis.Redis) -> None:
    store = RedisLeaseStore(client)
    for quotas in ([UNLIMITED], [UNLIMITED, KeyQuota("q/1", rpm=None, tpm=None)]):
        client.script_flush()
        conditions = store.conditions(quotas, NOW)
        assert [condition.key_id for condition in conditions] == [q.key_id for q in quotas]


@pytest.mark.parametrize("ids", [("no-provider",), ("p/1", "q/1")])
def test_keys_must_be_of_one_named_provider(client: redis.Redis, ids: tuple[str, ...]) -> None:
    keys = [KeyQuota(key_id, rpm=None, tpm=None) for key_id in ids]
    with pytest.raises(ValueError, match="expected"):
        RedisLeaseStore(client).look([request(*keys)], NOW)


def test_a_count_of_tokens_beyond_reason_counts_as_very_many(client: redis.Redis) -> None:
    store = RedisLeaseStore(client, lambda: NOW)
    quota = KeyQuota("p/1", rpm=None, tpm=100)
    assert settled(store, lease(store, NOW, quota), replace(SUCCESS, tokens=10**40), NOW)
    assert store.conditions([quota], NOW)[0].share == 0


@pytest.mark.parametrize("taken_back", [False, True])
def test_a_full_log_counts_longer_never_shorter(client: redis.Redis, taken_back: bool) -> None:
    now = NOW
    quota = KeyQuota("p/1", rpm=None, tpm=10)
    stores = (
        MemoryLeaseStore(window_entries=3),
        RedisLeaseStore(client, lambda: now, window_entries=3),
    )
    for store in stores:
        now = NOW
        lease(store, now, quota)
        unsent = [lease(store, now, quota) for _ in range(2)]
        if taken_back:
            assert all(settled(store, held, UNSENT, now) for held in unsent)
        for now in (NOW + 30, NOW + 50):
            store.acquire([request(quota)], now)
        now = NOW + 90
        [known] = store.conditions([quota], now)
        # A full log moves its newest entry on; requests taken back left room for two.
        assert known.share == (0.9 if taken_back else 0.7)
