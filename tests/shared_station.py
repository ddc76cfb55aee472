"""An instance of a gateway on shared stores whose faults a test chooses, in virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from signalbox.actors.health import Health
from signalbox.actors.key_pool import Denied, KeyPool, Lease
from signalbox.actors.rate_limiter import Admission, KeyLimits, RateLimiter, Refusal
from signalbox.actors.shared_access import Debt
from signalbox.actors.shared_state import SharedState
from signalbox.actors.store_access import COUNT_KEYS, COUNT_SCOPES
from signalbox.actors.supervisor import Supervisor
from signalbox.errors import StoreUnavailable
from signalbox.persistence.health_memory import MemoryHealthStore
from signalbox.persistence.leases_memory import MemoryLeaseStore
from signalbox.persistence.limits_memory import MemoryLimitStore
from tests.fakes import Fault, InlineWorkers, no_fault, supervised
from tests.key_desk import TTL, SettlementLog, key


def away(operation: str) -> None:
    raise StoreUnavailable("connection refused")


class Shared:
    """What would be in Redis. Every call first meets `fault`, which may be changed at any time."""

    def __init__(self) -> None:
        self.leases, self.limits = SettlementLog(), MemoryLimitStore()
        self.health = MemoryHealthStore()
        self.instances: set[object] = set()
        self.fault: Fault = no_fault
        self.calls: Counter[str] = Counter()

    def reached(self, store: object) -> Any:
        return _Reached(self, store)


class _Reached:
    """A store on the far side of a connection."""

    def __init__(self, shared: Shared, store: object) -> None:
        self._shared = shared
        self._store = store

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._store, name)

        def call(*arguments: Any) -> Any:
            self._shared.calls[name] += 1
            self._shared.fault(name)
            return method(*arguments)

        return call


class _Sign:
    """One instance's signs of life."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def announce(self) -> int:
        self._shared.instances.add(self)
        return len(self._shared.instances)

    def leave(self) -> None:
        self._shared.instances.discard(self)


class Station:
    """Run it with `running`."""

    def __init__(
        self,
        shared: Shared,
        *,
        rpm: int | None = None,
        everyone: KeyLimits | None = None,
        refuse: bool = False,
    ) -> None:
        self.shared = shared
        self.supervisor, self.alerts = Supervisor(), list[str]()
        self.workers = InlineWorkers()
        self.state = SharedState(
            self.supervisor, shared.reached(_Sign(shared)), self.workers, alert=self.alerts.append
        )
        local_leases, local_limits = MemoryLeaseStore(), MemoryLimitStore()
        leases = self.state.access(
            shared.reached(shared.leases),
            local_leases,
            debt=Debt(local_leases.hand_over, COUNT_KEYS),
        )
        limits = self.state.access(
            shared.reached(shared.limits),
            local_limits,
            debt=Debt(local_limits.hand_over, COUNT_SCOPES),
            stand_in=not refuse,
        )
        self.pool = KeyPool([key("openai/1", rpm=rpm)], leases, alert=self.alerts.append)
        self.limiter = RateLimiter(limits, everyone)
        self.health = Health(self.state.access(shared.reached(shared.health), MemoryHealthStore()))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with supervised(self.supervisor):
            await trio.testing.wait_all_tasks_blocked()
            yield

    async def ask(self) -> Lease | Denied:
        return await self.pool.lease("openai", "m", 0, owner="r", ttl=TTL)

    async def lease(self) -> Lease:
        lease = await self.ask()
        assert isinstance(lease, Lease), lease
        return lease

    async def leases(self, asks: int) -> list[Lease]:
        """Those of so many asks at one time that were granted."""
        answers: list[Lease | Denied] = []

        async def one() -> None:
            answers.append(await self.ask())

        async with trio.open_nursery() as nursery:
            for _ in range(asks):
                nursery.start_soon(one)
        return [answer for answer in answers if isinstance(answer, Lease)]

    async def admit(self, limits: KeyLimits) -> Admission | Refusal:
        return await self.limiter.admit(limits, 0, "r", ttl=100)
