"""A stream's own pieces and its signs of life go out one after the other, however slow its client
is, in virtual time."""

from __future__ import annotations

from typing import cast

import trio
from trio.testing import MockClock

from signalbox.actors.alarms import Alarms
from signalbox.actors.outputs import StreamBytes, StreamHead
from signalbox.actors.supervisor import Supervisor
from signalbox.adapters.door import DoorEncoder
from signalbox.http.asgi import Incoming, Message
from signalbox.http.client_port import ClientPort
from signalbox.http.exchanges import Exchange
from signalbox.http.paths import Endpoint, Place
from tests.fakes import supervised

SIGN, EVERY = b": alive\n\n", 15.0


class SlowClient:
    """Takes `seconds` for each message. Says when each was sent, and that none were at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._busy = False
        self.sent: list[tuple[float, bytes]] = []

    async def send(self, message: Message) -> None:
        assert not self._busy, "two messages at once"
        self._busy = True
        await trio.sleep(self._seconds)
        self._busy = False
        self.sent.append((trio.current_time(), message.get("body", b"head")))

    async def receive(self) -> Message:
        raise AssertionError("nobody reads")


def port_to(client: SlowClient, alarms: Alarms, begun: list[float]) -> ClientPort:
    exchange = Exchange(
        scope={},
        receive=Incoming(client.receive),
        send=client.send,
        fields=(),
        headers={},
        trace_id="t",
        place=Place(Endpoint.ASK),
        common=(),
    )

    async def refuse(_: object, __: object) -> None:
        raise AssertionError("nothing is refused")

    port = ClientPort(exchange, cast(DoorEncoder, None), refuse)
    port.keep_alive(SIGN, alarms, EVERY, lambda: begun.append(trio.current_time()))
    return port


async def test_what_comes_while_a_sign_of_life_is_sent_waits_for_it(
    autojump_clock: MockClock,
) -> None:
    supervisor, client, begun = Supervisor(), SlowClient(4), list[float]()
    alarms = Alarms(supervisor)
    async with supervised(supervisor):
        port = port_to(client, alarms, begun)
        await trio.sleep(EVERY + 1)
        await port.send(StreamHead(()))
        await port.send(StreamBytes(b"hello"))
        port.close()
        await port.end()
    # The head went out with the sign: the stream's own is nothing new.
    assert client.sent == [(19, b"head"), (23, SIGN), (27, b"hello"), (31, b"")]
    assert begun == [EVERY]


async def test_a_client_that_has_not_taken_the_last_piece_is_sent_no_sign_of_life(
    autojump_clock: MockClock,
) -> None:
    supervisor, client = Supervisor(), SlowClient(40)
    alarms = Alarms(supervisor)
    async with supervised(supervisor):
        port = port_to(client, alarms, [])
        await port.send(StreamBytes(b"slow"))
        assert client.sent == [(40, b"slow")]
        await trio.sleep(EVERY + 41)
        port.close()
        await trio.sleep(100)
    # From the last piece on, and no more when the request is over.
    assert [body for _, body in client.sent] == [b"slow", b"head", SIGN]
