"""Route health on Redis, shared by all processes of a gateway. `lua/health.lua` does the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import redis

from signalbox.machines import breaker, probes, route_health
from signalbox.machines.facts import RouteHealth
from signalbox.persistence.health_stores import MAX_ROUTES, HealthReport
from signalbox.persistence.redis_scripts import RedisScript

SLOT = "{sb:health}"
"""Where every key begins: a cluster keeps them in one place."""

FORGET_AFTER = 6 * 3600
"""Seconds after which Redis drops a route that nothing was learnt of. By then its means and windows
are worth nothing, and the longest delay of its breaker was over long ago."""

_RULES = {
    "half_life": route_health.HALF_LIFE,
    "window_seconds": route_health.WINDOW_SECONDS,
    "window_samples": route_health.WINDOW_SAMPLES,
    "min_samples": route_health.MIN_SAMPLES,
    "trip_after": breaker.TRIP_AFTER,
    "recent": breaker.RECENT,
    "recent_seconds": breaker.RECENT_SECONDS,
    "base_delay": breaker.BASE_DELAY,
    "max_delay": breaker.MAX_DELAY,
    "patience": probes.PATIENCE,
    "max_open": probes.MAX_OPEN,
    "forget_after": FORGET_AFTER,
}


class RedisHealthStore:
    """A `HealthStore` on Redis. Every method is one round trip and raises `StoreUnavailable`.

    `clock`: seconds, in place of Redis' own clock.
    """

    def __init__(
        self,
        client: redis.Redis,
        clock: Callable[[], float] | None = None,
        max_routes: int = MAX_ROUTES,
    ) -> None:
        rules = {**_RULES, "max_routes": max_routes}
        self._script = RedisScript(client, "health", clock, constants={"RULES": rules})

    def started(self, route_ids: Sequence[str], now: float) -> list[int]:
        names = [_name(route_id) for route_id in route_ids]
        return msgspec.convert(self._call("started", names, now), list[int])

    def ended(self, reports: Sequence[HealthReport], now: float) -> None:
        self._call("ended", [_packed(report) for report in reports], now)

    def look(self, route_ids: Sequence[str], now: float) -> list[RouteHealth]:
        names = [_name(route_id) for route_id in route_ids]
        return msgspec.convert(self._call("look", names, now), list[RouteHealth])

    def _call(self, what: str, batch: Sequence[object], now: float) -> object:
        return self._script([SLOT], what, batch, now)


def _name(route_id: str) -> str:
    """A model's name may hold lone surrogates, as a client's JSON may; MessagePack's text not."""
    return route_id.encode("utf-8", "backslashreplace").decode()


def _packed(report: HealthReport) -> tuple[object, ...]:
    return (
        _name(report.route_id),
        report.number,
        report.verdict,
        report.first_token,
        report.tokens_per_second,
    )
