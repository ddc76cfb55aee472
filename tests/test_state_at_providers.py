"""State that lives at a provider, from outside: what refers to it goes back to who made it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from signalbox.simulator import Step
from tests.gateway import KEY
from tests.lanes import Lane, Lanes, json_and_stream, running_lanes, served_by
from tests.observed import Seen

CONFIG = """
retry = { attempts = 0, max_wait_ms = 0 }
keys.other.key = { value = "another-gateway-key-01234" }
"""
MODELS = {
    "pair": served_by("twin", "second"),
    "chain": served_by("twin", more='fallbacks = ["other-N"]'),
    "other": served_by("second"),
    "alone": served_by("single"),
}
DOWN = Step(status=500)
BLOB = "c2VjcmV0IHRob3VnaHRz" * 10
USER = {"role": "user", "content": "hello"}


@pytest.fixture(scope="module")
def lanes() -> Iterator[Lanes]:
    with running_lanes([MODELS] * 20, CONFIG) as running:
        yield running


@pytest.fixture
def lane(lanes: Lanes) -> Lane:
    return lanes.next()


def gives(stream: bool, **message: Any) -> Step:
    """An answer whose message, or whose second chunk's delta, has these fields."""
    text = {"role": "assistant", "content": "Hello."}
    if not stream:
        choice = {"index": 0, "message": {**text, **message}, "finish_reason": "stop"}
        return Step(body={"id": "answer-1", "choices": [choice]})
    deltas: list[tuple[dict[str, Any], str | None]] = [(text, None), (message, None), ({}, "stop")]
    chunks = [
        {"id": "answer-1", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        for delta, reason in deltas
    ]
    events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return Step(body=events + "data: [DONE]\n\n", headers={"content-type": "text/event-stream"})


def follow_up(lane: Lane, model: str = "pair", *, gateway_key: str = KEY, **message: Any) -> Seen:
    """The next request of the conversation, with the assistant's message in these words."""
    turn = {"role": "assistant", "content": "Hello.", **message}
    headers = {"authorization": f"Bearer {gateway_key}"}
    return lane.ask(model, headers, messages=[USER, turn, USER])


def heard(lane: Lane, key: str, *, stream: bool = False, **message: Any) -> None:
    """An answer with these fields was given on this key: the first, or the last resort."""
    others = {} if key == "left" else {"left": DOWN, "right": DOWN}
    lane.plays(**others, **{key: gives(stream, **message)})
    assert lane.ask("pair", stream=stream).status == 200
    assert lane.called()[key] == 1
    lane.plays()


def reasoning(lane: Lane) -> list[dict[str, Any]]:
    return [
        {"type": "reasoning.summary", "summary": "in short"},
        {"type": "reasoning.encrypted", "data": f"{BLOB}{lane.number}"},
    ]


@json_and_stream
def test_an_id_goes_back_to_the_provider_that_gave_it_out(lane: Lane, stream: bool) -> None:
    heard(lane, "second", stream=stream, audio={"id": f"audio-{lane.number}", "data": "AAAA"})
    assert follow_up(lane).status == 200
    assert "second" not in lane.called()
    assert follow_up(lane, audio={"id": f"audio-{lane.number}"}).status == 200
    assert lane.called()["second"] == 1


def test_where_the_key_that_made_it_fails_nobody_stands_in_and_the_client_is_told(
    lane: Lane,
) -> None:
    heard(lane, "left", audio={"id": f"audio-{lane.number}"})
    lane.plays(left=Step(status=429, headers={"retry-after": 20}))
    seen = follow_up(lane, audio={"id": f"audio-{lane.number}"})
    assert (seen.status, seen.error["code"]) == (429, "rate_limit_exceeded")
    assert lane.called() == {"left": 1}
    assert follow_up(lane).status == 200
    assert lane.called() == {"left": 1, "right": 1}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_unheard_of"}, "previous_response_id"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "file", "file": {"file_id": "file-unheard-of"}}],
                    }
                ]
            },
            "messages[0].content[0].file.file_id",
        ),
    ],
)
def test_an_id_that_nobody_gave_out_is_refused_by_name(
    lane: Lane, fields: dict[str, Any], param: str
) -> None:
    lane.plays()
    seen = lane.ask("pair", **fields)
    assert (seen.status, seen.error["code"]) == (400, "state_unavailable")
    assert (seen.error["type"], seen.error["param"]) == ("invalid_request_error", param)
    assert param in seen.error["message"]
    assert lane.called() == {}


