"""The gateway's own limits: all or nothing, never past the limit, in OpenAI's words."""

import math

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from signalbox.actors.mailbox import Mailbox
from signalbox.actors.rate_limiter import (
    SWEEP_INTERVAL,
    Admission,
    KeyLimits,
    RateLimiter,
    Refusal,
    format_duration,
)
from signalbox.actors.store_access import InProcess
from signalbox.persistence.limits_memory import MemoryLimitStore


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limits(
    name: str = "ci",
    rpm: int | None = None,
    tpm: int | None = None,
    concurrency: int | None = None,
    burst: int | None = None,
) -> KeyLimits:
    return KeyLimits(name, rpm, tpm, concurrency, burst)


def limiter_of(everyone: KeyLimits | None = None) -> tuple[RateLimiter, Clock]:
    clock = Clock()
    return RateLimiter(InProcess(MemoryLimitStore()), everyone, clock), clock


async def admitted(limiter: RateLimiter, key: KeyLimits, tokens: int = 0) -> Admission:
    answer = await limiter.admit(key, tokens, "r", ttl=100)
    assert isinstance(answer, Admission), answer
    return answer


async def refused(limiter: RateLimiter, key: KeyLimits, tokens: int = 0) -> Refusal:
    answer = await limiter.admit(key, tokens, "r", ttl=100)
    assert isinstance(answer, Refusal), answer
    return answer


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (limits(rpm=100), "requests"),
        (limits(rpm=6000, burst=100), "requests"),
        (limits(tpm=1000), "tokens"),
        (limits(concurrency=100), "concurrency"),
    ],
)
async def test_a_thousand_parallel_requests_never_exceed_the_limit(
    key: KeyLimits, kind: str
) -> None:
    limiter, _ = limiter_of()
    answers: list[Admission | Refusal] = []

    async def one() -> None:
        answers.append(await limiter.admit(key, 10, "r", ttl=100))

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(one)
    assert sum(isinstance(answer, Admission) for answer in answers) == 100
    assert {answer.kind for answer in answers if isinstance(answer, Refusal)} == {kind}


@pytest.mark.parametrize(
    ("everyone", "key", "scope", "kind", "retry_after"),
    [
        (limits(rpm=1), limits(rpm=60), "global", "requests", 60.0),
        (limits(rpm=60), limits(rpm=1), "key", "requests", 60.0),
        (limits(tpm=10), limits(), "global", "tokens", 60.0),
        (limits(), limits(tpm=10), "key", "tokens", 60.0),
        (limits(concurrency=1), limits(concurrency=2), "global", "concurrency", 1.0),
        (limits(concurrency=2), limits(concurrency=1), "key", "concurrency", 1.0),
    ],
)
async def test_a_refusal_names_whose_limit_what_of_and_when(
    everyone: KeyLimits, key: KeyLimits, scope: str, kind: str, retry_after: float
) -> None:
    limiter, _ = limiter_of(everyone)
    await admitted(limiter, key, 10)
    refusal = await refused(limiter, key, 10)
    assert (refusal.scope, refusal.kind) == (scope, kind)
    assert refusal.retry_after == pytest.approx(retry_after)
    assert not refusal.never


@given(st.data())
def test_a_refused_request_takes_nothing(data: st.DataObject) -> None:
    """Whatever was refused in between, the others find the limits as if it had never asked."""
    any_limit = st.none() | st.integers(1, 5)

    def some_limits(name: str) -> KeyLimits:
        return KeyLimits(name, data.draw(any_limit), data.draw(any_limit), data.draw(any_limit))

    everyone, key = some_limits("all"), some_limits("ci")
    asked = data.draw(st.lists(st.integers(1, 3), max_size=12))

    async def answers_to(requests: list[int]) -> list[bool]:
        limiter, clock = limiter_of(everyone)
        answers = []
        for tokens in requests:
            clock.now += 1
            answers.append(isinstance(await limiter.admit(key, tokens, "r", ttl=100), Admission))
        return answers

    async def without_the_refused(first: list[bool]) -> list[bool]:
        limiter, clock = limiter_of(everyone)
        answers = []
        for tokens, was_admitted in zip(asked, first, strict=True):
            clock.now += 1
            if was_admitted:
                answers.append(
                    isinstance(await limiter.admit(key, tokens, "r", ttl=100), Admission)
                )
        return answers

    first = trio.run(answers_to, asked)
    assert all(trio.run(without_the_refused, first))


