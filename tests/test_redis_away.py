"""Two gateways on one Redis: what they share, and what they do while it is gone."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.persistence.instances_redis import LIFETIME, RedisInstances, RedisUnusable
from signalbox.persistence.lease_stores import (
    KeyQuota,
    LeaseRequest,
    LimitRequest,
    Scope,
    ScopeLimits,
)
from signalbox.persistence.leases_memory import MemoryLeaseStore
from signalbox.persistence.leases_redis import RedisLeaseStore
from signalbox.persistence.limits_memory import MemoryLimitStore
from signalbox.persistence.limits_redis import RedisLimitStore
from tests.gateway import Gateway, Provider, config_for, eventually, gateway, simulated_provider
from tests.load import CLIENTS, load_on
from tests.raw_http import raw_request, reply
from tests.servers import PrivateServer, private_redis, redis_in
from tests.simulator_client import chat

pytestmark = pytest.mark.system

PROVIDER_RPM = 100
LIMITED_KEY = "limited-gateway-key-0123456789"
LIMITED_RPM = 30
CALLS = 500
"""To each of the two gateways, all at once."""
ASK = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}'
NO_WAIT = {"SIGNALBOX_RETRY__MAX_WAIT_MS": "0"}


@dataclass
class RedisAtOnePlace:
    """A Redis that can be killed, and started again behind the same socket with nothing in it."""

    folder: Path
    running: ExitStack = field(default_factory=ExitStack)
    server: PrivateServer | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/redis.sock"

    def start(self) -> None:
        self.server = self.running.enter_context(redis_in(self.folder))

    def kill(self) -> None:
        assert self.server is not None
        self.server.process.kill()
        self.running.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisAtOnePlace]:
    with tempfile.TemporaryDirectory(prefix="signalbox-redis-") as name:
        place = RedisAtOnePlace(Path(name))
        place.start()
        with place.running:
            yield place


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with simulated_provider() as started:
        yield started


@pytest.fixture(scope="module")
def fleet(shared: RedisAtOnePlace, provider: Provider) -> Iterator[tuple[Gateway, Gateway]]:
    config = limited(config_for(provider), shared.url)
    with gateway(config, environ=NO_WAIT) as one, gateway(config, environ=NO_WAIT) as other:
        yield one, other


def limited(config: str, url: str, when_away: str = "local") -> str:
    config = config.replace('1" }]', f'1", rpm = {PROVIDER_RPM} }}]')
    return (
        f'{config}[keys.limited]\nkey = {{ value = "{LIMITED_KEY}" }}\nrpm = {LIMITED_RPM}\n'
        f'[storage]\nredis = "{url}"\nwhen_redis_is_away = "{when_away}"\n'
    )


async def ask_at_once(fleet: tuple[Gateway, Gateway], **headers: str) -> list[int]:
    """The statuses of `CALLS` parallel calls to each gateway."""
    statuses: list[int] = []

    async def call(port: int) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(raw_request(body=ASK, headers=headers))
            received = b"".join([piece async for piece in stream])
            statuses.append(reply(received).status)

    async with trio.open_nursery() as nursery:
        for one in fleet:
            port = int(one.url.rpartition(":")[2])
            for _ in range(CALLS):
                nursery.start_soon(call, port)
    return statuses


def test_gateways_share_a_gateway_keys_limit(
    fleet: tuple[Gateway, Gateway], provider: Provider
) -> None:
    provider.plays()
    began = time.monotonic()  # noqa: TID251 - GCRA lets in more as real time goes on
    statuses = trio.run(lambda: ask_at_once(fleet, authorization=f"Bearer {LIMITED_KEY}"))
    seconds = time.monotonic() - began  # noqa: TID251 - as above
    admitted = statuses.count(200)
    assert statuses.count(429) == len(statuses) - admitted
    assert LIMITED_RPM <= admitted <= LIMITED_RPM * (1 + seconds / 60)
    assert len(provider.received()) == admitted


def test_gateways_share_a_provider_keys_limit(
    fleet: tuple[Gateway, Gateway], provider: Provider, shared: RedisAtOnePlace
) -> None:
    with redis.Redis.from_url(shared.url) as client:
        client.flushall()
    provider.plays()
    statuses = trio.run(lambda: ask_at_once(fleet))
    assert len(provider.received()) == statuses.count(200) == PROVIDER_RPM
    assert [one.output.count("away") for one in fleet] == [0, 0]


def metric(running: Gateway, name: str) -> float:
    """`name` with its labels, as the text has them."""
    text = running.admin("/metrics").text
    [line] = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(line.rpartition(" ")[2])


def degraded(running: Gateway) -> Callable[[], list[str]]:
    def look() -> list[str]:
        answer = running.admin("/readyz")
        assert answer.status_code == 200
        return list(answer.json()["degraded"])

    return look


def test_nobody_notices_that_redis_is_killed_and_comes_back(
    shared: RedisAtOnePlace, provider: Provider
) -> None:
    provider.plays()
    config = config_for(provider).replace('1" }]', '1", rpm = 1_000_000 }]')
    with gateway(f'{config}[storage]\nredis = "{shared.url}"\n') as running:
        with load_on(running) as load:
            load.reaches(20)
            shared.kill()
            [said] = eventually(degraded(running), bool)
            assert said.startswith("the shared state is away since ")
            assert metric(running, "signalbox_shared_state_up") == 0
            before = len(load.answered)
            load.reaches(before + 20)
            shared.start()
            eventually(degraded(running), lambda reasons: not reasons)
            load.reaches(len(load.answered) + 20)
        # A request that was under way at the loss may have been counted by the Redis that was lost.
        assert used_of_a_million(running) >= len(load.answered) - before - CLIENTS
        eventually(lambda: metric(running, OPEN_LEASES), lambda leases: leases == 0)
        assert metric(running, "signalbox_shared_state_owed") == 0
        assert metric(running, "signalbox_shared_state_lost_total") == 0
        assert running.output.count("the shared state is away") == 1
        assert running.output.count("the shared state is back after") == 1


OPEN_LEASES = 'signalbox_key_open_leases{key="primary/1",provider="primary"}'


def used_of_a_million(running: Gateway) -> int:
    """The requests that Redis has counted on the provider's key."""
    ratio = metric(running, 'signalbox_key_headroom_ratio{key="primary/1",provider="primary"}')
    return round((1 - ratio) * 1_000_000)


