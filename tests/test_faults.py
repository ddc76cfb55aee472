"""Every fault before the first content, over real sockets: what the client saw, what the providers
saw and what the trace says.

Each fault is met twice, as JSON and as a stream, by a model with a second provider behind the
broken one, and by a model without.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from signalbox.errors import FailureKind as Kind
from signalbox.simulator import Step
from signalbox.simulator.errors import ERRORS
from tests.fault_table import FAULTS, NO_KEY_LEFT, Fault
from tests.lanes import (
    DEAD,
    FINISHED,
    LOST,
    Lane,
    Lanes,
    json_and_stream,
    running_lanes,
    served_by,
)

CONFIG = """
retry = { attempts = 1, base_delay_ms = 10, max_delay_ms = 20, max_wait_ms = 0 }
"""
HASTE = "timeouts = { first_token = 0.75, response = 0.75 }"
"""Seconds. Short for those who wait, long for a simulator on a busy machine."""
PATIENCE = "retry = { max_wait_ms = 10_000 }"
MODELS = {
    "first": served_by("first"),
    "first-second": served_by("first", "second"),
    "hasty-first": served_by("first", more=HASTE),
    "hasty-first-second": served_by("first", "second", more=HASTE),
    LOST: served_by(LOST),
    f"{LOST}-second": served_by(LOST, "second"),
    DEAD: served_by(DEAD),
    f"{DEAD}-second": served_by(DEAD, "second"),
    "twin": served_by("twin"),
    "steady": served_by(
        "first", more="retry = { attempts = 3, base_delay_ms = 100, max_delay_ms = 400 }"
    ),
    "patient": served_by("first", more=PATIENCE),
    "patient-second": served_by("first", "second", more=PATIENCE),
    "picky": served_by("groq"),
    "picky-second": served_by("groq", "second"),
}
RESCUE = Step(text="All is well.")
EXHAUSTED = ("model_failed", "fallbacks_exhausted")

each_fault = pytest.mark.parametrize("fault", FAULTS, ids=str)
CODES = {
    429: "rate_limit_exceeded",
    502: "bad_upstream",
    503: "all_routes_failed",
    504: "timeout",
}


@pytest.fixture(scope="module")
def lanes() -> Iterator[Lanes]:
    with running_lanes(2 * len(FAULTS) + 30, MODELS, CONFIG) as running:
        yield running


@pytest.fixture
def lane(lanes: Lanes) -> Lane:
    return lanes.next()


@each_fault
def test_a_fault_before_the_content_is_never_seen_by_the_client(lane: Lane, fault: Fault) -> None:
    lane.plays(**{fault.provider: fault.step, "second": RESCUE})
    seen = lane.ask(f"{fault.model}-second", stream=fault.stream, temperature=0.5)

    assert (seen.status, seen.text, seen.finish_reasons) == (200, RESCUE.text, ["stop"])
    assert seen.ended
    assert seen.headers["x-signalbox-provider"] == lane.provider("second")
    assert seen.headers["x-signalbox-attempts"] == str(fault.way.calls + 1)

    assert lane.called() == fault.calls | {"second": 1}
    assert all(_as_asked(call["body"], stream=fault.stream) for call in lane.calls())

    trace = lane.trace(seen)
    assert trace.events == (
        "admitted",
        *fault.way.events,
        "route_selected",
        *FINISHED[fault.stream],
    )
    assert trace.failures == [fault.kind] * fault.way.calls
    assert (trace.raw["state"], trace.raw["provider"]) == ("done", lane.provider("second"))


@each_fault
def test_when_nothing_is_left_the_answer_has_the_status_of_the_cause(
    lane: Lane, fault: Fault
) -> None:
    """Also to a stream: its headers are held back until there is content."""
    lane.plays(**{fault.provider: fault.step})
    seen = lane.ask(fault.model, stream=fault.stream)

    assert (seen.status, seen.error["code"]) == (fault.status, CODES[fault.status])
    assert seen.error["metadata"]["attempts"][0]["kind"] == fault.kind
    assert lane.called() == fault.calls

    trace = lane.trace(seen)
    assert trace.events == (
        "admitted",
        *fault.way.events,
        "routes_exhausted",
        "fallbacks_exhausted",
    )
    assert (trace.raw["state"], trace.raw["status"]) == ("failed", fault.status)
    assert lane.charge(seen) is None


# ── keys ──────────────────────────────────────────────────────────────────────────────────────


@json_and_stream
def test_a_401_on_one_key_of_two_costs_nothing_but_that_key(lane: Lane, stream: bool) -> None:
    lane.plays(left=Step(status=401), right=RESCUE)
    answers = [lane.ask("twin", stream=stream) for _ in range(3)]

    assert [seen.text for seen in answers] == [RESCUE.text] * 3
    assert lane.called() == {"left": 1, "right": 3}
    traces = [lane.trace(seen) for seen in answers]
    [bitten] = [trace for trace in traces if trace.failures]
    assert bitten.failures == [Kind.KEY_REJECTED]
    assert bitten.events == (
        "admitted",
        "route_selected",
        "attempt_failed",
        "backoff_elapsed",
        *FINISHED[stream],
    )


def test_a_401_about_our_key_is_the_operators_business(lane: Lane) -> None:
    """The client's own key is fine: it sees no 401, no word of the key, and does not retry."""
    lane.plays(first=Step(status=401))
    seen = lane.ask("first")

    assert (seen.status, seen.headers["x-should-retry"]) == (503, "false")
    assert lane.key("first") not in seen.body.decode()
    alert = f"{lane.provider('first')} refuses the key"
    assert alert in lane.gateway.output
    assert lane.key("first") not in lane.gateway.output


