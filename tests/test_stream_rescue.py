"""Streams that break: what a request may wish, what the next route may answer, what cannot be
joined on, and what an operator sees of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from signalbox.errors import FailureKind as Kind
from signalbox.simulator import Step
from tests.fault_cells import (
    EACH,
    PREFILL,
    RETRIES,
    SECOND_MODEL,
    SECOND_PROVIDER,
    Left,
    assert_broken,
    assert_one_answer,
)
from tests.fault_table import BEGUN, TEXT
from tests.lanes import Lane, Lanes, running_lanes, served_by
from tests.observed import Seen
from tests.viewer import viewer

MODELS = {left.name: left.model for left in (*EACH, PREFILL)} | {"spare": served_by("spare")}
CUT = Step(text=TEXT, cut_after=3)
AGAIN = Step(text=TEXT)


@pytest.fixture(scope="module")
def lanes() -> Iterator[Lanes]:
    with running_lanes([MODELS] * 20, RETRIES) as running:
        yield running


@pytest.fixture
def lane(lanes: Lanes) -> Lane:
    return lanes.next()


def test_another_text_is_not_joined_on(lane: Lane) -> None:
    """The next route may tell the same words, so each is asked."""
    lane.plays(first=CUT, second=Step(text="one two, and something else"))
    seen = lane.ask(SECOND_PROVIDER.name, stream=True)
    assert_broken(seen, BEGUN, [Kind.CONNECTION_LOST, Kind.SPLICE_MISMATCH])
    assert lane.called() == {"first": 1, "second": 1}


def test_a_route_that_refuses_a_prefill_tells_its_answer_from_the_start(lane: Lane) -> None:
    lane.plays(first=CUT, second=(Step(status=400), AGAIN))
    seen = lane.ask(PREFILL.name, stream=True)
    assert_one_answer(seen, TEXT)
    assert [len(call["body"]["messages"]) for call in lane.calls("second")] == [2, 1]


def test_a_rescue_that_fails_is_retried_as_any_call(lane: Lane) -> None:
    lane.plays(first=CUT, second=(Step(status=500), AGAIN))
    assert_one_answer(lane.ask(SECOND_PROVIDER.name, stream=True), TEXT)
    assert lane.called() == {"first": 1, "second": 2}


def test_a_rescue_that_breaks_is_rescued(lane: Lane) -> None:
    lane.plays(first=CUT, second=Step(text=TEXT, cut_after=4), spare=AGAIN)
    extra = {"fallback_models": [lane.model("spare")]}
    seen = lane.ask(SECOND_PROVIDER.name, stream=True, extra=extra)
    assert_one_answer(seen, TEXT)
    assert len(seen.events[-1]["x_signalbox"]["resumed"]) == 2
    assert lane.called() == {"first": 1, "second": 1, "spare": 1}


@pytest.mark.parametrize("left", [*EACH, PREFILL], ids=lambda left: left.name)
def test_who_wishes_no_rescue_is_told_of_the_break_at_once(lane: Lane, left: Left) -> None:
    rate_limited = Step(text=TEXT, error_after=3, error="rate_limit_exceeded", token_delay=0.1)
    lane.plays(**{left.broken_key: rate_limited})
    seen = lane.ask(left.name, stream=True, extra={"midstream": "error"})
    assert_broken(seen, BEGUN, [Kind.RATE_LIMITED])
    assert lane.called() == {left.broken_key: 1}


@pytest.mark.parametrize(("left", "rescued"), [(SECOND_PROVIDER, True), (SECOND_MODEL, False)])
def test_a_rescue_may_be_bound_to_the_model(lane: Lane, left: Left, rescued: bool) -> None:
    lane.plays(first=CUT, second=AGAIN, spare=AGAIN)
    seen = lane.ask(left.name, stream=True, extra={"midstream": "same_model"})
    if rescued:
        assert_one_answer(seen, TEXT)
    else:
        assert_broken(seen, BEGUN, [Kind.CONNECTION_LOST])
        assert lane.called() == {"first": 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [("response_format", {"type": "json_object"}), ("logprobs", True), ("n", 2)],
)
def test_what_cannot_be_joined_on_ends_with_an_error(lane: Lane, field: str, value: Any) -> None:
    lane.plays(first=CUT, second=AGAIN)
    seen = lane.ask(SECOND_PROVIDER.name, stream=True, **{field: value})
    _assert_told_at_once(lane, seen)


def test_a_tool_call_that_was_begun_cannot_go_on(lane: Lane) -> None:
    lane.plays(first=Step(cut_after=1), second=AGAIN)
    messages = [{"role": "user", "content": "call a tool"}]
    tools = [{"type": "function", "function": {"name": "get_weather"}}]
    seen = lane.ask(SECOND_PROVIDER.name, stream=True, messages=messages, tools=tools)
    assert seen.text == ""
    _assert_told_at_once(lane, seen)


def _assert_told_at_once(lane: Lane, seen: Seen) -> None:
    assert "error" in seen.finish_reasons
    assert seen.error["code"] == "bad_upstream"
    assert (seen.done_marks, lane.called()) == (1, {"first": 1})


@pytest.mark.parametrize(
    ("left", "answer", "how"),
    [(SECOND_PROVIDER, AGAIN, "splice"), (PREFILL, Step(text="e four"), "prefill")],
)
def test_an_operator_sees_the_seam_live_and_afterwards(
    lane: Lane, left: Left, answer: Step, how: str
) -> None:
    lane.plays(first=CUT, second=answer)
    with viewer(lane.gateway.url) as watching:
        watching.receive()
        seen = lane.ask(left.name, stream=True)
        messages = watching.until("finished")
    seam = {
        message["event"]: (message["provider"], message["detail"]["reason"])
        for message in messages
        if message["type"] == "transition" and message["detail"]
    }
    broken_at, why = seam["stream_resumed"]
    assert broken_at == lane.provider("first")
    assert why.startswith(f"connection_lost after {len(BEGUN)} characters: ")
    assert seam["first_token_received"] == (lane.provider("second"), f"goes on by {how}")
    outcomes = [message["outcome"] for message in messages if message["type"] == "attempt"]
    assert outcomes == ["started", "failed", "started", "answered"]
    reasons = lane.trace(seen).reasons
    assert reasons["stream_resumed"] == [why]
    assert reasons["first_token_received"] == [f"goes on by {how}"]
