"""The simulator's sockets: HTTP/1.1 by h11 over trio, so that every layer below can be broken."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from pathlib import Path

import h11
import trio

from signalbox.simulator.actions import (
    Hang,
    HangUp,
    Pause,
    Script,
    SendBody,
    SendGarbage,
    SendHalf,
    SendHead,
    json_answer,
)
from signalbox.simulator.errors import SimulatorError
from signalbox.simulator.journal import Ending, Journal
from signalbox.simulator.model_endpoint import ModelEndpoint
from signalbox.simulator.provider import Provider, Received
from signalbox.simulator.recordings import Recordings
from signalbox.simulator.scenario import Scenario

MAX_REQUEST_BYTES = 64 * 1024 * 1024
"""A request's body; above what a gateway lets through, images in base64 included."""
READ_BYTES = 64 * 1024
READS_AHEAD = 16
"""Reads kept while an answer is under way (pipelined requests); the client waits beyond them."""


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """How a simulator is started.

    `port` 0 takes a free one. `recordings` is a folder (see `recordings.py`).
    `tokens_per_second` None: as fast as can be. Equal `seed`s answer equally.
    Raises SimulatorError for a port or a speed that there is not.
    """

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 0
    scenario: Scenario = field(default_factory=Scenario)
    recordings: Path | None = None
    tokens_per_second: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:  # a larger one would be taken modulo 65536
            raise SimulatorError(f"port: {self.port} is not within 0 to 65535")
        if self.tokens_per_second is not None and not self.tokens_per_second > 0:
            raise SimulatorError(f"tokens_per_second: {self.tokens_per_second} is not above 0")