def test_the_ids_of_one_gateway_key_are_unknown_to_another(lane: Lane) -> None:
    audio = {"id": f"audio-{lane.number}"}
    heard(lane, "left", audio=audio)
    seen = follow_up(lane, gateway_key="another-gateway-key-01234", audio=audio)
    assert (seen.status, seen.error["code"]) == (400, "state_unavailable")


def test_an_id_is_refused_where_its_route_is_not_one_of_the_request(lane: Lane) -> None:
    audio = {"id": f"audio-{lane.number}"}
    heard(lane, "left", audio=audio)
    seen = follow_up(lane, "other", audio=audio)
    assert (seen.status, seen.error["code"]) == (400, "state_unavailable")
    assert lane.provider("twin") in seen.error["message"]


def test_two_ids_from_different_places_are_refused_by_both_names(lane: Lane) -> None:
    for key in ("left", "second"):
        heard(lane, key, audio={"id": f"audio-{key}-{lane.number}"})
    turns = [
        {"role": "assistant", "content": "Hello.", "audio": {"id": f"audio-{key}-{lane.number}"}}
        for key in ("left", "second")
    ]
    seen = lane.ask("pair", messages=[*turns, USER])
    assert (seen.status, seen.error["code"]) == (400, "state_unavailable")
    assert "messages[0].audio.id and messages[1].audio.id" in seen.error["message"]


def test_where_there_is_one_account_alone_all_goes_to_it_as_it_is(lane: Lane) -> None:
    lane.plays()
    made: dict[str, Any] = {"audio": {"id": "made-elsewhere"}, "reasoning_details": reasoning(lane)}
    assert follow_up(lane, "alone", **made).status == 200
    [call] = lane.calls()
    assert call["body"]["messages"][1] == {"role": "assistant", "content": "Hello."} | made


def test_a_stored_answer_is_known_by_its_id(lane: Lane) -> None:
    step = gives(False)
    assert isinstance(step.body, dict)
    stored = Step(body={**step.body, "id": f"stored-{lane.number}"})
    lane.plays(left=stored)
    assert lane.ask("chain", store=True).status == 200
    lane.plays(left=DOWN)
    assert lane.ask("chain", previous_response_id=f"stored-{lane.number}").status == 503
    assert lane.called() == {"left": 1}


# Encrypted reasoning


@json_and_stream
def test_encrypted_reasoning_goes_back_to_who_made_it(lane: Lane, stream: bool) -> None:
    heard(lane, "second", stream=stream, reasoning_details=reasoning(lane))
    seen = follow_up(lane, reasoning_details=reasoning(lane))
    assert (seen.status, seen.headers.get("x-signalbox-dropped")) == (200, None)
    [call] = lane.calls()
    assert lane.called() == {"second": 1}
    assert call["body"]["messages"][1]["reasoning_details"] == reasoning(lane)


def test_elsewhere_encrypted_reasoning_is_left_out_and_named(lane: Lane) -> None:
    heard(lane, "second", reasoning_details=reasoning(lane))
    lane.plays(second=DOWN)
    seen = follow_up(lane, reasoning_details=reasoning(lane))
    assert (seen.status, seen.headers["x-signalbox-dropped"]) == (200, "messages.reasoning_details")
    [first] = lane.calls("second")
    [second] = lane.calls("left", "right")
    assert first["body"]["messages"][1]["reasoning_details"] == reasoning(lane)
    assert second["body"]["messages"][1]["reasoning_details"] == reasoning(lane)[:1]


def test_another_key_of_the_same_provider_does_not_get_it_either(lane: Lane) -> None:
    heard(lane, "left", reasoning_details=reasoning(lane))
    lane.plays(left=Step(status=429))
    assert follow_up(lane, reasoning_details=reasoning(lane)).status == 200
    [call] = lane.calls("right")
    assert call["body"]["messages"][1]["reasoning_details"] == reasoning(lane)[:1]


def test_encrypted_reasoning_of_nobody_known_is_left_out_everywhere(lane: Lane) -> None:
    lane.plays()
    seen = follow_up(lane, reasoning_details=reasoning(lane))
    assert (seen.status, seen.headers["x-signalbox-dropped"]) == (200, "messages.reasoning_details")
    [call] = lane.calls()
    assert call["body"]["messages"][1]["reasoning_details"] == reasoning(lane)[:1]


def test_encrypted_reasoning_of_others_does_not_reach_the_only_account_there_is(
    lane: Lane,
) -> None:
    heard(lane, "left", reasoning_details=reasoning(lane))
    seen = follow_up(lane, "alone", reasoning_details=reasoning(lane))
    assert (seen.status, seen.headers["x-signalbox-dropped"]) == (200, "messages.reasoning_details")
