"""What the runner hands to the door: the pieces of an answer, in the order they are sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import trio

from signalbox.adapters.door import DoorEncoder
from signalbox.adapters.protocol import Answer, Delta, Seam
from signalbox.errors import ApiError
from signalbox.types import Usage


class StreamHead(msgspec.Struct, frozen=True):
    """The stream begins; `headers` are what is known by now of the route."""

    headers: tuple[tuple[str, str], ...]


class StreamBytes(msgspec.Struct, frozen=True):
    data: bytes


class WholeAnswer(msgspec.Struct, frozen=True):
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Refusal(msgspec.Struct, frozen=True):
    """Nothing of an answer was sent. The door puts the error into its dialect."""

    error: ApiError
    headers: tuple[tuple[str, str], ...]


Output = StreamHead | StreamBytes | WholeAnswer | Refusal


class OutputPort(Protocol):
    """Where the pieces go, one after the other.

    While one waits for a slow client, so does the runner, and nothing more is read from the
    provider: what may run ahead is what the sockets' buffers hold.
    """

    async def send(self, piece: Output) -> None:
        """Raises `trio.BrokenResourceError` or `trio.ClosedResourceError` where nobody reads."""
        ...

    def close(self) -> None:
        """Nothing more will come. Never waits; may be called more than once."""
        ...


def answer_headers(
    model: str, provider: str, *, attempts: int, cost: str | None, dropped: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """What an answer's headers tell of its way; `cost` in US dollars, where it is known by then."""
    headers = [
        ("x-signalbox-model", model),
        ("x-signalbox-provider", provider),
        ("x-signalbox-attempts", str(attempts)),
    ]
    if cost is not None:
        headers.append(("x-signalbox-cost", cost))
    if dropped:
        headers.append(("x-signalbox-dropped", ", ".join(dropped)))
    return tuple(headers)


class ClientSide:
    """One request's way to its client: encodes for the door, keeps a part of it for the trace.

    A door that has left is no error here: that the client is gone is a fact of its own.
    """

    def __init__(self, output: OutputPort, encoder: DoorEncoder, payload_limit: int) -> None:
        self._output = output
        self._encoder = encoder
        self._room = payload_limit + 1 if payload_limit else 0
        self.sent = bytearray()
        """What went out, up to one byte past the limit, so that a cut can be seen."""
        self.status = 200
        self._begun = False

    def begun(self) -> None:
        """The door has begun the stream by itself, to keep a silent connection alive."""
        self._begun = True

    async def head(self, headers: tuple[tuple[str, str], ...]) -> None:
        await self._send(StreamHead(headers))
        self._begun = True

    async def seam(self, seam: Seam) -> None:
        await self._send_bytes(self._encoder.resumed(seam))

    async def deltas(self, deltas: Sequence[Delta]) -> None:
        """What came in one read goes out in one write."""
        if len(deltas) == 1:
            data = self._encoder.delta(deltas[0])
        else:
            data = b"".join([self._encoder.delta(delta) for delta in deltas])
        if data:
            await self._send_bytes(data)

    async def cut(self, choices: int) -> None:
        await self._send_bytes(self._encoder.cut(choices))

    async def finish(self, provider: str, cost: str | None, usage: Usage) -> None:
        await self._send_bytes(self._encoder.finish(provider, cost, usage))

    async def whole(
        self,
        headers: tuple[tuple[str, str], ...],
        answer: Answer,
        provider: str,
        cost: str | None,
    ) -> None:
        body = self._encoder.answer(answer, provider, cost)
        self._keep(body)
        await self._send(WholeAnswer(headers, body))

    async def fail(self, error: ApiError, headers: tuple[tuple[str, str], ...]) -> None:
        """Tells of an error in the way that is still open: as the answer, or inside the stream."""
        if self._begun:
            await self._send_bytes(self._encoder.error(error))
            return
        self.status = error.status
        await self._send(Refusal(error, headers))

    def close(self) -> None:
        self._output.close()

    async def _send_bytes(self, data: bytes) -> None:
        if len(self.sent) < self._room:
            self._keep(data)
        try:
            await self._output.send(StreamBytes(data))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    def _keep(self, data: bytes) -> None:
        if len(self.sent) < self._room:
            self.sent += data[: self._room - len(self.sent)]

    async def _send(self, output: Output) -> None:
        try:
            await self._output.send(output)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
