"""The key pool: which key is leased, what an attempt teaches, and who waits in which order."""

from dataclasses import dataclass

import pytest
import trio
import trio.testing
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from signalbox.actors.key_pool import (
    MAX_WAITERS,
    TURN,
    AttemptOutcome,
    Denied,
    KeyPool,
    Lease,
    ProviderKey,
    anonymous_key,
)
from signalbox.actors.mailbox import Mailbox
from signalbox.adapters.protocol import RateLimits
from signalbox.errors import Failure, FailureKind
from signalbox.machines.facts import Headroom, Unavailable
from signalbox.machines.keys import EVICTION, MODEL_PARKING, KeyPhase
from signalbox.machines.limits import WINDOW
from signalbox.machines.probes import PATIENCE
from signalbox.persistence.leases_memory import MemoryLeaseStore
from signalbox.types import Secret

TTL = 1000.0
SUCCESS = AttemptOutcome(failure=None, tokens=None, rate_limits=None)
CANCELLED = AttemptOutcome(failure=None, tokens=None, rate_limits=None, cancelled=True)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def key(name: str, rpm: int | None = None, tpm: int | None = None) -> ProviderKey:
    return ProviderKey(name, "openai", name, Secret(f"secret-of-{name}"), rpm, tpm)


def failed(kind: FailureKind, retry_after: float | None = None) -> AttemptOutcome:
    return AttemptOutcome(Failure(kind, "words", retry_after=retry_after), None, None)


def headers(remaining: int | None = None, **said: float | None) -> AttemptOutcome:
    limits = RateLimits(
        limit_requests=10, remaining_requests=remaining, reset_requests=said.get("reset")
    )
    return AttemptOutcome(None, None, limits, observed_at=said.get("observed_at"))


@dataclass
class Desk:
    """A pool with a clock in hand."""

    pool: KeyPool
    clock: Clock
    alerts: list[str]

    async def ask(
        self, model: str = "m", tokens: int = 0, *, exclude: frozenset[str] = frozenset()
    ) -> Lease | Denied:
        return await self.pool.lease("openai", model, tokens, owner="r", ttl=TTL, exclude=exclude)

    async def lease(self, model: str = "m", tokens: int = 0) -> Lease:
        lease = await self.ask(model, tokens)
        assert isinstance(lease, Lease), lease
        return lease

    async def denial(self, model: str = "m", tokens: int = 0) -> tuple[str, float | None]:
        """The reason, and how many seconds from now a key will be free."""
        denied = await self.ask(model, tokens)
        assert isinstance(denied, Denied), denied
        at = denied.available_at
        return denied.reason, None if at is None else at - self.clock.now


def desk(*keys: ProviderKey) -> Desk:
    clock, alerts = Clock(), list[str]()
    return Desk(KeyPool(keys, MemoryLeaseStore(), clock, alerts.append), clock, alerts)


# ── which key ─────────────────────────────────────────────────────────────────────────────────


async def test_the_key_with_the_largest_remaining_share_is_leased() -> None:
    d = desk(key("small", rpm=2, tpm=1000), key("large", rpm=10, tpm=1000))
    used = [(await d.lease(tokens=10)).key.id for _ in range(4)]
    assert used == ["small", "large", "large", "large"]


async def test_the_fuller_of_both_limits_decides() -> None:
    d = desk(key("tokens-used", rpm=100, tpm=100), key("requests-used", rpm=10, tpm=1000))
    assert (await d.lease(tokens=90)).key.id == "tokens-used"
    assert (await d.lease(tokens=1)).key.id == "requests-used"
    assert (await d.lease(tokens=1)).key.id == "requests-used"


async def test_equals_take_turns() -> None:
    d = desk(key("a"), key("b"), key("c"))
    assert [(await d.lease()).key.id for _ in range(6)] == ["a", "b", "c"] * 2


async def test_excluded_keys_are_not_leased() -> None:
    d = desk(key("a"), key("b"))
    lease = await d.ask(exclude=frozenset({"a"}))
    assert isinstance(lease, Lease)
    assert lease.key.id == "b"
    assert await d.ask(exclude=frozenset({"a", "b"})) == Denied(Unavailable.ALL_TRIED, None)


async def test_a_provider_without_keys_is_leased_an_anonymous_one() -> None:
    pool = KeyPool([anonymous_key("ollama")], MemoryLeaseStore())
    lease = await pool.lease("ollama", "m", 1, owner="r", ttl=TTL)
    assert isinstance(lease, Lease)
    assert lease.key.secret is None
    assert await pool.lease("groq", "m", 1, owner="r", ttl=TTL) == Denied(Unavailable.NO_KEY, None)


