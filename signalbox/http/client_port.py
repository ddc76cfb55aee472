"""Where the pieces of one request's answer go, and signs of life while a stream is silent.

Nothing is sent before the first content or the first sign of life, whichever is first; that head
cannot be taken back, so what goes wrong after it is told inside the stream.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from signalbox.actors import outputs as out
from signalbox.actors.alarms import Alarm, Alarms
from signalbox.adapters.door import DoorEncoder
from signalbox.http.exchanges import JSON, Exchange

Refuse = Callable[[Exchange, out.Refusal], Awaitable[None]]


class ClientPort:
    """Implements `OutputPort` for an exchange."""

    def __init__(self, exchange: Exchange, encoder: DoorEncoder, refuse: Refuse) -> None:
        """`refuse` answers with an error where nothing was sent yet."""
        self._exchange = exchange
        self._encoder = encoder
        self._refuse = refuse
        self._answered = False
        self._sending = False
        self._keeping: trio.Event | None = None
        """While a sign of life is being sent: what else is sent waits for it."""
        self._alarm: Alarm | None = None
        self._clock: Callable[[], float] = trio.current_time

    def keep_alive(
        self, sign: bytes, alarms: Alarms, seconds: float, begun: Callable[[], None]
    ) -> None:
        """Sends `sign` whenever nothing was sent for `seconds`, and calls `begun` before that."""

        async def ring() -> None:
            if not self._sending:
                await self._send_sign(sign, begun)
            if self._alarm is not None:
                self._alarm = alarms.set(seconds, ring)

        self._alarm = alarms.set(seconds, ring)

    async def _send_sign(self, sign: bytes, begun: Callable[[], None]) -> None:
        self._keeping = trio.Event()
        try:
            begun()
            await self._exchange.begin_stream(())
            await self._exchange.more(sign)
        finally:
            self._keeping.set()
            self._keeping = None

    async def send(self, piece: out.Output) -> None:
        while self._keeping is not None:
            await self._keeping.wait()
        self._sending = True
        try:
            if type(piece) is out.StreamBytes:
                await self._exchange.more(piece.data)
            else:
                await self._send(piece)
        finally:
            self._sending = False
            if self._alarm is not None:
                self._alarm.restart(self._clock())

    async def _send(self, piece: out.Output) -> None:
        exchange = self._exchange
        match piece:
            case out.StreamHead():
                await exchange.begin_stream(piece.headers)
            case out.WholeAnswer():
                self._answered = True
                await exchange.answer(200, (JSON, *exchange.common, *piece.headers), piece.body)
            case out.Refusal():
                if exchange.started:
                    await exchange.more(self._encoder.error(piece.error))
                else:
                    self._answered = True
                    await self._refuse(exchange, piece)

    def close(self) -> None:
        """No more signs of life."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    async def end(self) -> None:
        """The end of a stream, where one was begun."""
        while self._keeping is not None:
            await self._keeping.wait()
        if not self._answered:
            await self._exchange.end()