@json_and_stream
def test_when_all_keys_are_rate_limited_the_earliest_reset_is_told(
    lane: Lane, stream: bool
) -> None:
    lane.plays(
        first=Step(status=429, headers={"retry-after": 50}),
        second=Step(status=429, headers={"retry-after": 25}),
    )
    seen = lane.ask("first-second", stream=stream)

    assert (seen.status, seen.headers["x-should-retry"]) == (429, "true")
    assert 5 <= int(seen.headers["retry-after"]) <= 25
    assert seen.error["type"] == "requests"
    assert lane.called() == {"first": 1, "second": 1}


def test_no_client_is_told_to_come_back_after_a_useless_wait(lane: Lane) -> None:
    lane.plays(first=Step(status=429, headers={"retry-after": 300}))
    seen = lane.ask("first")
    assert (seen.status, seen.headers["x-should-retry"]) == (429, "false")


@json_and_stream
def test_a_request_waits_for_the_only_key(lane: Lane, stream: bool) -> None:
    lane.plays(first=(Step(status=429, headers={"retry-after": 1}), RESCUE))
    seen = lane.ask("patient", stream=stream)

    assert (seen.status, seen.text) == (200, RESCUE.text)
    refused, answered = lane.calls()
    assert answered["at"] - refused["at"] >= 1.0
    assert lane.trace(seen).events == (
        "admitted",
        *NO_KEY_LEFT.events,
        "key_awaited",
        "route_selected",
        *FINISHED[stream],
    )


def test_a_request_does_not_wait_for_a_key_while_another_provider_is_there(lane: Lane) -> None:
    lane.plays(first=Step(status=429, headers={"retry-after": 5}), second=RESCUE)
    seen = lane.ask("patient-second")
    assert seen.text == RESCUE.text
    assert "key_awaited" not in lane.trace(seen).events


# ── retries ───────────────────────────────────────────────────────────────────────────────────


def test_a_retry_waits_as_long_as_its_trace_says(lane: Lane) -> None:
    lane.plays(first=(Step(status=500), Step(status=503), Step(status=500)))
    seen = lane.ask("steady")

    assert seen.status == 200
    reasons = lane.trace(seen).reasons["attempt_failed"]
    delays = [float(reason.removesuffix(" s").rpartition(" ")[2]) for reason in reasons]
    assert all(delay <= cap for delay, cap in zip(delays, (0.1, 0.2, 0.4), strict=True))
    came = [call["at"] for call in lane.calls()]
    gaps = [after - before for before, after in pairwise(came)]
    rounding = 0.001
    assert all(gap >= delay - rounding for gap, delay in zip(gaps, delays, strict=True))


