"""What the request's machine decides, fact by fact: answers and ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from signalbox.errors import FailureKind
from signalbox.machines import commands as c
from signalbox.machines import facts as f
from signalbox.machines.lifecycle import State
from signalbox.machines.request import decide
from signalbox.types import Timeouts
from tests.dialogue import (
    ADMITTED,
    BACKOFF,
    CRASHED,
    DEADLINE,
    GONE,
    ONE,
    TWO_MODELS,
    TWO_ROUTES,
    Dialogue,
    charged,
    content,
    denied,
    ended,
    executing,
    failed,
    leased,
    line,
    model,
    plan,
    retrying,
    selecting,
    streaming,
    uncharged,
    waiting,
)


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
    if fact is DEADLINE and talk.state.charging:
        return  # See below.
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
        (charging, "answered: executing → done"),
        (charging_a_stream, "stream_ended: streaming → done"),
    ],
)
def test_an_answer_that_is_charged_is_sent_though_the_deadline_comes_meanwhile(
    begin: Callable[[], Dialogue], ends: str
) -> None:
    talk = begin()
    talk.tell(DEADLINE)
    talk.tell(charged(1), "end #1", ends, "finish done")


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
