"""What is known of each route's recent past, and its circuit breaker.

Told and asked by synchronous calls: nothing here waits, and nothing has to be done between calls.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import trio

from signalbox.errors import Failure
from signalbox.machines import breaker as breakers
from signalbox.machines.breaker import Breaker, Verdict
from signalbox.machines.facts import BreakerState, RouteHealth

HALF_LIFE = 300.0
"""Seconds after which a measurement weighs half as much as a new one: an outage of minutes shows at
once and is forgotten within the hour."""

MAX_ROUTES = 4096
"""Clients name models freely where a wildcard passes them on, so the number of routes has no bound
of its own. The least recently used is forgotten: it starts again as unknown. About 4 MB."""


class DecayingMean:
    """The mean of measurements that weigh 2^(−age / `HALF_LIFE`)."""

    __slots__ = ("_at", "_total", "_weight")

    def __init__(self) -> None:
        self._total = 0.0
        self._weight = 0.0
        self._at = 0.0

    def add(self, value: float, at: float) -> None:
        fade = 2.0 ** (-max(0.0, at - self._at) / HALF_LIFE)
        self._total = self._total * fade + value
        self._weight = self._weight * fade + 1.0
        self._at = max(at, self._at)

    @property
    def value(self) -> float | None:
        """None before the first measurement."""
        return self._total / self._weight if self._weight else None


class _RoutePast:
    __slots__ = (
        "breaker",
        "first_token",
        "last_outage_at",
        "samples",
        "success_rate",
        "tokens_per_second",
    )

    def __init__(self) -> None:
        self.breaker = Breaker()
        self.success_rate = DecayingMean()
        self.first_token = DecayingMean()
        self.tokens_per_second = DecayingMean()
        self.last_outage_at: float | None = None
        self.samples = 0


class Health:
    """The health of all routes, by route id."""

    def __init__(self, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._routes: OrderedDict[str, _RoutePast] = OrderedDict()
        self._attempts = 0

    def __len__(self) -> int:
        return len(self._routes)

    def attempt_started(self, route_id: str) -> int:
        """The attempt's number, for `record`. On a half-open breaker it may be the probe."""
        self._attempts += 1
        past = self._past(route_id)
        past.breaker = breakers.started(past.breaker, self._attempts, self._clock())
        return self._attempts

    def record(
        self,
        route_id: str,
        *,
        at: float,
        failure: Failure | None,
        first_token: float | None,
        tokens_per_second: float | None,
        cancelled: bool = False,
        attempt: int | None = None,
    ) -> None:
        """An attempt is over. Each one that started must be recorded once, however it ended.

        `first_token` is in seconds. `cancelled`: the gateway ended the attempt, or gave up on it
        sooner than the operator's own timeouts would have; it does not count. `attempt` is what
        `attempt_started` returned; without it the result is taken for the probe's, if one is out.
        """
        past = self._past(route_id)
        said = breakers.verdict(failure.kind if failure else None, cancelled=cancelled)
        number = _newest_probe(past.breaker) if attempt is None else attempt
        past.breaker = breakers.ended(past.breaker, number, said, at)
        if said is not Verdict.NOTHING:
            past.samples += 1
            past.success_rate.add(float(said is Verdict.UP), at)
        if said is Verdict.FAULT:
            past.last_outage_at = at
        if first_token is not None:
            past.first_token.add(first_token, at)
        if tokens_per_second is not None:
            past.tokens_per_second.add(tokens_per_second, at)

    def snapshot(self, route_id: str, at: float) -> RouteHealth:
        """The route as it stands. While a probe is out, its breaker is shown as open."""
        past = self._routes.get(route_id)
        if past is None:
            return RouteHealth()
        state, reopens_at = _as_seen(past.breaker, at)
        return RouteHealth(
            success_rate=past.success_rate.value,
            first_token=past.first_token.value,
            tokens_per_second=past.tokens_per_second.value,
            last_outage_at=past.last_outage_at,
            samples=past.samples,
            breaker=state,
            breaker_reopens_at=reopens_at,
        )

    def _past(self, route_id: str) -> _RoutePast:
        past = self._routes.get(route_id)
        if past is None:
            past = self._routes[route_id] = _RoutePast()
            if len(self._routes) > MAX_ROUTES:
                self._routes.popitem(last=False)
        self._routes.move_to_end(route_id)
        return past


def _newest_probe(breaker: Breaker) -> int:
    return breaker.probes.open[-1] if breaker.probes.open else 0


def _as_seen(breaker: Breaker, at: float) -> tuple[BreakerState, float | None]:
    breaker = breakers.at_time(breaker, at)
    if breaker.state is BreakerState.OPEN:
        return BreakerState.OPEN, breaker.reopens_at
    if breaker.state is BreakerState.HALF_OPEN and not breaker.probes.vacant(at):
        return BreakerState.OPEN, breaker.probes.vacant_at
    return breaker.state, None
