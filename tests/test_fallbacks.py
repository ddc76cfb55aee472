"""Where a request goes instead: fallbacks, retries and providers, from the configuration and from
the request's own extensions, as the client, the providers and the trace see it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from signalbox.errors import FailureKind as Kind
from signalbox.simulator import Step
from tests.lanes import FINISHED, Lane, Lanes, json_and_stream, running_lanes, served_by
from tests.observed import Seen

CONFIG = """
retry = { attempts = 1, base_delay_ms = 10, max_delay_ms = 20, max_wait_ms = 0 }
routing.fallbacks = ["resort-0"]
"""
RESORT = "resort-0"
"""What the key of every model's fallback is called in the counts of calls."""
MODELS = {
    "resort": served_by("resort"),
    "first": served_by("first"),
    "first-second": served_by("first", "second"),
    "other": served_by("other"),
    "spare": served_by("spare"),
    "chained": served_by("first", more='fallbacks = ["spare-N"]'),
    "roomy": served_by("first", more='fallbacks = ["other-N"]\ncontext_fallbacks = ["spare-N"]'),
    "mild": served_by("first", more='fallbacks = ["other-N"]\ncontent_fallbacks = ["spare-N"]'),
    "market": served_by("cheap", "dear", by_strategy=True),
    "tireless": served_by(
        "first", more="retry = { attempts = 10, base_delay_ms = 1, max_attempts_total = 3 }"
    ),
}
DOWN = Step(status=500)
RESCUE = Step(text="All is well.")
TO_THE_NEXT_MODEL = ("routes_exhausted", "next_model_chosen", "route_selected")

body_and_header = pytest.mark.parametrize("where", ["body", "header"])


@pytest.fixture(scope="module")
def lanes() -> Iterator[Lanes]:
    with running_lanes([MODELS] * 80, CONFIG) as running:
        yield running


@pytest.fixture
def lane(lanes: Lanes) -> Lane:
    return lanes.next()


def ask(lane: Lane, model: str, extra: Mapping[str, Any], where: str, **fields: Any) -> Seen:
    if where == "header":
        return lane.ask(model, {"x-signalbox-extra": json.dumps(extra)}, **fields)
    return lane.ask(model, extra=extra, **fields)


# ── fallbacks ─────────────────────────────────────────────────────────────────────────────────


def test_a_client_that_changed_only_its_base_url_survives_an_outage(lane: Lane) -> None:
    lane.plays(first=DOWN, spare=RESCUE)
    completions = lane.gateway.client().chat.completions
    answer = completions.create(
        model=lane.model("chained"), messages=[{"role": "user", "content": "hello"}]
    )
    stream = completions.create(
        model=lane.model("chained"), messages=[{"role": "user", "content": "hello"}], stream=True
    )
    assert answer.choices[0].message.content == RESCUE.text
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == RESCUE.text
    assert lane.called() == {"first": 4, "spare": 2}


@json_and_stream
@pytest.mark.parametrize("status", [401, 402, 403, 404, 429, 500, 503])
def test_every_class_of_failure_goes_on_to_the_models_own_fallback(
    lane: Lane, status: int, stream: bool
) -> None:
    lane.plays(first=Step(status=status), spare=RESCUE)
    seen = lane.ask("chained", stream=stream)

    assert (seen.status, seen.text) == (200, RESCUE.text)
    assert seen.headers["x-signalbox-model"] == lane.model("spare")
    called = lane.called()
    assert (called["first"] in (1, 2), called["spare"], RESORT in called) == (True, 1, False)
    assert lane.trace(seen).events[-5 if stream else -4 :] == (
        *TO_THE_NEXT_MODEL,
        *FINISHED[stream],
    )


@json_and_stream
def test_the_fallbacks_for_all_models_come_after_a_models_own(lane: Lane, stream: bool) -> None:
    lane.plays(first=DOWN, spare=DOWN)
    seen = lane.ask("chained", stream=stream)

    assert (seen.status, seen.headers["x-signalbox-model"]) == (200, RESORT)
    assert lane.called() == {"first": 2, "spare": 2, RESORT: 1}


def test_nothing_that_answers_is_left_for_a_fallback(lane: Lane) -> None:
    lane.plays()
    assert lane.ask("chained").headers["x-signalbox-model"] == lane.model("chained")
    assert lane.called() == {"first": 1}


