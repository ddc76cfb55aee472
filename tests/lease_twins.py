"""The in-process leases and those on Redis, driven side by side with one made-up clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import redis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from signalbox.adapters.protocol import RateLimits
from signalbox.errors import Failure, FailureKind
from signalbox.machines.limits import WINDOW
from signalbox.machines.probes import PATIENCE
from signalbox.persistence.lease_stores import (
    NEVER_SENT,
    AttemptOutcome,
    KeyQuota,
    LeaseRecord,
    LeaseRefused,
    LeaseRequest,
    LeaseSettlement,
)
from signalbox.persistence.leases_memory import MemoryLeaseStore
from signalbox.persistence.leases_redis import RedisLeaseStore

# Every time here is a multiple of 1/64 and no larger than 2³¹, so that all sums are exact and the
# answers must be equal to the last bit, although the two clocks differ.
START = 2.0**20
SKEW = 2.0**30
"""Redis' clock is this much ahead of the caller's."""

WINDOW_ENTRIES = 4
"""Few, so that full logs are met."""

A1 = KeyQuota("a/1", rpm=3, tpm=None)
A2 = KeyQuota("a/2", rpm=None, tpm=100)
B1 = KeyQuota("b/1", rpm=6, tpm=150)
B2 = KeyQuota("b/2", rpm=None, tpm=None)
QUOTAS = (A1, A2, B1, B2)

BARE_KEYS = """
local bare = {}
for _, name in ipairs(redis.call("KEYS", "*")) do
  if redis.call("TTL", name) == -1 then table.insert(bare, name) end
