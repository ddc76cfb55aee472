"""The actors and parts that every runner works with."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from signalbox.actors.attempt import Endpoint
from signalbox.actors.health import Health
from signalbox.actors.key_pool import KeyPool
from signalbox.actors.ledger import Ledger
from signalbox.actors.ports import Upstream
from signalbox.actors.rate_limiter import RateLimiter
from signalbox.actors.trace_hub import TraceHub
from signalbox.actors.trace_writer import TraceWriter
from signalbox.machines.facts import Candidate
from signalbox.types import Request, Route


@dataclass(frozen=True, slots=True)
class RunnerServices:
    """One set serves a whole gateway; `app.py` makes it."""

    endpoints: Mapping[str, Endpoint]
    """By provider."""
    unsupported: Callable[[Request, Route], tuple[str, ...]]
    """Fields with meaning that a route cannot carry."""
    key_pool: KeyPool
    limiter: RateLimiter
    ledger: Ledger
    health: Health
    hub: TraceHub
    writer: TraceWriter
    upstream: Upstream
    rng: random.Random
    wall_clock: Callable[[], float]
    new_id: Callable[[], str]
    alert: Callable[[str], None]
    max_payload_bytes: int

    def candidates(
        self, request: Request, routes: Sequence[Route], at: float
    ) -> tuple[Candidate, ...]:
        """The routes as they stand at `at` (monotonic): health, key headroom, what they lack."""
        tokens = request.expected_tokens
        return tuple(
            Candidate(
                route=route,
                health=self.health.snapshot(route.id, at),
                headroom=self.key_pool.headroom(route.provider, route.model, tokens),
                unsupported=self.unsupported(request, route),
            )
            for route in routes
        )