def test_two_keys_of_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="same id"):
        desk(key("a"), key("a"))


# ── limits ────────────────────────────────────────────────────────────────────────────────────


async def test_a_full_key_has_room_when_its_oldest_request_leaves_the_window() -> None:
    d = desk(key("a", rpm=2))
    await d.lease()
    d.clock.now += 10
    await d.lease()
    assert await d.denial() == (Unavailable.REQUESTS, WINDOW - 10)


async def test_tokens_are_reserved_then_reconciled() -> None:
    d = desk(key("a", tpm=100))
    lease = await d.lease(tokens=80)
    assert await d.denial(tokens=30) == (Unavailable.TOKENS, WINDOW)
    d.pool.settle(lease, AttemptOutcome(None, tokens=70, rate_limits=None))
    await d.lease(tokens=30)


async def test_a_request_larger_than_the_limit_is_not_told_to_wait() -> None:
    d = desk(key("a", tpm=100))
    assert await d.denial(tokens=101) == (Unavailable.TOO_LARGE, None)


async def test_an_attempt_that_was_never_sent_is_not_counted() -> None:
    d = desk(key("a", rpm=1))
    d.pool.settle(await d.lease(), failed(FailureKind.CONNECT_FAILED))
    d.pool.settle(await d.lease(), failed(FailureKind.SERVER_ERROR))
    assert await d.denial() == (Unavailable.REQUESTS, WINDOW)


# ── what an attempt teaches ───────────────────────────────────────────────────────────────────


async def test_headers_teach_a_key_without_declared_limits() -> None:
    d = desk(key("a"))
    d.pool.settle(await d.lease(), headers(remaining=1, reset=20.0))
    await d.lease()
    assert await d.denial() == (Unavailable.REQUESTS, 20.0)
    d.clock.now += 20
    await d.lease()


async def test_headers_never_loosen_a_declared_limit() -> None:
    d = desk(key("a", rpm=1))
    d.pool.settle(await d.lease(), headers(remaining=1000, reset=1.0))
    assert await d.denial() == (Unavailable.REQUESTS, WINDOW)


async def test_what_headers_say_of_one_model_does_not_bind_another() -> None:
    d = desk(key("a"))
    d.pool.settle(await d.lease("m"), headers(remaining=0, reset=20.0))
    await d.lease("other")


async def test_a_reset_counts_from_when_the_headers_came() -> None:
    d = desk(key("a"))
    lease = await d.lease()
    d.clock.now += 15
    d.pool.settle(lease, headers(remaining=0, reset=20.0, observed_at=d.clock.now - 15))
    assert await d.denial() == (Unavailable.REQUESTS, 5.0)


async def test_retry_after_cools_the_key_and_the_next_key_is_leased() -> None:
    d = desk(key("a"), key("b"))
    d.pool.settle(await d.lease(), failed(FailureKind.RATE_LIMITED, retry_after=7.0))
    assert [(await d.lease()).key.id for _ in range(2)] == ["b", "b"]
    d.clock.now += 7
    assert (await d.lease()).key.id == "a"


async def test_a_cooled_down_key_is_tested_by_one_request() -> None:
    d = desk(key("a"))
    d.pool.settle(await d.lease(), failed(FailureKind.RATE_LIMITED, retry_after=7.0))
    assert await d.denial() == (Unavailable.COOLING, 7.0)
    d.clock.now += 7
    probe = await d.lease()
    assert (await d.denial())[0] == Unavailable.PROBING
    d.pool.settle(probe, SUCCESS)
    await d.lease()
    await d.lease()


async def test_a_cancelled_probe_frees_its_place() -> None:
    d = desk(key("a"))
    d.pool.settle(await d.lease(), failed(FailureKind.RATE_LIMITED, retry_after=7.0))
    d.clock.now += 7
    d.pool.settle(await d.lease(), CANCELLED)
    await d.lease()
    assert (await d.denial())[0] == Unavailable.PROBING


