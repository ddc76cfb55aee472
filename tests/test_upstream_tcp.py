"""Of several addresses, the first that answers is the one that is used."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from itertools import count

import pytest
import trio
from trio.testing import MockClock

from signalbox.http import upstream_tcp
from signalbox.http.upstream_dns import Address
from signalbox.http.upstream_tcp import ATTEMPT_DELAY, NoAddressAnswered, connect_any
from tests.raw_server import END_A_HANG
from tests.upstream_calls import CancelAtStep


class Network:
    """Stands for connecting: each address is what its number says. `open`: sockets not closed."""

    def __init__(self) -> None:
        self.tried: list[tuple[str, float]] = []
        self.made: list[socket.socket] = []

    async def connect(self, address: Address) -> socket.socket:
        what, seconds = address[1]
        assert isinstance(what, str)
        assert isinstance(seconds, float | int)
        self.tried.append((what, trio.current_time()))
        await trio.sleep(seconds)
        if what.startswith("refuses"):
            raise ConnectionRefusedError(111, "Connection refused")
        if what.startswith("lost"):
            raise OSError(113, "No route to host")
        sock = socket.socket()
        self.made.append(sock)
        return sock

    @property
    def open(self) -> list[socket.socket]:
        return [sock for sock in self.made if sock.fileno() != -1]


@pytest.fixture
async def network(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Network]:
    network = Network()
    monkeypatch.setattr(upstream_tcp, "_connect", network.connect)
    yield network
    for sock in network.made:
        sock.close()


def addresses(**what: float) -> tuple[Address, ...]:
    return tuple((socket.AF_INET, (name, seconds)) for name, seconds in what.items())


@pytest.mark.parametrize(
    ("given_addresses", "seconds", "tried"),
    [
        (addresses(answers=1), 1, [("answers", 0)]),
        (addresses(answers=0.1, other=0), 0.1, [("answers", 0)]),
        (
            addresses(silent=99, answers=0.1),
            ATTEMPT_DELAY + 0.1,
            [("silent", 0), ("answers", 0.25)],
        ),
        (addresses(refuses=0.1, answers=0.1), 0.2, [("refuses", 0), ("answers", 0.1)]),
        (
            addresses(silent=99, refuses=0, answers=0),
            ATTEMPT_DELAY,
            [("silent", 0), ("refuses", 0.25), ("answers", 0.25)],
        ),
        (addresses(answers=0.3, silent=99), 0.3, [("answers", 0), ("silent", 0.25)]),
    ],
    ids=["one", "the first", "after a silent one", "after a refusal", "both", "a late first"],
)
async def test_the_first_that_answers_wins(
    network: Network,
    autojump_clock: MockClock,
    given_addresses: tuple[Address, ...],
    seconds: float,
    tried: list[tuple[str, float]],
) -> None:
    started = trio.current_time()
    sock = await connect_any(given_addresses)
    assert trio.current_time() - started == pytest.approx(seconds)
    assert [name for name, _ in network.tried] == [name for name, _ in tried]
    assert [at - started for _, at in network.tried] == pytest.approx([at for _, at in tried])
    assert network.open == [sock]


async def test_of_two_that_answer_together_one_is_closed(
    network: Network, autojump_clock: MockClock
) -> None:
    sock = await connect_any(addresses(one=ATTEMPT_DELAY + 1, other=1))
    assert network.open == [sock]


@pytest.mark.parametrize(
    ("given_addresses", "causes"),
    [
        (addresses(refuses=0), "Connection refused"),
        (addresses(refuses=0, refuses_too=0, lost=1), "Connection refused, No route to host"),
    ],
)
async def test_when_none_answers_each_cause_is_told_once(
    network: Network,
    autojump_clock: MockClock,
    given_addresses: tuple[Address, ...],
    causes: str,
) -> None:
    with pytest.raises(NoAddressAnswered) as caught:
        await connect_any(given_addresses)
    assert caught.value.causes == causes


@pytest.mark.parametrize("how_many", [1, 3])
async def test_cancelled_anywhere_it_leaves_no_socket_and_no_group(
    network: Network, autojump_clock: MockClock, how_many: int
) -> None:
    several = addresses(silent=0.4, one=0.15, other=0.15)[:how_many]
    for step in count(1):
        network.made.clear()
        with trio.fail_after(END_A_HANG), trio.CancelScope() as scope:
            canceller = CancelAtStep(trio.lowlevel.current_task(), scope, step)
            trio.lowlevel.add_instrument(canceller)
            try:
                sock = await connect_any(several)
            except BaseExceptionGroup:
                pytest.fail("a group reached the caller")
            finally:
                trio.lowlevel.remove_instrument(canceller)
            assert network.open == [sock]
            sock.close()
        assert network.open == []
        if not scope.cancel_called:
            break
    assert step > 1


async def test_it_connects_for_real(nursery: trio.Nursery) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, lambda stream: stream.aclose(), listeners)
    port = listeners[0].socket.getsockname()[1]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refusing = unused.getsockname()[1]
        targets = [(socket.AF_INET, ("127.0.0.1", number)) for number in (refusing, port)]
        sock = await connect_any(tuple(targets))
    assert sock.getpeername() == ("127.0.0.1", port)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert not sock.getblocking()
    sock.close()
