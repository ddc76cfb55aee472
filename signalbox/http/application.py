"""The ASGI application: model paths go to the model doors, health is told, all else is Quart's."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import lru_cache

import trio

from signalbox.http.asgi import App, Message, Outgoing, Receive, Scope, Send
from signalbox.http.health_api import PATHS as HEALTH_PATHS
from signalbox.http.paths import Place, find_place

DoorsApp = Callable[[Scope, Receive, Send, Place], Awaitable[None]]

ORIGIN = re.compile("^https?://[^/]*", re.IGNORECASE)
"""Proxies may send it in front of a path (RFC 9112, section 3.2.2)."""
_SLASHES = re.compile("/+")


USUAL_PATH = 256
"""Bytes. Longer paths are not remembered."""


def _place(raw: bytes) -> Place | None:
    return find_place(ORIGIN.sub("", raw.decode("latin-1")).encode("latin-1"))


_usual_place = lru_cache(maxsize=1024)(_place)


class Application:
    """One ASGI callable for the whole port.

    `make_pages` makes the pages' own application. It is awaited once, by the first request for one.
    """

    def __init__(
        self, doors: DoorsApp, health: App, make_pages: Callable[[], Awaitable[App]]
    ) -> None:
        self.doors = doors
        """Of the configuration in force; requests under way go on at those that they came to."""
        self._health = health
        self._make_pages = make_pages
        self._making = trio.Lock()
        self._pages: App | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] == "http":
            raw: bytes = scope.get("raw_path") or scope["path"].encode()
            place = _usual_place(raw) if len(raw) <= USUAL_PATH else _place(raw)
            if place is not None:
                await self.doors(scope, receive, send, place)
                return
        path = _SLASHES.sub("/", ORIGIN.sub("", scope["path"]))
        scope["path"] = path.rstrip("/") or "/"
        if scope["type"] == "http" and scope["path"] in HEALTH_PATHS:
            await self._health(scope, receive, Outgoing(send))
            return
        pages = self._pages or await self._made_pages()
        page = _Page(receive, Outgoing(send))
        await pages(scope, page.receive, page.send)

    async def _made_pages(self) -> App:
        async with self._making:
            if self._pages is None:
                self._pages = await self._make_pages()
            return self._pages


async def _lifespan(receive: Receive, send: Send) -> None:
    """Nothing is left to do at either end: what has to be started and stopped is an actor."""
    for step in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{step}.complete"})


class _Page:
    """Keeps from Quart the disconnect that follows the end of its own answer.

    Quart would cancel what it is at, which is the sending of that end: the server, about to close
    the connection, would leave it open.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._answered = False

    async def receive(self) -> Message:
        message = await self._receive()
        if self._answered and message["type"] == "http.disconnect":
            await trio.sleep_forever()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._answered = True
        await self._send(message)
