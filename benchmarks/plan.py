"""What a load generator is told, and what it tells: the two messages between it and a run."""

from __future__ import annotations

from typing import Literal

import msgspec

AnswerKind = Literal["json", "stream", "held"]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests on `connections` at a time, each next one as soon as the last is answered."""

    name: str
    requests: list[bytes]
    """Whole ones, head and body; used in turn."""
    answer: AnswerKind
    """`held`: a stream that is kept open once its first piece has come, until the plan ends."""
    connections: int
    seconds: float = 0.0
    """How long new requests are made; 0: until `least` were."""
    least: int = 1
    most: int = 1_000_000
    stagger: float = 0.0
    """Seconds over which the first requests of all connections are spread, so that paced streams
    do not all move in the same instant."""


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ports: list[int]
    """Of the server, on loopback; connections are dealt out among several in turn."""
    steps: list[Step]
    gateway: list[int] = []
    """Process ids whose trees are the server."""
    store: list[int] = []
    """Process ids whose trees are what the server keeps its state in."""
    viewers: int = 0
    viewer_request: bytes = b""
    """The handshake of a websocket that is read while all steps go on."""


class Outcome(msgspec.Struct, frozen=True):
    """Of one step. Latencies in seconds: of an answer in one piece until its end, of a stream
    until its first piece of text."""

    name: str
    answered: int
    errors: int
    complaints: list[str]
    """Of the first errors, in words."""
    pieces: int
    """Of text, in streams."""
    seconds: float
    """From the first request to the last answer."""
    cpu_seconds: float
    store_cpu_seconds: float
    p50: float | None
    p99: float | None
    worst: float | None
    stream_p50: float | None
    """How long a whole stream took."""
    proportional_bytes: int
    resident_bytes: int
    viewer_bytes: int = 0


class Report(msgspec.Struct, frozen=True):
    outcomes: list[Outcome]
    load_cpu_seconds: float
