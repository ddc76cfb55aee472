"""Where a request goes when a model has no route left: another model, a wait, a refusal."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from signalbox.errors import FailureKind
from signalbox.machines import facts as f
from signalbox.types import ProviderPreferences, RetryPolicy, Timeouts
from tests.dialogue import (
    ONE,
    TWO_MODELS,
    TWO_ROUTES,
    Dialogue,
    denied,
    executing,
    failed,
    leased,
    model,
    plan,
    selecting,
    surveyed,
    waiting,
)

# ── another model ─────────────────────────────────────────────────────────────────────────────


def test_the_fallback_is_next_when_no_route_of_the_model_is_left() -> None:
    talk = executing(TWO_MODELS)
    talk.tell(
        failed(1, FailureKind.RESPONSE_TIMEOUT),
        "settle #1 response_timeout",
        "route_failed: executing → selecting",
        "survey a:m",
    )
    talk.tell(
        surveyed(talk),
        "routes_exhausted: selecting → falling_back",
        "next_model_chosen: falling_back → selecting",
        "survey b:n",
    )
    talk.tell(surveyed(talk), "lease #2 b:n")


@pytest.mark.parametrize(
    ("larger", "chosen"), [(200, "large"), (None, "large"), (100, "last"), (50, "last")]
)
def test_a_prompt_that_is_too_long_goes_to_a_model_that_may_hold_more(
    larger: int | None, chosen: str
) -> None:
    talk = executing(
        plan(
            model("m", "a", context=100),
            model("large", "a", context=larger),
            model("last", "a", context=400),
        )
    )
    talk.tell(
        failed(1, FailureKind.CONTEXT_LENGTH),
        "settle #1 context_length",
        "model_failed: executing → falling_back",
        "next_model_chosen: falling_back → selecting",
        f"survey a:{chosen}",
    )


def test_a_prompt_that_fits_nowhere_is_a_400() -> None:
    talk = executing(plan(model("m", "a", context=100), model("small", "a", context=50)))
    talk.tell(
        failed(1, FailureKind.CONTEXT_LENGTH),
        "settle #1 context_length",
        "model_failed: executing → falling_back",
        "fallbacks_exhausted: falling_back → failed",
        "error 400 context_length_exceeded",
        "finish failed",
    )


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (FailureKind.CONTEXT_LENGTH, "context_fallbacks"),
        (FailureKind.CONTENT_POLICY, "content_fallbacks"),
    ],
)
def test_such_failures_have_fallbacks_of_their_own_before_the_rest_of_the_chain(
    kind: FailureKind, field: str
) -> None:
    talk = executing(plan(model("m", "a"), model("n", "a"), **{field: (model("special", "b"),)}))
    talk.tell(
        failed(1, kind),
        f"settle #1 {kind}",
        "model_failed: executing → falling_back",
        "next_model_chosen: falling_back → selecting",
        "survey b:special",
    )
    assert [left.name for left in talk.state.models_left] == ["n"]


# ── waiting for a key ─────────────────────────────────────────────────────────────────────────


def test_a_request_queues_for_a_key_when_nothing_else_is_left() -> None:
    talk = waiting()
    talk.at = 12.0
    talk.tell(f.KeyWaitEnded(0, room=True), "survey a:m")
    talk.tell(surveyed(talk), "lease #1 a:m")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 a:m")


def test_no_request_queues_while_there_is_another_route_or_model() -> None:
    talk = selecting(TWO_ROUTES)
    talk.tell(surveyed(talk, {"a:m": 1.0}), "lease #1 b:m")
    talk = selecting(TWO_MODELS)
    talk.tell(
        surveyed(talk, {"a:m": 1.0}),
        "routes_exhausted: selecting → falling_back",
        "next_model_chosen: falling_back → selecting",
        "survey b:n",
    )


def test_patience_is_one_for_all_waits_of_a_request() -> None:
    talk = waiting()
    talk.at = 12.0
    talk.tell(f.KeyWaitEnded(0, room=True), "survey a:m")
    talk.tell(surveyed(talk, {"a:m": 20.0}), "key_awaited: selecting → selecting", "await a:m 18 s")


def test_the_deadline_bounds_patience() -> None:
    talk = selecting(plan(model("m", "a"), timeouts=Timeouts(total=15)))
    talk.tell(surveyed(talk, {"a:m": 12.0}), "key_awaited: selecting → selecting", "await a:m 15 s")


TO_THE_SECOND = (
    "routes_exhausted: selecting → falling_back",
    "next_model_chosen: falling_back → selecting",
    "survey b:n",
)
EXHAUSTED = (
    "routes_exhausted: selecting → falling_back",
    "fallbacks_exhausted: falling_back → failed",
    "error 429 rate_limit_exceeded",
    "finish failed",
)


def test_a_key_that_is_free_too_late_is_not_waited_for_but_told() -> None:
    talk = selecting()
    talk.at = 1.0
    talk.tell(surveyed(talk, {"a:m": 31.5}), *EXHAUSTED)
    assert talk.error.retry_after == 30.5


def test_a_key_that_is_free_at_the_deadline_is_told_at_once() -> None:
    talk = selecting(plan(model("m", "a"), timeouts=Timeouts(total=15)))
    talk.tell(surveyed(talk, {"a:m": 15.0}), *EXHAUSTED)
    assert talk.error.retry_after == 15.0


def test_when_every_route_is_down_the_client_is_told_when_one_is_tried_again() -> None:
    def down(until: float) -> f.RouteHealth:
        return f.RouteHealth(breaker=f.BreakerState.OPEN, breaker_reopens_at=until)

    talk = selecting(TWO_MODELS)
    talk.at = 1.0
    talk.tell(surveyed(talk, health=down(until=4.0)), *TO_THE_SECOND)
    talk.tell(
        surveyed(talk, health=down(until=9.0)),
        "routes_exhausted: selecting → falling_back",
        "fallbacks_exhausted: falling_back → failed",
        "error 503 all_routes_failed",
        "finish failed",
    )
    assert (talk.error.retry_after, talk.error.should_retry) == (3.0, True)


def test_a_wait_that_ends_without_room_is_the_last() -> None:
    talk = waiting()
    talk.at = 3.0
    talk.tell(f.KeyWaitEnded(0, room=False), "survey a:m")
    talk.tell(surveyed(talk, {"a:m": 12.0}), *EXHAUSTED)
    assert talk.error.retry_after == 9.0


def to_the_last_model(talk: Dialogue) -> None:
    """The first model's key has room at 5.0; the request has gone on to the second."""
    talk.tell(surveyed(talk, {"a:m": 5.0}), *TO_THE_SECOND)


