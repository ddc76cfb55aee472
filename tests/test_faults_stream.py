"""Clients that leave, silence, and what an answer costs: what the client saw, what the providers
saw, what trace and ledger say."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from signalbox.errors import FailureKind as Kind
from signalbox.simulator import Step
from tests.lanes import FINISHED, Lane, Lanes, json_and_stream, running_lanes, served_by

NARROW = "test-narrow-key-0123456789"
"""A gateway key for one request at a time."""
CONFIG = f"""
retry = {{ attempts = 1, base_delay_ms = 10, max_delay_ms = 20, max_wait_ms = 0 }}
timeouts = {{ idle = 0.75 }}
server.keepalive = 0.2
keys.narrow = {{ key = {{ value = "{NARROW}" }}, concurrency = 1 }}
"""
SLOW = "timeouts = { first_token = 0.75 }"
MODELS = {
    "first": served_by("first"),
    "first-second": served_by("first", "second"),
    "slow": served_by("first", "second", more=SLOW),
    "patient": served_by("first", more="retry = { max_wait_ms = 10_000 }"),
}
TEXT = "one two three four"
RESCUE = Step(text="All is well.")


@pytest.fixture(scope="module")
def lanes() -> Iterator[Lanes]:
    with running_lanes([MODELS] * 30, CONFIG) as running:
        yield running


@pytest.fixture
def lane(lanes: Lanes) -> Lane:
    return lanes.next()


# ── clients that leave ────────────────────────────────────────────────────────────────────────


def test_a_client_that_leaves_a_stream_ends_the_call_and_pays_for_what_it_got(lane: Lane) -> None:
    lane.plays(first=Step(text=TEXT, token_delay=0.2))
    seen = lane.leave_after_first_content("first")

    [call] = lane.ended_calls()
    assert call["ended"] == "client_closed"

    trace = lane.trace(seen)
    assert trace.events == ("admitted", "route_selected", "first_token_received", "cancelled")
    assert (trace.raw["state"], trace.raw["error"]["code"]) == ("failed", "client_closed")

    charge = lane.charge(seen)
    assert charge is not None
    assert (charge.reason, charge.usage.estimated) == ("cancelled", True)
    assert charge.amount
    assert seen.text in TEXT


@json_and_stream
def test_a_client_that_leaves_before_an_answer_ends_the_call_at_once(
    lane: Lane, stream: bool
) -> None:
    """Its place is free again: the key it came with has one."""
    lane.plays(first=(Step(silence=True), RESCUE), second=RESCUE)
    lane.leave("first-second", key=NARROW, stream=stream)

    [call] = lane.ended_calls()
    assert call["ended"] == "client_closed"

    [trace] = lane.saved_traces("first-second")
    assert trace.events == ("admitted", "route_selected", "cancelled")
    charge = lane.charge(trace)
    assert charge is None or charge.amount == 0

    after = lane.ask("first-second", {"authorization": f"Bearer {NARROW}"})
    assert after.text == RESCUE.text
    assert lane.called() == {"first": 2}, "the one who left was not taken to another provider"


def test_a_client_that_leaves_gives_its_provider_key_back(lane: Lane) -> None:
    """The key is half-open: one request at a time may test it."""
    lane.plays(first=(Step(status=429, headers={"retry-after": 1}), Step(silence=True), RESCUE))
    assert lane.ask("first").status == 429
    lane.leave("patient", after_calls=2)
    lane.saved_traces("patient")

    assert lane.ask("first").text == RESCUE.text


def test_a_client_that_leaves_while_its_request_waits_for_a_key_is_not_served(lane: Lane) -> None:
    lane.plays(first=Step(status=429, headers={"retry-after": 8}))
    lane.leave("patient")

    [trace] = lane.saved_traces("patient")
    assert trace.events[-2:] == ("key_awaited", "cancelled")
    assert lane.called() == {"first": 1}


# ── what an answer costs ──────────────────────────────────────────────────────────────────────


@json_and_stream
def test_an_answer_costs_what_its_reported_usage_says(lane: Lane, stream: bool) -> None:
    """1 and 2 dollars a million tokens."""
    lane.plays(first=Step(text=TEXT))
    seen = lane.ask("first", stream=stream, stream_options={"include_usage": True})

    usage = seen.events[-1]["usage"]
    nano_usd = usage["prompt_tokens"] * 1_000 + usage["completion_tokens"] * 2_000
    charge = lane.charge(seen)
    assert charge is not None
    assert charge.amount == nano_usd
    assert usage["cost"] == nano_usd / 1_000_000_000
    assert (charge.reason, charge.usage.estimated) == ("answered", False)
    assert float(lane.trace(seen).raw["cost"]) == usage["cost"]


@json_and_stream
@pytest.mark.parametrize(
    ("step", "finish"),
    [
        (Step(empty=True, finish="length"), "length"),
        (Step(content_filter=True), "content_filter"),
    ],
)
def test_an_end_that_explains_itself_is_an_answer_without_content_and_costs_nothing(
    lane: Lane, step: Step, finish: str, stream: bool
) -> None:
    lane.plays(first=step, second=RESCUE)
    seen = lane.ask("first-second", stream=stream)

    assert (seen.status, seen.text, seen.finish_reasons) == (200, "", [finish])
    assert (seen.ended, seen.errors) == (True, [])
    assert lane.called() == {"first": 1}
    assert lane.trace(seen).events == ("admitted", "route_selected", "answered")

    charge = lane.charge(seen)
    assert charge is not None
    assert (charge.reason, charge.amount) == ("no_content", 0)


def test_the_attempts_that_failed_cost_nothing(lane: Lane) -> None:
    lane.plays(first=Step(empty=True), second=RESCUE)
    charge = lane.charge(lane.ask("first-second"))
    assert charge is not None
    assert (charge.provider, charge.reason) == (lane.provider("second"), "answered")


# ── silence ───────────────────────────────────────────────────────────────────────────────────


def test_comments_keep_a_silent_stream_alive_and_it_still_falls_over_unseen(lane: Lane) -> None:
    lane.plays(first=Step(silence=True), second=RESCUE)
    seen = lane.ask("slow", stream=True)

    assert seen.comments > 0
    assert (seen.text, seen.finish_reasons, seen.errors) == (RESCUE.text, ["stop"], [])
    assert lane.called() == {"first": 1, "second": 1}
    assert lane.trace(seen).events == (
        "admitted",
        "route_selected",
        "route_failed",
        "route_selected",
        *FINISHED[True],
    )


def test_a_final_failure_after_a_comment_is_an_error_inside_the_stream(lane: Lane) -> None:
    lane.plays(first=Step(silence=True), second=Step(status=500))
    seen = lane.ask("slow", stream=True)

    assert (seen.status, seen.text, seen.finish_reasons) == (200, "", ["error"])
    assert (seen.error["code"], seen.ended) == ("all_routes_failed", True)
    trace = lane.trace(seen)
    assert trace.failures == [Kind.FIRST_TOKEN_TIMEOUT, Kind.SERVER_ERROR, Kind.SERVER_ERROR]
    assert (trace.raw["state"], trace.raw["status"]) == ("failed", 200)


def test_a_json_answer_waits_in_silence(lane: Lane) -> None:
    lane.plays(first=Step(text=TEXT, first_token_delay=0.5))
    seen = lane.ask("first")
    assert (seen.streamed, seen.text) == (False, TEXT)