async def test_a_rejected_key_is_evicted_with_one_alert_and_tried_again_later() -> None:
    d = desk(key("a"))
    first, second = await d.lease(), await d.lease()
    d.pool.settle(first, failed(FailureKind.KEY_REJECTED))
    d.pool.settle(second, failed(FailureKind.KEY_REJECTED))
    assert await d.denial() == (Unavailable.EVICTED, None)
    [alert] = d.alerts
    assert "openai refuses the key a (key_rejected: words)" in alert
    assert "secret" not in alert
    d.clock.now += EVICTION
    d.pool.settle(await d.lease(), failed(FailureKind.KEY_REJECTED))
    assert len(d.alerts) == 1
    d.clock.now += EVICTION
    d.pool.settle(await d.lease(), SUCCESS)
    d.pool.settle(await d.lease(), failed(FailureKind.QUOTA_EXHAUSTED))
    assert len(d.alerts) == 2


async def test_a_forbidden_model_parks_only_that_model() -> None:
    d = desk(key("a"))
    d.pool.settle(await d.lease("m"), failed(FailureKind.MODEL_FORBIDDEN))
    assert await d.denial("m") == (Unavailable.FORBIDDEN, None)
    await d.lease("other")
    d.clock.now += MODEL_PARKING
    await d.lease("m")


# ── leases ────────────────────────────────────────────────────────────────────────────────────


async def test_a_lease_is_settled_once() -> None:
    d = desk(key("a", tpm=100))
    lease = await d.lease(tokens=50)
    outcome = AttemptOutcome(None, tokens=10, rate_limits=None)
    assert d.pool.settle(lease, outcome)
    assert not d.pool.settle(lease, outcome)
    assert d.pool.statistics().open_leases == 0
    await d.lease(tokens=90)


async def test_a_lease_that_was_not_settled_in_time_is_swept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    d = desk(key("a"))
    lease = await d.lease()
    d.clock.now += TTL
    d.pool.sweep()
    assert d.pool.statistics().open_leases == 0
    assert not d.pool.settle(lease, failed(FailureKind.KEY_REJECTED))
    assert "a lease of r on key a was not settled in time" in caplog.text
    await d.lease()


async def test_models_that_nobody_uses_any_more_are_forgotten() -> None:
    store, clock = MemoryLeaseStore(), Clock()
    d = Desk(KeyPool([key("a")], store, clock), clock, [])
    for number in range(100):
        d.pool.settle(await d.lease(f"made-up-{number}"), failed(FailureKind.MODEL_FORBIDDEN))
    d.pool.sweep()
    assert len(store) == 100
    clock.now += MODEL_PARKING
    d.pool.sweep()
    assert len(store) == 0


async def test_a_restarted_pool_goes_on_from_the_store() -> None:
    store, clock = MemoryLeaseStore(), Clock()
    first = Desk(KeyPool([key("a", rpm=2)], store, clock), clock, [])
    lease = await first.lease()
    await first.lease()
    second = Desk(KeyPool([key("a", rpm=2)], store, clock), clock, [])
    assert await second.denial() == (Unavailable.REQUESTS, WINDOW)
    assert second.pool.settle(lease, SUCCESS)


async def test_the_loop_sweeps_until_its_mailbox_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool = KeyPool([key("a")], MemoryLeaseStore())
    await pool.lease("openai", "m", 1, owner="r", ttl=20.0)
    mailbox = Mailbox[None, None]("key_pool", 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.run, pool.run)
        await trio.sleep(30)
        assert pool.statistics().open_leases == 0
        mailbox.close()


async def test_headroom_says_what_a_lease_would_find() -> None:
    d = desk(key("a", rpm=2))
    assert d.pool.headroom("openai", "m", 1) == Headroom(True, share=1.0)
    await d.lease()
    assert d.pool.headroom("openai", "m", 1) == Headroom(True, share=0.5)
    await d.lease()
    full = Headroom(False, None, d.clock.now + WINDOW, Unavailable.REQUESTS)
    assert d.pool.headroom("openai", "m", 1) == full
    [statistics] = d.pool.statistics().keys
    assert (statistics.condition.phase, statistics.condition.share) == (KeyPhase.ACTIVE, 0.0)


# ── the queue ─────────────────────────────────────────────────────────────────────────────────


def waiting_room(rpm: int) -> tuple[KeyPool, list[int]]:
    """A pool on trio's own clock, and the list where those who got a lease sign."""
    return KeyPool([key("a", rpm=rpm)], MemoryLeaseStore()), []


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


async def test_a_settled_lease_wakes_the_first_in_the_queue(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool = KeyPool([key("a", tpm=100)], MemoryLeaseStore())
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
        assert pool.statistics().waiting == {}


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
    assert pool.statistics().waiting == {}


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
    pool = KeyPool([key("a", tpm=100)], MemoryLeaseStore())
    start = trio.current_time()
    assert isinstance(await pool.lease("openai", "m", 100, owner="r", ttl=TTL), Lease)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pool.wait_for_room, "openai", "m", 50, start + WINDOW)
        await trio.testing.wait_all_tasks_blocked()
        assert pool.headroom("openai", "m", 0).available
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


