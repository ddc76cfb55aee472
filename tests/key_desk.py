"""A key pool with a clock in hand, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from signalbox.actors.key_pool import AttemptOutcome, Denied, KeyPool, Lease, ProviderKey
from signalbox.actors.store_access import InProcess
from signalbox.errors import Failure, FailureKind
from signalbox.persistence.lease_stores import LeaseSettlement, Settled
from signalbox.persistence.leases_memory import MemoryLeaseStore
from signalbox.types import Secret

TTL = 1000.0
SUCCESS = AttemptOutcome(failure=None, tokens=None, rate_limits=None)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class SettlementLog(MemoryLeaseStore):
    """Keeps whether each settlement did anything."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: list[bool] = []

    def settle(self, settlements: Sequence[LeaseSettlement], now: float) -> list[Settled]:
        answers = super().settle(settlements, now)
        self.settled += [answer.done for answer in answers]
        return answers


def key(name: str, rpm: int | None = None, tpm: int | None = None) -> ProviderKey:
    return ProviderKey(name, "openai", name, Secret(f"secret-of-{name}"), rpm, tpm)


def failed(kind: FailureKind, retry_after: float | None = None) -> AttemptOutcome:
    return AttemptOutcome(Failure(kind, "words", retry_after=retry_after), None, None)


@dataclass
class Desk:
    pool: KeyPool
    store: SettlementLog
    clock: Clock
    alerts: list[str]

    async def ask(
        self,
        model: str = "m",
        tokens: int = 0,
        *,
        exclude: frozenset[str] = frozenset(),
        prefer: str | None = None,
    ) -> Lease | Denied:
        return await self.pool.lease(
            "openai", model, tokens, owner="r", ttl=TTL, exclude=exclude, prefer=prefer
        )

    async def lease(self, model: str = "m", tokens: int = 0) -> Lease:
        lease = await self.ask(model, tokens)
        assert isinstance(lease, Lease), lease
        return lease

    async def denial(self, model: str = "m", tokens: int = 0) -> tuple[str, float | None]:
        """The reason, and how many seconds from now a key will be free."""
        denied = await self.ask(model, tokens)
        assert isinstance(denied, Denied), denied
        at = denied.available_at
        return denied.reason, None if at is None else at - self.clock.now


def desk(*keys: ProviderKey) -> Desk:
    clock, alerts, store = Clock(), list[str](), SettlementLog()
    return Desk(KeyPool(keys, InProcess(store), clock, alerts.append), store, clock, alerts)
