"""Route health in the memory of one process. Each method is one step."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from signalbox.machines import route_health
from signalbox.machines.facts import RouteHealth
from signalbox.machines.route_health import RoutePast
from signalbox.persistence.health_stores import MAX_ROUTES, HealthReport


class MemoryHealthStore:
    """A `HealthStore` for one process."""

    def __init__(self, max_routes: int = MAX_ROUTES) -> None:
        self._max_routes = max_routes
        self._routes: OrderedDict[str, RoutePast] = OrderedDict()
        """The one that changed last comes last."""
        self._attempts = 0

    def __len__(self) -> int:
        """Routes that are remembered."""
        return len(self._routes)

    def started(self, route_ids: Sequence[str], now: float) -> list[int]:
        numbers = []
        for route_id in route_ids:
            self._attempts += 1
            numbers.append(self._attempts)
            past = self._past(route_id)
            self._keep(route_id, past, route_health.started(past, self._attempts, now))
        self._forget()
        return numbers

    def ended(self, reports: Sequence[HealthReport], now: float) -> None:
        for report in reports:
            past = self._past(report.route_id)
            changed = route_health.ended(
                past,
                report.number,
                report.verdict,
                first_token=report.first_token,
                tokens_per_second=report.tokens_per_second,
                now=now,
            )
            self._keep(report.route_id, past, changed)
        self._forget()

    def look(self, route_ids: Sequence[str], now: float) -> list[RouteHealth]:
        return [route_health.seen(self._past(route_id), now) for route_id in route_ids]

    def _past(self, route_id: str) -> RoutePast:
        return self._routes.get(route_id, _UNKNOWN)

    def _keep(self, route_id: str, before: RoutePast, after: RoutePast) -> None:
        if after is not before:
            self._routes[route_id] = after
            self._routes.move_to_end(route_id)

    def _forget(self) -> None:
        while len(self._routes) > self._max_routes:
            self._routes.popitem(last=False)


_UNKNOWN = RoutePast()
