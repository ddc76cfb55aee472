"""The record of one route's recent past: whether it works, how fast it is, its circuit breaker.

What is measured is kept in two ways. In the *mean* old values fade, so it always has an answer and
follows a change at once. The *sliding window* holds the last values themselves: what is unusual
(the percentiles) and how much was seen lately can be read off it.

`persistence/lua/health.lua` is this record's twin on Redis: the same operations on the same doubles
in the same order, so that the answers are equal. A change here is a change there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from signalbox.machines import breaker as breakers
from signalbox.machines.breaker import Breaker, Verdict
from signalbox.machines.facts import Percentiles, RouteHealth

HALF_LIFE = 300.0
"""Seconds after which a measurement weighs half as much as a new one: an outage of minutes shows at
once and is forgotten within the hour."""

WINDOW_SECONDS = 300.0
"""Providers' speed changes with the hour of the day, not with the minute: five minutes are one
load, and a quiet route still gathers some measurements in them."""

WINDOW_SAMPLES = 128
"""The last ones count where more fall into the window. From 100 on the p99 is not simply the
largest; more would only cost memory (about 12 KB a window) and time to sort."""

MIN_SAMPLES = 5
"""Fewer have no percentiles. Of five the p95 is the largest, which the next one passes in one case
of six; waiting for the twenty that make it one of twenty would leave a quiet route without an
answer, and what a wrong guess costs is bounded by the budget of hedges."""


class DecayingMean(msgspec.Struct, frozen=True):
    """The mean of measurements that weigh 2^(−age / `HALF_LIFE`)."""

    total: float = 0.0
    weight: float = 0.0
    at: float = 0.0
    """When `total` and `weight` were last brought up to date."""

    def added(self, value: float, now: float) -> DecayingMean:
        fade = 2.0 ** (-max(0.0, now - self.at) / HALF_LIFE)
        return DecayingMean(self.total * fade + value, self.weight * fade + 1.0, max(now, self.at))

    @property
    def value(self) -> float | None:
        """None before the first measurement."""
        return self.total / self.weight if self.weight else None


class Window(msgspec.Struct, frozen=True):
    """The last measurements, at most `WINDOW_SAMPLES` and none older than `WINDOW_SECONDS`."""

    times: tuple[float, ...] = ()
    """When each was measured, oldest first."""
    measured: tuple[float, ...] = ()

    def added(self, value: float, now: float) -> Window:
        gone = max(self._gone(now), len(self.times) + 1 - WINDOW_SAMPLES)
        return Window((*self.times[gone:], now), (*self.measured[gone:], value))

    def values(self, now: float) -> tuple[float, ...]:
        gone = self._gone(now)
        return self.measured[gone:] if gone else self.measured

    def _gone(self, now: float) -> int:
        """How many have left the window."""
        oldest, gone = now - WINDOW_SECONDS, 0
        while gone < len(self.times) and self.times[gone] <= oldest:
            gone += 1
        return gone


class Measure(msgspec.Struct, frozen=True):
    """One quantity, in both ways."""

    mean: DecayingMean = DecayingMean()
    window: Window = Window()

    def added(self, value: float, now: float) -> Measure:
        return Measure(self.mean.added(value, now), self.window.added(value, now))


class RoutePast(msgspec.Struct, frozen=True):
    """What is kept of one route. A route that nothing is known of is `RoutePast()`."""

    successes: Measure = Measure()
    """1 for an attempt that succeeded, 0 for a fault; no others."""
    first_token: Measure = Measure()
    """Seconds to the first content."""
    tokens_per_second: Measure = Measure()
    samples: int = 0
    """Attempts that said anything of the route, ever."""
    last_outage_at: float | None = None
    breaker: Breaker = msgspec.field(default_factory=Breaker)


def started(past: RoutePast, number: int, now: float) -> RoutePast:
    """Attempt `number` begins. `past` itself where that changes nothing: it is not the probe."""
    breaker = breakers.started(past.breaker, number, now)
    return past if breaker is past.breaker else replace(past, breaker=breaker)


def ended(
    past: RoutePast,
    number: int,
    said: Verdict,
    *,
    first_token: float | None,
    tokens_per_second: float | None,
    now: float,
) -> RoutePast:
    """Attempt `number` is over. `past` itself where nothing was learnt from it.

    What was measured counts whatever the attempt says of the route: the first token of a cancelled
    request was as fast as any.
    """
    breaker = breakers.ended(past.breaker, number, said, now)
    if breaker is not past.breaker:
        past = replace(past, breaker=breaker)
    if said is not Verdict.NOTHING:
        success = float(said is Verdict.UP)
        past = replace(past, successes=past.successes.added(success, now), samples=past.samples + 1)
    if said is Verdict.FAULT:
        past = replace(past, last_outage_at=now)
    if first_token is not None:
        past = replace(past, first_token=past.first_token.added(first_token, now))
    if tokens_per_second is not None:
        measured = past.tokens_per_second.added(tokens_per_second, now)
        past = replace(past, tokens_per_second=measured)
    return past


def seen(past: RoutePast, now: float) -> RouteHealth:
    """The route as it stands. While a probe is out, its breaker is shown as open."""
    recent = past.successes.window.values(now)
    breaker, reopens_at = breakers.shown(past.breaker, now)
    return RouteHealth(
        success_rate=past.successes.mean.value,
        first_token=past.first_token.mean.value,
        first_token_percentiles=percentiles(past.first_token.window.values(now)),
        tokens_per_second=past.tokens_per_second.mean.value,
        tokens_per_second_percentiles=percentiles(past.tokens_per_second.window.values(now)),
        recent_attempts=len(recent),
        recent_faults=recent.count(0.0),
        measured_at=past.successes.mean.at if past.samples else None,
        last_outage_at=past.last_outage_at,
        samples=past.samples,
        breaker=breaker,
        breaker_reopens_at=reopens_at,
    )


def percentiles(values: Sequence[float]) -> Percentiles | None:
    """By nearest rank: the p-th percentile of n values is the ⌈p × n / 100⌉-th smallest.

    It is always one of the values. None for fewer than `MIN_SAMPLES`.
    """
    if len(values) < MIN_SAMPLES:
        return None
    ordered = sorted(values)
    p50, p90, p95, p99 = (ordered[math.ceil(p * len(ordered) / 100) - 1] for p in (50, 90, 95, 99))
    return Percentiles(p50, p90, p95, p99)
