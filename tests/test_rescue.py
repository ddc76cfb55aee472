"""What the request's machine decides when a stream breaks after content was sent."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from signalbox.errors import FailureKind
from signalbox.machines import commands as c
from signalbox.machines import facts as f
from signalbox.machines.plan import RequestPlan
from signalbox.types import Midstream, RetryPolicy
from tests.dialogue import (
    BACKOFF,
    GONE,
    ONE,
    TWO_MODELS,
    TWO_ROUTES,
    Dialogue,
    charged,
    content,
    ended,
    failed,
    leased,
    model,
    plan,
    selecting,
    streaming,
    surveyed,
)

RESUMED = "stream_resumed: streaming → selecting"
SELECTED = "route_selected: selecting → executing"
FIRST = "first_token_received: executing → streaming"
BROKEN = ("error 502 bad_upstream", "finish failed")


def going_on(
    chain: RequestPlan = TWO_ROUTES, midstream: Midstream = Midstream.CONTINUE
) -> Dialogue:
    """A stream of `a:m` that may be mended, after its first content."""
    return streaming(replace(chain, midstream=midstream))


def broken(talk: Dialogue, delivered: f.Delivered | None = None) -> Dialogue:
    """The first attempt's stream was cut; another route is looked for."""
    cut = failed(1, FailureKind.CONNECTION_LOST)
    fact = cut if delivered is None else replace(cut, delivered=delivered)
    survey = " ".join(route.id for route in talk.state.model.routes)
    talk.tell(fact, "settle #1 connection_lost", RESUMED, f"survey {survey}")
    return talk


def resumed(how: str = "splice", chain: RequestPlan = TWO_ROUTES) -> Dialogue:
    """The second route's attempt to go on is under way."""
    talk = broken(going_on(chain))
    talk.tell(surveyed(talk, prefill=["b:m"] if how == "prefill" else []), "lease #2 b:m")
    talk.tell(leased(2), SELECTED, f"open #2 b:m by {how}")
    return talk


def test_a_broken_stream_goes_on_from_the_next_route_and_ends_once() -> None:
    talk = resumed("prefill")
    talk.tell(content(2), FIRST, "commit #2")
    talk.tell(ended(2), "settle #2", "charge #2 answered")
    talk.tell(charged(2), "end #2", "stream_ended: streaming → done", "finish done")


@pytest.mark.parametrize(
    ("delivered", "prefill", "how"),
    [
        (f.Delivered(text=5), ["b:m"], "prefill"),
        (f.Delivered(text=5), [], "splice"),
        (f.Delivered(text=5, reasoning=9), [], "splice"),
        (f.Delivered(reasoning=9), ["b:m"], "restart"),
    ],
)
def test_how_it_goes_on_depends_on_the_route_and_on_what_was_sent(
    delivered: f.Delivered, prefill: list[str], how: str
) -> None:
    talk = broken(going_on(), delivered)
    talk.tell(surveyed(talk, prefill=prefill), "lease #2 b:m")
    talk.tell(leased(2), SELECTED, f"open #2 b:m by {how}")


def test_a_stream_that_ends_without_a_finish_reason_is_broken_too() -> None:
    talk = going_on()
    talk.tell(ended(1, None), "settle #1 truncated", RESUMED, "survey a:m b:m")


def test_a_refused_prefill_is_followed_by_a_splice_on_the_same_route() -> None:
    talk = resumed("prefill")
    talk.tell(
        failed(2, FailureKind.INVALID_REQUEST, status=400),
        "settle #2 invalid_request",
        "route_failed: executing → selecting",
        "survey a:m b:m",
    )
    talk.tell(surveyed(talk, prefill=["b:m"]), "lease #3 b:m")
    talk.tell(leased(3), SELECTED, "open #3 b:m by splice")


@pytest.mark.parametrize("kind", [FailureKind.SPLICE_MISMATCH, FailureKind.INVALID_REQUEST])
def test_a_splice_that_fails_goes_to_the_next_route_and_then_breaks(kind: FailureKind) -> None:
    talk = resumed()
    talk.tell(
        failed(2, kind),
        f"settle #2 {kind}",
        "route_failed: executing → selecting",
        "survey a:m b:m",
    )
    talk.tell(
        surveyed(talk),
        "routes_exhausted: selecting → falling_back",
        "charge #1 broken",
        "fallbacks_exhausted: falling_back → failed",
        *BROKEN,
    )
    assert "its words" in talk.error.message


def test_an_attempt_to_go_on_is_retried_as_it_was_begun() -> None:
    talk = resumed("prefill")
    talk.tell(
        failed(2, FailureKind.SERVER_ERROR),
        "settle #2 server_error",
        "attempt_failed: executing → retrying",
        "timer backoff 0.2 s",
    )
    talk.tell(BACKOFF, "lease #3 b:m")
    talk.tell(leased(3), "backoff_elapsed: retrying → executing", "open #3 b:m by prefill")


def test_a_rescue_without_new_text_is_an_answer() -> None:
    talk = resumed()
    talk.tell(ended(2, chars=0), "settle #2", "charge #2 answered")
    talk.tell(charged(2), "end #2", "answered: executing → done", "finish done")


