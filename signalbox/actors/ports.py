"""What actors need of the outside, as protocols. `app.py` gives them their concrete parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol, TypeVar, TypeVarTuple, Unpack

from signalbox.adapters.protocol import Answer, Delta, Seam, WireRequest
from signalbox.errors import ApiError, SignalboxError
from signalbox.types import Usage

ResultT = TypeVar("ResultT")
Arguments = TypeVarTuple("Arguments")


class UpstreamErrorKind(StrEnum):
    CONNECT_FAILED = "connect_failed"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECTION_LOST = "connection_lost"
    PROTOCOL_ERROR = "protocol_error"


class UpstreamError(SignalboxError):
    """The call to a provider failed below HTTP. `kind` says how far it came."""

    def __init__(self, kind: UpstreamErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class UpstreamResponse(Protocol):
    """An answer whose head has arrived. Header names are lower case."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Sequence[tuple[str, str]]: ...

    async def receive(self) -> bytes:
        """The next bytes of the body, decoded from its transfer coding; b"" at its end.

        Raises `UpstreamError` when the connection ends or breaks before the body does.
        """
        ...

    def close(self) -> None:
        """Gives the connection back when the body was read to its end, closes it otherwise.

        Never waits; may be called more than once.
        """
        ...


class Upstream(Protocol):
    """Sends requests to providers. A cancelled call closes its connection."""

    async def send(self, request: WireRequest, connect_timeout: float) -> UpstreamResponse:
        """Sends the request and waits for the answer's head.

        Raises `UpstreamError`. `connect_timeout` (seconds) bounds DNS, TCP and TLS; the caller's
        cancel scope bounds the rest.
        """
        ...


class Workers(Protocol):
    """Runs blocking calls off the loop. A call that has begun is finished, also when cancelled."""

    async def run(
        self, function: Callable[[Unpack[Arguments]], ResultT], /, *args: *Arguments
    ) -> ResultT:
        """What `function(*args)` returns or raises. Waits when all threads are busy."""
        ...


class DoorEncoder(Protocol):
    """What the runner's answer looks like at the door that the client came through. Pure.

    One encoder serves one request; it remembers what of the stream has passed. Costs are US
    dollars as an exact decimal string, None where unknown.
    """

    def delta(self, delta: Delta) -> bytes:
        """The bytes of a stream's event; empty where the client gets nothing of it."""
        ...

    def resumed(self, seam: Seam) -> bytes:
        """The bytes that mark the seam; what follows is made to look like one stream."""
        ...

    def finish(self, provider: str, cost: str | None, usage: Usage | None) -> bytes:
        """The bytes that end a stream."""
        ...

    def error(self, error: ApiError) -> bytes:
        """The bytes that end a stream with an error."""
        ...

    def answer(self, answer: Answer, provider: str, cost: str | None) -> bytes:
        """A whole answer."""
        ...
