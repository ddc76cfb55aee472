"""The key pool: which key is leased, and what an attempt teaches."""

import pytest
import trio
import trio.testing

from signalbox.actors.key_pool import (
    AttemptOutcome,
    Denied,
    KeyPool,
    Lease,
    ProviderKey,
    anonymous_key,
)
from signalbox.actors.mailbox import Mailbox
from signalbox.actors.store_access import InProcess
from signalbox.adapters.protocol import RateLimits
from signalbox.errors import FailureKind
from signalbox.machines.facts import Headroom, Unavailable
from signalbox.machines.keys import EVICTION, MODEL_PARKING, KeyPhase
from signalbox.machines.limits import WINDOW
from signalbox.persistence.leases_memory import MemoryLeaseStore
from tests.key_desk import SUCCESS, TTL, Desk, desk, failed, key

CANCELLED = AttemptOutcome(failure=None, tokens=None, rate_limits=None, cancelled=True)


def headers(remaining: int | None = None, **said: float | None) -> AttemptOutcome:
    limits = RateLimits(
        limit_requests=10, remaining_requests=remaining, reset_requests=said.get("reset")
    )
    return AttemptOutcome(None, None, limits, observed_at=said.get("observed_at"))


# ── how much ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("keys", "granted"),
    [
        ([key("a", rpm=100)], 100),
        ([key("a", tpm=1000)], 100),
        ([key("a", rpm=300, tpm=1000), key("b", rpm=50)], 150),
    ],
)
async def test_a_thousand_parallel_requests_never_pass_the_limits_of_the_keys(
    keys: list[ProviderKey], granted: int
) -> None:
    d = desk(*keys)
    answers: list[Lease | Denied] = []

    async def one() -> None:
        answers.append(await d.ask(tokens=10))

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(one)
    leases = [answer for answer in answers if isinstance(answer, Lease)]
    assert (len(leases), len({lease.id for lease in leases})) == (granted, granted)


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


async def test_where_only_one_key_will_do_the_others_count_for_nothing() -> None:
    d = desk(key("a"), key("b", rpm=1))

    async def ask() -> Lease | Denied:
        return await d.pool.lease("openai", "m", 0, owner="r", ttl=TTL, only="b")

    lease = await ask()
    assert isinstance(lease, Lease)
    assert lease.key.id == "b"
    assert isinstance(await ask(), Denied)
    everyone, only_b = [
        (await d.pool.headrooms([("openai", "m")], 0, only=only))[0] for only in (None, "b")
    ]
    assert (everyone.available, only_b.available) == (True, False)


async def test_a_provider_without_keys_is_leased_an_anonymous_one() -> None:
    pool = KeyPool([anonymous_key("ollama")], InProcess(MemoryLeaseStore()))
    lease = await pool.lease("ollama", "m", 1, owner="r", ttl=TTL)
    assert isinstance(lease, Lease)
    assert lease.key.secret is None
    assert await pool.lease("groq", "m", 1, owner="r", ttl=TTL) == Denied(Unavailable.NO_KEY, None)


async def test_a_key_that_is_taken_out_is_leased_no_more_and_its_lease_is_settled() -> None:
    bad, good = key("bad"), key("good")
    pool = KeyPool([bad], InProcess(MemoryLeaseStore()))
    lease = await pool.lease(bad.provider, "m", 0, owner="r", ttl=60)
    assert isinstance(lease, Lease)
    pool.configure([good])
    assert isinstance(
        await pool.lease(bad.provider, "m", 0, owner="r", ttl=60, only=bad.id), Denied
    )
    another = await pool.lease(bad.provider, "m", 0, owner="r", ttl=60)
    assert isinstance(another, Lease)
    assert another.key == good
    for each in (lease, another):
        pool.settle(each, headers())
    assert (await pool.statistics()).open_leases == 0


async def test_a_provider_that_is_gone_serves_the_requests_that_began_before() -> None:
    pool = KeyPool([anonymous_key("old")], InProcess(MemoryLeaseStore()))
    pool.configure([anonymous_key("new")])
    assert isinstance(await pool.lease("old", "m", 0, owner="r", ttl=60), Lease)
    assert [each.provider for each in (await pool.statistics()).keys] == ["new"]


def test_two_keys_of_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="same id"):
        desk(key("a"), key("a"))


async def test_the_preferred_key_is_leased_while_it_has_room() -> None:
    d = desk(key("large", rpm=10), key("warm", rpm=2))
    used = [(await d.ask(prefer="warm")) for _ in range(3)]
    assert [lease.key.id for lease in used if isinstance(lease, Lease)] == ["warm", "warm", "large"]


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
    for alerts in (1, 2):
        d.pool.settle(await d.lease(), failed(FailureKind.QUOTA_EXHAUSTED))
        assert len(d.alerts) == alerts


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
    d.pool.settle(lease, outcome)
    d.pool.settle(lease, outcome)
    assert d.store.settled == [True, False]
    assert (await d.pool.statistics()).open_leases == 0
    await d.lease(tokens=90)


async def test_a_lease_that_was_not_settled_in_time_is_swept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    d = desk(key("a"))
    lease = await d.lease()
    d.clock.now += TTL
    await d.pool.sweep()
    assert (await d.pool.statistics()).open_leases == 0
    d.pool.settle(lease, failed(FailureKind.KEY_REJECTED))
    assert d.store.settled == [False]
    assert "a lease of r on key a was not settled in time" in caplog.text
    await d.lease()


async def test_models_that_nobody_uses_any_more_are_forgotten() -> None:
    d = desk(key("a"))
    for number in range(100):
        d.pool.settle(await d.lease(f"made-up-{number}"), failed(FailureKind.MODEL_FORBIDDEN))
    await d.pool.sweep()
    assert len(d.store) == 100
    d.clock.now += MODEL_PARKING
    await d.pool.sweep()
    assert len(d.store) == 0


async def test_a_restarted_pool_goes_on_from_the_store() -> None:
    first = desk(key("a", rpm=2))
    lease = await first.lease()
    await first.lease()
    pool = KeyPool([key("a", rpm=2)], InProcess(first.store), first.clock)
    second = Desk(pool, first.store, first.clock, [])
    assert await second.denial() == (Unavailable.REQUESTS, WINDOW)
    second.pool.settle(lease, SUCCESS)
    assert first.store.settled == [True]


async def test_the_loop_sweeps_until_its_mailbox_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    pool = KeyPool([key("a")], InProcess(MemoryLeaseStore()))
    await pool.lease("openai", "m", 1, owner="r", ttl=20.0)
    mailbox = Mailbox[None, None]("key_pool", 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.run, pool.run)
        await trio.sleep(30)
        assert (await pool.statistics()).open_leases == 0
        mailbox.close()


async def test_headroom_says_what_a_lease_would_find() -> None:
    d = desk(key("a", rpm=2))
    nowhere = Headroom(False, reason=Unavailable.NO_KEY)
    both = [("openai", "m"), ("groq", "m")]
    assert await d.pool.headrooms(both, 1) == [Headroom(True, share=1.0), nowhere]
    await d.lease()
    assert await d.pool.headrooms(both, 1) == [Headroom(True, share=0.5), nowhere]
    await d.lease()
    full = Headroom(False, None, d.clock.now + WINDOW, Unavailable.REQUESTS)
    assert await d.pool.headrooms(both, 1) == [full, nowhere]
    [statistics] = (await d.pool.statistics()).keys
    assert (statistics.condition.phase, statistics.condition.share) == (KeyPhase.ACTIVE, 0.0)
