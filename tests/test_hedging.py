"""What the request's machine decides when the first token is late, for clients in haste."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from signalbox.errors import FailureKind
from signalbox.machines import commands as c
from signalbox.machines import facts as f
from signalbox.machines.facts import Percentiles, RouteHealth
from signalbox.types import RetryPolicy
from tests.dialogue import (
    GONE,
    ONE,
    TWO_ROUTES,
    Dialogue,
    charged,
    content,
    denied,
    ended,
    failed,
    leased,
    selecting,
    surveyed,
)

EAGER = replace(TWO_ROUTES, stream=True, hedge=True, hedge_after=2.0)
LATE = f.TimerFired(0, c.Timer.HEDGE, 1)


def begun() -> Dialogue:
    """The first attempt is under way and watched."""
    talk = selecting(EAGER)
    talk.tell(surveyed(talk), "lease #1 a:m")
    selected = "route_selected: selecting → executing"
    talk.tell(leased(1), selected, "open #1 a:m", "timer hedge #1 2 s")
    return talk


def hedged() -> Dialogue:
    """Two attempts are under way."""
    talk = begun()
    talk.tell(LATE, "survey a:m b:m")
    talk.tell(surveyed(talk), "lease #2 b:m")
    talk.tell(leased(2), "hedge_started: executing → executing", "open #2 b:m")
    return talk


@pytest.mark.parametrize(("winner", "loser"), [(1, 2), (2, 1)])
def test_the_first_to_give_content_wins_and_the_other_is_cancelled(winner: int, loser: int) -> None:
    talk = hedged()
    talk.tell(
        content(winner),
        f"settle #{loser} cancelled",
        "attempt_dropped: executing → executing",
        "first_token_received: executing → streaming",
        f"commit #{winner}",
    )
    talk.tell(content(loser))
    talk.tell(failed(loser, FailureKind.SERVER_ERROR))
    talk.tell(ended(winner), f"settle #{winner}", f"charge #{winner} answered")
    ends = "stream_ended: streaming → done"
    talk.tell(charged(winner), f"end #{winner}", ends, "finish done")


@pytest.mark.parametrize("kind", [FailureKind.SERVER_ERROR, FailureKind.RATE_LIMITED])
@pytest.mark.parametrize(("lost", "kept"), [(1, 2), (2, 1)])
def test_when_one_of_two_fails_the_request_follows_the_other(
    lost: int, kept: int, kind: FailureKind
) -> None:
    talk = hedged()
    talk.tell(
        failed(lost, kind), f"settle #{lost} {kind}", "attempt_dropped: executing → executing"
    )
    talk.tell(content(kept), "first_token_received: executing → streaming", f"commit #{kept}")


def test_when_both_fail_neither_route_is_tried_again_at_once() -> None:
    talk = hedged()
    talk.tell(
        failed(1, FailureKind.SERVER_ERROR),
        "settle #1 server_error",
        "attempt_dropped: executing → executing",
    )
    talk.tell(
        failed(2, FailureKind.FIRST_TOKEN_TIMEOUT),
        "settle #2 first_token_timeout",
        "route_failed: executing → selecting",
        "survey a:m b:m",
    )
    talk.tell(
        surveyed(talk),
        "routes_exhausted: selecting → falling_back",
        "fallbacks_exhausted: falling_back → failed",
        "error 503 all_routes_failed",
        "finish failed",
    )


def test_a_wrong_request_is_refused_whichever_attempt_says_so() -> None:
    talk = hedged()
    talk.tell(
        failed(2, FailureKind.INVALID_REQUEST),
        "settle #2 invalid_request",
        "settle #1 cancelled",
        "refused: executing → failed",
        "error 400 invalid_value",
        "finish failed",
    )


def test_a_client_that_leaves_ends_both() -> None:
    talk = hedged()
    talk.tell(
        GONE,
        "settle #1 cancelled",
        "settle #2 cancelled",
        "cancelled: executing → failed",
        "error 499 client_closed",
        "finish failed",
    )


def test_an_answer_without_content_wins_as_well() -> None:
    talk = hedged()
    talk.tell(
        ended(2, "length", chars=0),
        "settle #1 cancelled",
        "attempt_dropped: executing → executing",
        "settle #2",
        "charge #2 no_content",
    )


def test_there_is_one_hedge_at_a_time() -> None:
    talk = hedged()
    talk.tell(LATE)


def test_a_timer_of_an_attempt_that_is_over_starts_nothing() -> None:
    talk = begun()
    talk.tell(content(1), "first_token_received: executing → streaming", "commit #1")
    talk.tell(LATE)


def test_the_budget_of_all_requests_can_forbid_it() -> None:
    talk = begun()
    talk.tell(LATE, "survey a:m b:m")
    talk.tell(surveyed(talk, may_hedge=False))


def test_without_a_key_elsewhere_nothing_is_started() -> None:
    talk = begun()
    talk.tell(LATE, "survey a:m b:m")
    talk.tell(surveyed(talk), "lease #2 b:m")
    talk.tell(denied(2, None))
    talk.tell(content(1), "first_token_received: executing → streaming", "commit #1")


def test_no_hedge_goes_past_the_calls_that_a_request_may_make() -> None:
    talk = begun()
    few = replace(talk.state.plan, retry=RetryPolicy(max_attempts_total=1))
    talk.state = replace(talk.state, plan=few)
    talk.tell(LATE)


@pytest.mark.parametrize("after", [None, 3.0])
def test_late_is_what_the_client_says_or_the_routes_95th_percentile(after: float | None) -> None:
    measured = RouteHealth(first_token_percentiles=Percentiles(p50=0.5, p90=1.0, p95=1.5, p99=4.0))
    talk = selecting(replace(ONE, stream=True, hedge=True, hedge_after=after))
    talk.tell(surveyed(talk, health=measured), "lease #1 a:m")
    talk.tell(
        leased(1),
        "route_selected: selecting → executing",
        "open #1 a:m",
        f"timer hedge #1 {after or 1.5:g} s",
    )


def test_a_call_with_another_key_is_watched_as_well() -> None:
    measured = RouteHealth(first_token_percentiles=Percentiles(p50=0.5, p90=1.0, p95=1.5, p99=4.0))
    talk = selecting(replace(ONE, stream=True, hedge=True))
    talk.tell(surveyed(talk, health=measured), "lease #1 a:m")
    selected = "route_selected: selecting → executing"
    talk.tell(leased(1), selected, "open #1 a:m", "timer hedge #1 1.5 s")
    talk.tell(
        failed(1, FailureKind.RATE_LIMITED),
        "settle #1 rate_limited",
        "attempt_failed: executing → retrying",
        "lease #2 a:m",
    )
    again = "backoff_elapsed: retrying → executing"
    talk.tell(leased(2, "k2"), again, "open #2 a:m", "timer hedge #2 1.5 s")


def test_of_a_route_that_was_never_measured_nobody_knows_what_is_late() -> None:
    talk = selecting(replace(ONE, stream=True, hedge=True))
    talk.tell(surveyed(talk), "lease #1 a:m")
    talk.tell(leased(1), "route_selected: selecting → executing", "open #1 a:m")