# ── against a plain model ─────────────────────────────────────────────────────────────────────


@dataclass
class ModelKey:
    """What must hold of a key, written down naively."""

    rpm: int
    sent: list[float]
    cool_until: float = -1.0
    unproven: bool = False
    """Rate-limited, and no probe has succeeded since."""
    evicted_until: float = -1.0


class KeyPoolMachine(RuleBasedStateMachine):
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.model = {"a": ModelKey(2, []), "b": ModelKey(5, [])}
        self.desk = desk(*(key(name, rpm=known.rpm) for name, known in self.model.items()))
        self.open: dict[str, tuple[Lease, float]] = {}
        self.probes: dict[str, float] = {}

    @property
    def now(self) -> float:
        return self.desk.clock.now

    @rule(target=leases, tokens=st.integers(0, 100))
    def lease(self, tokens: int) -> Lease | None:
        lease = trio.run(self.desk.ask, "m", tokens)
        if isinstance(lease, Denied):
            assert lease.available_at is None or lease.available_at > self.now
            return None
        known = self.model[lease.key.id]
        assert self.now >= known.cool_until, "leased while it cooled down"
        assert self.now >= known.evicted_until, "leased while it was evicted"
        if known.unproven:
            probing = [at for id, at in self.probes.items() if self.open[id][0].key == lease.key]
            assert all(self.now >= at + PATIENCE for at in probing), "two probes at once"
            self.probes[lease.id] = self.now
        known.sent.append(self.now)
        self.open[lease.id] = (lease, self.now)
        return lease

    @rule(
        lease=consumes(leases),
        kind=st.sampled_from(
            [
                None,
                FailureKind.RATE_LIMITED,
                FailureKind.KEY_REJECTED,
                FailureKind.SERVER_ERROR,
                FailureKind.CONNECT_FAILED,
            ]
        ),
        retry_after=st.none() | st.integers(1, 90),
    )
    def settle(
        self, lease: Lease | None, kind: FailureKind | None, retry_after: int | None
    ) -> None:
        if lease is None:
            return
        held = self.open.pop(lease.id, None)
        probe = self.probes.pop(lease.id, None) is not None
        outcome = SUCCESS if kind is None else failed(kind, retry_after)
        in_time = held is not None and self.now < lease.expires_at
        assert self.desk.pool.settle(lease, outcome) is in_time
        assert not self.desk.pool.settle(lease, outcome), "settled twice"
        if held is not None and in_time:
            self._learn(self.model[lease.key.id], kind, retry_after, probe, held[1])

    def _learn(
        self,
        known: ModelKey,
        kind: FailureKind | None,
        retry_after: int | None,
        probe: bool,
        sent_at: float,
    ) -> None:
        if kind is FailureKind.CONNECT_FAILED:
            known.sent.remove(sent_at)
        elif kind is FailureKind.KEY_REJECTED:
            if self.now >= known.evicted_until:
                known.evicted_until = self.now + EVICTION
            known.unproven = True
            self._forget_probes(known)
        elif kind is FailureKind.RATE_LIMITED or (kind is not None and retry_after is not None):
            if self.now >= known.evicted_until:
                known.cool_until = max(known.cool_until, self.now + (retry_after or 0))
            known.unproven = True
            self._forget_probes(known)
        elif kind is None and probe:
            known.unproven = False
            self._forget_probes(known)

    def _forget_probes(self, known: ModelKey) -> None:
        self.probes = {
            id: at
            for id, at in self.probes.items()
            if self.model[self.open[id][0].key.id] is not known
        }

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.desk.clock.now += seconds

    @rule()
    def eviction_passes(self) -> None:
        self.desk.clock.now += EVICTION

    @rule()
    def sweep(self) -> None:
        self.desk.pool.sweep()
        for id, (lease, _) in list(self.open.items()):
            if self.now >= lease.expires_at:
                del self.open[id]
                self.probes.pop(id, None)
        assert self.desk.pool.statistics().open_leases == len(self.open)

    @invariant()
    def no_key_is_used_past_its_rpm(self) -> None:
        for known in self.model.values():
            inside = [at for at in known.sent if at + WINDOW > self.now]
            assert len(inside) <= known.rpm


TestKeyPoolAgainstAModel = KeyPoolMachine.TestCase
