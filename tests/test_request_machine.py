"""What the request's machine decides, fact by fact."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from signalbox.machines import commands as c
from signalbox.machines import facts as f
from signalbox.machines.lifecycle import State
from signalbox.machines.plan import RequestPlan
from signalbox.machines.request import decide
from signalbox.types import FailureKind, ProviderPreferences, RetryPolicy, Timeouts
from tests.dialogue import (
    ADMITTED,
    BACKOFF,
    CRASHED,
    DEADLINE,
    GONE,
    Dialogue,
    charged,
    content,
    denied,
    ended,
    failed,
    leased,
    line,
    model,
    plan,
    surveyed,
    uncharged,
)

ONE = plan(model("m", "a"))
TWO_ROUTES = plan(model("m", "a", "b"))
TWO_MODELS = plan(model("m", "a"), model("n", "b"))


# ── where dialogues begin ─────────────────────────────────────────────────────────────────────


def selecting(plan: RequestPlan = ONE) -> Dialogue:
    talk = Dialogue(plan)
    survey = " ".join(route.id for route in plan.models[0].routes)
    talk.tell(ADMITTED, "admitted: pending → selecting", f"survey {survey}")
    return talk


def executing(plan: RequestPlan = ONE) -> Dialogue:
    talk = selecting(plan)
    first = plan.models[0].routes[0].id
    talk.tell(surveyed(talk), f"lease #1 {first}")
    talk.tell(leased(1), "route_selected: selecting → executing", f"open #1 {first}")
    return talk


def streaming(plan: RequestPlan = ONE) -> Dialogue:
    talk = executing(replace(plan, stream=True))
    talk.tell(content(1), "first_token_received: executing → streaming", "commit #1")
    return talk


def retrying(plan: RequestPlan = ONE) -> Dialogue:
    talk = executing(plan)
    talk.tell(
        failed(1, FailureKind.SERVER_ERROR),
        "settle #1 server_error",
        "attempt_failed: executing → retrying",
        "timer backoff 0.2 s",
    )
    return talk


def test_a_request_begins_with_its_deadline_and_the_limiter() -> None:
    talk = Dialogue(plan(model("m", "a"), timeouts=Timeouts(total=42)))
    assert [line(command) for command in talk.commands] == ["timer deadline 42 s", "admit"]


# ── answers ───────────────────────────────────────────────────────────────────────────────────


def test_a_whole_answer_is_charged_before_it_is_sent() -> None:
    talk = executing()
    talk.tell(ended(1), "settle #1", "charge #1 answered")
    talk.tell(charged(1), "end #1", "answered: executing → done", "finish done")


def test_a_stream_is_let_through_at_its_first_content_and_charged_before_its_end() -> None:
    talk = streaming()
    talk.tell(ended(1), "settle #1", "charge #1 answered")
    talk.tell(charged(1), "end #1", "stream_ended: streaming → done", "finish done")


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_nothing_is_an_answer_where_the_finish_reason_explains_it(reason: str) -> None:
    talk = executing()
    talk.tell(ended(1, reason, chars=0), "settle #1", "charge #1 no_content")
    talk.tell(charged(1), "end #1", "answered: executing → done", "finish done")


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (ended(1, "stop", chars=0), "empty_answer"),
        (ended(1, "tool_calls", chars=0), "empty_answer"),
        (ended(1, None, chars=0), "truncated"),
        (ended(1, None, chars=5), "truncated"),
    ],
)
def test_an_end_that_explains_nothing_is_a_failure(end: f.UpstreamEnded, kind: str) -> None:
    talk = executing()
    talk.tell(
        end, f"settle #1 {kind}", "attempt_failed: executing → retrying", "timer backoff 0.2 s"
    )


def test_a_stream_that_is_cut_after_content_breaks_and_is_not_tried_again() -> None:
    talk = streaming(TWO_ROUTES)
    talk.tell(
        ended(1, None),
        "settle #1 truncated",
        "charge #1 broken",
        "stream_broken: streaming → failed",
        "error 502 bad_upstream",
        "finish failed",
    )


@pytest.mark.parametrize("kind", FailureKind)
def test_no_failure_after_content_leads_to_another_attempt(kind: FailureKind) -> None:
    talk = streaming(TWO_MODELS)
    talk.state, commands = decide(talk.state, failed(1, kind))
    assert talk.state.lifecycle is State.FAILED
    assert not [command for command in commands if isinstance(command, c.AcquireLease)]


# ── the limiter ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("retry_after", "should_retry"), [(12.0, True), (61.0, False), (None, False)]
)
def test_a_rejected_request_is_told_when_to_come_back(
    retry_after: float | None, should_retry: bool
) -> None:
    talk = Dialogue(ONE)
    talk.tell(
        f.RequestRejected(0, "key", "requests", "Reached this key's limit", retry_after),
        "rejected: pending → failed",
        "error 429 rate_limit_exceeded",
        "finish failed",
    )
    assert (talk.error.retry_after, talk.error.should_retry) == (retry_after, should_retry)


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
        "route_failed: executing → selecting",
        "survey a:m b:m",
    )


def test_when_the_best_route_has_no_key_the_next_one_is_asked_without_a_new_survey() -> None:
    talk = selecting(TWO_ROUTES)
    talk.tell(surveyed(talk), "lease #1 a:m")
    talk.tell(denied(1, 5.0), "lease #1 b:m")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 b:m")


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


def waiting(plan: RequestPlan = ONE) -> Dialogue:
    talk = selecting(plan)
    talk.tell(
        surveyed(talk, {"a:m": 12.0}),
        "key_awaited: selecting → selecting",
        "await a:m 30 s",
    )
    return talk


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


def test_a_wait_that_ends_without_room_is_the_last() -> None:
    talk = waiting()
    talk.at = 3.0
    talk.tell(f.KeyWaitEnded(0, room=False), "survey a:m")
    talk.tell(surveyed(talk, {"a:m": 12.0}), *EXHAUSTED)
    assert talk.error.retry_after == 9.0


def to_the_last_model(talk: Dialogue) -> None:
    """The first model's key has room at 5.0; the request has gone on to the second."""
    talk.tell(
        surveyed(talk, {"a:m": 5.0}),
        "routes_exhausted: selecting → falling_back",
        "next_model_chosen: falling_back → selecting",
        "survey b:n",
    )


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
    talk = executing(plan(model("m", "a", "b"), model("n", "c"), retry=RetryPolicy(0)))
    talk.state = replace(talk.state, attempt=talk.state.retry_policy.max_attempts_total)
    talk.tell(
        failed(talk.state.attempt, FailureKind.SERVER_ERROR),
        "settle #12 server_error",
        "model_failed: executing → falling_back",
        "fallbacks_exhausted: falling_back → failed",
        "error 503 all_routes_failed",
        "finish failed",
    )