BACK_TO_THE_FIRST = (
    "routes_exhausted: selecting → falling_back",
    "next_model_chosen: falling_back → selecting",
    "survey a:m",
)


def test_the_key_of_an_earlier_model_is_waited_for_when_the_last_one_failed() -> None:
    talk = selecting(TWO_MODELS)
    to_the_last_model(talk)
    talk.tell(surveyed(talk), "lease #1 b:n")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 b:n")
    talk.tell(
        failed(1, FailureKind.CONNECT_TIMEOUT),
        "settle #1 connect_timeout",
        "route_failed: executing → selecting",
        "survey b:n",
    )
    talk.tell(surveyed(talk), *BACK_TO_THE_FIRST)
    talk.tell(surveyed(talk, {"a:m": 5.0}), "key_awaited: selecting → selecting", "await a:m 30 s")


def test_the_last_model_is_waited_for_before_an_earlier_one() -> None:
    talk = selecting(TWO_MODELS)
    to_the_last_model(talk)
    talk.tell(surveyed(talk, {"b:n": 9.0}), "key_awaited: selecting → selecting", "await b:n 30 s")


def test_an_earlier_model_is_waited_for_where_the_last_one_takes_too_long() -> None:
    talk = selecting(TWO_MODELS)
    to_the_last_model(talk)
    talk.tell(surveyed(talk, {"b:n": 300.0}), *BACK_TO_THE_FIRST)


def test_a_wait_for_a_route_that_was_tried_counts_as_a_retry_of_it() -> None:
    talk = executing(plan(model("m", "a"), retry=RetryPolicy(attempts=1)))
    talk.tell(
        failed(1, FailureKind.RATE_LIMITED),
        "settle #1 rate_limited",
        "attempt_failed: executing → retrying",
        "lease #2 a:m",
    )
    talk.tell(denied(2, 10.0), "route_failed: retrying → selecting", "survey a:m")
    talk.tell(surveyed(talk, {"a:m": 10.0}), "key_awaited: selecting → selecting", "await a:m 30 s")
    talk.at = 10.0
    talk.tell(f.KeyWaitEnded(0, room=True), "survey a:m")
    talk.tell(surveyed(talk, {"a:m": 15.0}), *EXHAUSTED)


# ── refusals ──────────────────────────────────────────────────────────────────────────────────


def test_a_request_that_is_wrong_is_wrong_everywhere() -> None:
    talk = executing(TWO_MODELS)
    talk.tell(
        failed(1, FailureKind.INVALID_REQUEST),
        "settle #1 invalid_request",
        "refused: executing → failed",
        "error 400 invalid_value",
        "finish failed",
    )


def test_what_no_route_can_carry_is_refused_by_name() -> None:
    talk = selecting(TWO_ROUTES)
    talk.tell(
        surveyed(talk, unsupported=["a:m", "b:m"]),
        "refused: selecting → failed",
        "error 400 unsupported_parameter",
        "finish failed",
    )
    assert talk.error.param == "tools"


def test_a_route_that_can_carry_the_request_later_is_waited_for() -> None:
    talk = selecting(TWO_ROUTES)
    talk.tell(
        surveyed(talk, {"b:m": 5.0}, unsupported=["a:m"]),
        "key_awaited: selecting → selecting",
        "await b:m 30 s",
    )


def test_wishes_that_leave_no_route_are_refused() -> None:
    talk = selecting(replace(ONE, preferences=ProviderPreferences(only=("elsewhere",))))
    talk.tell(
        surveyed(talk),
        "refused: selecting → failed",
        "error 400 invalid_value",
        "finish failed",
    )


def test_max_attempts_total_bounds_the_calls_of_all_routes_and_models() -> None:
    bounded = RetryPolicy(0, max_attempts_total=1)
    talk = executing(plan(model("m", "a", "b"), model("n", "c"), retry=bounded))
    talk.tell(
        failed(1, FailureKind.SERVER_ERROR),
        "settle #1 server_error",
        "model_failed: executing → falling_back",
        "fallbacks_exhausted: falling_back → failed",
        "error 503 all_routes_failed",
        "finish failed",
    )
