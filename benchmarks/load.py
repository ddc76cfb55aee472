"""The load generator: a process of its own, one thread, one epoll.

    python -m benchmarks.load < plan > report      (JSON of `plan.Plan` and `plan.Report`)

It reads the server's CPU clocks itself, right before the first request of a step and once the last
has been answered for `SETTLE_SECONDS`, so that what a server does after its answers is counted.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from collections import deque

import msgspec

from benchmarks import answers, process_tree
from benchmarks.figures import quantile
from benchmarks.plan import Outcome, Plan, Report, Step
from benchmarks.viewers import Viewer

READ_SIZE = 262_144
SETTLE_SECONDS = 0.3
"""After the last answer: traces are written in batches of 20 ms."""
PATIENCE_SECONDS = 120.0
"""For the answers that are missing when no new request is made any more; then they are errors.
Twice what the slowest server takes for its longest queue."""
FRESH_SECONDS = 2.0
"""An idle connection that is older is replaced, as clients do: some servers close theirs after five
seconds, and may do so in the moment in which the next request is sent."""
OPENING = 64
"""Streams that may wait at a time for their first piece, where streams are held."""
COMPLAINTS = 3
COMPLAINT_LENGTH = 400
MOST_ERRORS = 200
"""A step with so many is over: the server does not do this."""


class Connection:
    __slots__ = ("answer", "begun", "ended", "first", "parts", "sock", "unsent")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.answer = ""
        self.parts: list[bytes] = []
        self.begun = 0.0
        self.ended = 0.0
        self.first = 0.0
        self.unsent = b""


class Tally:
    """What a step has seen so far."""

    def __init__(self) -> None:
        self.made = 0
        self.answered = 0
        self.errors = 0
        self.complaints: list[str] = []
        self.pieces = 0
        self.latencies: list[float] = []
        self.stream_seconds: list[float] = []
        self.last = 0.0

    def complain(self, complaint: str) -> None:
        self.errors += 1
        if len(self.complaints) < COMPLAINTS:
            self.complaints.append(complaint[:COMPLAINT_LENGTH])


class Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._idle: deque[Connection] = deque()
        self._opened = 0
        self._viewers = {
            viewer.fileno(): viewer
            for viewer in (
                Viewer(plan.ports[number % len(plan.ports)], plan.viewer_request)
                for number in range(plan.viewers)
            )
        }
        for fd in self._viewers:
            self._poll.register(fd, select.EPOLLIN)
        self._under_way = 0
        self._held = 0

    def run(self) -> Report:
        outcomes = [self._outcome(step) for step in self._plan.steps]
        return Report(outcomes, time.process_time())

    def _outcome(self, step: Step) -> Outcome:
        self._step, self._tally = step, Tally()
        tally = self._tally
        seen = sum(viewer.received for viewer in self._viewers.values())
        store_cpu = process_tree.cpu_seconds(self._plan.store)
        cpu = process_tree.cpu_seconds(self._plan.gateway)
        self._begun = time.perf_counter()
        self._perform()
        self._turn_for(SETTLE_SECONDS)
        cpu = process_tree.cpu_seconds(self._plan.gateway) - cpu
        store_cpu = process_tree.cpu_seconds(self._plan.store) - store_cpu
        memory = process_tree.memory(self._plan.gateway)
        return Outcome(
            name=step.name,
            answered=tally.answered,
            errors=tally.errors,
            complaints=tally.complaints,
            pieces=tally.pieces,
            seconds=max(0.0, tally.last - self._begun),
            cpu_seconds=cpu,
            store_cpu_seconds=store_cpu,
            p50=quantile(tally.latencies, 0.5),
            p99=quantile(tally.latencies, 0.99),
            worst=max(tally.latencies, default=None),
            stream_p50=quantile(tally.stream_seconds, 0.5),
            proportional_bytes=memory.proportional,
            resident_bytes=memory.resident,
            viewer_bytes=sum(viewer.received for viewer in self._viewers.values()) - seen,
        )

    def _perform(self) -> None:
        give_up = self._begun + self._step.seconds + PATIENCE_SECONDS
        while True:
            now = time.perf_counter()
            self._fill(now)
            if not self._under_way and not self._wanted(now):
                return
            if now > give_up or self._tally.errors >= MOST_ERRORS:
                self._abandon()
                return
            ramp = self._step.stagger and now < self._begun + self._step.stagger
            self._turn(0.001 if ramp else 0.5)

    def _wanted(self, now: float) -> bool:
        """Whether the step still makes requests."""
        step, made = self._step, self._tally.made
        if made >= step.most or self._tally.errors >= MOST_ERRORS:
            return False
        return made < step.least or now < self._begun + step.seconds

    def _fill(self, now: float) -> None:
        """Makes requests until as many are under way as may be."""
        step = self._step
        width = min(OPENING, step.connections) if step.answer == "held" else step.connections
        if step.stagger:
            width = min(width, 1 + int((now - self._begun) / step.stagger * width))
        while self._under_way < width and self._wanted(now):
            self._ask(step.requests[self._tally.made % len(step.requests)])

    def _ask(self, request: bytes) -> None:
        self._tally.made += 1
        try:
            connection = self._fresh() or self._open()
        except OSError as error:
            self._tally.complain(f"no connection: {error}")
            return
        connection.answer = self._step.answer
        connection.parts.clear()
        connection.first = 0.0
        connection.unsent = request
        connection.begun = time.perf_counter()
        self._under_way += 1
        self._send(connection)

    def _fresh(self) -> Connection | None:
        while self._idle:
            connection = self._idle.popleft()
            if time.perf_counter() - connection.ended < FRESH_SECONDS:
                return connection
            self._close(connection)
        return None

    def _open(self) -> Connection:
        ports = self._plan.ports
        sock = socket.create_connection(("127.0.0.1", ports[self._opened % len(ports)]), timeout=10)
        self._opened += 1
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._connections[sock.fileno()] = Connection(sock)
        self._poll.register(sock, select.EPOLLIN)
        return connection

    def _send(self, connection: Connection) -> None:
        try:
            sent = connection.sock.send(connection.unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lose(connection, f"cannot send: {error}")
            return
        partial = sent < len(connection.unsent)
        connection.unsent = connection.unsent[sent:] if partial else b""
        if partial:
            self._poll.modify(connection.sock, select.EPOLLIN | select.EPOLLOUT)

    def _turn_for(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while (left := end - time.perf_counter()) > 0:
            self._turn(left)

    def _turn(self, wait: float) -> None:
        for fd, event in self._poll.poll(wait):
            connection = self._connections.get(fd)
            if connection is None:
                if fd in self._viewers:
                    self._viewers[fd].read()
            elif connection.unsent and event & select.EPOLLOUT:
                self._poll.modify(fd, select.EPOLLIN)
                self._send(connection)
            else:
                self._read(connection)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(connection, f"cannot read: {error}")
            return
        if not data:
            self._lose(connection, "the server closed the connection")
        elif connection.answer == "json":
            self._read_json(connection, data)
        elif connection.answer == "stream":
            self._read_stream(connection, data)
        elif connection.answer == "held":
            self._read_held(connection, data)
        else:
            self._lose(connection, f"bytes that nobody asked for: {data[:100]!r}")

    def _read_json(self, connection: Connection, data: bytes) -> None:
        connection.parts.append(data)
        whole = data if len(connection.parts) == 1 else b"".join(connection.parts)
        if answers.is_whole(whole):
            now = time.perf_counter()
            self._tally.latencies.append(now - connection.begun)
            self._answered(connection, answers.complaint_about_json(whole), now)

    def _read_stream(self, connection: Connection, data: bytes) -> None:
        parts = connection.parts
        parts.append(data)
        now = time.perf_counter()
        if not connection.first and answers.FIRST_WORD in data:
            connection.first = now
            self._tally.latencies.append(now - connection.begun)
        # Its end may be cut in two; whether it is one is found out with the whole.
        end = data if len(data) >= len(answers.CHUNKS_END) else b"".join(parts[-5:])
        refused = not parts[0].startswith(b"HTTP/1.1 200")
        if refused or end.endswith(answers.CHUNKS_END):
            whole = b"".join(parts)
            if not answers.is_whole(whole):
                return
            complaint = answers.complaint_about_stream(whole)
            if complaint is None:
                self._tally.pieces += answers.PIECES
                self._tally.stream_seconds.append(now - connection.begun)
            self._answered(connection, complaint, now)

    def _read_held(self, connection: Connection, data: bytes) -> None:
        if connection.first:
            return  # a piece or a comment of a stream that is held
        connection.parts.append(data)
        whole = b"".join(connection.parts)
        if answers.FIRST_WORD in whole:
            now = connection.first = time.perf_counter()
            self._tally.latencies.append(now - connection.begun)
            self._tally.answered += 1
            self._tally.last = now
            self._under_way -= 1
            self._held += 1
            self._fill(now)
        elif answers.is_whole(whole):
            self._answered(connection, answers.refusal(whole), time.perf_counter())

    def _answered(self, connection: Connection, complaint: str | None, now: float) -> None:
        connection.answer = ""
        connection.ended = now
        self._tally.last = now
        self._under_way -= 1
        self._idle.append(connection)
        if complaint is None:
            self._tally.answered += 1
        else:
            self._tally.complain(complaint)
        self._fill(now)

    def _lose(self, connection: Connection, complaint: str) -> None:
        """A connection is gone. A server may close it between two requests, and then only."""
        if connection.answer:
            self._tally.complain(complaint)
            if not (connection.answer == "held" and connection.first):
                self._under_way -= 1
        elif connection in self._idle:
            self._idle.remove(connection)
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        self._connections.pop(connection.sock.fileno(), None)
        connection.sock.close()

    def _abandon(self) -> None:
        """Every answer that is missing is an error."""
        for connection in list(self._connections.values()):
            if connection.answer and not (connection.answer == "held" and connection.first):
                self._lose(connection, "no answer in time")


def main() -> None:
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    report = Load(plan).run()
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main()
