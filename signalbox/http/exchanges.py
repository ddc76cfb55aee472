"""One request at a model door and the answer to it, as far as it has gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from signalbox.http import paths
from signalbox.http.asgi import HeaderList, Incoming, Scope, Send, send_head, send_whole

JSON = ("content-type", "application/json")
STREAM_HEADERS = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
)


class Exchange(msgspec.Struct):
    """`place`: where the path leads. Everything is sent in order, by one task at a time."""

    scope: Scope
    receive: Incoming
    send: Send
    fields: HeaderList
    """The request's headers, in order."""
    headers: Mapping[str, str]
    trace_id: str
    place: paths.Place
    common: tuple[tuple[str, str], ...]
    """Headers that every answer carries."""
    started: bool = False

    async def answer(
        self, status: int, headers: Iterable[tuple[str, str]], body: bytes = b""
    ) -> None:
        """A whole answer."""
        self.started = True
        await send_whole(self.send, self.receive, status, headers, body)

    async def answer_json(self, body: object) -> None:
        await self.answer(200, (JSON, *self.common), msgspec.json.encode(body))

    async def begin_stream(self, headers: Iterable[tuple[str, str]]) -> None:
        """The head of an event stream; again, nothing happens."""
        if not self.started:
            self.started = True
            await send_head(self.send, 200, (*STREAM_HEADERS, *self.common, *headers))

    async def more(self, data: bytes) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self) -> None:
        """The end of what was begun."""
        if self.started:
            await self.send({"type": "http.response.body", "body": b""})
