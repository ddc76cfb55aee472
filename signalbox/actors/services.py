"""The actors and parts that every runner works with."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence, Set

import msgspec
import trio

from signalbox.actors.affinity import Affinity
from signalbox.actors.alarms import Alarms
from signalbox.actors.answer_sizes import AnswerSizes
from signalbox.actors.attempt_tools import STATIC, Endpoint
from signalbox.actors.budgets_of import NO_BUDGETS, BudgetsOf
from signalbox.actors.health import Health
from signalbox.actors.key_pool import KeyPool
from signalbox.actors.ledger import Ledger
from signalbox.actors.money import Money
from signalbox.actors.ports import Credentials, Upstream
from signalbox.actors.provider_state import ProviderState
from signalbox.actors.purse import Purse
from signalbox.actors.rate_limiter import RateLimiter
from signalbox.actors.stored_keys import CallersKeys, nothing_stored
from signalbox.actors.trace_hub import TraceHub
from signalbox.actors.trace_writer import TraceWriter
from signalbox.adapters.modalities import beyond, content_field
from signalbox.adapters.registry import ProviderAdapters
from signalbox.machines.budget import Budget
from signalbox.machines.facts import Candidate, Headroom, Unavailable, Warmth
from signalbox.types import Request, Route


class Provider(msgspec.Struct, frozen=True):
    """How a provider is spoken to."""

    adapters: ProviderAdapters
    base_url: str


class Surveyor(msgspec.Struct, frozen=True):
    """What the state of routes is looked up in."""

    providers: Mapping[str, Provider]
    """By name."""
    key_pool: KeyPool
    health: Health
    affinity: Affinity

    async def candidates(
        self,
        request: Request,
        routes: Sequence[Route],
        at: float,
        *,
        only_key: str | None = None,
        stand_in: frozenset[str] = frozenset(),
    ) -> tuple[Candidate, ...]:
        """The routes as they stand at `at` (monotonic): health, key headroom, what they lack.

        `only_key`: the one that the request may use. `stand_in`: providers for which the gateway's
        own are used, though the caller has one.
        """
        own = request.byok.keys() - stand_in
        health = await self.health.snapshots([route.id for route in routes], at)
        rooms = await self.key_pool.headrooms(
            [(route.provider, route.model) for route in routes],
            request.expected_tokens,
            only=only_key,
        )
        return tuple(
            Candidate(
                route=route,
                health=past,
                headroom=_headroom(request, route, room, own),
                unsupported=self._unsupported(request, route),
                warm=self._warmth(request, route),
                prefill=self._takes_prefill(request, route),
                callers_own=route.provider in own,
            )
            for route, past, room in zip(routes, health, rooms, strict=True)
        )

    def endpoint(self, request: Request, route: Route) -> Endpoint | None:
        """Where the route takes requests of this door; None where it has nothing like it."""
        provider = self.providers[route.provider]
        adapter = provider.adapters.for_door(request.door, route.model)
        return None if adapter is None else Endpoint(adapter, provider.base_url)

    def _unsupported(self, request: Request, route: Route) -> tuple[str, ...]:
        """Fields with meaning that the route cannot carry; the content, where it has no endpoint
        for requests of this kind or its model is known not to take it."""
        endpoint = self.endpoint(request, route)
        if endpoint is None:
            return (content_field(request.door),)
        lacking = (*beyond(request, route), *endpoint.adapter.unsupported(request, route))
        return tuple(dict.fromkeys(lacking))

    def _takes_prefill(self, request: Request, route: Route) -> bool:
        """Not where the client itself began the answer and the route would echo that too: nobody
        could tell its words from the gateway's."""
        endpoint = self.endpoint(request, route)
        if endpoint is None or not endpoint.adapter.prefills(route):
            return False
        return not (request.begun and endpoint.adapter.echoes_prefill(route))

    def _warmth(self, request: Request, route: Route) -> Warmth | None:
        if request.conversation is None or route.provider in request.byok:
            return None
        return self.affinity.warmth(request.conversation, route.id, request.prompt_tokens)


def _headroom(request: Request, route: Route, room: Headroom, own: Set[str]) -> Headroom:
    """The pool's, but for providers for which the caller's own key is used."""
    if route.provider in own:
        return Headroom(available=True)
    if route.provider in request.locked_byok:
        return Headroom(available=False, reason=Unavailable.LOCKED)
    return room


class RunnerServices(Surveyor, frozen=True):
    """One set serves a whole gateway; `app.py` makes it."""

    alarms: Alarms
    limiter: RateLimiter
    ledger: Ledger
    provider_state: ProviderState
    hub: TraceHub
    writer: TraceWriter
    upstream: Upstream
    rng: random.Random
    wall_clock: Callable[[], float]
    new_id: Callable[[], str]
    alert: Callable[[str], None]
    max_payload_bytes: int
    stored_keys: Callable[[str], CallersKeys] = nothing_stored
    """Callers' own, by the gateway key's id."""
    credentials: Credentials = STATIC
    clock: Callable[[], float] = trio.current_time
    """Monotonic, in seconds: trio's."""
    money: Money | None = None
    """None: nobody has budgets."""
    budgets_of: BudgetsOf = NO_BUDGETS
    sizes: AnswerSizes = msgspec.field(default_factory=AnswerSizes)

    def purse(self, request_id: str, budgets: Sequence[Budget]) -> Purse | None:
        """For a request under these budgets; None where there are none."""
        if not budgets or self.money is None:
            return None
        return Purse(request_id, budgets, self.money, self.alarms, self.wall_clock)
