"""Provider keys that are tokens: asked for once, renewed in time, and failures that are typed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors.credentials import (
    AGAIN_SECONDS,
    ANSWER_SECONDS,
    RENEW_SECONDS,
    RenewingCredentials,
    StaticCredentials,
)
from signalbox.actors.key_pool import ProviderKey
from signalbox.actors.ports import CredentialUnavailable, UpstreamError, UpstreamErrorKind
from signalbox.actors.supervisor import Supervisor
from signalbox.adapters.protocol import WireRequest
from signalbox.config import EntraClient
from signalbox.errors import Failure, FailureKind
from signalbox.http.upstream import UpstreamClient
from signalbox.types import AccessToken, Secret
from tests.configs import CANARY
from tests.fakes import supervised
from tests.raw_server import RawConnection, serve_raw
from tests.rig import Rig, model, plan, provider_key
from tests.scripted_upstream import ScriptedUpstream, answer
from tests.token_endpoint import TokenEndpoint, granted, service_account, token_key

REFUSED = 401, {"error": "invalid_client", "error_description": f"AADSTS7000215 for {CANARY}"}
AWAY = UpstreamError(UpstreamErrorKind.CONNECT_FAILED, "refused")


@asynccontextmanager
async def credentials(
    endpoint: TokenEndpoint, *keys: ProviderKey
) -> AsyncIterator[RenewingCredentials]:
    supervisor = Supervisor()
    made = RenewingCredentials(
        supervisor, endpoint, keys or (token_key(),), lambda: 1_700_000_000.0
    )
    async with supervised(supervisor):
        yield made
    assert endpoint.open == 0


async def secret(held: RenewingCredentials, key: ProviderKey | None = None) -> str:
    ready = await held.ready(key or token_key())
    assert isinstance(ready.secret, AccessToken)
    return ready.secret.reveal()


async def failure(held: RenewingCredentials, key: ProviderKey | None = None) -> Failure:
    with pytest.raises(CredentialUnavailable) as caught:
        await held.ready(key or token_key())
    return caught.value.failure


async def test_a_plain_key_costs_nothing(autojump_clock: MockClock) -> None:
    wire = WireRequest("POST", "http://a/", (), b"{}")
    key = provider_key("a")
    async with credentials(endpoint := TokenEndpoint(granted)) as held:
        for each in (held, StaticCredentials()):
            assert await each.ready(key) is key
            assert await each.signed(wire, key) is wire
    assert endpoint.requests == []


async def test_all_who_wait_wait_for_one_answer(autojump_clock: MockClock) -> None:
    got = list[str]()

    async def take(held: RenewingCredentials) -> None:
        got.append(await secret(held))

    async with credentials(endpoint := TokenEndpoint(granted)) as held:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(take, held)
        assert trio.current_time() == 1.0
    assert got == ["token-1-xyz"] * 50
    assert len(endpoint.requests) == 1


async def test_who_leaves_takes_the_answer_from_nobody(autojump_clock: MockClock) -> None:
    async with credentials(endpoint := TokenEndpoint(granted, seconds=5)) as held:
        with trio.move_on_after(1):
            await held.ready(token_key())
        assert await secret(held) == "token-1-xyz"
        assert trio.current_time() == 5.0
    assert len(endpoint.requests) == 1


async def test_a_token_is_renewed_before_its_end_and_nobody_waits(
    autojump_clock: MockClock,
) -> None:
    async with credentials(endpoint := TokenEndpoint(granted)) as held:
        assert await secret(held) == "token-1-xyz"
        await trio.sleep(3600 - RENEW_SECONDS - 1)
        assert await secret(held) == "token-1-xyz"
        await trio.sleep(1)
        before = trio.current_time()
        assert [await secret(held) for _ in range(9)] == ["token-1-xyz"] * 9
        assert trio.current_time() == before
        await trio.sleep(2)
        assert await secret(held) == "token-2-xyz"
    assert endpoint.times == [0.0, 3601.0 - RENEW_SECONDS]


async def test_an_idle_gateway_asks_nothing(autojump_clock: MockClock) -> None:
    async with credentials(endpoint := TokenEndpoint(granted)) as held:
        await secret(held)
        await trio.sleep(10_000)
        assert len(endpoint.requests) == 1
        assert await secret(held) == "token-2-xyz"
        assert trio.current_time() == 10_002.0


async def test_a_short_life_is_not_renewed_with_every_call(autojump_clock: MockClock) -> None:
    endpoint = TokenEndpoint(lambda number: granted(number, 100))
    async with credentials(endpoint) as held:
        for _ in range(49):
            await secret(held)
            await trio.sleep(1)
    assert len(endpoint.requests) == 1


async def test_while_the_endpoint_is_away_the_old_token_serves(autojump_clock: MockClock) -> None:
    endpoint = TokenEndpoint(lambda number: granted(number) if number in (1, 4) else AWAY)
    async with credentials(endpoint) as held:
        await secret(held)
        await trio.sleep(3600 - RENEW_SECONDS)
        got = list[str]()
        for _ in range(40):
            got.append(await secret(held))
            await trio.sleep(1)
    assert got[0] == "token-1-xyz"
    assert got[-1] == "token-4-xyz"
    gaps = [
        after - before
        for before, after in zip(endpoint.times[1:], endpoint.times[2:], strict=False)
    ]
    assert all(gap >= AGAIN_SECONDS for gap in gaps)
    assert len(endpoint.requests) == 4


async def test_a_refused_credential_is_a_rejected_key(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with credentials(endpoint := TokenEndpoint(lambda number: REFUSED)) as held:
        told = await failure(held)
        assert told.kind is FailureKind.KEY_REJECTED
        assert "AADSTS7000215" in told.message
        assert CANARY not in told.message + caplog.text
        await trio.sleep(AGAIN_SECONDS - 1)
        again = await failure(held)
        assert (again.kind, again.retry_after) == (FailureKind.KEY_REJECTED, 1.0)
        assert len(endpoint.requests) == 1
        await trio.sleep(1)
        await failure(held)
    assert len(endpoint.requests) == 2


async def test_an_endpoint_that_is_away_or_silent(autojump_clock: MockClock) -> None:
    async with credentials(TokenEndpoint(lambda number: AWAY)) as held:
        told = await failure(held)
        assert (told.kind, told.retry_after) == (FailureKind.CONNECT_FAILED, AGAIN_SECONDS)
    begun = trio.current_time()
    async with credentials(TokenEndpoint(granted, seconds=1e6)) as held:
        assert (await failure(held)).kind is FailureKind.CONNECT_TIMEOUT
        assert trio.current_time() == begun + ANSWER_SECONDS


async def test_a_broken_private_key_is_a_rejected_key(autojump_clock: MockClock) -> None:
    key = token_key(service_account("-----BEGIN nothing"))
    async with credentials(endpoint := TokenEndpoint(granted), key) as held:
        assert (await failure(held, key)).kind is FailureKind.KEY_REJECTED
    assert endpoint.requests == []


async def test_a_fault_in_the_actor_costs_a_failure_and_no_more(autojump_clock: MockClock) -> None:
    endpoint = TokenEndpoint(lambda number: granted(number) if number > 1 else ZeroDivisionError())
    async with credentials(endpoint) as held:
        assert (await failure(held)).kind is FailureKind.CONNECT_FAILED
        assert await secret(held) == "token-2-xyz"


async def test_each_key_has_its_own_token(autojump_clock: MockClock) -> None:
    one, two = token_key(), token_key(service_account(), "other")
    async with credentials(endpoint := TokenEndpoint(granted), one, two) as held:
        assert await secret(held, one) == "token-1-xyz"
        assert await secret(held, two) == "token-2-xyz"
        assert await secret(held, one) == "token-1-xyz"
    assert [request.url for request in endpoint.requests] == [
        "https://login.test/tenant/oauth2/v2.0/token",
        "https://tokens.test/token",
    ]


def rig_with(folder: Path, endpoint: TokenEndpoint) -> Rig:
    """One provider with two keys: a token, and a plain one after it."""
    keys = [token_key(), provider_key("a", "plain")]
    rig = Rig(ScriptedUpstream(lambda call: answer("hi")), folder, keys)
    held = RenewingCredentials(rig.supervisor, endpoint, keys[:1], rig.wall_clock)
    rig.services = replace(rig.services, credentials=held)
    return rig


async def used_keys(rig: Rig) -> list[str]:
    async with rig.running():
        for _ in range(2):
            await rig.ask(rig.request(), plan(model("m", "a")))
    rig.assert_nothing_is_held()
    return [call.key for call in rig.calls]


async def test_a_request_goes_out_with_the_token(autojump_clock: MockClock, tmp_path: Path) -> None:
    rig = rig_with(tmp_path, TokenEndpoint(granted))
    assert "token-1-xyz" in await used_keys(rig)
    assert "token-1-xyz" not in repr(rig.store.traces)


async def test_without_its_token_the_next_key_is_tried(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    for place, told in enumerate((REFUSED, AWAY)):
        folder = tmp_path / str(place)
        folder.mkdir()
        endpoint = TokenEndpoint(lambda number, told=told: told)  # type: ignore[misc]
        rig = rig_with(folder, endpoint)
        assert await used_keys(rig) == ["a-plain", "a-plain"]
        assert len(endpoint.requests) == 1
        assert any("token endpoint" in repr(trace) for trace in rig.store.traces.values())
        assert CANARY not in repr(rig.store.traces)


async def test_over_a_real_socket() -> None:
    seen = list[bytes]()

    async def serve(connection: RawConnection) -> None:
        request = await connection.read_request()
        seen.append(request.head.partition(b"\r\n")[0] + b" " + request.body)
        body = json.dumps(granted(1)[1]).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        await connection.send(head + body)

    supervisor, upstream = Supervisor(), UpstreamClient()
    async with trio.open_nursery() as nursery:
        server = await serve_raw(nursery, serve)
        key = token_key(EntraClient("app", Secret(CANARY), server.url("/t/oauth2/v2.0/token")))
        held = RenewingCredentials(supervisor, upstream, [key], lambda: 0.0)
        async with supervised(supervisor):
            assert await secret(held, key) == "token-1-xyz"
        await upstream.aclose()
        nursery.cancel_scope.cancel()
    assert len(seen) == 1
    assert seen[0].startswith(b"POST /t/oauth2/v2.0/token HTTP/1.1 grant_type=client_credentials&")