end
return bare
"""


requests = st.builds(
    LeaseRequest,
    owner=st.just("o"),
    model=st.sampled_from(["m", "m", "n"]),
    tokens=st.sampled_from([0, 10, 40, 101]),
    ttl=st.sampled_from([2000.0, 100.0, 5.0]),
    keys=st.sampled_from([(A1,), (A2,), (A1, A2), (B1,), (B2,), (B2, B1), ()]),
    prefer=st.none() | st.sampled_from(["a/1", "b/1", "c/1"]),
)
failures = st.builds(
    Failure,
    st.sampled_from(
        [
            *[FailureKind.KEY_REJECTED, FailureKind.RATE_LIMITED] * 2,
            FailureKind.QUOTA_EXHAUSTED,
            FailureKind.MODEL_FORBIDDEN,
            FailureKind.MODEL_UNKNOWN,
            FailureKind.OVERLOADED,
            FailureKind.CONNECT_FAILED,
            FailureKind.STREAM_ERROR,
        ]
    ),
    st.just(""),
    retry_after=st.sampled_from(
        [None, None, None, None, 0.5, 90.0, 5000.0, -1.0, float("inf"), float("nan")]
    ),
)
resets = st.sampled_from([None, 0.0, 1.5, 30.0, 5000.0, -1.0, float("nan")])
limits = st.sampled_from([None, 0, 10, 100])
remains = st.sampled_from([None, 0, 1, 5, 50])
rate_limits = st.builds(RateLimits, limits, remains, resets, limits, remains, resets)
outcomes = st.builds(
    AttemptOutcome,
    failure=st.one_of(st.none(), failures, failures, failures),
    tokens=st.sampled_from([None, 0, 15, 80]),
    rate_limits=st.none() | rate_limits,
    observed_at=st.none() | st.sampled_from([START, START + 20, START + 600]),
    cancelled=st.booleans(),
)
verdicts = st.sampled_from(
    [
        AttemptOutcome(None, None, None),
        *(
            AttemptOutcome(Failure(kind, "", retry_after=wait), None, None)
            for kind in (FailureKind.KEY_REJECTED, FailureKind.RATE_LIMITED)
            for wait in (None, 0.5, 5000.0)
        ),
        AttemptOutcome(Failure(FailureKind.MODEL_UNKNOWN, ""), None, None),
    ]
)
"""What decides about a key."""
settlements = st.tuples(st.integers(0, 59), st.sampled_from([0, 0, 0, 0, 1]), outcomes)
"""(which lease from the newest on, how wrong the token is, outcome)"""


@dataclass(frozen=True, slots=True)
class Twin:
    """One lease as each store named it."""

    local: LeaseRecord
    shared: LeaseRecord


def anonymous(answer: LeaseRecord | LeaseRefused) -> LeaseRecord | LeaseRefused:
    """Without what each store makes up for itself."""
    return replace(answer, id="", token=0) if isinstance(answer, LeaseRecord) else answer


class Sent:
    """What was counted on the keys, kept in the simplest way."""

    def __init__(self) -> None:
        self._entries: dict[str, list[float]] = {}
        """Lease id → [when, tokens]"""

    def count(self, lease: LeaseRecord) -> None:
        self._entries[lease.id] = [lease.granted_at, lease.tokens]

    def settle(self, lease: LeaseRecord, outcome: AttemptOutcome) -> None:
        if outcome.failure is not None and outcome.failure.kind in NEVER_SENT:
            del self._entries[lease.id]
        elif outcome.tokens is not None:
            self._entries[lease.id][1] = outcome.tokens

    def in_window(self, quota: KeyQuota, now: float) -> tuple[int, float]:
        """Requests and tokens on the key in the 60 s until `now`."""
        tokens = [
            entry[1]
            for lease_id, entry in self._entries.items()
            if lease_id.startswith(f"{quota.key_id}#") and entry[0] + WINDOW > now
        ]
        return len(tokens), sum(tokens)


class LeaseTwins(RuleBasedStateMachine):
    def __init__(self, client: redis.Redis) -> None:
        super().__init__()
        client.flushall()
        self.client = client
        self.now = START
        self.local = MemoryLeaseStore(window_entries=WINDOW_ENTRIES)
        self.shared = RedisLeaseStore(
            client, lambda: self.now + SKEW, window_entries=WINDOW_ENTRIES
        )
        self.open: list[Twin] = []
        self.gone: list[Twin] = []
        self.local_ids: dict[str, str] = {}
        """Of every lease, by its id on Redis."""
        self.last_tokens = {"a": 0, "b": 0}
        self.sent = Sent()
        self.moments: set[float] = set()
        """When something ends, as far as an answer told."""

    @rule(
        quota=st.sampled_from(QUOTAS),
        said=st.lists(st.none() | verdicts, min_size=1, max_size=5),
        pause=st.sampled_from([0.0, 1.0, PATIENCE]),
    )
    def use_a_key_for_a_while(
        self, quota: KeyQuota, said: list[AttemptOutcome | None], pause: float
    ) -> None:
        """Request after request, each as soon as the key is free; some answers are late."""
        again = LeaseRequest("o", "n", 10, 20_000.0, (quota,))
        self.look_and_acquire([again])
        for outcome in said:
            [room] = self.local.look([again], self.now)
            [known] = self.local.conditions([quota], self.now)
            self.now = max(self.now + pause, room.available_at or known.until or self.now)
            self.look_and_acquire([again, again])
            if self.open and outcome is not None:
                self.settle([(0, 0, outcome)])
            self.keys_are_in_the_same_condition()

    @rule(batch=st.lists(requests, min_size=1, max_size=5))
    def look_and_acquire(self, batch: list[LeaseRequest]) -> None:
        rooms = self.local.look(batch, self.now)
        assert self.shared.look(batch, self.now) == rooms
        local, shared = self.local.acquire(batch, self.now), self.shared.acquire(batch, self.now)
        assert [*map(anonymous, shared)] == [*map(anonymous, local)]
        for here, there in zip(local, shared, strict=True):
            if isinstance(here, LeaseRecord) and isinstance(there, LeaseRecord):
                self.note_lease(Twin(here, there))
            elif isinstance(here, LeaseRefused):
                self.note_moment(here.available_at)
        self.check_windows({here.key_id for here in local if isinstance(here, LeaseRecord)})

    def note_lease(self, twin: Twin) -> None:
        provider, _, _ = twin.shared.key_id.partition("/")
        assert twin.shared.token > self.last_tokens[provider]
        assert twin.shared.id not in self.local_ids
        self.last_tokens[provider] = twin.shared.token
        self.local_ids[twin.shared.id] = twin.local.id
        self.open.append(twin)
        self.sent.count(twin.local)
        self.note_moment(twin.local.expires_at)
        self.note_moment(self.now + PATIENCE)

    def note_moment(self, at: float | None) -> None:
        if at is not None:
            self.moments.add(at)

    def check_windows(self, key_ids: set[str]) -> None:
        """At a grant the key was within its limits; more than was reserved is used later."""
        for quota in QUOTAS:
            if quota.key_id in key_ids:
                sent, tokens = self.sent.in_window(quota, self.now)
                assert quota.rpm is None or sent <= quota.rpm
                assert quota.tpm is None or tokens <= quota.tpm

    @precondition(lambda self: self.open)
    @rule(outcome=verdicts)
    def settle_all(self, outcome: AttemptOutcome) -> None:
        self.settle([(which, 0, outcome) for which in range(len(self.open))])

    @precondition(lambda self: self.open)
    @rule(batch=st.lists(settlements, min_size=1, max_size=4))
    def settle(self, batch: list[tuple[int, int, AttemptOutcome]]) -> None:
        """Several at once: also one lease twice, and leases that are gone."""
        known = [*self.gone[-2:], *self.open]
        asked = [(known[-1 - which % len(known)], wrong, said) for which, wrong, said in batch]
        local = [
            LeaseSettlement(t.local.id, t.local.token + wrong, said) for t, wrong, said in asked
        ]
        shared = [
            LeaseSettlement(t.shared.id, t.shared.token + wrong, said) for t, wrong, said in asked
        ]
        answers = self.local.settle(local, self.now)
        assert self.shared.settle(shared, self.now) == answers
        for (twin, _, outcome), answer in zip(asked, answers, strict=True):
            if answer.done:
                self.sent.settle(twin.local, outcome)
        self.note_the_gone()

    def note_the_gone(self) -> None:
        held = {lease.id for lease in self.local.open_leases(self.now)}
        self.gone += [twin for twin in self.open if twin.local.id not in held]
        self.open = [twin for twin in self.open if twin.local.id in held]

    @rule(
        seconds=st.integers(1, 640).map(lambda n: n / 64) | st.sampled_from([60.0, 600.0, 5000.0])
    )
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: any(at > self.now for at in self.moments))
    @rule(short=st.sampled_from([0.0, 1 / 64]), sweep=st.booleans())
    def wait_for_the_next_moment(self, short: float, sweep: bool) -> None:
        """To the moment, or to just before it."""
        self.now = max(self.now, min(at for at in self.moments if at > self.now) - short)
        if sweep:
            self.compare_leases(self.local.expire(self.now), self.shared.expire(self.now))
            self.note_the_gone()

    @invariant()
    def the_same_leases_are_open(self) -> None:
        self.compare_leases(self.local.open_leases(self.now), self.shared.open_leases(self.now))

    @invariant()
    def keys_are_in_the_same_condition(self) -> None:
        conditions = self.local.conditions(QUOTAS, self.now)
        assert self.shared.conditions(QUOTAS, self.now) == conditions
        for condition in conditions:
            self.note_moment(condition.until)

    @invariant()
    def nothing_stays_on_redis_for_ever(self) -> None:
        assert self.client.eval(BARE_KEYS, 0) == []

    def compare_leases(self, local: Sequence[LeaseRecord], shared: Sequence[LeaseRecord]) -> None:
        here = {lease.id: anonymous(lease) for lease in local}
        there = {self.local_ids[lease.id]: anonymous(lease) for lease in shared}
        assert there == here