# ── ends from outside ─────────────────────────────────────────────────────────────────────────


def charging() -> Dialogue:
    talk = executing()
    talk.tell(ended(1), "settle #1", "charge #1 answered")
    return talk


def charging_a_stream() -> Dialogue:
    talk = streaming()
    talk.tell(ended(1), "settle #1", "charge #1 answered")
    return talk


@pytest.mark.parametrize(
    ("begin", "state", "gives_back"),
    [
        (lambda: Dialogue(ONE), "pending", []),
        (selecting, "selecting", []),
        (waiting, "selecting", []),
        (executing, "executing", ["settle #1 cancelled"]),
        (retrying, "retrying", []),
        (streaming, "streaming", ["settle #1 cancelled", "charge #1 {reason}"]),
        (charging, "executing", []),
        (charging_a_stream, "streaming", []),
    ],
)
@pytest.mark.parametrize(
    ("fact", "event", "reason", "error", "alerts"),
    [
        (GONE, "cancelled", "cancelled", "499 client_closed", []),
        (DEADLINE, "deadline_exceeded", "deadline", "504 timeout", []),
        (CRASHED, "crashed", "broken", "500 internal_error", ["alert"]),
    ],
)
def test_every_state_can_be_ended_from_outside(
    begin: Callable[[], Dialogue],
    state: str,
    gives_back: list[str],
    fact: f.Fact,
    event: str,
    reason: str,
    error: str,
    alerts: list[str],
) -> None:
    talk = begin()
    talk.tell(
        fact,
        *alerts,
        *(given.format(reason=reason) for given in gives_back),
        f"{event}: {state} → failed",
        f"error {error}",
        "finish failed",
    )


@pytest.mark.parametrize(
    ("begin", "ends"),
    [
        (charging, "refused: executing → failed"),
        (charging_a_stream, "stream_broken: streaming → failed"),
    ],
)
def test_an_answer_whose_charge_is_lost_is_an_error(
    begin: Callable[[], Dialogue], ends: str
) -> None:
    talk = begin()
    talk.tell(uncharged(1), "alert", ends, "error 500 internal_error", "finish failed")


# ── facts that come too late ──────────────────────────────────────────────────────────────────

OF_ATTEMPT_1 = (
    leased(1),
    denied(1, None),
    content(1),
    ended(1),
    failed(1, FailureKind.SERVER_ERROR),
    charged(1),
)


@pytest.mark.parametrize("fact", [*OF_ATTEMPT_1, uncharged(1)])
def test_facts_of_an_attempt_that_is_over_change_nothing(fact: f.Fact) -> None:
    talk = retrying()
    talk.tell(BACKOFF, "lease #2 a:m")
    talk.tell(leased(2), "backoff_elapsed: retrying → executing", "open #2 a:m")
    before = talk.state
    talk.tell(fact)
    assert talk.state == before


@pytest.mark.parametrize(
    "fact",
    [*OF_ATTEMPT_1, ADMITTED, GONE, CRASHED, DEADLINE, BACKOFF, f.KeyWaitEnded(0, room=True)],
)
@pytest.mark.parametrize("end", [GONE, charged(1)])
def test_a_final_state_ignores_what_still_comes(end: f.Fact, fact: f.Fact) -> None:
    talk = charging()
    talk.state, _ = decide(talk.state, end)
    before = talk.state
    assert before.lifecycle.final
    talk.tell(fact)
    assert talk.state == before


def test_a_charge_that_is_lost_after_the_end_is_still_told_to_an_operator() -> None:
    talk = streaming()
    talk.state, _ = decide(talk.state, GONE)
    talk.tell(uncharged(1), "alert")