async def test_a_refusal_by_the_last_check_leaves_the_others_as_they_were() -> None:
    limiter, _ = limiter_of(limits(rpm=2, tpm=20))
    await admitted(limiter, limits("full", concurrency=1), 10)
    for _ in range(5):
        assert (await refused(limiter, limits("full", concurrency=1), 10)).scope == "key"
    await admitted(limiter, limits("other"), 10)


async def test_a_request_larger_than_the_whole_limit_is_told_so() -> None:
    limiter, _ = limiter_of()
    refusal = await refused(limiter, limits(tpm=100), 101)
    assert refusal.never
    assert refusal.retry_after == math.inf
    assert refusal.message == (
        "The request is larger than this key's limit of 100 tokens per minute: "
        "it can never be served, waiting or not."
    )


async def test_a_refusal_says_when_to_try_again() -> None:
    limiter, clock = limiter_of(limits(rpm=60, burst=1))
    await admitted(limiter, limits())
    refusal = await refused(limiter, limits())
    assert refusal.message == (
        "Reached the gateway's limit of 60 requests per minute; try again in 1.000 s."
    )
    clock.now += refusal.retry_after
    await admitted(limiter, limits())


async def test_settling_frees_the_place_and_reconciles_the_tokens_once() -> None:
    limiter, _ = limiter_of()
    key = limits(tpm=100, concurrency=2)
    first = await admitted(limiter, key, 60)
    second = await admitted(limiter, key, 40)
    for _ in range(3):
        limiter.settle(first, 10)
    await admitted(limiter, key, 50)
    assert (await refused(limiter, key, 0)).kind == "concurrency"
    limiter.settle(second, None)
    assert (await refused(limiter, key, 1)).kind == "tokens"


async def test_tokens_beyond_the_estimate_are_paid_back() -> None:
    limiter, clock = limiter_of()
    key = limits(tpm=60)
    limiter.settle(await admitted(limiter, key, 10), 90)
    assert (await refused(limiter, key, 1)).retry_after == pytest.approx(31)
    clock.now += 31
    await admitted(limiter, key, 1)


async def test_headers_are_openais_and_of_the_tighter_scope() -> None:
    limiter, _ = limiter_of(limits(rpm=600, tpm=1000))
    admission = await admitted(limiter, limits(rpm=60, tpm=120_000), 500)
    assert dict(admission.headers) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "500",
        "x-ratelimit-reset-tokens": "30s",
    }


async def test_a_refusal_carries_the_same_headers() -> None:
    limiter, _ = limiter_of()
    await admitted(limiter, limits(rpm=1))
    assert dict((await refused(limiter, limits(rpm=1))).headers) == {
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
    }


async def test_without_limits_there_are_no_headers() -> None:
    limiter, _ = limiter_of()
    assert (await admitted(limiter, limits())).headers == ()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0001, "1ms"),
        (0.006, "6ms"),
        (1, "1s"),
        (2.5, "2.5s"),
        (62.5, "1m2.5s"),
        (1296.001, "21m36.001s"),
        (3600, "1h0m0s"),
        (59.9999, "1m0s"),
    ],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


async def test_unused_limits_are_forgotten_and_abandoned_admissions_end() -> None:
    store, clock = MemoryLimitStore(), Clock()
    limiter = RateLimiter(InProcess(store), None, clock)
    for number in range(100):
        await admitted(limiter, limits(f"key-{number}", rpm=10, tpm=100), 10)
    await limiter.sweep()
    assert len(store) == 100
    clock.now += 100
    await limiter.sweep()
    clock.now += 60
    await limiter.sweep()
    assert len(store) == 0


async def test_the_loop_sweeps_until_its_mailbox_is_closed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryLimitStore()
    limiter = RateLimiter(InProcess(store))
    limiter.settle(await admitted(limiter, limits(rpm=60)), 0)
    mailbox = Mailbox[None, None]("rate_limiter", 1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.run, limiter.run)
        await trio.sleep(SWEEP_INTERVAL + 1)
        assert len(store) == 0
        mailbox.close()
