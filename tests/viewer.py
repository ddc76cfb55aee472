"""A viewer of the live trace: a websocket client on a plain socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Event,
    RejectConnection,
    Request,
    TextMessage,
)

from tests.gateway import ADMIN_TOKEN
from tests.raw_http import connected

ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}


class Viewer:
    """A viewer from its handshake on; `refused` has the status where it was not let in."""

    def __init__(self, connection: socket.socket, host: str, headers: Mapping[str, str]) -> None:
        self._connection = connection
        self._socket = WSConnection(ConnectionType.CLIENT)
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        handshake = Request(host=host, target="/traces/live", extra_headers=fields)
        connection.sendall(self._socket.send(handshake))
        answer = self._next()
        assert isinstance(answer, AcceptConnection | RejectConnection)
        self.refused = answer.status_code if isinstance(answer, RejectConnection) else None

    def receive(self) -> dict[str, Any]:
        """The next message."""
        text = ""
        while True:
            event = self._next()
            assert isinstance(event, TextMessage), f"the gateway closed it: {event!r}"
            text += event.data
            if event.message_finished:
                message: dict[str, Any] = json.loads(text)
                return message

    def until(self, kind: str) -> list[dict[str, Any]]:
        """The messages up to the next of this type, which is the last."""
        messages = [self.receive()]
        while messages[-1]["type"] != kind:
            messages.append(self.receive())
        return messages

    def close_code(self) -> int:
        """Why the gateway ended it, once it has."""
        while not isinstance(event := self._next(), CloseConnection):
            """Messages from before."""
        return event.code

    def send(self, text: str) -> None:
        self._connection.sendall(self._socket.send(TextMessage(data=text)))

    def _next(self) -> Event:
        while True:
            for event in self._socket.events():
                return event
            data = self._connection.recv(65_536)
            self._socket.receive_data(data or None)


@contextmanager
def viewer(url: str, headers: Mapping[str, str] = ADMIN) -> Iterator[Viewer]:
    host = urlsplit(url).netloc
    with connected(url) as connection:
        yield Viewer(connection, host, headers)
