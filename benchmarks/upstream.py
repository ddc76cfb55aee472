"""The provider of a run: a server that costs next to nothing and answers from bytes made before.

    python -m benchmarks.upstream PORT      (0: any free one; the first line printed is its number)

The first part of the path says how, the rest in which dialect:

    /now/…       a JSON answer at once          /slow/…   after `DELAY_SECONDS`
    /paced/…     a stream, a piece at a time    /idle/…   a stream that hardly moves
    /fail/…      503 at once                    /counts   requests so far of each of these

One thread, one epoll. Each piece of a stream is one `send`, so that it is one `recv` elsewhere as
long as whoever reads keeps up.
"""

from __future__ import annotations

import heapq
import itertools
import json
import select
import signal
import socket
import sys
import time
from collections.abc import Callable

from benchmarks import wire

BACKLOG = 4096
READ_SIZE = 262_144
BODY_LIMIT = 1_048_576
"""Ten times what the largest case sends."""
LIFE_SECONDS = 7200
"""It ends by itself, should whoever started it be gone."""
IDLE_CHUNKS = 30
"""A stream that hardly moves ends after ten minutes: longer than any case looks at it."""

HEADERS = (
    "date: Mon, 16 Jun 2025 00:00:00 GMT\r\n"
    "openai-processing-ms: 12\r\n"
    "x-request-id: req_5f1c0d2f6b1d4a3e9e0c7b8a6d5f4e3c\r\n"
    "x-ratelimit-limit-requests: 300000000\r\n"
    "x-ratelimit-remaining-requests: 299999999\r\n"
    "x-ratelimit-reset-requests: 1ms\r\n"
)


def head(status: str, kind: str, length: int | None) -> bytes:
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{HEADERS}{framing}\r\n\r\n".encode()


def whole(status: str, body: bytes) -> bytes:
    return head(status, "application/json", len(body)) + body


