"""What a request that refers to state at a provider is cut to, or why it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.actors.key_pool import CALLERS_KEY
from signalbox.errors import ApiError
from signalbox.http import state_pins
from signalbox.http.asgi import RequestError
from signalbox.http.intake import Intake
from signalbox.http.state_pins import pin_to_state
from signalbox.machines.limits import WINDOW
from signalbox.machines.plan import Pin, RequestPlan
from signalbox.types import Origin, RetryPolicy, Secret
from tests.fakes import database_away
from tests.rig import Rig, model, plan, provider_key, scripted_rig
from tests.scripted_upstream import ScriptedUpstream, answer

HERE = Origin("a:m", "a/key")
PLAN = plan(model("m", "a", "b"))
ALONE = plan(model("m", "a"))
NOBODYS: Mapping[str, Secret] = {}
ID = {"previous_response_id": "resp_1"}


def signed(*signatures: str) -> dict[str, Any]:
    """A body with a signed text of reasoning in each turn."""
    turns = [
        {"role": "assistant", "content": "", "thinking_blocks": [{"signature": signature}]}
        for signature in signatures
    ]
    return {"messages": [*turns, {"role": "user", "content": "hello"}]}


@pytest.fixture
def rig(tmp_path: Path, autojump_clock: MockClock) -> Rig:
    return scripted_rig(tmp_path)


def intake(
    rig: Rig, fields: dict[str, Any], plan: RequestPlan, byok: Mapping[str, Secret] = NOBODYS
) -> Intake:
    request = rig.request()
    request = replace(request, body={**request.body, **fields}, byok=byok)
    return Intake(request, plan, "full", b"{}")


async def pinned(
    rig: Rig,
    fields: dict[str, Any],
    plan: RequestPlan = PLAN,
    byok: Mapping[str, Secret] = NOBODYS,
) -> Intake:
    return await pin_to_state(intake(rig, fields, plan, byok), rig.services.provider_state)


async def refused(
    rig: Rig,
    fields: dict[str, Any],
    plan: RequestPlan = PLAN,
    byok: Mapping[str, Secret] = NOBODYS,
) -> ApiError:
    with pytest.raises(RequestError) as caught:
        await pinned(rig, fields, plan, byok)
    return caught.value.error


def remember(rig: Rig, reference: str, origin: Origin = HERE) -> None:
    rig.services.provider_state.remember("client", [reference], origin)


async def test_a_request_without_references_stays_as_it_is(rig: Rig) -> None:
    before = intake(rig, {}, PLAN)
    assert await pin_to_state(before, rig.services.provider_state) is before


async def test_reasoning_leads_to_where_the_latest_of_it_was_made(rig: Rig) -> None:
    there = Origin("b:m", "b/key")
    remember(rig, "first")
    remember(rig, "second", there)
    found = await pinned(rig, signed("first", "second", "unheard of"))
    assert found.plan.pin == Pin(
        "messages[1].thinking_blocks[0].signature", "b:m", "b/key", required=False
    )
    assert found.request.reasoning_origins == {"first": HERE, "second": there, "unheard of": None}


async def test_an_id_goes_before_reasoning_made_elsewhere(rig: Rig) -> None:
    remember(rig, "resp_1")
    remember(rig, "signature", Origin("b:m", "b/key"))
    found = await pinned(rig, signed("signature") | ID)
    assert found.plan.pin == Pin("previous_response_id", "a:m", "a/key", required=True)
    assert found.request.reasoning_origins == {"signature": Origin("b:m", "b/key")}


async def test_state_made_with_a_callers_own_key_needs_one_again(rig: Rig) -> None:
    own = {"a": Secret("the caller's own")}
    remember(rig, "resp_1", Origin("a:m", CALLERS_KEY))
    assert (await pinned(rig, ID, byok=own)).plan.only_key == CALLERS_KEY
    error = await refused(rig, ID)
    assert (error.code, error.param) == ("state_unavailable", "previous_response_id")
    assert "extra.byok" in error.message


async def test_state_made_with_the_gateways_key_is_out_of_reach_of_a_callers_own(rig: Rig) -> None:
    own = {"a": Secret("the caller's own")}
    remember(rig, "resp_1")
    error = await refused(rig, ID, byok=own)
    assert (error.code, "extra.byok" in error.message) == ("state_unavailable", True)
    remember(rig, "signature")
    assert (await pinned(rig, signed("signature"), byok=own)).plan.pin is None


async def test_a_callers_own_key_for_the_only_provider_is_one_account(tmp_path: Path) -> None:
    two_keys = Rig(scripted_rig(tmp_path).upstream, tmp_path, [provider_key("a", n) for n in "12"])
    assert (await refused(two_keys, ID, ALONE)).code == "state_unavailable"
    own = {"a": Secret("the caller's own")}
    assert (await pinned(two_keys, ID, ALONE, own)).plan.pin is None


async def test_while_the_database_is_away_an_unknown_id_is_a_503_and_reasoning_is_left_out(
    rig: Rig,
) -> None:
    rig.store.fault = database_away
    error = await refused(rig, ID)
    assert (error.status, error.param, error.should_retry) == (503, "previous_response_id", True)
    found = await pinned(rig, signed("signature"))
    assert found.request.reasoning_origins == {"signature": None}
    assert (await pinned(rig, ID, ALONE)).plan.pin is None


async def test_more_references_than_anybody_needs_are_refused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_pins, "MOST_REFERENCES", 2)
    assert (await pinned(rig, signed("one", "two", "one"))).plan.pin is None
    error = await refused(rig, signed("one", "two", "three"))
    assert (error.code, error.param) == (
        "invalid_value",
        "messages[2].thinking_blocks[0].signature",
    )


async def test_a_pinned_request_waits_for_its_key_while_another_one_is_free(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    keys = [provider_key("a", "full", rpm=1), provider_key("a", "free")]
    rig = Rig(ScriptedUpstream(lambda call: answer("hi")), tmp_path, keys)
    to_full = ALONE.pinned_to(Pin("previous_response_id", "a:m", "a/full", required=True))
    patient = replace(to_full, retry=RetryPolicy(max_wait=100.0))
    async with rig.running():
        await rig.ask(rig.request(), patient)
        [seen] = await rig.services.candidates(
            rig.request(), ALONE.models[0].routes, 0.0, only_key=to_full.only_key
        )
        assert not seen.headroom.available
        await rig.ask(rig.request(), patient)
    assert [call.key for call in rig.calls] == ["a-full", "a-full"]
    assert rig.calls[1].at >= WINDOW
    moves = [event.name for trace in rig.store.traces.values() for event in trace.events]
    assert moves.count("key_awaited") == 1
