"""How much may still be sent: GCRA for the gateway's own limits, sliding windows for providers'.

Nothing here reads a clock. `now` is monotonic seconds, costs are whole requests or tokens, rates
are units per second.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import msgspec

WINDOW = 60.0
"""Seconds. Providers state their limits per minute."""

MAX_WINDOW_ENTRIES = 32_768
"""About 4 MB a key. A key's RPM bounds its log by itself; this bounds the keys that have only a TPM
or an RPM beyond what providers sell (30,000)."""

LONGEST_BELIEF = 600.0
"""Seconds for which a provider's header is believed. A misread reset must not park a key for a day;
asking again costs one 429 whose Retry-After then sets the cooldown."""

TOLERANCE = 1e-3
"""Of one unit, over the burst: it lets in a request that comes back exactly when it was told to, in
spite of rounding. It does not add up, since what it lets in counts in full."""

CONCURRENCY_RETRY = 1.0
"""Seconds to wait for a place: nobody can say when a request under way will end."""


class Bucket(msgspec.Struct, frozen=True):
    """The state of one GCRA limit.

    `level` is what was used and has not drained away yet, as of `at`. `held` is reserved and not
    known yet; it does not drain, so what is settled later was within the bound all the time.
    """

    level: float = 0.0
    held: float = 0.0
    at: float = 0.0

    def drained(self, now: float, rate_per_s: float) -> Bucket:
        if now <= self.at:
            return self
        return Bucket(max(0.0, self.level - (now - self.at) * rate_per_s), self.held, now)

    @property
    def idle(self) -> bool:
        """As of `at`: indistinguishable from a bucket that was never used."""
        return self.level <= 0 and self.held <= 0


class GcraDecision(NamedTuple):
    state: Bucket
    allowed: bool
    retry_after: float
    """Seconds until the same cost fits, if nothing else comes; 0: allowed, inf: it never fits."""
    remaining: int
    """Whole units that could be taken now."""
    reset_after: float
    """Seconds until the bucket is empty again."""


def gcra(state: Bucket, now: float, cost: float, rate_per_s: float, burst: float) -> GcraDecision:
    """Takes `cost` from the limit if it fits.

    The Generic Cell Rate Algorithm as a continuous-state leaky bucket (ITU-T Recommendation I.371,
    annex A): the bucket drains at `rate_per_s` and holds `burst`. In any window of w seconds at
    most burst + rate_per_s × w units are allowed, give or take `TOLERANCE`: the bucket is never
    fuller than the burst, and all that was allowed in the window is in it but for what drained.
    """
    return _take(state, now, cost, rate_per_s, burst, hold=False)


def reserve(
    state: Bucket, now: float, cost: float, rate_per_s: float, burst: float
) -> GcraDecision:
    """As `gcra`, but the cost is an estimate: it is held until `reconcile` says what it was.

    The bound is the same for what is used, counted when it is settled, but for what goes beyond
    the reservations.
    """
    return _take(state, now, cost, rate_per_s, burst, hold=True)


def reconcile(state: Bucket, now: float, reserved: float, used: float, rate_per_s: float) -> Bucket:
    """Ends a reservation. More than reserved may have been used: the bucket then overflows, and
    nothing is allowed until the excess has drained."""
    drained = state.drained(now, rate_per_s)
    return Bucket(drained.level + used, max(0.0, drained.held - reserved), drained.at)


def _take(
    state: Bucket, now: float, cost: float, rate_per_s: float, burst: float, *, hold: bool
) -> GcraDecision:
    after = before = state.drained(now, rate_per_s)
    excess = before.level + before.held + cost - burst
    allowed = excess <= TOLERANCE
    if allowed and hold:
        after = Bucket(before.level, before.held + cost, before.at)
    elif allowed:
        after = Bucket(before.level + cost, before.held, before.at)
    if allowed:
        retry_after = 0.0
    elif cost > burst:
        retry_after = math.inf
    else:
        retry_after = _seconds(excess, rate_per_s)
    filled = after.level + after.held
    return GcraDecision(
        state=after,
        allowed=allowed,
        retry_after=retry_after,
        remaining=max(0, math.floor(burst - filled + TOLERANCE)),
        reset_after=_seconds(filled, rate_per_s),
    )


def _seconds(units: float, rate_per_s: float) -> float:
    if units <= 0:
        return 0.0
    return units / rate_per_s if rate_per_s > 0 else math.inf


class Entry:
    """Requests of one moment in a `SlidingWindow`; the handle to reconcile or cancel them."""

    __slots__ = ("at", "requests", "tokens")

    def __init__(self, at: float, requests: int, tokens: int) -> None:
        self.at = at
        self.requests = requests
        self.tokens = tokens


class SlidingWindow:
    """Exactly the requests and tokens of the last `length` seconds: what is counted at t counts
    in [t, t + length).

    The log holds an entry a request, so a key that keeps to its RPM holds at most RPM of them. A
    full log adds to its newest entry and moves that to now: what is in it counts longer than it
    must, never shorter. `now` must not go backwards between calls.
    """

    __slots__ = ("_entries", "_length", "_max_entries", "requests", "tokens")

    def __init__(self, length: float = WINDOW, max_entries: int = MAX_WINDOW_ENTRIES) -> None:
        self._entries: deque[Entry] = deque()
        self._length = length
        self._max_entries = max_entries
        self.requests = 0
        """In the window at the last call of `slide`, as `tokens`."""
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._entries)

    def slide(self, now: float) -> None:
        """Forgets what has left the window."""
        entries = self._entries
        while entries and entries[0].at + self._length <= now:
            gone = entries.popleft()
            self.requests -= gone.requests
            self.tokens -= gone.tokens
            gone.at = -math.inf

    def count(self, now: float, tokens: int, requests: int = 1) -> Entry:
        """Counts requests with their expected tokens, whether or not there is room."""
        self.slide(now)
        self.requests += requests
        self.tokens += tokens
        if len(self._entries) < self._max_entries:
            self._entries.append(Entry(now, requests, tokens))
        else:
            newest = self._entries[-1]
            newest.at = now
            newest.requests += requests
            newest.tokens += tokens
        return self._entries[-1]

    def reconcile(self, entry: Entry, expected: int, used: int) -> None:
        """Replaces the expected tokens by those used; nothing once the entry has left."""
        if entry.at != -math.inf:
            entry.tokens += used - expected
            self.tokens += used - expected

    def cancel(self, entry: Entry, expected: int) -> None:
        """Takes a request back that was never sent; nothing once the entry has left."""
        if entry.at == -math.inf:
            return
        self.reconcile(entry, expected, 0)
        entry.requests -= 1
        self.requests -= 1
        while self._entries and self._entries[-1].requests == 0:
            self._entries.pop().at = -math.inf

    def available_at(
        self, now: float, tokens: int, rpm: int | None, tpm: int | None
    ) -> float | None:
        """When one more request of so many tokens fits, if nothing else comes; None: never."""
        if (rpm is not None and rpm < 1) or (tpm is not None and tokens > tpm):
            return None
        self.slide(now)
        requests_over = 0 if rpm is None else self.requests + 1 - rpm
        tokens_over = 0 if tpm is None else self.tokens + tokens - tpm
        at = now
        for entry in self._entries:
            if requests_over <= 0 and tokens_over <= 0:
                break
            requests_over -= entry.requests
            tokens_over -= entry.tokens
            at = entry.at + self._length
        return at

    def share(self, now: float, rpm: int | None, tpm: int | None) -> float | None:
        """What remains of the fuller of the two limits, 0 to 1; None without limits."""
        self.slide(now)
        share = None if rpm is None else remaining_share(rpm - self.requests, rpm)
        if tpm is None:
            return share
        of_tokens = remaining_share(tpm - self.tokens, tpm)
        return of_tokens if share is None else min(share, of_tokens)


def remaining_share(remaining: int, limit: int) -> float:
    return min(1.0, max(0.0, remaining / limit)) if limit > 0 else 0.0


class Allowance(msgspec.Struct, frozen=True):
    """What a provider's headers left of one of its limits, as we believe it until `until`."""

    remaining: int
    limit: int | None
    observed_at: float
    until: float

    def spend(self, cost: int) -> Allowance:
        return Allowance(max(0, self.remaining - cost), self.limit, self.observed_at, self.until)

    def available_at(self, now: float, cost: int) -> float:
        return now if cost <= self.remaining or self.until <= now else self.until

    def share(self, now: float) -> float | None:
        if self.until <= now or not self.limit:
            return None
        return remaining_share(self.remaining, self.limit)


def learn(
    known: Allowance | None,
    *,
    remaining: int | None,
    limit: int | None,
    reset: float | None,
    observed_at: float,
    in_flight: int,
) -> Allowance | None:
    """The belief after an answer's headers, which were seen at `observed_at`.

    `in_flight` is what other open requests have reserved: the provider may not have counted it yet.
    A late report of an earlier moment changes nothing. Without a usable reset the limit is taken to
    be one per minute.
    """
    if remaining is None or (known is not None and known.observed_at > observed_at):
        return known
    seconds = reset if reset is not None and reset >= 0 else WINDOW
    return Allowance(
        remaining=max(0, remaining - in_flight),
        limit=limit,
        observed_at=observed_at,
        until=observed_at + min(seconds, LONGEST_BELIEF),
    )
