"""`GET /metrics`: what the gateway's parts say of themselves, in Prometheus' text format.

Nothing is counted here: each scrape asks the parts. Keys are named by their ids (`openai/1`), which
are no part of a secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import trio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from quart import Response
from quart_trio import QuartTrio

from signalbox.actors.health import Health
from signalbox.actors.key_pool import KeyPool, KeyPoolStatistics
from signalbox.actors.rate_limiter import RateLimiter
from signalbox.actors.shared_state import SharedState, SharedStatistics
from signalbox.actors.supervisor import Supervisor
from signalbox.machines.facts import RouteHealth


class MetricsSources(msgspec.Struct, frozen=True):
    """The parts that are asked at each scrape."""

    supervisor: Supervisor
    key_pool: KeyPool
    limiter: RateLimiter
    health: Health
    shared: SharedState | None
    """None: nothing is shared with other instances."""


def add_metrics_route(app: QuartTrio, sources: MetricsSources) -> None:
    @app.get("/metrics")
    async def metrics() -> Response:
        text = await exposition(sources)
        return Response(text, content_type=CONTENT_TYPE_PLAIN_0_0_4)


async def exposition(sources: MetricsSources) -> bytes:
    """Everything as it stands now."""
    pool = await sources.key_pool.statistics()
    routes = sources.health.routes
    health = await sources.health.snapshots(routes, trio.current_time())
    families = [
        *_of_actors(sources.supervisor),
        *_of_keys(pool),
        *_of_routes(zip(routes, health, strict=True)),
        *_of_limiter(sources.limiter),
        *(_of_shared_state(sources.shared.statistics()) if sources.shared is not None else ()),
    ]
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry)


class _Families(Collector):
    """Gives the registry what was already collected."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _of_actors(supervisor: Supervisor) -> Iterator[Metric]:
    restarts = CounterMetricFamily(
        "signalbox_actor_restarts", "Restarts after a crash.", labels=["actor"]
    )
    for child in supervisor.statistics():
        restarts.add_metric([child.name], child.restarts)
    yield restarts


def _of_keys(pool: KeyPoolStatistics) -> Iterator[Metric]:
    labels = ["provider", "key"]
    phase = GaugeMetricFamily(
        "signalbox_key_phase",
        "1 for the phase that a provider key is in.",
        labels=[*labels, "phase"],
    )
    headroom = GaugeMetricFamily(
        "signalbox_key_headroom_ratio",
        "What remains of the fullest declared limit of a provider key; absent without limits.",
        labels=labels,
    )
    leases = GaugeMetricFamily(
        "signalbox_key_open_leases", "Attempts under way on a provider key.", labels=labels
    )
    for key in pool.keys:
        names = [key.provider, key.condition.key_id]
        phase.add_metric([*names, key.condition.phase], 1)
        leases.add_metric(names, key.condition.open_leases)
        if key.condition.share is not None:
            headroom.add_metric(names, key.condition.share)
    waiting = GaugeMetricFamily(
        "signalbox_key_waiters", "Requests that wait for a key to have room.", labels=["provider"]
    )
    for provider, count in pool.waiting.items():
        waiting.add_metric([provider], count)
    yield from (phase, headroom, leases, waiting)


def _of_routes(routes: Iterable[tuple[str, RouteHealth]]) -> Iterator[Metric]:
    breakers = GaugeMetricFamily(
        "signalbox_route_breaker",
        "1 for the state of the circuit breaker of a route that this instance has called.",
        labels=["route", "state"],
    )
    for route_id, health in routes:
        # A client's JSON may name a model with lone surrogates, which no encoding takes.
        name = route_id.encode("utf-8", "replace").decode()
        breakers.add_metric([name, health.breaker], 1)
    yield breakers


def _of_limiter(limiter: RateLimiter) -> Iterator[Metric]:
    refusals = CounterMetricFamily(
        "signalbox_limiter_refusals",
        "Requests that this instance's limiter refused.",
        labels=["scope", "kind"],
    )
    for (scope, kind), count in limiter.refusals.items():
        refusals.add_metric([scope, kind], count)
    yield refusals


def _of_shared_state(shared: SharedStatistics) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "signalbox_shared_state_up", "1 while the shared state answers.", value=shared.up
    )
    yield GaugeMetricFamily(
        "signalbox_shared_state_away_seconds",
        "How long the shared state has been away; 0 while it answers.",
        value=shared.seconds_away,
    )
    yield GaugeMetricFamily(
        "signalbox_shared_state_instances",
        "Instances that lived when the shared state last said so.",
        value=shared.instances,
    )
    yield GaugeMetricFamily(
        "signalbox_shared_state_owed",
        "Settlements that wait for the shared state.",
        value=shared.owed,
    )
    yield CounterMetricFamily(
        "signalbox_shared_state_calls", "Calls of the shared stores.", value=shared.calls
    )
    yield CounterMetricFamily(
        "signalbox_shared_state_failures", "Those of them that failed.", value=shared.failures
    )
    yield CounterMetricFamily(
        "signalbox_shared_state_lost", "Settlements that were given up.", value=shared.lost
    )
