"""The store of route health and circuit breakers, as a protocol.

It takes batches, as the stores of `lease_stores.py` do, and its times are the caller's monotonic
clock in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from signalbox.machines.breaker import Verdict
from signalbox.machines.facts import RouteHealth

MAX_ROUTES = 4096
"""Clients name models freely where a wildcard passes them on, so the number of routes has no bound
of its own. The one that nothing was learnt of for longest is forgotten: it starts again as unknown.
About 1 KB for a route that is seldom used, 30 KB for one whose windows are full."""


class HealthReport(msgspec.Struct, frozen=True):
    """An attempt on a route is over."""

    route_id: str
    number: int
    """What `started` gave the attempt."""
    verdict: Verdict
    first_token: float | None = None
    """Seconds to the first content; None: none came, or nobody looked."""
    tokens_per_second: float | None = None


class HealthStore(Protocol):
    """Owns what is known of routes, by route id."""

    def started(self, route_ids: Sequence[str], now: float) -> list[int]:
        """Numbers for the attempts that begin; on a half-open breaker the first is the probe."""
        ...

    def ended(self, reports: Sequence[HealthReport], now: float) -> None:
        """Each attempt that started is reported once, however it ended."""
        ...

    def look(self, route_ids: Sequence[str], now: float) -> list[RouteHealth]:
        """The routes as they stand. While a probe is out, its breaker is shown as open."""
        ...
