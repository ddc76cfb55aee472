"""What operators ask for: the admin API, the login, and what Quart serves: saved traces, diagrams,
the live trace, the metrics.

Importing this module takes a third of a second and 20 MB, for Quart and Prometheus' client:
`app.py` does it when the first of these pages is asked for.
"""

from __future__ import annotations

from typing import cast

import msgspec
import trio
from quart_trio import QuartTrio

from signalbox.actors.trace_hub import TraceHub
from signalbox.http.admin.access import AdminAccess
from signalbox.http.admin.api import AdminApi
from signalbox.http.admin.desk import Desk
from signalbox.http.admin.openapi import ROOT
from signalbox.http.admin.sign_in import PATHS as SIGN_IN_PATHS
from signalbox.http.admin.sign_in import SignIn
from signalbox.http.admin.table import OPERATIONS
from signalbox.http.admin.throttle import SignInThrottle
from signalbox.http.admin_api import add_admin_routes
from signalbox.http.asgi import App, Receive, Scope, Send
from signalbox.http.live import add_live_routes
from signalbox.http.metrics import MetricsSources, add_metrics_route


class Pages(msgspec.Struct, frozen=True):
    """The ASGI application of all of them."""

    admin_api: AdminApi
    sign_in: SignIn
    quart: QuartTrio

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._at(scope)(scope, receive, send)

    def _at(self, scope: Scope) -> App:
        path = scope["path"]
        if scope["type"] == "http" and f"{path}/".startswith(f"{ROOT}/"):
            return self.admin_api
        if scope["type"] == "http" and path in SIGN_IN_PATHS:
            return self.sign_in
        return cast(App, self.quart)  # Quart has types of its own for ASGI's messages.


def make_pages(
    *,
    access: AdminAccess,
    desk: Desk,
    hub: TraceHub,
    draining: trio.Event,
    metrics: MetricsSources,
) -> Pages:
    """Quart's lifespan is not run: what has to be started and stopped is an actor."""
    quart = QuartTrio("signalbox")
    add_admin_routes(quart, access=access, store=desk.store, readers=desk.readers, hub=hub)
    add_metrics_route(quart, metrics)
    add_live_routes(quart, access=access, hub=hub, draining=draining)
    patience = desk.settings().server.body_timeout
    return Pages(
        admin_api=AdminApi(access, desk, OPERATIONS, patience),
        sign_in=SignIn(access, SignInThrottle(trio.current_time), patience),
        quart=quart,
    )
