"""What is known of each route's recent past, its circuit breaker, and the budgets of extra calls.

What attempts teach lies in the `HealthStore`, which several processes may share. The budgets are
this process's own: they bound what it adds to its own load.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import trio

from signalbox.actors.store_access import (
    END_ATTEMPT,
    LOOK_AT_ROUTES,
    START_ATTEMPT,
    StoreAccess,
)
from signalbox.errors import Failure
from signalbox.machines.breaker import verdict
from signalbox.machines.budgets import HEDGES, RETRIES, CallBudget
from signalbox.machines.facts import RouteHealth
from signalbox.persistence.health_stores import MAX_ROUTES, HealthReport, HealthStore


class Health:
    """The health of all routes, by route id."""

    def __init__(
        self,
        stores: StoreAccess[HealthStore],
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._stores = stores
        self._clock = clock
        self._retries: OrderedDict[str, CallBudget] = OrderedDict()
        """As many routes as the stores remember; the one that was called last comes last."""
        self._hedges = CallBudget.fresh(HEDGES)

    @property
    def routes(self) -> Sequence[str]:
        """The ids of the routes that this process has called, as far as it remembers."""
        return list(self._retries)

    async def attempt_started(
        self, route_id: str, *, retry: bool = False, hedge: bool = False
    ) -> int:
        """The attempt's number, for `record`. On a half-open breaker it may be the probe.

        `retry`: the same request calls the route again, out of the route's retry budget. `hedge`:
        it runs beside another attempt, out of the budget of hedges. Every other one pays into both.
        """
        now = self._clock()
        if hedge:
            self._hedges = self._hedges.withdrawn(now)
        else:
            budget = self._retries_of(route_id)
            self._retries[route_id] = budget.withdrawn(now) if retry else budget.deposited(now)
            if not retry:
                self._hedges = self._hedges.deposited(now)
            self._retries.move_to_end(route_id)
            if len(self._retries) > MAX_ROUTES:
                self._retries.popitem(last=False)
        answered = await self._stores.ask(START_ATTEMPT, [route_id], now)
        [number] = answered.answers
        # Numbers begin at 1, so the sign can say where the attempt is known.
        return -number if answered.local else number

    def record(
        self,
        route_id: str,
        *,
        at: float,
        failure: Failure | None,
        first_token: float | None,
        tokens_per_second: float | None,
        cancelled: bool = False,
        attempt: int | None,
    ) -> None:
        """An attempt is over. Each one that started must be recorded once, however it ended.

        Never waits. `first_token` is in seconds. `cancelled`: the gateway ended the attempt, or
        gave up on it sooner than the operator's own timeouts would have; it does not count.
        `attempt` is what `attempt_started` returned; None: it never started, so nothing is told.
        """
        if attempt is None:
            return
        report = HealthReport(
            route_id,
            abs(attempt),
            verdict(failure.kind if failure else None, cancelled=cancelled),
            first_token,
            tokens_per_second,
        )
        self._stores.tell(END_ATTEMPT, report, at, local=attempt < 0)

    async def snapshots(self, route_ids: Sequence[str], at: float) -> list[RouteHealth]:
        """The routes as they stand. While a probe is out, its breaker is shown as open."""
        return list((await self._stores.ask(LOOK_AT_ROUTES, route_ids, at)).answers)

    def may_retry(self, route_id: str) -> bool:
        """Whether the route's retry budget has room."""
        return self._retries_of(route_id).has_room(self._clock())

    def may_hedge(self) -> bool:
        """Whether the budget of all requests has room for one more hedge."""
        return self._hedges.has_room(self._clock())

    def _retries_of(self, route_id: str) -> CallBudget:
        return self._retries.get(route_id) or CallBudget.fresh(RETRIES)
