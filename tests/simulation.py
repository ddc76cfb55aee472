"""The whole gateway in one trio run of virtual time, without sockets: thousands of requests of
impatient clients against a fleet of faulty providers, over a database that goes away.

All chance comes from one seed, so a run can be repeated exactly. What it leaves is what can be seen
from outside: what each client got and when, what each provider was asked and when, and what the
database holds at the end.
"""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import msgspec
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors.key_pool import KeyPoolStatistics
from signalbox.actors.outputs import Output, Refusal, StreamBytes, StreamHead, WholeAnswer
from signalbox.actors.rate_limiter import KeyLimits
from signalbox.errors import StoreUnavailable
from signalbox.machines.breaker import MAX_DELAY
from signalbox.machines.facts import BreakerState
from signalbox.machines.keys import EVICTION
from signalbox.machines.plan import RequestPlan
from signalbox.persistence.stores import TraceRecord
from signalbox.types import Midstream, ModelPlan, Request, RetryPolicy, Strategy, Timeouts
from tests.fleet import Fleet, Period, asker_of, is_in
from tests.folding import Folded, fold_answer, fold_bytes
from tests.rig import Rig, model
from tests.scripted_upstream import Call, ScriptedUpstream

TAKE_PREFILL = frozenset({"steady", "flapping"})


def routed(name: str, *providers: str) -> ModelPlan:
    plan = model(name, *providers)
    routes = [replace(route, prefill=route.provider in TAKE_PREFILL) for route in plan.routes]
    return replace(plan, routes=tuple(routes))


MODELS = {
    "chat": routed("chat", "steady", "broken", "strict"),
    "backup": routed("backup", "liar", "flapping", "steady"),
    "cheap": model("cheap", "silent", "strict"),
    "lonely": model("lonely", "narrow"),
}
CHAINS = (["chat", "backup"], ["chat"], ["cheap", "chat"], ["backup"], ["lonely"])
DATABASE_AWAY: Sequence[Period] = ((0.2, 0.23), (0.5, 0.54))
LEDGER_CRASHES = (0.3, 0.7)
"""When a bug takes the ledger down, as shares of the run."""
MIDSTREAM = (Midstream.CONTINUE, Midstream.CONTINUE, Midstream.SAME_MODEL, Midstream.ERROR)
SMALL = 40
"""Requests of a small world: enough for each rule to be met, few enough for hundreds of seeds."""
REQUESTS_PER_SECOND = 4.0
ALL_AT_ONCE = 0.1
"""The share of the requests that come in bursts."""
RPM, BURST = 250, 20
"""The gateway's own limit: met in bursts only."""


@dataclass
class Client:
    """One client: what it will do, and what it saw."""

    number: int
    asks_at: float
    request: Request
    plan: RequestPlan
    pause: float
    """Seconds between two reads."""
    patience: float
    """Seconds after which it leaves."""
    breaks: bool
    """When it leaves, its connection breaks, and all that serves it is cancelled."""
    seen: list[tuple[float, Output]] = field(default_factory=list)
    left_at: float | None = None
    served_until: float = 0.0

    @property
    def name(self) -> str:
        return f"client {self.number}"

    @property
    def pieces(self) -> list[Output]:
        return [piece for _, piece in self.seen]

    @property
    def stream(self) -> bytes:
        """What came in pieces."""
        return b"".join(piece.data for piece in self.pieces if isinstance(piece, StreamBytes))

    @property
    def told(self) -> Folded:
        """What all that came amounts to."""
        for piece in self.pieces:
            if isinstance(piece, WholeAnswer):
                return fold_answer(msgspec.json.decode(piece.body))
        return fold_bytes(self.stream)

    @property
    def has_success(self) -> bool:
        """One finish reason that is no error, and of a stream its end as well."""
        whole = any(isinstance(piece, WholeAnswer) for piece in self.pieces)
        return self.told.finish == {0: ["stop"]} and (whole or b"[DONE]" in self.stream)