async def serve_simulator(
    settings: SimulatorSettings,
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until cancelled; reports the port when it accepts connections.

    Raises SimulatorError where the recordings cannot be read or the address cannot be had.
    """
    await Simulator(settings).serve(task_status=task_status)


class Simulator:
    """A simulated provider inside this process, with its journal and scenario at hand.

    Raises RecordingError where the recordings cannot be read.
    """

    def __init__(self, settings: SimulatorSettings) -> None:
        folder = settings.recordings
        recordings = Recordings(folder) if folder is not None else None
        models = ModelEndpoint(
            settings.seed, settings.scenario, recordings, settings.tokens_per_second
        )
        self._settings = settings
        self._provider = Provider(models)
        self._connections = count(1)

    @property
    def journal(self) -> Journal:
        return self._provider.journal

    def play(self, scenario: Scenario) -> None:
        """Replaces the scenario, as `POST /_simulator/scenario` does."""
        self._provider.models.play(scenario)

    async def serve(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """As `serve_simulator`."""
        listeners = await self.listen()
        task_status.started(listeners[0].socket.getsockname()[1])
        await self.serve_on(listeners)

    async def listen(self) -> list[trio.SocketListener]:
        """Opens the address; clients may connect from now on. Raises SimulatorError."""
        host, port = self._settings.host, self._settings.port
        try:
            return await trio.open_tcp_listeners(port, host=host)
        except OSError as error:
            reason = error.strerror or error
            raise SimulatorError(f"cannot listen on {host}:{port}: {reason}") from error

    async def serve_on(self, listeners: list[trio.SocketListener]) -> None:
        """Serves until cancelled, then closes the listeners and every connection."""
        started = trio.current_time()

        async def connected(stream: trio.SocketStream) -> None:
            await _Connection(stream, next(self._connections), self._provider, started).serve()

        await trio.serve_listeners(connected, listeners)


class _ClientGone(Exception):
    """The client closed its side, or reset the connection."""


class _Connection:
    """One client's connection: requests one after the other, a reader that sees it leave."""

    def __init__(
        self, stream: trio.SocketStream, number: int, provider: Provider, started: float
    ) -> None:
        self._stream = stream
        self._number = number
        self._provider = provider
        self._started = started
        self._http = h11.Connection(h11.SERVER)
        self._reads_in, self._reads = trio.open_memory_channel[bytes](READS_AHEAD)
        self._answering: trio.CancelScope | None = None
        self._client_gone = False
        self._bodiless = False

    async def serve(self) -> None:
        async with self._stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            try:
                while await self._serve_request():
                    self._http.start_next_cycle()
            except (_ClientGone, trio.BrokenResourceError):
                pass  # not while an answer was under way: the usual end of a connection
            except h11.RemoteProtocolError as error:
                await self._refuse(error)
            nursery.cancel_scope.cancel()

    async def _read(self) -> None:
        """Keeps reading, also while an answer is under way: that is how a close is noticed."""
        with self._reads_in:
            try:
                while data := await self._stream.receive_some(READ_BYTES):
                    await self._reads_in.send(data)
            except trio.ClosedResourceError:
                return  # closed by this side
            except trio.BrokenResourceError:
                pass  # reset by the client
        self._client_gone = True
        if self._answering is not None:
            self._answering.cancel()

    async def _serve_request(self) -> bool:
        """Answers one request; True where another may follow on this connection."""
        reply = self._provider.respond(await self._receive())
        exchange = reply.exchange
        status, ended = await self._perform(reply.script)
        if exchange is not None:
            exchange.status, exchange.ended = status, ended
            exchange.ended_at = self._now()
        return ended == "completed" and self._http.our_state is h11.DONE

    async def _receive(self) -> Received:
        head = await self._next_event()
        assert isinstance(head, h11.Request)
        self._bodiless = head.method == b"HEAD"
        at, body = self._now(), bytearray()
        if self._http.they_are_waiting_for_100_continue:
            await self._send(h11.InformationalResponse(status_code=100, headers=[]))
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            if len(body) > MAX_REQUEST_BYTES:
                raise h11.RemoteProtocolError(
                    f"the body is larger than {MAX_REQUEST_BYTES} bytes", error_status_hint=413
                )
        headers: dict[str, str] = {}
        for raw_name, raw_value in head.headers:
            name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        method, target = head.method.decode("ascii"), head.target.decode("latin-1")
        return Received(self._number, at, method, target, headers, bytes(body))

    async def _next_event(self) -> h11.Event:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                try:
                    self._http.receive_data(await self._reads.receive())
                except trio.EndOfChannel:
                    raise _ClientGone from None
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                raise _ClientGone
            else:
                assert isinstance(event, h11.Event)
                return event

    async def _perform(self, script: Script) -> tuple[int | None, Ending]:
        """Does what the script says; returns the status that was sent and how it ended."""
        status: int | None = None
        ended: Ending = "client_closed"
        with trio.CancelScope() as self._answering:
            if self._client_gone:
                self._answering.cancel()
            try:
                for action in script:
                    match action:
                        case Pause(seconds):
                            await trio.sleep(seconds)
                        case SendHead(status, _):
                            await self._send(_response(action))
                        case SendBody(data):
                            if not self._bodiless:
                                await self._send(h11.Data(data=data))
                        case SendHalf(data):
                            wire = self._http.send(h11.Data(data=data)) or b""
                            await self._stream.send_all(wire[: len(wire) // 2])
                        case SendGarbage(data):
                            await self._stream.send_all(data)
                        case Hang():
                            await trio.sleep_forever()
                        case HangUp(how):
                            await self._hang_up(how)
                            return status, how
                await self._send(h11.EndOfMessage())
                ended = "completed"
            except trio.BrokenResourceError:
                pass  # the client reset the connection while something was sent
        self._answering = None
        return status, ended

    async def _hang_up(self, how: str) -> None:
        if how == "reset":
            # Zero linger: close() drops what is unsent and sends RST instead of FIN.
            with suppress(OSError):  # the client was faster
                zero_linger = struct.pack("ii", 1, 0)
                self._stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, zero_linger)
        await self._stream.aclose()

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """Tells the client what was wrong with its HTTP; the connection ends after it."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = {"error": {"message": str(error)}}
        await self._perform(json_answer(error.error_status_hint, body, {"connection": "close"}))

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            await self._stream.send_all(data)

    def _now(self) -> float:
        return trio.current_time() - self._started


def _response(head: SendHead) -> h11.Response:
    try:
        reason = HTTPStatus(head.status).phrase
    except ValueError:
        reason = "Unassigned"
    fields = [(name, value) for name, value in head.headers.items()]
    return h11.Response(
        status_code=head.status,
        reason=reason,
        headers=[("server", "signalbox-simulator"), *fields],
    )
