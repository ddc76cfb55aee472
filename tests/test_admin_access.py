"""Who may use the admin API: tokens, login links, sessions, and how often one may try."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from signalbox.errors import StoreUnavailable
from signalbox.http.admin.access import (
    LOGIN_SECONDS,
    SESSION_COOKIE,
    SESSION_SECONDS,
    AdminAccess,
    Caller,
    is_forged,
)
from signalbox.http.admin.throttle import EVERYBODY, MAX_ADDRESSES, ONE_ADDRESS, SignInThrottle
from signalbox.persistence.gateway_keys import key_digest
from signalbox.persistence.record_store import Delete, Update
from signalbox.persistence.records import UserRecord
from signalbox.types import Secret
from tests import records
from tests.fakes import InlineWorkers, MemoryStore, database_away

TOKEN, ADAS = "the-token-of-the-gateway", "signalbox-user-of-ada"


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def user(name: str, token: str | None = None, role: str = "viewer") -> UserRecord:
    digest = None if token is None else key_digest(token)
    return UserRecord(records.fresh_id(), name, 1.0, role=role, token_digest=digest)


class World:
    """An access with one viewer, Ada."""

    def __init__(self, token: str = TOKEN) -> None:
        self.clock, self.store = Clock(), MemoryStore()
        self.access = AdminAccess(Secret(token), self.store, InlineWorkers(), self.clock)
        self.ada = user("ada", ADAS)
        records.insert(self.store, self.ada)

    def change_ada(self, **fields: object) -> None:
        self.ada = replace(self.ada, **fields)
        self.store.change([Update(self.ada)], records.audit("update"))

    async def bearer(self, token: str) -> Caller | None:
        return await self.access.caller([("authorization", f"Bearer {token}")])

    async def by_cookie(self, value: str) -> Caller | None:
        return await self.access.caller([("cookie", f"a=b; {SESSION_COOKIE}={value}")])

    async def session(self, token: str = ADAS) -> str:
        signed_in = await self.access.sign_in(token)
        assert signed_in is not None
        return signed_in[1]

    def link_session(self) -> str:
        cookie = self.access.redeem_login(self.access.make_login())
        assert cookie is not None
        return cookie


@pytest.fixture
def world() -> World:
    return World()


async def test_tokens_say_who_calls(world: World) -> None:
    assert await world.bearer(TOKEN) == Caller("admin token", "admin")
    assert await world.bearer(ADAS) == Caller("ada", "viewer", world.ada.id)


@pytest.mark.parametrize("token", ["x", TOKEN[:-1], f"{TOKEN}x", "größe", ADAS[:-1], "signalbox-"])
async def test_other_tokens_are_nobodys(world: World, token: str) -> None:
    assert await world.bearer(token) is None
    assert await world.access.sign_in(token) is None


async def test_the_admin_token_needs_no_database(world: World) -> None:
    cookie = world.link_session()
    world.store.fault = database_away
    assert await world.bearer(TOKEN) is not None
    assert await world.by_cookie(cookie) is not None
    with pytest.raises(StoreUnavailable):
        await world.bearer("somebody's")


@pytest.mark.parametrize("fields", [{"enabled": False}, {"role": "none"}, {"token_digest": b"x"}])
async def test_who_may_not_come_in_is_out_at_once(world: World, fields: dict[str, object]) -> None:
    cookie = await world.session()
    assert await world.by_cookie(cookie) == Caller("ada", "viewer", world.ada.id, by_cookie=True)
    world.change_ada(**fields)
    assert await world.bearer(ADAS) is None
    assert await world.by_cookie(cookie) is None


async def test_a_session_is_of_the_role_that_it_was_made_for(world: World) -> None:
    cookie = await world.session()
    world.change_ada(role="admin")
    assert await world.by_cookie(cookie) is None
    raised = await world.by_cookie(await world.session())
    assert raised is not None
    assert raised.may_change()


async def test_a_session_ends_with_its_user(world: World) -> None:
    cookie = await world.session()
    world.store.change([Delete(world.ada)], records.audit("delete"))
    assert await world.by_cookie(cookie) is None


async def test_a_user_without_a_token_has_no_session(world: World) -> None:
    records.insert(world.store, user("bob", role="admin"))
    assert await world.bearer("None") is None
    cookie = await world.session()
    world.change_ada(token_digest=None)
    assert await world.by_cookie(cookie) is None


async def test_a_new_admin_token_ends_every_session(world: World) -> None:
    other = AdminAccess(Secret("a-new-token"), world.store, InlineWorkers(), world.clock)
    for cookie in (world.link_session(), await world.session(TOKEN), await world.session()):
        assert await world.by_cookie(cookie) is not None
        assert await other.caller([("cookie", f"{SESSION_COOKIE}={cookie}")]) is None


async def test_a_session_ends_by_itself(world: World) -> None:
    cookies = (world.link_session(), await world.session())
    world.clock.now += SESSION_SECONDS - 1
    assert all([await world.by_cookie(cookie) for cookie in cookies])
    world.clock.now += 1
    assert not any([await world.by_cookie(cookie) for cookie in cookies])


async def test_a_login_link_works_once_and_for_an_hour(world: World) -> None:
    access = world.access
    code, stale = access.make_login(), access.make_login()
    cookie = access.redeem_login(code)
    assert cookie is not None
    assert await world.by_cookie(cookie) == Caller("admin token", "admin", by_cookie=True)
    assert access.redeem_login(code) is None
    assert access.redeem_login("") is None
    world.clock.now += LOGIN_SECONDS + 1
    assert access.redeem_login(stale) is None


async def test_no_part_of_a_cookie_can_be_another(world: World) -> None:
    bob = user("bob", role="admin", token="signalbox-user-of-bob")
    records.insert(world.store, bob)
    parts = (await world.session()).split(".")
    others = (await world.session("signalbox-user-of-bob")).split(".")
    admins = world.link_session().split(".")
    forged = [
        ".".join([*parts[:place], part, *parts[place + 1 :]])
        for place in range(len(parts))
        for part in (others[place], admins[place], f"{parts[place]}x", f"0{parts[place]}", "")
        if part != parts[place]
    ]
    assert len(forged) > 15
    for cookie in forged:
        assert await world.by_cookie(cookie) is None


@given(st.text() | st.integers().map(lambda n: f"{n}.x") | st.just("9" * 5000 + ".-.admin.-.x"))
def test_no_other_cookie_is_a_session(cookie: str) -> None:
    async def check() -> None:
        assert await World().by_cookie(cookie) is None

    import trio  # noqa: PLC0415 - the property's own loop

    trio.run(check)


async def test_every_session_cookie_is_looked_at(world: World) -> None:
    good = await world.session()
    for fields in (
        [("cookie", f"{SESSION_COOKIE}=old; {SESSION_COOKIE}={good}")],
        [("cookie", "a=b"), ("cookie", f"{SESSION_COOKIE}={good}")],
        [("authorization", "Basic x"), ("cookie", f"{SESSION_COOKIE}={good}")],
    ):
        assert await world.access.caller(fields) is not None
    wrong = [("authorization", "Bearer x"), ("cookie", f"{SESSION_COOKIE}={good}")]
    assert await world.access.caller(wrong) is None


def test_only_changes_by_cookie_need_the_own_origin() -> None:
    own = {"origin": "http://gateway:8080", "host": "gateway:8080"}
    other = {"origin": "http://elsewhere", "host": "gateway:8080"}
    session, token = Caller("a", "admin", by_cookie=True), Caller("a", "admin")
    assert is_forged(session, "POST", other)
    assert is_forged(session, "DELETE", {"host": "gateway:8080"})
    assert not is_forged(session, "POST", own)
    assert not is_forged(session, "GET", other)
    assert not is_forged(token, "POST", other)


def test_nothing_secret_is_in_its_repr(world: World) -> None:
    code = world.access.make_login()
    assert repr(world.access) == "<AdminAccess, 1 login links open>"
    assert code not in repr(world.access)


# How often one may try


class Tries(RuleBasedStateMachine):
    """Against the plain rule: in any time no more than the burst and what has come since."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.throttle = SignInThrottle(self.clock)
        self.taken: list[tuple[float, str]] = []

    @rule(address=st.sampled_from(["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.1", "2001:db8::1"]))
    def tries(self, address: str) -> None:
        wait = self.throttle.take(address)
        name = address.removeprefix("::ffff:")
        if not wait:
            self.taken.append((self.clock.now, name))
        else:
            own = sum(1 for _, other in self.taken if other == name)
            assert own >= ONE_ADDRESS.burst or len(self.taken) >= EVERYBODY.burst

    @rule(seconds=st.floats(0, 100))
    def waits(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(address=st.sampled_from(["10.0.0.1", "10.0.0.2"]))
    def succeeds(self, address: str) -> None:
        if self.throttle.take(address) == 0:
            self.throttle.succeeded(address)
            self.taken = [each for each in self.taken if each[1] != address]
            self.taken.append((self.clock.now, "somebody who may"))

    @invariant()
    def within_the_rates(self) -> None:
        for name in {name for _, name in self.taken} - {"somebody who may"}:
            times = [at for at, other in self.taken if other == name]
            for first, start in enumerate(times):
                allowed = ONE_ADDRESS.burst + (self.clock.now - start) / ONE_ADDRESS.seconds
                assert len(times) - first <= allowed + 0.01


TestTries = Tries.TestCase


def test_after_too_many_tries_one_waits_and_then_may_again() -> None:
    clock = Clock()
    throttle = SignInThrottle(clock)
    assert not any(throttle.take("10.0.0.1") for _ in range(ONE_ADDRESS.burst))
    wait = throttle.take("10.0.0.1")
    assert 0 < wait <= ONE_ADDRESS.seconds
    assert throttle.take("10.0.0.2") == 0
    clock.now += wait
    assert throttle.take("10.0.0.1") == 0


def test_many_addresses_together_are_held_up_and_forgotten() -> None:
    clock = Clock()
    throttle = SignInThrottle(clock)
    taken = sum(throttle.take(f"10.0.{n // 250}.{n % 250}") == 0 for n in range(1000))
    assert taken == EVERYBODY.burst
    for n in range(MAX_ADDRESSES + 10):
        clock.now += EVERYBODY.seconds
        throttle.take(f"2001:db8:{n:x}::1")
    assert len(throttle) == MAX_ADDRESSES


def test_a_network_of_ipv6_is_one_address() -> None:
    throttle = SignInThrottle(Clock())
    tried = [throttle.take(f"2001:db8::{n:x}") for n in range(ONE_ADDRESS.burst + 1)]
    assert tried[-1] > 0
    assert throttle.take("2001:db8:0:1::1") == 0


@pytest.mark.parametrize("address", [None, "", "unix", "10.0.0.1%x"])
def test_what_is_no_address_counts_too(address: str | None) -> None:
    throttle = SignInThrottle(Clock())
    assert [throttle.take(address) > 0 for _ in range(ONE_ADDRESS.burst + 1)][-1]
