"""Host names: looked up once for everybody, remembered for a while, forgotten when of no use."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from signalbox.actors.ports import UpstreamErrorKind
from signalbox.adapters.protocol import WireRequest
from signalbox.http.upstream import UpstreamClient
from signalbox.http.upstream_dns import DNS_SECONDS, MAX_NAMES, Address, Resolver, alternating
from signalbox.http.upstream_pool import MAX_IDLE_SECONDS, ConnectionPool
from tests.raw_server import answer, answering, serve_raw, trusting_tls
from tests.upstream_calls import call, failure

V4, V6 = socket.AF_INET, socket.AF_INET6


class Names(trio.abc.HostnameResolver):
    """Answers all look-ups. `held`: they wait until it is set. `asked`: how many there were."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []
        self.held = trio.Event()
        self.held.set()

    async def getaddrinfo(  # type: ignore[override]  # trio's has bytes of old systems in it too
        self,
        host: bytes | None,
        port: int | str | None,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
        assert host is not None
        self.asked.append(host.decode())
        await self.held.wait()
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (V6 if ":" in address else V4, socket.SOCK_STREAM, 6, "", (address, port))
            for address in self.addresses
        ]

    async def getnameinfo(
        self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int
    ) -> tuple[str, str]:
        raise AssertionError("nobody asks for names")


@pytest.fixture
async def names() -> Names:
    names = Names("127.0.0.1")
    trio.socket.set_custom_hostname_resolver(names)
    return names


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient(ConnectionPool(trusting_tls()))
    yield client
    await client.aclose()


async def test_an_answer_is_remembered_for_a_while(names: Names, autojump_clock: MockClock) -> None:
    resolver = Resolver()
    for pause, asked in ((0, 1), (DNS_SECONDS - 1, 1), (1, 2)):
        await trio.sleep(pause)
        assert await resolver.addresses("a.test", 80) == ((V4, ("127.0.0.1", 80)),)
        assert (len(names.asked), resolver.queries) == (asked, asked)


async def test_everybody_shares_one_question(names: Names) -> None:
    resolver = Resolver()
    names.held = trio.Event()
    found: list[tuple[Address, ...]] = []

    async def ask() -> None:
        found.append(await resolver.addresses("a.test", 80))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        names.held.set()
    assert names.asked == ["a.test"]
    assert found == [((V4, ("127.0.0.1", 80)),)] * 5


async def test_who_asked_may_leave_and_another_asks(names: Names) -> None:
    resolver = Resolver()
    names.held = trio.Event()
    found: list[tuple[Address, ...]] = []

    async def ask() -> None:
        found.append(await resolver.addresses("a.test", 80))

    leaves = trio.CancelScope()

    async def ask_and_leave() -> None:
        with leaves:
            await resolver.addresses("a.test", 80)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_and_leave)
        await wait_all_tasks_blocked()
        for _ in range(3):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        leaves.cancel()
        await wait_all_tasks_blocked()
        assert len(names.asked) == 2
        names.held.set()
    assert len(found) == 3
    assert len(names.asked) == 2


async def test_a_failure_is_shared_and_not_remembered(names: Names) -> None:
    resolver = Resolver()
    names.held = trio.Event()
    names.addresses = ()
    failures: list[OSError] = []

    async def ask() -> None:
        with pytest.raises(socket.gaierror, match="not known") as caught:
            await resolver.addresses("a.test", 80)
        failures.append(caught.value)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        names.held.set()
    assert len(set(failures)) == 3, "each has its own, with its own traceback"
    assert len(names.asked) == 1
    names.addresses = ("127.0.0.1",)
    await resolver.addresses("a.test", 80)
    assert len(names.asked) == 2


async def test_numbers_are_no_names(names: Names) -> None:
    resolver = Resolver()
    assert await resolver.addresses("127.0.0.1", 80) == ((V4, ("127.0.0.1", 80)),)
    [(family, _)] = await resolver.addresses("::1", 80)
    assert family == V6
    assert (names.asked, resolver.queries) == ([], 0)


async def test_names_are_remembered_within_a_bound(names: Names) -> None:
    resolver = Resolver()
    for number in range(MAX_NAMES + 1):
        await resolver.addresses(f"{number}.test", 80)
    await resolver.addresses("1.test", 80)
    assert resolver.queries == MAX_NAMES + 1
    await resolver.addresses("0.test", 80)
    assert resolver.queries == MAX_NAMES + 2


async def test_a_name_that_no_query_can_carry_is_an_error_by_name(client: UpstreamClient) -> None:
    request = WireRequest("GET", f"http://{'a' * 64}.test/", (), b"")
    error = await failure(client, request)
    assert error.kind is UpstreamErrorKind.CONNECT_FAILED


async def test_a_name_that_leads_nowhere_says_so(names: Names, client: UpstreamClient) -> None:
    names.addresses = ()
    error = await failure(client, WireRequest("GET", "http://a.test/", (), b""))
    assert error.kind is UpstreamErrorKind.CONNECT_FAILED
    assert str(error) == "http://a.test:80: cannot connect: Name or service not known"


async def test_calls_share_what_was_found_until_it_leads_nowhere(
    nursery: trio.Nursery, names: Names, client: UpstreamClient, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as first:
        server = await serve_raw(first, answering(answer()))
        port = server.address.rpartition(":")[2]
        request = WireRequest("GET", f"http://a.test:{port}/", (("connection", "close"),), b"")
        for _ in range(2):
            assert await call(client, request) == b"ok"
        assert names.asked == ["a.test"]
        first.cancel_scope.cancel()
    await failure(client, request)  # The address is remembered, and nobody is there any more.
    assert names.asked == ["a.test"]
    await failure(client, request)
    assert names.asked == ["a.test"] * 2
    assert client.statistics().dns_queries == 2
    assert "dns_queries=2" in repr(client)
    assert MAX_IDLE_SECONDS <= DNS_SECONDS


@given(st.lists(st.sampled_from([V4, V6]), min_size=1, max_size=12))
def test_the_families_take_turns_and_keep_their_order(families: list[socket.AddressFamily]) -> None:
    found: list[Address] = [(family, (number,)) for number, family in enumerate(families)]
    ordered = alternating(found)
    assert sorted(ordered) == sorted(found)
    assert ordered[0] == found[0]
    for family in (V4, V6):
        assert [a for a in ordered if a[0] == family] == [a for a in found if a[0] == family]
    both = 2 * min(families.count(V4), families.count(V6))
    assert all(ordered[n][0] != ordered[n + 1][0] for n in range(both - 1))


async def test_whoever_waits_for_an_answer_has_it_also_when_it_is_forgotten_at_once(
    names: Names,
) -> None:
    resolver = Resolver()
    names.held = trio.Event()
    answers = []

    async def ask() -> None:
        answers.append(await resolver.addresses("provider.test", 443))
        resolver.forget("provider.test", 443)

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        names.held.set()
    assert len(answers) == 50
    assert len(names.asked) == 1
