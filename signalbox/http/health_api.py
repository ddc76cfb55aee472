"""`GET /healthz` and `GET /readyz`: what those ask who start, stop and watch the gateway.

They are asked first and most often, so they do without Quart.
"""

from __future__ import annotations

from typing import Any

import msgspec

from signalbox.actors.readiness import Readiness
from signalbox.http.asgi import Incoming, Receive, Scope, Send, send_whole

PATHS = frozenset({"/healthz", "/readyz"})

_JSON = ("content-type", "application/json")


class HealthApi(msgspec.Struct, frozen=True):
    """An ASGI application for the two paths. They hold no data and are open."""

    readiness: Readiness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [_JSON]
        if scope["method"] not in ("GET", "HEAD"):
            headers.append(("allow", "GET, HEAD"))
            status, told = 405, _not_allowed(scope["method"])
        elif scope["path"] == "/healthz":
            status, told = 200, {"status": "ok"}
        else:
            status, told = await self._ready()
        await send_whole(send, Incoming(receive), status, headers, msgspec.json.encode(told))

    async def _ready(self) -> tuple[int, dict[str, Any]]:
        seen = await self.readiness.look()
        status = "not ready" if seen.reasons else "ready"
        told = {"status": status, "reasons": seen.reasons, "degraded": seen.degraded}
        return 503 if seen.reasons else 200, told


def _not_allowed(method: str) -> dict[str, Any]:
    return {
        "error": {
            "message": f"{method} is not possible.",
            "type": "invalid_request_error",
            "code": "method_not_allowed",
            "param": None,
        }
    }
