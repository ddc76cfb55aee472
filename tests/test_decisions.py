"""What follows from a failure, and what the client is told when nothing is left."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.errors import ApiError, AttemptReport, FailureKind
from signalbox.machines.decisions import (
    CALLERS_KEY_IS_AT_FAULT,
    CLIENT_GONE,
    LONGEST_USEFUL_WAIT,
    OWN_FAULT,
    VERDICTS,
    Step,
    Verdict,
    broken_stream,
    final_error,
    refusal,
    rejection,
    too_late,
    verdict,
)

K = FailureKind

retry_afters = st.none() | st.floats(0, 1e6)


def report(
    kind: FailureKind,
    message: str = "its words",
    status: int | None = None,
    param: str | None = None,
) -> AttemptReport:
    return AttemptReport("openai", "gpt", kind, message, 1, status, param)


reports = st.lists(st.sampled_from(FailureKind).map(report), max_size=12)


# ── one failure ───────────────────────────────────────────────────────────────────────────────


def test_every_kind_of_failure_has_a_verdict() -> None:
    assert set(VERDICTS) == set(FailureKind)


@pytest.mark.parametrize(
    ("kinds", "step"),
    [
        ([K.SERVER_ERROR, K.CONNECTION_LOST, K.CONNECT_FAILED], Step.RETRY_ROUTE),
        ([K.PROTOCOL_ERROR, K.EMPTY_ANSWER, K.TRUNCATED, K.STREAM_ERROR], Step.RETRY_ROUTE),
        ([K.RATE_LIMITED, K.QUOTA_EXHAUSTED, K.KEY_REJECTED], Step.NEXT_KEY),
        ([K.MODEL_FORBIDDEN, K.MODEL_UNKNOWN], Step.NEXT_KEY),
        ([K.CONNECT_TIMEOUT, K.FIRST_TOKEN_TIMEOUT, K.IDLE_TIMEOUT], Step.NEXT_ROUTE),
        ([K.RESPONSE_TIMEOUT, K.REQUEST_TOO_LARGE_FOR_QUOTA, K.SPLICE_MISMATCH], Step.NEXT_ROUTE),
        ([K.CONTEXT_LENGTH, K.CONTENT_POLICY], Step.NEXT_MODEL),
        ([K.INVALID_REQUEST], Step.REFUSE),
    ],
)
def test_where_a_request_goes(kinds: Sequence[FailureKind], step: Step) -> None:
    assert {verdict(kind, None).step for kind in kinds} == {step}


def test_only_a_wrong_request_is_told_to_the_client_at_once() -> None:
    assert [kind for kind in FailureKind if VERDICTS[kind].step is Step.REFUSE] == [
        K.INVALID_REQUEST
    ]


@given(st.sampled_from(FailureKind), retry_afters)
def test_beside_the_caller_s_own_key_there_is_no_other(
    kind: FailureKind, retry_after: float | None
) -> None:
    found, pooled = verdict(kind, retry_after, callers_own=True), verdict(kind, retry_after)
    if pooled.step is Step.NEXT_KEY:
        assert found.step in (Step.NEXT_ROUTE, Step.REFUSE)
    else:
        assert found == pooled


@given(st.sampled_from(FailureKind), retry_afters)
def test_a_key_that_stands_in_is_for_faults_of_the_callers_key_alone(
    kind: FailureKind, retry_after: float | None
) -> None:
    found = verdict(kind, retry_after, callers_own=True, stands_in=True)
    if kind in CALLERS_KEY_IS_AT_FAULT:
        assert found == Verdict(Step.NEXT_KEY)
    else:
        assert found == verdict(kind, retry_after, callers_own=True)
    assert verdict(kind, retry_after, stands_in=True) == verdict(kind, retry_after)


@given(st.sampled_from(FailureKind), retry_afters)
def test_who_is_told_to_wait_never_waits_on_the_same_key(
    kind: FailureKind, retry_after: float | None
) -> None:
    found = verdict(kind, retry_after)
    if retry_after is not None and VERDICTS[kind].step is Step.RETRY_ROUTE:
        assert found == Verdict(Step.NEXT_KEY, VERDICTS[kind].alert)
    else:
        assert found == VERDICTS[kind]


# ── when nothing is left ──────────────────────────────────────────────────────────────────────

ROWS = [
    # A cause in the request itself goes before all others: it is the one the caller can heal.
    ([K.SERVER_ERROR, K.CONTEXT_LENGTH, K.RATE_LIMITED], 400, "context_length_exceeded"),
    ([K.CONTENT_POLICY, K.CONTEXT_LENGTH], 400, "context_length_exceeded"),
    ([K.SERVER_ERROR, K.CONTENT_POLICY, K.RATE_LIMITED], 400, "content_policy_violation"),
    # The others count only where nothing else went wrong.
    ([K.UNSUPPORTED_PARAMETER, K.UNSUPPORTED_PARAMETER], 400, "unsupported_parameter"),
    ([K.UNSUPPORTED_PARAMETER, K.SERVER_ERROR], 503, "all_routes_failed"),
    ([K.UNSUPPORTED_PARAMETER, K.RATE_LIMITED], 429, "rate_limit_exceeded"),
    ([K.UNSUPPORTED_PARAMETER, K.RESPONSE_TIMEOUT], 504, "timeout"),
    ([K.RATE_LIMITED, K.RATE_LIMITED], 429, "rate_limit_exceeded"),
    ([K.RATE_LIMITED, K.REQUEST_TOO_LARGE_FOR_QUOTA], 429, "rate_limit_exceeded"),
    ([K.RATE_LIMITED, K.SERVER_ERROR], 503, "all_routes_failed"),
    ([K.RATE_LIMITED, K.FIRST_TOKEN_TIMEOUT], 503, "all_routes_failed"),
    ([K.CONNECT_TIMEOUT, K.FIRST_TOKEN_TIMEOUT], 504, "timeout"),
    ([K.IDLE_TIMEOUT, K.RESPONSE_TIMEOUT], 504, "timeout"),
    ([K.RESPONSE_TIMEOUT, K.SERVER_ERROR], 503, "all_routes_failed"),
    ([K.EMPTY_ANSWER, K.TRUNCATED, K.PROTOCOL_ERROR], 502, "bad_upstream"),
    ([K.EMPTY_ANSWER, K.CONNECT_FAILED], 503, "all_routes_failed"),
    # The fault of the operator's key or configuration is never the client's.
    ([K.KEY_REJECTED], 503, "all_routes_failed"),
    ([K.QUOTA_EXHAUSTED], 503, "all_routes_failed"),
    ([K.MODEL_FORBIDDEN], 503, "all_routes_failed"),
    ([K.MODEL_UNKNOWN], 503, "all_routes_failed"),
    ([K.INTERNAL], 503, "all_routes_failed"),
    ([], 503, "all_routes_failed"),
]


@pytest.mark.parametrize(("kinds", "status", "code"), ROWS)
def test_the_most_useful_cause_decides(
    kinds: Sequence[FailureKind], status: int, code: str
) -> None:
    for order in (kinds, kinds[::-1]):
        error = final_error([report(kind) for kind in order], None)
        assert (error.status, error.code) == (status, code)


@pytest.mark.parametrize("kind", [K.CONTEXT_LENGTH, K.CONTENT_POLICY])
def test_a_cause_in_the_request_keeps_the_provider_s_words(kind: FailureKind) -> None:
    words = report(kind, "at most 8192 tokens", param="messages")
    error = final_error([report(K.SERVER_ERROR), words], None)
    assert (error.type, error.message, error.param) == (
        "invalid_request_error",
        "at most 8192 tokens",
        "messages",
    )


@given(reports, retry_afters)
def test_a_client_is_asked_to_come_back_only_where_a_bearable_wait_helps(
    attempts: list[AttemptReport], retry_after: float | None
) -> None:
    error = final_error(attempts, retry_after)
    useful = retry_after is not None and retry_after <= LONGEST_USEFUL_WAIT
    # Nothing was called: what is down or full may be back by then.
    tells = error.status == 429 or not attempts
    assert error.should_retry == (tells and useful)
    assert error.retry_after == (retry_after if tells else None)


@given(reports, retry_afters)
def test_every_attempt_is_told(attempts: list[AttemptReport], retry_after: float | None) -> None:
    assert final_error(attempts, retry_after).attempts == tuple(attempts)


def test_attempts_that_went_alike_are_counted_in_the_message() -> None:
    attempts = [report(K.SERVER_ERROR, status=500)] * 3 + [report(K.CONNECT_FAILED)]
    assert final_error(attempts, None).message == (
        "All routes failed: openai (gpt): server_error 500, 3 times; openai (gpt): connect_failed"
    )


@pytest.mark.parametrize(
    ("kinds", "type_"),
    [
        ([K.REQUEST_TOO_LARGE_FOR_QUOTA], "tokens"),
        ([K.RATE_LIMITED], "requests"),
        ([K.RATE_LIMITED, K.REQUEST_TOO_LARGE_FOR_QUOTA], "requests"),
    ],
)
def test_a_429_names_what_there_is_too_much_of(kinds: Sequence[FailureKind], type_: str) -> None:
    assert final_error([report(kind) for kind in kinds], None).type == type_


# ── the other errors ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "retry_after", "type_", "should_retry"),
    [
        ("requests", 60.0, "requests", True),
        ("concurrency", 1.0, "requests", True),
        ("tokens", 60.1, "tokens", False),
        ("tokens", None, "tokens", False),
    ],
)
def test_a_rejection_by_the_gateway_s_own_limits(
    kind: str, retry_after: float | None, type_: str, should_retry: bool
) -> None:
    error = rejection(kind, "Reached the limit", retry_after)
    assert (error.status, error.type, error.code) == (429, type_, "rate_limit_exceeded")
    assert (error.retry_after, error.should_retry) == (retry_after, should_retry)


@pytest.mark.parametrize(
    ("error", "status", "type_", "code"),
    [
        (
            refusal("invalid_value", "n: expected 1", "n"),
            400,
            "invalid_request_error",
            "invalid_value",
        ),
        (broken_stream("reset", ()), 502, "server_error", "bad_upstream"),
        (too_late(600, ()), 504, "server_error", "timeout"),
        (OWN_FAULT, 500, "server_error", "internal_error"),
    ],
)
def test_sdks_are_told_not_to_repeat_what_the_gateway_has_tried(
    error: ApiError, status: int, type_: str, code: str
) -> None:
    assert (error.status, error.type, error.code) == (status, type_, code)
    assert error.should_retry is False


def test_a_client_that_left_is_a_499() -> None:
    assert (CLIENT_GONE.status, CLIENT_GONE.code) == (499, "client_closed")
