"""The ASGI application: model paths go to the model doors, everything else to Quart."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import lru_cache

import trio
from quart_trio import QuartTrio

from signalbox.http.asgi import Message, Outgoing, Receive, Scope, Send
from signalbox.http.paths import Place, find_place

DoorsApp = Callable[[Scope, Receive, Send, Place], Awaitable[None]]

_ORIGIN = re.compile("^https?://[^/]*", re.IGNORECASE)
"""Proxies may send it in front of a path (RFC 9112, section 3.2.2)."""
_SLASHES = re.compile("/+")


USUAL_PATH = 256
"""Bytes. Longer paths are not remembered."""


def _place(raw: bytes) -> Place | None:
    return find_place(_ORIGIN.sub("", raw.decode("latin-1")).encode("latin-1"))


_usual_place = lru_cache(maxsize=1024)(_place)


class Application:
    """One ASGI callable for the whole port."""

    def __init__(self, doors: DoorsApp, pages: QuartTrio) -> None:
        self._doors = doors
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw: bytes = scope.get("raw_path") or scope["path"].encode()
            place = _usual_place(raw) if len(raw) <= USUAL_PATH else _place(raw)
            if place is not None:
                await self._doors(scope, receive, send, place)
                return
        if "path" in scope:
            path = _SLASHES.sub("/", _ORIGIN.sub("", scope["path"]))
            scope["path"] = path.rstrip("/") or "/"
        page = _Page(receive, Outgoing(send))
        await self._pages(scope, page.receive, page.send)  # type: ignore[arg-type]  # Quart's own ASGI types


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
