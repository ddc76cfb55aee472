"""What a request becomes that refers to answers which the gateway keeps, or why it is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from trio.testing import MockClock

from signalbox.adapters.answer_memory import states_of
from signalbox.errors import ApiError
from signalbox.http.answer_states import with_answers
from signalbox.http.asgi import RequestError
from signalbox.http.intake import Intake
from signalbox.types import Dialect, StateKind
from tests.fakes import database_away
from tests.rig import Rig, model, plan, scripted_rig

PLAN = plan(model("m", "a", "b"))
SAID = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "Yes. " * 40, "annotations": []}],
}
PREVIOUS = {"previous_response_id": "resp_1"}
REFERENCE = {"input": [{"type": "item_reference", "id": "msg_1"}]}
NO_HEADERS: Mapping[str, str] = {}


@pytest.fixture
def rig(tmp_path: Path, autojump_clock: MockClock) -> Rig:
    return scripted_rig(tmp_path)


def intake(rig: Rig, fields: Mapping[str, Any], payloads: str = "full") -> Intake:
    body = {"model": "m", "input": "And then?", **fields}
    request = replace(rig.request(), door=Dialect.RESPONSES, body=body, stored=True)
    return Intake(replace(request, conversation="one"), PLAN, payloads, b"{}")


async def met(rig: Rig, before: Intake, limit: int = 100_000) -> Intake:
    state = rig.services.provider_state
    return await with_answers(before, rig.services, state, NO_HEADERS, limit=limit)


async def refused(rig: Rig, fields: Mapping[str, Any], limit: int = 100_000) -> ApiError:
    with pytest.raises(RequestError) as caught:
        await met(rig, intake(rig, fields), limit)
    return caught.value.error


def remember(rig: Rig) -> None:
    request = replace(intake(rig, {"input": "Is it?"}).request, remembered=True)
    told = msgspec.json.encode({"id": "resp_1", "output": [SAID]})
    rig.services.provider_state.keep(request.key_id, states_of(told, request))


async def test_what_is_known_of_the_body_is_told_anew(rig: Rig) -> None:
    remember(rig)
    first = await met(rig, intake(rig, {"input": "Is it?"}))
    before = intake(rig, PREVIOUS)
    after = await met(rig, before)
    assert [item["type"] for item in after.request.body["input"]] == ["message"] * 3
    assert after.request.continues == "resp_1"
    assert after.request.prompt_tokens >= before.request.prompt_tokens + 50
    assert after.plan.prompt_tokens == after.request.prompt_tokens
    assert after.request.conversation not in (None, "one")
    assert after.recorded_body == before.recorded_body
    assert "previous_response_id" in before.request.body
    assert first.request.continues is None


async def test_an_answer_that_was_begun_by_a_reference_is_begun(rig: Rig) -> None:
    remember(rig)
    assert (await met(rig, intake(rig, REFERENCE))).request.begun


@pytest.mark.parametrize(("payloads", "kept"), [("full", True), ("redacted", True), ("off", False)])
async def test_answers_are_kept_unless_payloads_are_off(
    rig: Rig, payloads: str, kept: bool
) -> None:
    assert (await met(rig, intake(rig, {}, payloads))).request.remembered is kept


async def test_other_doors_have_no_such_references(rig: Rig) -> None:
    before = intake(rig, PREVIOUS)
    before = replace(before, request=replace(before.request, door=Dialect.CHAT))
    assert await met(rig, before) is before


@pytest.mark.parametrize("fields", [PREVIOUS, REFERENCE])
async def test_references_come_to_no_more_than_a_body_may(
    rig: Rig, fields: Mapping[str, Any]
) -> None:
    remember(rig)
    error = await refused(rig, fields, limit=200)
    assert (error.status, error.code) == (400, "invalid_value")
    assert "server.max_body_bytes" in error.message


async def test_a_reference_that_is_repeated_counts_each_time(rig: Rig) -> None:
    remember(rig)
    error = await refused(rig, {"input": REFERENCE["input"] * 100}, limit=10_000)
    assert error.param is not None
    assert error.param.startswith("input[")


@pytest.mark.parametrize(
    ("fields", "param", "remedy"),
    [
        (PREVIOUS, "previous_response_id", "Send the conversation itself in input."),
        (REFERENCE, "input[0].id", "Send the item itself, as clients do that ask with store"),
    ],
)
async def test_what_nobody_knows_is_refused_with_what_helps(
    rig: Rig, fields: Mapping[str, Any], param: str, remedy: str
) -> None:
    error = await refused(rig, fields)
    assert (error.status, error.code, error.param) == (400, "state_unavailable", param)
    assert remedy in error.message


async def test_an_item_whose_answer_is_no_longer_there_is_unknown(rig: Rig) -> None:
    rig.services.provider_state.keep("client", [(StateKind.ITEM, "msg_1", b"resp_gone")])
    assert (await refused(rig, REFERENCE)).code == "state_unavailable"


async def test_while_the_database_is_away_nobody_can_tell(rig: Rig) -> None:
    rig.store.fault = database_away
    error = await refused(rig, PREVIOUS)
    assert (error.status, error.code) == (503, "shared_state_unavailable")
    assert error.should_retry