class Simulation:
    """One run. Make it, `run` it, then look at it."""

    def __init__(self, seed: int, requests: int, folder: Path) -> None:
        self.seed = seed
        self._seconds = requests / REQUESTS_PER_SECOND
        self.fleet = Fleet(seed, self._seconds)
        self._chance = Random(seed)
        self.rig = Rig(
            ScriptedUpstream(self.fleet.script),
            folder,
            self.fleet.keys(),
            everyone=KeyLimits("everyone", RPM, None, None, BURST),
            work_seconds=0.005,
            chance=Random(f"{seed} gateway"),
        )
        self.rig.store.fault = self._database_fault
        self.crashes_left = [*LEDGER_CRASHES]
        self._requests = requests
        self.clients: list[Client] = []
        self.recoveries: dict[str, list[Output]] = {}
        """What one more call of each route gave when all faults were over, by route id."""
        self.breakers: dict[str, BreakerState] = {}
        """Where each breaker stood after that."""
        self.tasks_left = -1
        self.pool: KeyPoolStatistics | None = None
        """As it was when everything was over."""

    def run(self) -> Simulation:
        # Trio shuffles the tasks of each batch so that nobody relies on their order. Under a test
        # runner it takes them from this generator, in an order that depends on nothing else.
        trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # its test hook
        trio._core._run._r.seed(self.seed)
        logging.disable(
            logging.CRITICAL
        )  # thousands of faults: a story tells of the one that counts
        try:
            trio.run(self._main, clock=MockClock(autojump_threshold=0))
        finally:
            logging.disable(logging.NOTSET)
        return self

    async def _main(self) -> None:
        self.clients = [self._client(number) for number in range(self._requests)]
        tasks_before = trio.lowlevel.current_statistics().tasks_living
        async with self.rig.running():
            async with trio.open_nursery() as nursery:
                for client in self.clients:
                    nursery.start_soon(self._serve, client)
            await self._recover()
            self.pool = await self.rig.services.key_pool.statistics()
        self.tasks_left = trio.lowlevel.current_statistics().tasks_living - tasks_before

    async def _recover(self) -> None:
        """All faults are over. After the longest delay of a breaker every route gets one call more,
        by which time the ledger has brought its spool into the database."""
        self.fleet.recovered = True
        await trio.sleep(max(MAX_DELAY, EVICTION) + 1)
        for plan in MODELS.values():
            for route in plan.routes:
                alone = RequestPlan((replace(plan, routes=(route,)),), stream=False)
                self.recoveries[route.id] = await self.rig.ask(self.rig.request(), alone)
        routes = list(self.recoveries)
        pasts = await self.rig.services.health.snapshots(routes, trio.current_time())
        self.breakers = {route: past.breaker for route, past in zip(routes, pasts, strict=True)}

    # ── the world ─────────────────────────────────────────────────────────────────────────────

    def _database_fault(self, operation: str) -> None:
        now = trio.current_time() / self._seconds
        if operation == "append_charges" and self.crashes_left and now >= self.crashes_left[0]:
            self.crashes_left.pop(0)
            raise RuntimeError("a bug in the store")
        if any(is_in(now, period) for period in DATABASE_AWAY):
            raise StoreUnavailable("the database is away")

    def _client(self, number: int) -> Client:
        chance = self._chance
        at = chance.uniform(0, self._seconds)
        if chance.random() < ALL_AT_ONCE:
            at -= at % 60
        streamed = chance.random() < 0.6
        chain = chance.choice(CHAINS)
        name = f"client {number}"
        request = self.rig.request(chain[0], stream=streamed)
        body = {**request.body, "messages": [{"role": "user", "content": name}]}
        return Client(
            number=number,
            asks_at=at,
            request=replace(
                request,
                body=body,
                received_at=self.rig.wall_clock() + at,
                conversation=f"conversation {chance.randrange(5)}",
            ),
            plan=RequestPlan(
                models=tuple(MODELS[each] for each in chain),
                stream=streamed,
                strategy=chance.choice([*Strategy]),
                retry=RetryPolicy(
                    attempts=chance.randint(0, 2),
                    max_wait=chance.choice([0.0, 5.0, 30.0]),
                    max_attempts_total=chance.choice([1, 4, 12, 12]),
                ),
                timeouts=Timeouts(
                    first_token=chance.choice([3.0, 10.0]),
                    idle=chance.choice([3.0, 10.0]),
                    response=chance.choice([10.0, 30.0]),
                    total=chance.choice([2.0, 20.0, 60.0, 120.0]),
                ),
                prompt_tokens=10,
                output_tokens=10,
                midstream=chance.choice(MIDSTREAM) if streamed else Midstream.ERROR,
                hedge=streamed and chance.random() < 0.3,
                hedge_after=chance.choice([None, 0.5]),
            ),
            pause=chance.choice([0.0, 0.0, 0.0, 0.2, 2.0]),
            patience=chance.expovariate(0.1) if chance.random() < 0.2 else 10_000.0,
            breaks=chance.random() < 0.5,
        )

    async def _serve(self, client: Client) -> None:
        """What a door does: the runner beside a loop that passes its pieces on."""
        await trio.sleep_until(client.asks_at)
        runner, pieces = self.rig.runner(client.request, client.plan, payloads="off")
        with trio.CancelScope() as connection:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(runner.run)
                with pieces, trio.move_on_after(client.patience) as patience:
                    await self._read(client, pieces)
                if patience.cancelled_caught:
                    client.left_at = trio.current_time()
                    runner.client_gone()
                    if client.breaks:
                        connection.cancel()
        client.served_until = trio.current_time()

    async def _read(self, client: Client, pieces: trio.MemoryReceiveChannel[Output]) -> None:
        async for piece in pieces:
            client.seen.append((trio.current_time(), piece))
            await trio.sleep(client.pause)

    # ── what can be seen of it ────────────────────────────────────────────────────────────────

    def trace_of(self, client: Client) -> TraceRecord:
        return self.rig.store.traces[client.request.id]

    def calls_of(self) -> dict[str, list[Call]]:
        """By the client's name, in order."""
        calls: defaultdict[str, list[Call]] = defaultdict(list)
        for call in self.rig.calls:
            calls[asker_of(call)].append(call)
        return calls

    def digest(self) -> str:
        """A fingerprint of all that was seen: by clients, by providers, by the database."""
        seen = hashlib.sha256()
        for client in self.clients:
            seen.update(repr((client.name, client.left_at, client.seen)).encode())
        for call in self.rig.calls:
            seen.update(
                repr((call.at, call.key, call.reads, self.fleet.plots[call.number])).encode()
            )
        for record in (*self.rig.store.traces.values(), *self.rig.store.charges.values()):
            seen.update(msgspec.json.encode(record))
        return seen.hexdigest()

    def story(self, client: Client) -> str:
        """One request as a dialogue, for whoever has to find out why a rule was broken."""
        lines = sorted(self._lines(client), key=lambda line: line[0])
        told = "\n".join(f"{at:10.3f}  {words}" for at, words in lines)
        return f"seed {self.seed}, {client.name}:\n{told}"

    def _lines(self, client: Client) -> Iterator[tuple[float, str]]:
        plan = client.plan
        yield (
            client.asks_at,
            f"{client.name} asks for {' or '.join(each.name for each in plan.models)}"
            f" ({'streamed' if plan.stream else 'whole'}, {plan.timeouts}, {plan.retry})",
        )
        for call in self.calls_of()[client.name]:
            plot = self.fleet.plots[call.number]
            yield call.at, f"  call {call.number} on key {call.key}: {plot}"
        trace = self.rig.store.traces.get(client.request.id)
        for event in trace.events if trace is not None else ():
            if event.kind == "event":
                move = event.data
                words = f"{move['source']} → {move['target']} {move['reason']}"
                yield client.asks_at + event.at, f"  {event.name}: {words}"
        for at, piece in client.seen:
            yield at, f"client sees {_in_words(piece)}"
        if client.left_at is not None:
            yield client.left_at, "client leaves"
        yield client.served_until, "the request is over"


def _in_words(piece: Output) -> str:
    match piece:
        case StreamHead():
            return "the head of a stream"
        case StreamBytes():
            return repr(piece.data[:200])
        case WholeAnswer():
            return f"a whole answer: {piece.body[:200]!r}"
        case Refusal():
            return f"{piece.error.status} {piece.error.code}: {piece.error.message}"
