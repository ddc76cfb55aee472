"""How many connections an origin may have, and in which order requests come to theirs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from signalbox.actors.ports import UpstreamErrorKind
from signalbox.http import upstream_origin
from signalbox.http.upstream import UpstreamClient
from signalbox.http.upstream_connection import Connection
from signalbox.http.upstream_origin import OriginConnections, OriginStatistics
from signalbox.http.upstream_pool import ConnectionPool
from signalbox.http.upstream_request import Origin
from tests.raw_server import (
    END_A_HANG,
    RawConnection,
    RawServer,
    answer,
    answering,
    serve_raw,
    trusting_tls,
)
from tests.upstream_calls import ONE_IDLE, CancelAtStep, call, counts, failure, post, read

ORIGIN = Origin(tls=False, host="a.test", port=80)


class Stub(Connection):
    """Of a connection, what its origin knows of it."""

    def __init__(self) -> None:
        self.closed = False
        self.idle_since = -math.inf

    def close(self) -> None:
        self.closed = True


class Asker:
    """Asks for a permit as the pool does. `held`: it has one, `connection` may come with it."""

    def __init__(self, origin: OriginConnections, arrivals: list[Asker]) -> None:
        self.scope = trio.CancelScope()
        self.held = False
        self.connection: Connection | None = None
        self._origin = origin
        self._arrivals = arrivals

    async def run(self) -> None:
        with self.scope:
            connection = self._origin.take()
            if connection is None and not self._origin.try_permit():
                connection = await self._origin.wait()
            self.connection = connection
            self.held = True
            self._arrivals.append(self)

    def open(self) -> Stub:
        self.connection = stub = Stub()
        self._origin.opened(stub)
        return stub


class Model:
    """The same with plain lists: who holds a permit, how many are idle, who waits in turn."""

    def __init__(self, limit: int, max_idle: int) -> None:
        self.limit = limit
        self.max_idle = max_idle
        self.idle = 0
        self.holders: list[Asker] = []
        self.queue: deque[Asker] = deque()
        self.arrivals: list[Asker] = []

    def ask(self, asker: Asker) -> None:
        if self.idle:
            self.idle -= 1
            self._admit(asker)
        elif len(self.holders) < self.limit:
            self._admit(asker)
        else:
            self.queue.append(asker)

    def give(self, asker: Asker, *, keeps: bool) -> None:
        self.holders.remove(asker)
        if self.queue:
            self._admit(self.queue.popleft())
        elif keeps:
            self.idle = min(self.idle + 1, self.max_idle)

    def cancel(self, asker: Asker) -> None:
        self.queue.remove(asker)

    def _admit(self, asker: Asker) -> None:
        self.holders.append(asker)
        self.arrivals.append(asker)


@settings(max_examples=200)
@given(st.integers(1, 4), st.integers(0, 3), st.data())
def test_the_bound_the_order_and_every_permit_are_kept(
    limit: int, max_idle: int, data: st.DataObject
) -> None:
    async def main() -> None:
        origin = OriginConnections(ORIGIN, limit=limit, max_idle=max_idle)
        model = Model(limit, max_idle)
        arrivals: list[Asker] = []
        made: list[Stub] = []

        async with trio.open_nursery() as nursery:
            for _ in range(data.draw(st.integers(1, 30))):
                holders = [asker for asker in model.holders if asker.held]
                moves = ["ask"] + ["give", "close", "fail"] * bool(holders)
                moves += ["cancel"] * bool(model.queue) + ["settle"]
                match data.draw(st.sampled_from(moves)):
                    case "ask":
                        asker = Asker(origin, arrivals)
                        nursery.start_soon(asker.run)
                        await wait_all_tasks_blocked()
                        model.ask(asker)
                    case "cancel":
                        asker = data.draw(st.sampled_from(list(model.queue)))
                        asker.scope.cancel()
                        model.cancel(asker)
                    case "settle":
                        await wait_all_tasks_blocked()
                        # trio runs those who were woken together in any order.
                        assert set(arrivals) == set(model.arrivals), "not their turn"
                    case move:
                        asker = data.draw(st.sampled_from(holders))
                        if move == "fail":
                            if asker.connection is not None:
                                origin.discard(asker.connection)
                            origin.release_permit()
                        else:
                            if asker.connection is None:
                                made.append(asker.open())
                            assert asker.connection is not None
                            origin.release(asker.connection, move == "give")
                        model.give(asker, keeps=move == "give")
                # Those who were handed a permit have not run yet, unless all has settled.
                seen = origin.statistics()
                assert seen.open <= limit
                assert (seen.idle, seen.waiting) == (model.idle, len(model.queue))
                assert seen.leased + seen.opening == len(model.holders)
                assert [stub.closed for stub in made].count(False) == seen.idle + seen.leased
            await wait_all_tasks_blocked()
            assert set(arrivals) == set(model.arrivals), "not their turn"
            for asker in model.queue:
                asker.scope.cancel()

    trio.run(main)


# The same over real connections


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient(ConnectionPool(trusting_tls(), connections_per_origin=2))
    yield client
    await client.aclose()


def answering_on_demand(go_on: trio.Event) -> Callable[[RawConnection], Awaitable[None]]:
    """The first answer of each connection begins at once and ends when `go_on` is set."""

    async def handler(connection: RawConnection) -> None:
        await connection.read_request()
        data = answer(b"slow")
        await connection.send(data[:-1])
        await go_on.wait()
        await connection.send(data[-1:])
        while True:
            await connection.read_request()
            await connection.send(answer(b"next"))

    return handler


async def test_no_more_connections_are_open_than_allowed(
    nursery: trio.Nursery, client: UpstreamClient
) -> None:
    go_on = trio.Event()
    server = await serve_raw(nursery, answering_on_demand(go_on))
    async with trio.open_nursery() as calls:
        for _ in range(6):
            calls.start_soon(call, client, post(server))
        await wait_all_tasks_blocked()
        assert counts(client, server) == OriginStatistics(idle=0, leased=2, waiting=4)
        assert (client.statistics().open, client.statistics().waiting) == (2, 4)
        assert "0 idle 2 leased 0 opening 4 waiting" in repr(client)
        go_on.set()
    assert server.accepted == 2
    assert client.statistics().reused == 4
    assert counts(client, server) == OriginStatistics(idle=2, leased=0)


async def test_who_waits_is_served_in_turn(nursery: trio.Nursery) -> None:
    client = UpstreamClient(ConnectionPool(trusting_tls(), connections_per_origin=1))
    go_on = trio.Event()
    server = await serve_raw(nursery, answering_on_demand(go_on))
    order: list[int] = []

    async def ask(number: int) -> None:
        response = await client.send(post(server), connect_timeout=5)
        order.append(number)
        await read(response)

    async with trio.open_nursery() as calls:
        for number in range(6):
            calls.start_soon(ask, number)
            await wait_all_tasks_blocked()
        go_on.set()
    assert order == [0, 1, 2, 3, 4, 5]
    await client.aclose()


async def test_a_connection_that_is_closed_makes_room_for_a_new_one(
    nursery: trio.Nursery, client: UpstreamClient
) -> None:
    go_on = trio.Event()
    server = await serve_raw(nursery, answering_on_demand(go_on))
    slow = [await client.send(post(server), connect_timeout=5) for _ in range(2)]
    async with trio.open_nursery() as calls:
        calls.start_soon(client.send, post(server), 5)
        await wait_all_tasks_blocked()
        assert server.accepted == 2
        slow[0].close()
    assert server.accepted == 3
    assert counts(client, server) == OriginStatistics(idle=0, leased=2)


async def test_the_wait_for_a_connection_is_part_of_the_time_to_connect(
    nursery: trio.Nursery, client: UpstreamClient, autojump_clock: MockClock
) -> None:
    server = await serve_raw(nursery, answering_on_demand(trio.Event()))
    for _ in range(2):
        await client.send(post(server), connect_timeout=5)
    started = trio.current_time()
    error = await failure(client, post(server))
    assert error.kind is UpstreamErrorKind.CONNECT_TIMEOUT
    assert "all 2 connections are in use" in str(error)
    assert trio.current_time() - started == 5
    assert counts(client, server).waiting == 0


async def test_what_the_wait_took_is_not_there_for_the_handshake(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    silent = await serve_raw(nursery, RawConnection.until_closed)  # It answers no handshake.
    client = UpstreamClient(ConnectionPool(trusting_tls(), connections_per_origin=1))
    request = post(silent)
    over_tls = type(request)("POST", f"https://{silent.address}/", (), b"")

    async def first() -> None:
        with trio.move_on_after(3):
            await client.send(over_tls, connect_timeout=10)

    nursery.start_soon(first)
    await wait_all_tasks_blocked()
    started = trio.current_time()
    error = await failure(client, over_tls)
    assert error.kind is UpstreamErrorKind.CONNECT_TIMEOUT
    assert trio.current_time() - started == 5
    await client.aclose()


async def test_the_queue_has_a_bound(
    nursery: trio.Nursery, client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_origin, "MAX_WAITING", 1)
    server = await serve_raw(nursery, answering_on_demand(trio.Event()))
    for _ in range(2):
        await client.send(post(server), connect_timeout=5)
    async with trio.open_nursery() as calls:
        calls.start_soon(client.send, post(server), math.inf)
        await wait_all_tasks_blocked()
        error = await failure(client, post(server))
        assert error.kind is UpstreamErrorKind.CONNECT_FAILED
        assert "1 requests wait" in str(error)
        calls.cancel_scope.cancel()


async def test_closing_the_client_refuses_who_waits(
    nursery: trio.Nursery, client: UpstreamClient
) -> None:
    go_on = trio.Event()
    server = await serve_raw(nursery, answering_on_demand(go_on))
    for _ in range(2):
        await client.send(post(server), connect_timeout=5)
    async with trio.open_nursery() as calls:
        calls.start_soon(failure, client, post(server))
        await wait_all_tasks_blocked()
        await client.aclose()
    go_on.set()
    await server.all_closed()


async def test_a_failed_connect_lets_the_next_one_try(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as gone:
        server = await serve_raw(gone, answering(answer()))
        gone.cancel_scope.cancel()
    client = UpstreamClient(ConnectionPool(trusting_tls(), connections_per_origin=1))
    async with trio.open_nursery() as calls:
        for _ in range(5):
            calls.start_soon(failure, client, post(server))
    assert client.statistics().origins == {}
    await client.aclose()


async def cancelled_at(step: int, client: UpstreamClient, server: RawServer) -> bool:
    """Calls, and is cancelled just before it runs for the n-th time; whether it ran that often."""
    with trio.CancelScope() as scope:
        canceller = CancelAtStep(trio.lowlevel.current_task(), scope, step)
        trio.lowlevel.add_instrument(canceller)
        try:
            await call(client, post(server))
        finally:
            trio.lowlevel.remove_instrument(canceller)
    return scope.cancel_called


@pytest.mark.parametrize("ends", ["given back", "closed", "left"])
async def test_a_call_cancelled_at_any_step_takes_no_turn_from_the_next(
    nursery: trio.Nursery, ends: str
) -> None:
    async def at(step: int) -> bool:
        client = UpstreamClient(ConnectionPool(trusting_tls(), connections_per_origin=1))
        go_on = trio.Event()
        server = await serve_raw(nursery, answering_on_demand(go_on))
        first = await client.send(post(server), connect_timeout=5)
        was_cancelled: list[bool] = []
        served: list[bytes] = []

        async def waits_first() -> None:
            was_cancelled.append(await cancelled_at(step, client, server))

        async def waits_after_it() -> None:
            served.append(await call(client, post(server)))

        async with trio.open_nursery() as calls:
            calls.start_soon(waits_first)
            await wait_all_tasks_blocked()
            calls.start_soon(waits_after_it)
            await wait_all_tasks_blocked()
            go_on.set()
            if ends == "closed":
                first.close()
            elif ends == "left":
                first.leave()
            else:
                await read(first)
        assert served
        assert counts(client, server) == ONE_IDLE
        await client.aclose()
        return was_cancelled[0]

    step = 1
    with trio.fail_after(END_A_HANG):
        while await at(step):
            step += 1
    assert step >= 3
