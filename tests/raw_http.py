"""HTTP/1 as bytes on a socket: for requests that no client library would send."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11

from tests.gateway import KEY

PATIENCE = 30.0
"""Seconds; it only ends a hang."""


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    """As it was on the wire, chunked or not."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return dict(self.json["error"])


def raw_request(
    target: str = "/v1/chat/completions",
    body: bytes = b"",
    *,
    method: str = "POST",
    version: str = "1.1",
    headers: Mapping[str, str] | None = None,
    length: int | None = None,
) -> bytes:
    """A request with the tests' key that asks for the connection to be closed after it."""
    fields = {"host": "gateway", "authorization": f"Bearer {KEY}", "connection": "close"}
    fields |= {"content-length": str(len(body) if length is None else length)}
    lines = [f"{method} {target} HTTP/{version}"]
    lines += [f"{name}: {value}" for name, value in (fields | dict(headers or {})).items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    place = urlsplit(url)
    connection = socket.socket()
    with connection:
        connection.settimeout(PATIENCE)
        connection.connect((place.hostname, place.port))
        yield connection


def exchange(url: str, data: bytes) -> bytes:
    """What comes back until the gateway closes the connection."""
    with connected(url) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def reply(data: bytes) -> Reply:
    """The one answer in `data`, after any interim ones."""
    head, _, rest = data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split()[1])
    if status < 200:
        return reply(rest)
    fields = (line.partition(":") for line in lines[1:])
    return Reply(status, {name.lower(): value.strip() for name, _, value in fields}, rest)


def read_reply(connection: socket.socket) -> Reply:
    """The next answer, by its content-length."""
    data = b""
    while True:
        received = connection.recv(65_536)
        assert received, f"the connection ended after {data!r}"
        data += received
        if b"\r\n\r\n" in data:
            found = reply(data)
            if len(found.body) >= int(found.headers.get("content-length", "0")):
                return found


def ask(url: str, *args: Any, **kwargs: Any) -> Reply:
    """As `raw_request`, and the answer to it."""
    return reply(exchange(url, raw_request(*args, **kwargs)))


class KeptAlive:
    """One connection for requests one after the other."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._http = h11.Connection(h11.CLIENT)

    def status(self, body: bytes) -> int:
        """Asks for a chat completion; the status of the answer, once it was read to its end."""
        headers = [("host", "gateway"), ("authorization", f"Bearer {KEY}")]
        headers.append(("content-length", str(len(body))))
        request = h11.Request(method="POST", target="/v1/chat/completions", headers=headers)
        events = (request, h11.Data(body), h11.EndOfMessage())
        # In one piece: the second of two small writes waits for the first one's delayed ACK.
        self._connection.sendall(b"".join(self._http.send(event) or b"" for event in events))
        head = self._next()
        assert isinstance(head, h11.Response)
        while not isinstance(self._next(), h11.EndOfMessage):
            """The body is of no interest."""
        self._http.start_next_cycle()
        return head.status_code

    def _next(self) -> h11.Event:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(self._connection.recv(65_536))
        assert isinstance(event, h11.Event)
        assert not isinstance(event, h11.ConnectionClosed), "the gateway closed the connection"
        return event


@contextmanager
def kept_alive(url: str) -> Iterator[KeptAlive]:
    with connected(url) as connection:
        yield KeptAlive(connection)
