"""One request and its response as an ASGI application sees them.

Source: ASGI 3.0, HTTP message format 2.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol
from urllib.parse import unquote

from signalbox.http.asgi import BODY_IS_THERE, DISCONNECT, Message, Scope
from signalbox.http.http1_protocol import Request
from signalbox.http.http1_response import CONTINUE, Response, ResponseMisused
from signalbox.http.http1_transport import Transport
from signalbox.http.http1_violation import Violation

DRAIN_BYTES: Final = 256 * 1024
"""How much of a body that nobody wanted is read to keep its connection: what costs less than a new
connection does."""

_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}

Address = tuple[str, int]


class ServerState(Protocol):
    """What all connections of a server share."""

    date: bytes
    """The current `date: …` line with its CR LF."""
    draining: bool
    """Whether every response ends its connection."""
    app_state: dict[str, Any]
    """What the application's lifespan has left for its requests."""


class Exchange:
    """`receive`, `send` and `on_disconnect` outlive the request: after `end` they do nothing."""

    __slots__ = (
        "_ended",
        "_received",
        "_server",
        "_transport",
        "answered",
        "request",
        "response",
        "violation",
    )

    def __init__(self, request: Request, transport: Transport, server: ServerState) -> None:
        self.request = request
        self.response = Response(
            to_head=request.method == "HEAD",
            http_1_0=request.http_version == "1.0",
            keep_alive=request.keep_alive,
        )
        self.violation: Violation | None = None
        """What was wrong with the body; the application is told that the client has left."""
        self.answered = False
        """Whether the last byte of the response was sent."""
        self._transport = transport
        self._server = server
        self._received = False
        """Whether the end of the body was handed over."""
        self._ended = False

    def scope(self, client: Address | None, server: Address | None) -> Scope:
        request = self.request
        path = request.raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": _ASGI.copy(),
            "http_version": request.http_version,
            "method": request.method,
            "scheme": "http",
            "path": unquote(path) if "%" in path else path,
            "raw_path": request.raw_path,
            "query_string": request.query,
            "root_path": "",
            "headers": request.headers,
            "client": client,
            "server": server,
            "state": self._server.app_state.copy(),
            "extensions": {
                DISCONNECT: self.on_disconnect,
                BODY_IS_THERE: self._transport.protocol.body_is_there,
            },
        }

    def end(self) -> None:
        """The application is done; the connection goes on without it."""
        self._ended = True
        self._transport.on_lost = None

    def on_disconnect(self, callback: Callable[[], None] | None) -> None:
        """See `asgi.DISCONNECT`. It is never called after the response has ended."""
        if self._ended or self.answered:
            return
        self._transport.on_lost = callback
        if callback is not None and self._transport.gone:
            callback()

    async def receive(self) -> Message:
        transport = self._transport
        protocol = transport.protocol
        while not (self._ended or self._received or self.violation or self.answered):
            try:
                piece = protocol.read_body()
            except Violation as violation:
                self.violation = violation
                break
            if protocol.body_ended:
                self._received = True
                transport.go_on_reading()
                return {"type": "http.request", "body": piece, "more_body": False}
            if piece:
                transport.go_on_reading()
                return {"type": "http.request", "body": piece, "more_body": True}
            if transport.gone:
                break
            if self.request.continue_awaited:
                if self.response.begun:
                    # It was answered without its body, which will not come (RFC 9110, 10.1.1).
                    break
                self.request.continue_awaited = False
                await transport.write(CONTINUE)
                continue
            await transport.changed.wait()
        if self._received:
            while not (transport.gone or self._ended or self.answered):
                await transport.changed.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        response = self.response
        if self._ended:
            return
        kind = message["type"]
        if kind == "http.response.body":
            more = message.get("more_body", False)
            if not response.begun:
                self._decide_keep_alive(more)
            data = response.encode_body(message.get("body", b""), more, self._server.date)
            await self._transport.write(data)
            if not more:
                # Nobody is told that all is over before the last byte is out.
                self.answered = True
                self._transport.on_lost = None
                self._transport.changed.wake()
        elif kind == "http.response.start":
            response.start(int(message["status"]), message.get("headers", ()))
        else:
            raise ResponseMisused(f"{kind!r} is no message of an HTTP response")

    def _decide_keep_alive(self, more: bool) -> None:
        protocol = self._transport.protocol
        if self._server.draining or self.violation is not None:
            self.response.keep_alive = False
        elif not protocol.body_ended:
            # Whether a body will come for which no 100 was sent is for nobody to know. An
            # application that goes on sending may still read the rest of a large one.
            left = protocol.body_left()
            if self.request.continue_awaited or (not more and (left or 0) > DRAIN_BYTES):
                self.response.keep_alive = False
