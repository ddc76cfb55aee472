"""Keys that are refused, waits, retries and the request's own faults, over real sockets: what the
client saw, what the providers saw and what the trace says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from signalbox.errors import FailureKind as Kind
from signalbox.simulator import Step
from signalbox.simulator.errors import ERRORS
from tests.lanes import FINISHED, Lane, Lanes, json_and_stream, running_lanes, served_by

CONFIG = """
retry = { attempts = 1, base_delay_ms = 10, max_delay_ms = 20, max_wait_ms = 0 }
"""
PATIENCE = "retry = { max_wait_ms = 10_000 }"
MODELS = {
    "first": served_by("first"),
    "first-second": served_by("first", "second"),
    "twin": served_by("twin"),
    "chained": served_by("first", more='fallbacks = ["spare-N"]'),
    "spare": served_by("spare"),
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
NO_KEY_LEFT = ("route_selected", "attempt_failed", "route_failed")


@pytest.fixture(scope="module")
def lanes() -> Iterator[Lanes]:
    with running_lanes([MODELS] * 30, CONFIG) as running:
        yield running


@pytest.fixture
def lane(lanes: Lanes) -> Lane:
    return lanes.next()


# ── keys ──────────────────────────────────────────────────────────────────────────────────────


@json_and_stream
def test_a_rejected_key_is_asked_once_more_and_then_left_alone(lane: Lane, stream: bool) -> None:
    """One rejection may be the provider's own mistake. No client sees either of them.

    The conversations differ: one alone would stay with the key that answered it.
    """
    lane.plays(left=Step(status=401), right=RESCUE)
    conversations = ([{"role": "user", "content": text}] for text in ("one", "two", "three"))
    answers = [lane.ask("twin", stream=stream, messages=said) for said in conversations]

    assert [seen.text for seen in answers] == [RESCUE.text] * 3
    assert lane.called() == {"left": 2, "right": 3}
    traces = [lane.trace(seen) for seen in answers]
    rejected = [trace for trace in traces if trace.failures]
    assert [trace.failures for trace in rejected] == [[Kind.KEY_REJECTED]] * 2
    for trace in rejected:
        assert trace.events == (
            "admitted",
            "route_selected",
            "attempt_failed",
            "backoff_elapsed",
            *FINISHED[stream],
        )


def test_a_401_about_our_key_is_the_operators_business(lane: Lane) -> None:
    """The client's own key is fine: it sees no 401, no word of the key, and does not retry. The
    operator is alerted when a second answer confirms the first."""
    lane.plays(first=Step(status=401))
    alert = f"{lane.provider('first')} refuses the key"
    alerted = []
    for _ in range(2):
        seen = lane.ask("first")
        assert (seen.status, seen.headers["x-should-retry"]) == (503, "false")
        assert lane.key("first") not in seen.body.decode()
        alerted.append(alert in lane.gateway.output)

    assert alerted == [False, True]
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
        *NO_KEY_LEFT,
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
@pytest.mark.parametrize("model", ["first", "twin", "first-second", "chained"])
def test_the_total_time_ends_a_request_wherever_it_is(lane: Lane, model: str, stream: bool) -> None:
    """A call that is not streamed leaves a third of it, where another route is left."""
    silence = Step(silence=True)
    lane.plays(first=silence, second=silence, left=silence, right=RESCUE, spare=silence)
    seen = lane.ask(model, stream=stream, extra={"timeout": {"total": 0.6}})

    assert (seen.status, seen.error["code"]) == (504, "timeout")
    trace = lane.trace(seen)
    assert trace.events[-1] == "deadline_exceeded"
    moves_on = not stream and model in ("first-second", "chained")
    assert trace.failures == [Kind.RESPONSE_TIMEOUT] * moves_on
    calls = lane.ended_calls()
    assert [call["ended"] for call in calls] == ["client_closed"] * (2 if moves_on else 1)


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
