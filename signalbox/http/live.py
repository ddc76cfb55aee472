"""The live trace: a websocket that tells what happens to requests while it happens."""

from __future__ import annotations

from typing import Any

import msgspec
import trio
from quart import websocket
from quart_trio import QuartTrio

from signalbox.actors.trace_hub import Subscription, TraceHub
from signalbox.errors import StoreUnavailable
from signalbox.http.admin.access import AdminAccess
from signalbox.http.admin_api import problem
from signalbox.http.auth import same_origin

POLICY_VIOLATION = 1008
GOING_AWAY = 1001
"""Close codes (RFC 6455, section 7.4.1): a viewer may not look; the gateway stops."""


def add_live_routes(
    app: QuartTrio, *, access: AdminAccess, hub: TraceHub, draining: trio.Event
) -> None:
    """`WS /traces/live`: messages as `actors/trace_hub.py` describes them, one JSON text each.

    The admin token or a user's comes as `Authorization: Bearer`, or a session's cookie from our own
    origin.
    Viewers are sent away when `draining` is set: the stop waits for requests, not for them.
    """

    @app.get("/traces/live")
    async def no_websocket() -> Any:
        answer, status = problem(426, "upgrade_required", "The live trace is a websocket.")
        answer.headers["upgrade"] = "websocket"
        return answer, status

    @app.websocket("/traces/live")
    async def live() -> None:
        if not await _may_watch(access):
            await websocket.close(POLICY_VIOLATION, "admin token required")
            return
        await websocket.accept()
        viewer = hub.subscribe()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_gone, nursery.cancel_scope)
                nursery.start_soon(_until_draining, draining, viewer)
                async for message in viewer:
                    await websocket.send(msgspec.json.encode(message).decode())
                await websocket.close(GOING_AWAY, "the gateway is stopping")
                nursery.cancel_scope.cancel()
        finally:
            viewer.close()


async def _may_watch(access: AdminAccess) -> bool:
    fields = [(name.lower(), value) for name, value in websocket.headers.items()]
    try:
        caller = await access.caller(fields)
    except StoreUnavailable:
        return False
    # A browser sends the cookie with any page's websocket, so its origin is looked at too.
    return caller is not None and (not caller.by_cookie or same_origin(dict(fields)))


async def _until_draining(draining: trio.Event, viewer: Subscription) -> None:
    await draining.wait()
    viewer.close()


async def _until_gone(scope: trio.CancelScope) -> None:
    """Reads what a viewer sends, which means nothing, so that its leaving is seen."""
    try:
        while True:
            await websocket.receive()
    finally:
        scope.cancel()
