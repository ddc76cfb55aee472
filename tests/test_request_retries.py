"""What the request's machine decides when a call fails: retries, keys, routes and clocks."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from signalbox.errors import FailureKind
from signalbox.machines import commands as c
from signalbox.machines import facts as f
from signalbox.machines.plan import Pin, RequestPlan
from signalbox.types import Midstream, RetryPolicy, Timeouts
from tests.dialogue import (
    BACKOFF,
    ONE,
    TWO_MODELS,
    TWO_ROUTES,
    Dialogue,
    content,
    denied,
    executing,
    failed,
    leased,
    retrying,
    selecting,
    surveyed,
)

# ── again, another key, another route ─────────────────────────────────────────────────────────


def test_a_failed_route_is_tried_again_after_a_growing_backoff_and_then_left() -> None:
    talk = retrying(TWO_ROUTES)
    talk.tell(BACKOFF, "lease #2 a:m")
    talk.tell(leased(2), "backoff_elapsed: retrying → executing", "open #2 a:m")
    talk.tell(
        failed(2, FailureKind.OVERLOADED),
        "settle #2 overloaded",
        "attempt_failed: executing → retrying",
        "timer backoff 0.4 s",
    )
    talk.tell(BACKOFF, "lease #3 a:m")
    talk.tell(leased(3), "backoff_elapsed: retrying → executing", "open #3 a:m")
    talk.tell(
        failed(3, FailureKind.SERVER_ERROR),
        "settle #3 server_error",
        "route_failed: executing → selecting",
        "survey a:m b:m",
    )
    talk.tell(surveyed(talk), "lease #4 b:m")


def test_a_backoff_that_would_pass_the_deadline_is_not_begun() -> None:
    talk = executing(replace(TWO_ROUTES, timeouts=Timeouts(total=10)))
    talk.at = 9.9
    talk.tell(
        failed(1, FailureKind.SERVER_ERROR),
        "settle #1 server_error",
        "route_failed: executing → selecting",
        "survey a:m b:m",
    )


def test_a_route_whose_keys_filled_up_during_the_backoff_is_left_for_another() -> None:
    talk = retrying(TWO_ROUTES)
    talk.tell(BACKOFF, "lease #2 a:m")
    talk.tell(denied(2, 30.0), "route_failed: retrying → selecting", "survey a:m b:m")
    talk.tell(surveyed(talk, {"a:m": 30.0}), "lease #2 b:m")


def test_a_route_whose_breaker_opened_during_the_backoff_is_left_for_another() -> None:
    talk = retrying(TWO_ROUTES)
    talk.tell(
        replace(BACKOFF, breaker=f.BreakerState.OPEN),
        "route_failed: retrying → selecting",
        "survey a:m b:m",
    )


def test_a_rate_limited_key_makes_room_for_the_next_one_at_once() -> None:
    talk = executing()
    talk.tell(
        failed(1, FailureKind.RATE_LIMITED, retry_after=20),
        "settle #1 rate_limited",
        "attempt_failed: executing → retrying",
        "lease #2 a:m",
    )
    talk.tell(leased(2, "k2"), "backoff_elapsed: retrying → executing", "open #2 a:m")


def test_who_is_told_to_wait_moves_on_instead() -> None:
    talk = executing()
    talk.tell(
        failed(1, FailureKind.OVERLOADED, retry_after=20),
        "settle #1 overloaded",
        "attempt_failed: executing → retrying",
        "lease #2 a:m",
    )


def test_a_key_that_was_refused_is_not_asked_for_again() -> None:
    talk = executing()
    talk.tell(
        failed(1, FailureKind.KEY_REJECTED),
        "settle #1 key_rejected",
        "attempt_failed: executing → retrying",
        "lease #2 a:m without k1",
    )
    talk.tell(leased(2, "k2"), "backoff_elapsed: retrying → executing", "open #2 a:m")
    talk.tell(
        failed(2, FailureKind.QUOTA_EXHAUSTED),
        "settle #2 quota_exhausted",
        "attempt_failed: executing → retrying",
        "lease #3 a:m without k1 k2",
    )
    talk.tell(denied(3, None), "route_failed: retrying → selecting", "survey a:m")
    talk.tell(
        surveyed(talk),
        "routes_exhausted: selecting → falling_back",
        "fallbacks_exhausted: falling_back → failed",
        "error 503 all_routes_failed",
        "finish failed",
    )


def test_a_route_that_was_silent_is_left_at_once() -> None:
    talk = executing(TWO_ROUTES)
    talk.tell(
        failed(1, FailureKind.FIRST_TOKEN_TIMEOUT),
        "settle #1 first_token_timeout",
        "route_failed: executing → selecting",
        "survey a:m b:m",
    )
    talk.tell(surveyed(talk), "lease #2 b:m")
    talk.tell(leased(2), "route_selected: selecting → executing", "open #2 b:m")


def test_an_operator_is_told_of_a_fault_in_the_configuration() -> None:
    talk = executing(TWO_ROUTES)
    talk.tell(
        failed(1, FailureKind.MODEL_UNKNOWN),
        "settle #1 model_unknown",
        "alert",
        "attempt_failed: executing → retrying",
        "lease #2 a:m without k1",
    )


def test_a_route_whose_retry_budget_is_used_up_is_left_at_once() -> None:
    talk = executing(TWO_ROUTES)
    talk.tell(
        replace(failed(1, FailureKind.SERVER_ERROR), may_retry=False),
        "settle #1 server_error",
        "route_failed: executing → selecting",
        "survey a:m b:m",
    )


def test_a_retry_is_told_to_be_one() -> None:
    talk = retrying()
    talk.tell(BACKOFF, "lease #2 a:m")
    talk.tell(leased(2), "backoff_elapsed: retrying → executing", "open #2 a:m")
    talk.tell(
        failed(2, FailureKind.RATE_LIMITED),
        "settle #2 rate_limited",
        "attempt_failed: executing → retrying",
        "lease #3 a:m",
    )
    talk.tell(leased(3), "backoff_elapsed: retrying → executing", "open #3 a:m")
    opened = [each for each in talk.commands if isinstance(each, c.OpenUpstream)]
    assert [each.retry for each in opened] == [False, True, False], "another key is no retry"


def test_the_last_call_of_a_request_still_tells_when_to_come_back() -> None:
    talk = executing(replace(ONE, retry=RetryPolicy(max_attempts_total=1)))
    talk.tell(
        failed(1, FailureKind.RATE_LIMITED, retry_after=20, status=429),
        "settle #1 rate_limited",
        "model_failed: executing → falling_back",
        "fallbacks_exhausted: falling_back → failed",
        "error 429 rate_limit_exceeded",
        "finish failed",
    )
    assert talk.error.retry_after == 20


# ── the caller's own key ──────────────────────────────────────────────────────────────────────


def test_a_refused_key_of_the_callers_own_is_the_callers_to_mend() -> None:
    talk = selecting(TWO_ROUTES)
    talk.tell(surveyed(talk), "lease #1 a:m")
    own = replace(leased(1), callers_own=True)
    talk.tell(own, "route_selected: selecting → executing", "open #1 a:m")
    talk.tell(
        failed(1, FailureKind.KEY_REJECTED),
        "settle #1 key_rejected",
        "refused: executing → failed",
        "error 401 invalid_api_key",
        "finish failed",
    )
    assert talk.error.param == "extra.byok"


LENIENT = replace(TWO_ROUTES, byok_fallback=True)


def why(talk: Dialogue) -> str:
    """The reason of its last transition."""
    return [each for each in talk.commands if isinstance(each, c.RecordTransition)][-1].reason


def on_the_callers_key(plan: RequestPlan, lease: str = "lease #1 a:m") -> Dialogue:
    talk = selecting(plan)
    talk.tell(surveyed(talk), lease)
    own = replace(leased(1), callers_own=True)
    talk.tell(own, "route_selected: selecting → executing", "open #1 a:m")
    return talk


def test_where_it_may_the_gateways_own_key_stands_in_on_the_same_route() -> None:
    talk = on_the_callers_key(LENIENT)
    talk.tell(
        failed(1, FailureKind.RATE_LIMITED),
        "settle #1 rate_limited",
        "attempt_failed: executing → retrying",
        "lease #2 a:m pooled",
    )
    assert why(talk) == "rate_limited: the gateway's own key"
    talk.tell(leased(2), "backoff_elapsed: retrying → executing", "open #2 a:m")
    assert why(talk) == "the gateway's own key stands in for the caller's"
    # From here on it is a key of the gateway as any other.
    talk.tell(
        failed(2, FailureKind.KEY_REJECTED),
        "settle #2 key_rejected",
        "attempt_failed: executing → retrying",
        "lease #3 a:m without k1 pooled",
    )
    talk.tell(denied(3, None), "route_failed: retrying → selecting", "survey a:m b:m pooled a")


def test_a_fault_of_the_provider_is_not_the_callers_keys() -> None:
    talk = on_the_callers_key(LENIENT)
    talk.tell(
        failed(1, FailureKind.CONNECT_TIMEOUT),
        "settle #1 connect_timeout",
        "route_failed: executing → selecting",
        "survey a:m b:m",
    )


def test_a_callers_key_that_fails_in_the_middle_of_a_stream_is_stood_in_for() -> None:
    talk = on_the_callers_key(replace(LENIENT, midstream=Midstream.CONTINUE, stream=True))
    talk.tell(content(1), "first_token_received: executing → streaming", "commit #1")
    talk.tell(
        failed(1, FailureKind.QUOTA_EXHAUSTED),
        "settle #1 quota_exhausted",
        "stream_resumed: streaming → selecting",
        "survey a:m b:m pooled a",
    )
    talk.tell(surveyed(talk), "lease #2 a:m pooled")


def test_state_that_the_callers_key_made_is_not_looked_for_with_another_key() -> None:
    pin = Pin("previous_response_id", "a:m", "byok", required=True)
    talk = on_the_callers_key(replace(LENIENT, pin=pin), "lease #1 a:m best byok only byok")
    talk.tell(
        failed(1, FailureKind.KEY_REJECTED),
        "settle #1 key_rejected",
        "refused: executing → failed",
        "error 401 invalid_api_key",
        "finish failed",
    )


# ── the clock of a whole answer ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("at", "chain", "response"),
    [
        (0.0, TWO_ROUTES, 60.0),  # two thirds of the total
        (0.0, TWO_MODELS, 60.0),
        (0.0, ONE, 80.0),  # nothing else is left: all that its own clock gives
        (30.0, TWO_ROUTES, 30.0),
        (70.0, TWO_ROUTES, 80.0),  # the last third has begun: there is nothing to keep back
    ],
)
def test_a_whole_answer_leaves_a_third_of_the_time_to_the_next_route(
    at: float, chain: RequestPlan, response: float
) -> None:
    talk = selecting(replace(chain, timeouts=Timeouts(response=80, total=90)))
    talk.at = at
    talk.tell(surveyed(talk), "lease #1 a:m")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 a:m")
    [opened] = [each for each in talk.commands if isinstance(each, c.OpenUpstream)]
    assert opened.timeouts.response == response


def test_a_warm_key_is_asked_for_first() -> None:
    talk = selecting()
    survey = surveyed(talk)
    warm = f.Warmth(key_id="k7", tokens=100)
    candidates = tuple(replace(each, warm=warm) for each in survey.candidates)
    talk.tell(replace(survey, candidates=candidates), "lease #1 a:m best k7")


def test_when_the_best_route_has_no_key_the_next_one_is_asked_without_a_new_survey() -> None:
    talk = selecting(TWO_ROUTES)
    talk.tell(surveyed(talk), "lease #1 a:m")
    talk.tell(denied(1, 5.0), "lease #1 b:m")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 b:m")
