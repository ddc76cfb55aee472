"""The ASGI application: model paths go to the model doors, everything else to Quart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from quart_trio import QuartTrio

from signalbox.http.asgi import Receive, Scope, Send
from signalbox.http.paths import Door, find_door

DoorsApp = Callable[[Scope, Receive, Send, Door], Awaitable[None]]


class Application:
    """One ASGI callable for the whole port."""

    def __init__(self, doors: DoorsApp, pages: QuartTrio) -> None:
        self._doors = doors
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw = scope.get("raw_path") or scope["path"].encode()
            door = find_door(raw.partition(b"?")[0])
            if door is not None:
                await self._doors(scope, receive, send, door)
                return
        await self._pages(scope, receive, send)  # type: ignore[arg-type]  # Quart's own ASGI types