@json_and_stream
@body_and_header
def test_a_requests_fallback_models_stand_in_for_the_configured_ones(
    lane: Lane, where: str, stream: bool
) -> None:
    lane.plays(first=DOWN, other=DOWN, spare=RESCUE)
    extra = {"fallback_models": [lane.model("other"), lane.model("spare")]}
    seen = ask(lane, "chained", extra, where, stream=stream)

    assert seen.text == RESCUE.text
    assert lane.called() == {"first": 2, "other": 2, "spare": 1}
    for call in lane.calls():
        assert "extra" not in call["body"]
        assert "x-signalbox-extra" not in call["headers"]
    chosen = lane.trace(seen).events.count("next_model_chosen")
    assert chosen == 2


@json_and_stream
@pytest.mark.parametrize(
    ("model", "error", "kind"),
    [
        ("roomy", "context_length_exceeded", Kind.CONTEXT_LENGTH),
        ("mild", "content_policy_violation", Kind.CONTENT_POLICY),
    ],
)
def test_what_one_model_cannot_take_goes_to_the_model_that_is_named_for_it(
    lane: Lane, model: str, error: str, kind: Kind, stream: bool
) -> None:
    lane.plays(first=Step(error=error), spare=RESCUE)
    seen = lane.ask(model, stream=stream)

    assert (seen.status, seen.text) == (200, RESCUE.text)
    assert lane.called() == {"first": 1, "spare": 1}
    trace = lane.trace(seen)
    assert trace.failures == [kind]
    assert trace.events == (
        "admitted",
        "route_selected",
        "model_failed",
        "next_model_chosen",
        "route_selected",
        *FINISHED[stream],
    )


def test_the_models_for_long_prompts_are_for_nothing_else(lane: Lane) -> None:
    lane.plays(first=DOWN, other=RESCUE)
    lane.ask("roomy")
    assert lane.called() == {"first": 2, "other": 1}


def test_an_invalid_request_is_not_tried_elsewhere(lane: Lane) -> None:
    lane.plays(first=Step(status=400), second=RESCUE, spare=RESCUE)
    extra = {"fallback_models": [lane.model("spare")], "retry": 3}
    assert lane.ask("first-second", extra=extra).status == 400
    assert lane.called() == {"first": 1}


# ── retries and time ──────────────────────────────────────────────────────────────────────────


@body_and_header
@pytest.mark.parametrize(
    ("retry", "calls"), [(0, 1), (2, 3), ({"attempts": 2, "base_delay_ms": 1}, 3)]
)
def test_a_request_says_how_often_a_route_is_tried_again(
    lane: Lane, retry: Any, calls: int, where: str
) -> None:
    lane.plays(first=DOWN, second=RESCUE)
    seen = ask(lane, "first-second", {"retry": retry}, where)

    assert seen.text == RESCUE.text
    assert lane.called() == {"first": calls, "second": 1}
    assert lane.trace(seen).events.count("backoff_elapsed") == calls - 1


def test_where_body_and_header_differ_the_body_wins(lane: Lane) -> None:
    lane.plays(first=DOWN)
    header = json.dumps({"retry": 3, "fallback_models": [lane.model("spare")]})
    lane.ask("first", {"x-signalbox-extra": header}, extra={"retry": 0})
    assert lane.called() == {"first": 1, "spare": 1}


def test_all_retries_and_fallbacks_together_are_bounded(lane: Lane) -> None:
    lane.plays(first=DOWN)
    seen = lane.ask("tireless", extra={"fallback_models": [lane.model("spare")]})

    assert seen.status == 503
    assert lane.called() == {"first": 3}
    trace = lane.trace(seen)
    assert trace.events[-2:] == ("model_failed", "fallbacks_exhausted")
    assert trace.reasons["model_failed"] == ["the request has used up its upstream calls"]


@json_and_stream
def test_a_request_tightens_the_timeouts(lane: Lane, stream: bool) -> None:
    lane.plays(first=Step(silence=True), second=RESCUE)
    extra = {"timeout": {"first_token": 0.75, "response": 0.75}}
    seen = lane.ask("first-second", extra=extra, stream=stream)

    assert seen.text == RESCUE.text
    assert lane.called() == {"first": 1, "second": 1}
    timeout = Kind.FIRST_TOKEN_TIMEOUT if stream else Kind.RESPONSE_TIMEOUT
    assert lane.trace(seen).failures == [timeout]