def test_a_gateway_that_may_not_stand_in_refuses_until_redis_is_there(
    provider: Provider, tmp_path: Path
) -> None:
    provider.plays()
    late = RedisAtOnePlace(tmp_path)
    with late.running, gateway(limited(config_for(provider), late.url, "refuse")) as running:
        refused = running.post(chat())
        error = refused.json()["error"]
        assert refused.status_code == 503
        assert (error["type"], error["code"]) == ("server_error", "shared_state_unavailable")
        assert (refused.headers["retry-after"], refused.headers["x-should-retry"]) == ("1", "true")
        assert running.admin("/readyz").status_code == 503
        late.start()
        eventually(lambda: running.admin("/readyz").status_code, lambda status: status == 200)
        assert running.post(chat()).status_code == 200


def test_a_redis_that_cannot_be_used_stops_the_start_with_the_place(
    shared: RedisAtOnePlace, tmp_path: Path
) -> None:
    config = f'[storage]\nredis = "{shared.url}?db=9999"\n'
    (tmp_path / "signalbox.toml").write_text(config)
    command = [sys.executable, "-m", "signalbox", "serve", "--port", "0", "--demo"]
    ended = subprocess.run(
        command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert "signalbox.toml:2: storage.redis: Redis refuses: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_old_redis_is_refused_by_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    with private_redis() as server, redis.Redis(unix_socket_path=str(server.address)) as client:
        assert RedisInstances(client, "one").announce() == 1
        monkeypatch.setattr(client, "info", lambda section: {"redis_version": "6.2.14"})
        with pytest.raises(RedisUnusable, match=r"Redis 6\.2\.14 answers, expected 7\.0 or newer"):
            RedisInstances(client, "other").announce()


def test_instances_are_counted_until_they_leave_or_fall_silent() -> None:
    now = 1000.0
    with private_redis() as server, redis.Redis(unix_socket_path=str(server.address)) as client:
        one, other = (RedisInstances(client, name, lambda: now) for name in ("one", "other"))
        assert [one.announce(), other.announce(), one.announce()] == [1, 2, 2]
        other.leave()
        assert [one.announce(), other.announce()] == [1, 2]
        now += LIFETIME
        assert one.announce() == 1


@given(used=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 30)), max_size=12))
def test_what_a_process_hands_over_counts_on_redis_as_it_counted_there(
    empty_redis: redis.Redis, used: list[tuple[int, int]]
) -> None:
    """(when, tokens) of requests on a key, and under a limit of the gateway's own."""
    empty_redis.flushall()
    leases = MemoryLeaseStore(), RedisLeaseStore(empty_redis, lambda: 5000.0)
    limits = MemoryLimitStore(), RedisLimitStore(empty_redis, lambda: 5000.0)
    quota, scope = KeyQuota("p/1", 10, 150), ScopeLimits(Scope.KEY, "ci", 10, 150, None, None)
    for at, tokens in sorted(used):
        leases[0].acquire([LeaseRequest("o", "m", tokens, 900.0, (quota,))], at)
        limits[0].reserve([LimitRequest("o", tokens, 900.0, (scope,))], at)
    [before] = leases[0].conditions([quota], 59.0)
    room = 1 if before.share is None else before.share
    leases[1].count(leases[0].hand_over(59.0), 59.0)
    assert leases[1].conditions([quota], 59.0)[0].share == pytest.approx(room)
    assert leases[0].conditions([quota], 59.0)[0].share == 1
    look = LimitRequest("o", 0, 900.0, (replace(scope, rpm=None),))
    [local] = limits[0].reserve([look], 59.0)
    limits[1].count(limits[0].hand_over(59.0), 59.0)
    [shared] = limits[1].reserve([look], 59.0)
    assert shared.meters == local.meters
    [forgotten] = limits[0].reserve([look], 59.0)
    assert [meter.remaining for meter in forgotten.meters] == [150]


@pytest.fixture(scope="module")
def empty_redis() -> Iterator[redis.Redis]:
    with private_redis() as server, redis.Redis(unix_socket_path=str(server.address)) as client:
        yield client
