"""A gateway without sockets: all its actors are real, the outside is in memory."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import trio
from msgspec.structs import replace

from signalbox.actors.affinity import Affinity
from signalbox.actors.alarms import Alarms
from signalbox.actors.health import Health
from signalbox.actors.key_pool import KeyPool, ProviderKey
from signalbox.actors.ledger import Ledger
from signalbox.actors.money import Money
from signalbox.actors.outputs import Output, StreamBytes
from signalbox.actors.provider_state import ProviderState
from signalbox.actors.rate_limiter import KeyLimits, RateLimiter
from signalbox.actors.runner import RequestRunner
from signalbox.actors.services import Provider, RunnerServices
from signalbox.actors.store_access import InProcess
from signalbox.actors.supervisor import ChildSpec, Supervisor
from signalbox.actors.trace_hub import TraceHub
from signalbox.actors.trace_writer import TraceWriter
from signalbox.adapters.doors import door_of
from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.protocol import Adapter
from signalbox.adapters.registry import ProviderAdapters
from signalbox.ids import Uuid7Generator
from signalbox.machines.budget import Budget
from signalbox.machines.plan import RequestPlan
from signalbox.persistence.health_memory import MemoryHealthStore
from signalbox.persistence.lease_stores import (
    LeaseRecord,
    LeaseRefused,
    LeaseRequest,
    LeaseSettlement,
    LimitGranted,
    LimitRefused,
    LimitRequest,
    LimitSettlement,
    Settled,
)
from signalbox.persistence.leases_memory import MemoryLeaseStore
from signalbox.persistence.limits_memory import MemoryLimitStore
from signalbox.persistence.money_memory import MemoryMoneyStore
from signalbox.persistence.money_stores import MoneyStore, SpentQuery
from signalbox.persistence.spool import ChargeSpool
from signalbox.persistence.stores import SpendingQuery, TraceRecord
from signalbox.types import (
    Dialect,
    Extra,
    ModelPlan,
    NanoUSD,
    Price,
    Request,
    Route,
    Secret,
    Strategy,
)
from tests.fakes import InlineWorkers, MemoryStore, database_away, supervised
from tests.scripted_upstream import Call, Script, ScriptedUpstream

CAPACITY = 16
"""Pieces that may wait for a client that does not read."""
EPOCH = 1_700_000_000.0
"""The wall clock at virtual time 0."""
UNLIMITED = KeyLimits("client", rpm=None, tpm=None, concurrency=None)
PRICE = Price(input=Decimal(1), output=Decimal(2))


class LeaseLog(MemoryLeaseStore):
    """Keeps what was granted, and how often each lease was given back."""

    def __init__(self) -> None:
        super().__init__()
        self.granted: list[LeaseRecord] = []
        self.given_back: Counter[str] = Counter()

    def acquire(
        self, requests: Sequence[LeaseRequest], now: float
    ) -> list[LeaseRecord | LeaseRefused]:
        answers = super().acquire(requests, now)
        self.granted += [answer for answer in answers if isinstance(answer, LeaseRecord)]
        return answers

    def settle(self, settlements: Sequence[LeaseSettlement], now: float) -> list[Settled]:
        self.given_back.update(settlement.lease_id for settlement in settlements)
        return super().settle(settlements, now)


class LimitLog(MemoryLimitStore):
    """Keeps who was admitted, and how often each admission was given back."""

    def __init__(self) -> None:
        super().__init__()
        self.granted: list[str] = []
        self.given_back: Counter[str] = Counter()

    def reserve(
        self, requests: Sequence[LimitRequest], now: float
    ) -> list[LimitGranted | LimitRefused]:
        answers = super().reserve(requests, now)
        self.granted += [answer.id for answer in answers if isinstance(answer, LimitGranted)]
        return answers

    def settle(self, settlements: Sequence[LimitSettlement], now: float) -> list[bool]:
        self.given_back.update(settlement.id for settlement in settlements)
        return super().settle(settlements, now)


def provider_key(provider: str, label: str = "key", rpm: int | None = None) -> ProviderKey:
    return ProviderKey(
        f"{provider}/{label}", provider, label, Secret(f"{provider}-{label}"), rpm, None
    )


def openai_provider(name: str, adapter: Adapter | None = None) -> Provider:
    adapters = (adapter or OpenAIAdapter(name),)
    return Provider(ProviderAdapters(lambda model: adapters), f"http://{name}/v1")


def model(name: str, *providers: str) -> ModelPlan:
    return ModelPlan(name, tuple(Route(provider, name, PRICE) for provider in providers))


def plan(*models: ModelPlan) -> RequestPlan:
    """Routes are tried in their declared order."""
    return RequestPlan(models, stream=False, strategy=Strategy.FAST, prompt_tokens=10)


@dataclass
class Rig:
    """The parts of one gateway. Run it with `running`."""

    upstream: ScriptedUpstream
    folder: Path
    keys: Sequence[ProviderKey] = ()
    everyone: KeyLimits | None = None
    work_seconds: float = 0.0
    """How long each call of the database takes."""
    spool_bytes: int = 1_000_000
    chance: random.Random = field(default_factory=partial(random.Random, 0))

    def __post_init__(self) -> None:
        self.supervisor = Supervisor()
        alarms = Alarms(self.supervisor)
        self.store, workers = MemoryStore(), InlineWorkers(self.work_seconds)
        self.leases, self.limits, self.alerts = LeaseLog(), LimitLog(), list[str]()
        self.money_store = MemoryMoneyStore()
        spool = ChargeSpool(self.folder / "charges.spool", self.spool_bytes)
        ledger = Ledger(self.supervisor, self.store, spool, workers)
        writer = TraceWriter(
            self.supervisor, self.store, workers, retention_days=7, now=self.wall_clock
        )
        provider_state = ProviderState(
            self.supervisor,
            self.store,
            self.keys,
            readers=workers,
            writers=workers,
            now=self.wall_clock,
        )
        pool = KeyPool(self.keys, InProcess(self.leases), alert=self.alerts.append)
        limiter = RateLimiter(InProcess(self.limits), self.everyone)
        for name, run in (("key_pool", pool.run), ("rate_limiter", limiter.run)):
            self.supervisor.add(ChildSpec(name, run, 1, "told nothing"))
        self.services = RunnerServices(
            providers={key.provider: openai_provider(key.provider) for key in self.keys},
            key_pool=pool,
            limiter=limiter,
            ledger=ledger,
            health=Health(InProcess(MemoryHealthStore())),
            affinity=Affinity(),
            alarms=alarms,
            provider_state=provider_state,
            hub=TraceHub(),
            writer=writer,
            upstream=self.upstream,
            rng=self.chance,
            wall_clock=self.wall_clock,
            new_id=Uuid7Generator(self.wall_clock, self.chance.getrandbits),
            alert=self.alerts.append,
            max_payload_bytes=100_000,
            money=Money(
                self.supervisor,
                InProcess[MoneyStore](self.money_store),
                self._spent,
                wall_clock=self.wall_clock,
                alert=self.alerts.append,
            ),
        )

    async def _spent(self, queries: Sequence[SpentQuery]) -> list[NanoUSD]:
        """What the ledger says."""
        return self.store.spent(
            [
                SpendingQuery(it.budget.scope, it.budget.subject, it.since, it.until, it.without)
                for it in queries
            ]
        )

    def wall_clock(self) -> float:
        return EPOCH + trio.current_time()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with supervised(self.supervisor):
            yield

    def request(self, model: str = "m", *, stream: bool = False) -> Request:
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        return Request(
            id=self.services.new_id(),
            received_at=self.wall_clock(),
            door=Dialect.CHAT,
            body={**body, "stream": True} if stream else body,
            model=model,
            stream=stream,
            include_usage=False,
            extra=Extra(),
            key_id="client",
            key_name="client",
            prompt_tokens=10,
            output_tokens=10,
        )

    def runner(
        self,
        request: Request,
        plan: RequestPlan,
        *,
        payloads: str = "full",
        body: bytes = b"{}",
        budgets: Sequence[Budget] = (),
    ) -> tuple[RequestRunner, trio.MemoryReceiveChannel[Output]]:
        send, receive = trio.open_memory_channel[Output](CAPACITY)
        encoder = door_of(request.door).encoder(request)
        plan = replace(plan, stream=request.stream)
        runner = RequestRunner(
            request,
            plan,
            UNLIMITED,
            encoder,
            self.services,
            send,
            payloads,
            body=body,
            budgets=budgets,
        )
        return runner, receive

    async def ask(
        self,
        request: Request,
        plan: RequestPlan,
        *,
        payloads: str = "full",
        body: bytes = b"{}",
        budgets: Sequence[Budget] = (),
    ) -> list[Output]:
        """All that a client which reads at once gets."""
        runner, pieces = self.runner(request, plan, payloads=payloads, body=body, budgets=budgets)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.run)
            return [piece async for piece in pieces]

    @property
    def calls(self) -> list[Call]:
        return self.upstream.calls

    @property
    def only_trace(self) -> TraceRecord:
        [trace] = self.store.traces.values()
        return trace

    def assert_nothing_is_held(self) -> None:
        """Every request is over and everything was given back once. Call it after `running`."""
        assert self.upstream.open_calls == []
        assert [self.leases.given_back[lease.id] for lease in self.leases.granted] == [
            1 for _ in self.leases.granted
        ]
        assert [self.limits.given_back[id_] for id_ in self.limits.granted] == [
            1 for _ in self.limits.granted
        ]
        assert self.services.hub.under_way() == []


def scripted_rig(
    folder: Path, *scripts: Script, providers: Sequence[str] = ("a", "b"), **parts: Any
) -> Rig:
    """Providers with a key each; the first call follows the first script, and so on."""
    keys = [provider_key(provider) for provider in providers]
    return Rig(ScriptedUpstream(lambda call: scripts[call.number - 1]), folder, keys, **parts)


def sent(pieces: Sequence[Output]) -> bytes:
    return b"".join(piece.data for piece in pieces if isinstance(piece, StreamBytes))


def kinds(pieces: Sequence[Output]) -> list[str]:
    """The kinds of the pieces, repeated ones once."""
    return list(dict.fromkeys(type(piece).__name__ for piece in pieces))


def charges_refused(operation: str) -> None:
    """A fault of the store: it takes everything but charges."""
    if operation == "append_charges":
        database_away(operation)