def test_a_restart_after_reasoning_alone_must_say_something() -> None:
    talk = broken(going_on(), f.Delivered(reasoning=9))
    talk.tell(surveyed(talk), "lease #2 b:m")
    talk.tell(leased(2), SELECTED, "open #2 b:m by restart")
    talk.tell(
        ended(2, chars=0),
        "settle #2 empty_answer",
        "attempt_failed: executing → retrying",
        "timer backoff 0.2 s",
    )
    talk.tell(BACKOFF, "lease #3 b:m")
    talk.tell(leased(3), "backoff_elapsed: retrying → executing", "open #3 b:m by restart")
    talk.tell(ended(3, "length", chars=0), "settle #3", "charge #3 answered")


def test_a_stream_may_break_more_than_once() -> None:
    talk = resumed(chain=plan(model("m", "a", "b", "c")))
    talk.tell(content(2), FIRST, "commit #2")
    talk.tell(
        failed(2, FailureKind.IDLE_TIMEOUT), "settle #2 idle_timeout", RESUMED, "survey a:m b:m c:m"
    )
    talk.tell(surveyed(talk), "lease #3 c:m")


def test_it_goes_on_from_the_next_model_when_the_routes_are_used_up() -> None:
    talk = broken(going_on(TWO_MODELS))
    talk.tell(
        surveyed(talk),
        "routes_exhausted: selecting → falling_back",
        "next_model_chosen: falling_back → selecting",
        "survey b:n",
    )


def test_same_model_stays_with_the_model() -> None:
    talk = broken(going_on(TWO_MODELS, Midstream.SAME_MODEL))
    talk.tell(
        surveyed(talk),
        "routes_exhausted: selecting → falling_back",
        "charge #1 broken",
        "fallbacks_exhausted: falling_back → failed",
        *BROKEN,
    )


def test_same_model_does_not_go_back_to_a_model_whose_key_was_rate_limited() -> None:
    talk = selecting(replace(TWO_MODELS, stream=True, midstream=Midstream.SAME_MODEL))
    talk.tell(
        surveyed(talk, {"a:m": 12.0}),
        "routes_exhausted: selecting → falling_back",
        "next_model_chosen: falling_back → selecting",
        "survey b:n",
    )
    talk.tell(surveyed(talk), "lease #1 b:n")
    talk.tell(leased(1), SELECTED, "open #1 b:n")
    talk.tell(content(1), FIRST, "commit #1")
    talk.tell(
        failed(1, FailureKind.CONNECTION_LOST), "settle #1 connection_lost", RESUMED, "survey b:n"
    )
    talk.tell(
        surveyed(talk),
        "routes_exhausted: selecting → falling_back",
        "charge #1 broken",
        "fallbacks_exhausted: falling_back → failed",
        *BROKEN,
    )


@pytest.mark.parametrize("kind", [FailureKind.CONTEXT_LENGTH, FailureKind.CONTENT_POLICY])
def test_what_the_model_itself_cannot_answer_goes_on_from_another_model(kind: FailureKind) -> None:
    talk = going_on(plan(model("m", "a", "b"), model("n", "c")))
    talk.tell(
        failed(1, kind),
        f"settle #1 {kind}",
        RESUMED,
        "routes_exhausted: selecting → falling_back",
        "next_model_chosen: falling_back → selecting",
        "survey c:n",
    )


def test_a_key_that_ran_out_in_the_middle_leaves_the_route_to_another_key() -> None:
    talk = going_on(ONE)
    talk.tell(
        failed(1, FailureKind.QUOTA_EXHAUSTED), "settle #1 quota_exhausted", RESUMED, "survey a:m"
    )
    talk.tell(surveyed(talk), "lease #2 a:m without k1")


@pytest.mark.parametrize(
    ("chain", "delivered"),
    [
        (replace(TWO_ROUTES, midstream=Midstream.ERROR), f.Delivered(text=5)),
        (replace(TWO_ROUTES, midstream=Midstream.CONTINUE), f.Delivered(5, resumable=False)),
        (
            replace(
                TWO_ROUTES, midstream=Midstream.CONTINUE, retry=RetryPolicy(max_attempts_total=1)
            ),
            f.Delivered(text=5),
        ),
    ],
    ids=["not wanted", "not resumable", "no call is left"],
)
def test_what_cannot_go_on_is_told(chain: RequestPlan, delivered: f.Delivered) -> None:
    talk = streaming(chain)
    talk.tell(
        replace(failed(1, FailureKind.CONNECTION_LOST), delivered=delivered),
        "settle #1 connection_lost",
        "charge #1 broken",
        "stream_broken: streaming → failed",
        *BROKEN,
    )


def test_what_was_delivered_is_charged_when_the_client_leaves_in_between() -> None:
    talk = resumed()
    talk.tell(
        GONE,
        "settle #2 cancelled",
        "charge #1 cancelled",
        "cancelled: executing → failed",
        "error 499 client_closed",
        "finish failed",
    )


def test_a_resumed_stream_is_not_hedged() -> None:
    talk = broken(streaming(replace(TWO_ROUTES, midstream=Midstream.CONTINUE, hedge=True)))
    talk.tell(surveyed(talk), "lease #2 b:m")
    talk.tell(leased(2), SELECTED, "open #2 b:m by splice")
    assert not [each for each in talk.commands if isinstance(each, c.StartTimer) and each.attempt]