def framed(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def stream_writes(events: list[bytes]) -> list[bytes]:
    """One `send` each: the head with what comes first, the pieces, the last with the end."""
    start = head("200 OK", "text/event-stream; charset=utf-8", None)
    first, *others = [framed(event) for event in events]
    writes = [start + first, *others]
    writes[-1] += b"0\r\n\r\n"
    return writes


def dialect_of(path: str) -> str:
    if "messages" in path:
        return "anthropic"
    return "gemini" if "enerateContent" in path else "openai"


ANSWERS: dict[str, Callable[[], bytes]] = {
    "openai": wire.openai_answer,
    "anthropic": wire.anthropic_answer,
    "gemini": wire.gemini_answer,
}
STREAMS: dict[str, Callable[[], list[bytes]]] = {
    "openai": wire.openai_stream,
    "anthropic": wire.anthropic_stream,
    "gemini": wire.gemini_stream,
}


class Route:
    """What a path is answered with."""

    __slots__ = ("behaviour", "pause", "writes")

    def __init__(self, path: str) -> None:
        self.behaviour = path.split("/", 2)[1]
        dialect = dialect_of(path)
        self.pause = {
            "slow": wire.DELAY_SECONDS,
            "paced": wire.CHUNK_SECONDS,
            "idle": wire.IDLE_CHUNK_SECONDS,
        }.get(self.behaviour, 0.0)
        if self.behaviour == "paced":
            self.writes = stream_writes(STREAMS[dialect]())
        elif self.behaviour == "idle":
            first, *pieces = STREAMS[dialect]()
            # The role and the first piece come at once: a gateway has then begun its answer.
            self.writes = stream_writes([first + pieces[0], *pieces[1:IDLE_CHUNKS], pieces[-1]])
        elif self.behaviour == "fail":
            self.writes = [whole("503 Service Unavailable", wire.overloaded())]
        elif self.behaviour in {"now", "slow"}:
            self.writes = [whole("200 OK", ANSWERS[dialect]())]
        else:
            self.writes = [whole("404 Not Found", b"{}")]


class Connection:
    __slots__ = ("at", "buffer", "closed", "route", "sock", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        self.route: Route | None = None
        self.at = 0
        self.unsent = b""
        self.closed = False


class Upstream:
    def __init__(self, port: int) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._routes: dict[bytes, Route] = {}
        self._counts: dict[str, int] = {}
        self._due: list[tuple[float, int, Connection]] = []
        self._order = itertools.count()

    def run(self, until: float) -> None:
        listener = self._listener.fileno()
        while (now := time.monotonic()) < until:
            due = self._due
            while due and due[0][0] <= now:
                when, _, connection = heapq.heappop(due)
                if not connection.closed:
                    self._write_next(connection, when)
            wait = max(0.0, due[0][0] - time.monotonic()) if due else 1.0
            for fd, event in self._poll.poll(wait):
                if fd == listener:
                    self._accept()
                    continue
                ready = self._connections.get(fd)
                if ready is None:
                    continue  # closed by what came before it in this batch
                if ready.unsent and event & select.EPOLLOUT:
                    self._flush(ready)
                else:
                    self._read(ready)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[sock.fileno()] = Connection(sock)
            self._poll.register(sock, select.EPOLLIN)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.buffer = data = connection.buffer + data if connection.buffer else data
        if connection.route is None and self._is_whole(data):
            connection.buffer = b""
            self._begin(connection, data[: data.find(b"\r")].split(b" ", 2)[1])
        elif len(data) > BODY_LIMIT:
            self._close(connection)

    def _is_whole(self, data: bytes) -> bool:
        """Whether a request is all there. Nobody here sends the next before our answer."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return False
        headers = data[:end].lower()
        at = headers.find(b"\r\ncontent-length:")
        if at >= 0:
            line_end = headers.find(b"\r\n", at + 2)
            length = headers[at + 17 : line_end if line_end >= 0 else end]
            return len(data) >= end + 4 + int(length)
        if b"\r\ntransfer-encoding:" in headers:
            return data.endswith(b"\r\n0\r\n\r\n")
        return True

    def _begin(self, connection: Connection, target: bytes) -> None:
        if target == b"/counts":
            self._send(connection, whole("200 OK", json.dumps(self._counts).encode()))
            return
        route = self._routes.get(target)
        if route is None:
            route = self._routes[target] = Route(target.decode().partition("?")[0])
        self._counts[route.behaviour] = self._counts.get(route.behaviour, 0) + 1
        connection.route, connection.at = route, 0
        if route.behaviour == "slow":
            self._later(connection, time.monotonic() + route.pause)
        else:
            self._write_next(connection, time.monotonic())

    def _later(self, connection: Connection, when: float) -> None:
        heapq.heappush(self._due, (when, next(self._order), connection))

    def _write_next(self, connection: Connection, now: float) -> None:
        route = connection.route
        if route is None:
            return
        data = route.writes[connection.at]
        connection.at += 1
        if connection.at == len(route.writes):
            connection.route = None
        else:
            self._later(connection, now + route.pause)
        self._send(connection, data)

    def _send(self, connection: Connection, data: bytes) -> None:
        if connection.unsent:
            connection.unsent += data
            return
        try:
            sent = connection.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return
        if sent < len(data):
            connection.unsent = data[sent:]
            self._poll.modify(connection.sock, select.EPOLLIN | select.EPOLLOUT)

    def _flush(self, connection: Connection) -> None:
        data, connection.unsent = connection.unsent, b""
        self._poll.modify(connection.sock, select.EPOLLIN)
        self._send(connection, data)

    def _close(self, connection: Connection) -> None:
        connection.closed = True
        connection.route = None
        self._connections.pop(connection.sock.fileno(), None)
        connection.sock.close()


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    upstream = Upstream(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    sys.stdout.write(f"{upstream.port}\n")
    sys.stdout.flush()
    upstream.run(time.monotonic() + LIFE_SECONDS)


if __name__ == "__main__":
    main()