def test_causes_of_different_classes_are_a_503_that_names_each(lane: Lane) -> None:
    lane.plays(first=Step(status=429, headers={"retry-after": 20}), second=Step(status=500))
    seen = lane.ask("first-second")

    assert (seen.status, seen.error["code"]) == (503, "all_routes_failed")
    assert [attempt["kind"] for attempt in seen.error["metadata"]["attempts"]] == [
        Kind.RATE_LIMITED,
        Kind.SERVER_ERROR,
        Kind.SERVER_ERROR,
    ]


@json_and_stream
def test_the_total_time_ends_a_request_wherever_it_is(lane: Lane, stream: bool) -> None:
    lane.plays(first=Step(silence=True), second=RESCUE)
    seen = lane.ask("first-second", stream=stream, extra={"timeout": {"total": 0.3}})

    assert (seen.status, seen.error["code"]) == (504, "timeout")
    assert lane.trace(seen).events == ("admitted", "route_selected", "deadline_exceeded")
    [call] = lane.ended_calls()
    assert call["ended"] == "client_closed"


# ── what the request itself is to blame for ───────────────────────────────────────────────────


@json_and_stream
@pytest.mark.parametrize(
    ("error", "code", "events"),
    [
        ("invalid_request", "invalid_value", ("refused",)),
        ("context_length_exceeded", "context_length_exceeded", EXHAUSTED),
        ("content_policy_violation", "content_policy_violation", EXHAUSTED),
    ],
)
def test_a_fault_of_the_request_is_tried_once_and_told_in_the_providers_words(
    lane: Lane, error: str, code: str, events: tuple[str, ...], stream: bool
) -> None:
    lane.plays(first=Step(error=error), second=RESCUE)
    seen = lane.ask("first-second", stream=stream)

    assert (seen.status, seen.headers["x-should-retry"]) == (400, "false")
    assert (seen.error["code"], seen.error["param"]) == (code, ERRORS[error].param)
    assert seen.error["message"] == ERRORS[error].message
    assert lane.called() == {"first": 1}
    assert lane.trace(seen).events == ("admitted", "route_selected", *events)


def test_a_field_that_no_route_can_carry_is_named_and_nothing_is_sent(lane: Lane) -> None:
    lane.plays()
    seen = lane.ask("picky", n=2)

    assert (seen.status, seen.error["code"]) == (400, "unsupported_parameter")
    assert seen.error["param"] == "n"
    assert lane.called() == {}
    assert lane.trace(seen).events == ("admitted", "refused")


def test_a_route_that_cannot_carry_a_field_is_passed_over(lane: Lane) -> None:
    lane.plays(second=RESCUE)
    assert len(lane.ask("picky-second", n=2).finish_reasons) == 2
    assert lane.called() == {"second": 1}


def test_a_hint_that_a_provider_does_not_take_is_left_out_and_named(lane: Lane) -> None:
    lane.plays()
    seen = lane.ask("picky", logit_bias={"50256": -100})

    assert (seen.status, seen.headers["x-signalbox-dropped"]) == (200, "logit_bias")
    [call] = lane.calls("groq")
    assert "logit_bias" not in call["body"]


def test_hints_count_as_meaning_where_the_client_says_so(lane: Lane) -> None:
    lane.plays(second=RESCUE)
    bias = {"50256": -100}
    seen = lane.ask("picky-second", logit_bias=bias, extra={"unsupported": "refuse"})

    assert "x-signalbox-dropped" not in seen.headers
    [call] = lane.calls()
    assert (call["key"], call["body"]["logit_bias"]) == (lane.key("second"), bias)


def _as_asked(body: dict[str, Any], *, stream: bool) -> bool:
    """Whether a provider got the client's own request, with its own name for the model."""
    options = {"stream_options": {"include_usage": True}} if stream else {}
    asked = {"messages": [{"role": "user", "content": "hello"}], "temperature": 0.5}
    return body == asked | {"model": "m", "stream": stream} | options
