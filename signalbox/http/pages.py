"""What Quart serves: saved traces, diagrams, the login, the live trace, the metrics.

Importing this module takes a third of a second and 20 MB, for Quart and Prometheus' client:
`app.py` does it when the first of these pages is asked for.
"""

from __future__ import annotations

import trio
from quart_trio import QuartTrio

from signalbox.actors.ports import Workers
from signalbox.actors.trace_hub import TraceHub
from signalbox.http.admin_api import add_admin_routes
from signalbox.http.auth import AdminAccess
from signalbox.http.live import add_live_routes
from signalbox.http.metrics import MetricsSources, add_metrics_route
from signalbox.persistence.stores import Store


def make_pages(
    *,
    access: AdminAccess,
    store: Store,
    readers: Workers,
    hub: TraceHub,
    draining: trio.Event,
    metrics: MetricsSources,
) -> QuartTrio:
    """The Quart application with all routes. Its lifespan is not run: what has to be started and
    stopped is an actor."""
    pages = QuartTrio("signalbox")
    add_admin_routes(pages, access=access, store=store, readers=readers, hub=hub)
    add_metrics_route(pages, metrics)
    add_live_routes(pages, access=access, hub=hub, draining=draining)
    return pages
