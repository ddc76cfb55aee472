"""Whether the gateway can serve, and what it does without."""

from __future__ import annotations

import msgspec
import trio

from signalbox.actors.ports import Workers
from signalbox.actors.shared_state import SharedState
from signalbox.actors.supervisor import ChildState, Supervisor
from signalbox.errors import StoreUnavailable
from signalbox.persistence.stores import Store

STORE_PATIENCE = 2.0
"""Seconds that the answer waits for the database."""


class ReadinessReport(msgspec.Struct, frozen=True):
    reasons: list[str]
    """Why the gateway is not ready; empty when it is."""
    degraded: list[str]
    """What it does without while it serves."""


class Readiness(msgspec.Struct, frozen=True):
    """What the gateway needs in order to serve."""

    supervisor: Supervisor
    store: Store
    readers: Workers
    draining: trio.Event
    shared: SharedState | None = None
    """None: nothing is shared with other instances."""

    async def look(self) -> ReadinessReport:
        reasons = ["the gateway is stopping"] if self.draining.is_set() else []
        reasons += [
            f"the actor {child.name} is {child.state}"
            for child in self.supervisor.statistics()
            if child.state is not ChildState.RUNNING
        ]
        reasons += await self._of_database()
        degraded = self._of_shared_state()
        if self.shared is not None and self.shared.refuses:
            return ReadinessReport(reasons + degraded, [])
        return ReadinessReport(reasons, degraded)

    async def _of_database(self) -> list[str]:
        try:
            with trio.move_on_after(STORE_PATIENCE) as clock:
                await self.readers.run(self.store.ping)
        except StoreUnavailable as error:
            return [str(error)]
        if clock.cancelled_caught:
            return [f"the database did not answer within {STORE_PATIENCE:g} s"]
        return []

    def _of_shared_state(self) -> list[str]:
        if self.shared is None or self.shared.away is None:
            return []
        seconds = self.shared.statistics().seconds_away
        return [f"the shared state is away since {seconds:.0f} s ({self.shared.away})"]