@body_and_header
def test_a_request_may_ask_for_a_second_route_beside_a_late_first_one(
    lane: Lane, where: str
) -> None:
    lane.plays(first=Step(first_token_delay=60), second=RESCUE)
    seen = ask(lane, "first-second", {"hedge": 0.2}, where, stream=True)

    assert seen.text == RESCUE.text
    assert seen.headers["x-signalbox-provider"] == lane.provider("second")
    assert [call["ended"] for call in lane.ended_calls("first")] == ["client_closed"]
    events = lane.trace(seen).events
    assert events[-4:-1] == ("hedge_started", "attempt_dropped", "first_token_received")
    charge = lane.charge(seen)
    assert charge is not None
    assert charge.provider == lane.provider("second")


# ── providers ─────────────────────────────────────────────────────────────────────────────────


@json_and_stream
def test_a_locked_provider_is_the_only_one(lane: Lane, stream: bool) -> None:
    lane.plays(first=RESCUE, second=(RESCUE, DOWN, DOWN))
    locked = {"provider": lane.provider("second")}

    answered = lane.ask("first-second", extra=locked, stream=stream)
    assert answered.headers["x-signalbox-provider"] == lane.provider("second")
    assert lane.ask("first-second", extra=locked, stream=stream).status == 503
    assert lane.called() == {"second": 3}


@pytest.mark.parametrize(
    ("strategy", "cheap", "chosen"),
    [
        ("cheap", Step(first_token_delay=0.1), "cheap"),
        ("cheapest", Step(), "cheap"),
        ("fast", Step(first_token_delay=0.2), "dear"),
        ("throughput", Step(token_delay=0.02), "dear"),
        ("reliable", DOWN, "dear"),
        ("balanced", DOWN, "dear"),
        (None, DOWN, "dear"),
    ],
)
def test_a_strategy_goes_by_price_and_by_what_was_measured(
    lane: Lane, strategy: str | None, cheap: Step, chosen: str
) -> None:
    """Without one, too: a provider with a recent outage comes last."""
    lane.plays(cheap=cheap)
    for provider in ("cheap", "dear"):
        lane.ask("market", extra={"provider": lane.provider(provider)}, stream=True)
    lane.plays()
    seen = lane.ask("market", extra={"provider": strategy} if strategy else {})

    assert seen.headers["x-signalbox-provider"] == lane.provider(chosen)
    assert lane.called() == {chosen: 1}


@body_and_header
@pytest.mark.parametrize(
    ("preferences", "called"),
    [
        ({"order": ["dear-N", "cheap-N"]}, {"dear": 2, "cheap": 1}),
        ({"order": ["dear-N"]}, {"dear": 2, "cheap": 1}),
        ({"order": ["dear-N"], "allow_fallbacks": False}, {"dear": 2}),
        ({"only": ["dear-N"]}, {"dear": 2}),
        ({"ignore": ["cheap-N", "resort-0"]}, {"dear": 2}),
        ({"sort": "price"}, {"cheap": 1}),
        ({"max_price": {"prompt": 5, "completion": 5}}, {"cheap": 1}),
    ],
)
def test_openrouters_provider_object_means_the_same_here(
    lane: Lane, preferences: Mapping[str, Any], called: Mapping[str, int], where: str
) -> None:
    """The dear provider is down; 1 and 10 dollars a million tokens."""
    lane.plays(dear=DOWN)
    mine = json.loads(json.dumps(preferences).replace("-N", f"-{lane.number}"))
    seen = ask(lane, "market", {"provider": mine}, where)

    assert lane.called() == called
    assert seen.status == (200 if "cheap" in called else 503)


@pytest.mark.parametrize(
    ("preferences", "param"),
    [
        ({"max_price": {"prompt": 0.5}}, "provider.max_price"),
        ({"zdr": True}, "provider.zdr"),
        ({"data_collection": "deny"}, "provider.data_collection"),
        ({"quantizations": ["fp8"]}, "provider.quantizations"),
        ({"only": ["nobody"]}, "provider.only"),
        ({"only": ["nobody"], "zdr": True}, "provider.only"),
    ],
)
def test_a_wish_that_no_route_is_declared_to_meet_is_refused_unsent(
    lane: Lane, preferences: Mapping[str, Any], param: str
) -> None:
    lane.plays()
    seen = lane.ask("market", extra={"provider": preferences})

    assert (seen.status, seen.error["code"]) == (400, "invalid_value")
    assert seen.error["param"] == param
    assert lane.called() == {}
