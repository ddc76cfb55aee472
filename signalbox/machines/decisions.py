"""What follows from a failure: one table for attempts, one function for the final error.

The table is for the time before anything was sent to the client. A stream that breaks afterwards
goes on elsewhere where it can (`rescue.py`); where not, the client is told once, inside the stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from signalbox.errors import ApiError, AttemptReport, Failure, FailureKind
from signalbox.machines.facts import SHARED_STATE

LONGEST_USEFUL_WAIT = 60.0
"""Seconds. SDKs sleep as long as `retry-after` says; a longer wait helps no caller."""

CONTENT_EXPLAINS_ITSELF = frozenset({"length", "content_filter"})
"""Finish reasons with which an answer without any content is still an answer."""


class Step(StrEnum):
    """Where a request goes after a failed attempt."""

    RETRY_ROUTE = "retry the same route after a backoff"
    NEXT_KEY = "try another key of the provider at once, else the next route"
    NEXT_ROUTE = "go to the next route of the model"
    NEXT_MODEL = "go to the next model"
    REFUSE = "tell the client"


class Verdict(msgspec.Struct, frozen=True):
    step: Step
    alert: bool = False
    """Whether an operator must see it: the fault is in the gateway's own configuration or keys."""


VERDICTS: Mapping[FailureKind, Verdict] = {
    FailureKind.RATE_LIMITED: Verdict(Step.NEXT_KEY),
    # The key pool raises the alert for these two, once a key.
    FailureKind.QUOTA_EXHAUSTED: Verdict(Step.NEXT_KEY),
    FailureKind.KEY_REJECTED: Verdict(Step.NEXT_KEY),
    FailureKind.MODEL_FORBIDDEN: Verdict(Step.NEXT_KEY, alert=True),
    # Some providers say 404 of a model that only this key may not use.
    FailureKind.MODEL_UNKNOWN: Verdict(Step.NEXT_KEY, alert=True),
    # A bigger request fails again with every key of the same tier, at once or later.
    FailureKind.REQUEST_TOO_LARGE_FOR_QUOTA: Verdict(Step.NEXT_ROUTE),
    FailureKind.UNSUPPORTED_PARAMETER: Verdict(Step.NEXT_ROUTE),
    FailureKind.OVER_BUDGET: Verdict(Step.NEXT_ROUTE),
    # A route that stayed silent once is not waited for a second time by the same request.
    FailureKind.CONNECT_TIMEOUT: Verdict(Step.NEXT_ROUTE),
    FailureKind.FIRST_TOKEN_TIMEOUT: Verdict(Step.NEXT_ROUTE),
    FailureKind.IDLE_TIMEOUT: Verdict(Step.NEXT_ROUTE),
    FailureKind.RESPONSE_TIMEOUT: Verdict(Step.NEXT_ROUTE),
    FailureKind.SERVER_ERROR: Verdict(Step.RETRY_ROUTE),
    FailureKind.OVERLOADED: Verdict(Step.RETRY_ROUTE),
    FailureKind.CONNECT_FAILED: Verdict(Step.RETRY_ROUTE),
    FailureKind.CONNECTION_LOST: Verdict(Step.RETRY_ROUTE),
    FailureKind.PROTOCOL_ERROR: Verdict(Step.RETRY_ROUTE),
    FailureKind.STREAM_ERROR: Verdict(Step.RETRY_ROUTE),
    FailureKind.EMPTY_ANSWER: Verdict(Step.RETRY_ROUTE),
    FailureKind.TRUNCATED: Verdict(Step.RETRY_ROUTE),
    # It is no fault of the route: another one may tell the same words.
    FailureKind.SPLICE_MISMATCH: Verdict(Step.NEXT_ROUTE),
    FailureKind.CONTEXT_LENGTH: Verdict(Step.NEXT_MODEL),
    FailureKind.CONTENT_POLICY: Verdict(Step.NEXT_MODEL),
    FailureKind.INVALID_REQUEST: Verdict(Step.REFUSE),
    FailureKind.INTERNAL: Verdict(Step.NEXT_ROUTE, alert=True),
}
"""Every kind of failure before the first content; a test holds the table complete."""

CALLERS_KEY_VERDICTS: Mapping[FailureKind, Verdict] = {
    # The caller brought the key, and nobody else can mend it.
    FailureKind.KEY_REJECTED: Verdict(Step.REFUSE),
    # For this provider there is no other key to go on with.
    FailureKind.RATE_LIMITED: Verdict(Step.NEXT_ROUTE),
    FailureKind.QUOTA_EXHAUSTED: Verdict(Step.NEXT_ROUTE),
    FailureKind.MODEL_FORBIDDEN: Verdict(Step.NEXT_ROUTE),
    FailureKind.MODEL_UNKNOWN: Verdict(Step.NEXT_ROUTE),
}
"""What is otherwise where the key is the caller's own."""

CALLERS_KEY_IS_AT_FAULT = frozenset(
    {
        FailureKind.KEY_REJECTED,
        FailureKind.RATE_LIMITED,
        FailureKind.QUOTA_EXHAUSTED,
        FailureKind.REQUEST_TOO_LARGE_FOR_QUOTA,
        FailureKind.MODEL_FORBIDDEN,
        FailureKind.MODEL_UNKNOWN,
    }
)
"""Failures of a caller's own key, where a key of the gateway stands in if it may."""

KEY_IS_AT_FAULT = frozenset(
    {
        FailureKind.KEY_REJECTED,
        FailureKind.QUOTA_EXHAUSTED,
        FailureKind.MODEL_FORBIDDEN,
        FailureKind.MODEL_UNKNOWN,
    }
)
"""Failures after which the same key would fail again, however long one waits."""

TIMEOUTS = frozenset(
    {
        FailureKind.CONNECT_TIMEOUT,
        FailureKind.FIRST_TOKEN_TIMEOUT,
        FailureKind.IDLE_TIMEOUT,
        FailureKind.RESPONSE_TIMEOUT,
    }
)
BAD_ANSWERS = frozenset(
    {FailureKind.PROTOCOL_ERROR, FailureKind.EMPTY_ANSWER, FailureKind.TRUNCATED}
)


def verdict(
    kind: FailureKind,
    retry_after: float | None,
    *,
    callers_own: bool = False,
    stands_in: bool = False,
) -> Verdict:
    """The table, and the one rule beside it: who is told to wait moves on at once.

    `callers_own`: the call was made with the caller's own key, and there is no other, unless the
    gateway's `stands_in`.
    """
    if callers_own and stands_in and kind in CALLERS_KEY_IS_AT_FAULT:
        return Verdict(Step.NEXT_KEY)
    if callers_own and kind in CALLERS_KEY_VERDICTS:
        return CALLERS_KEY_VERDICTS[kind]
    found = VERDICTS[kind]
    if found.step is Step.RETRY_ROUTE and retry_after is not None:
        return Verdict(Step.NEXT_ROUTE if callers_own else Step.NEXT_KEY, found.alert)
    return found


def final_error(attempts: Sequence[AttemptReport], retry_after: float | None) -> ApiError:
    """What the client is told when nothing is left: the most useful cause decides.

    `retry_after`: seconds until a key is known to be free again or, where no route was called at
    all, until a circuit breaker lets a probe through.
    """
    kinds = {report.kind for report in attempts}
    told = tuple(attempts)
    for kind, code in (
        (FailureKind.CONTEXT_LENGTH, "context_length_exceeded"),
        (FailureKind.CONTENT_POLICY, "content_policy_violation"),
    ):
        for report in attempts:
            if report.kind is kind:
                return refusal(code, report.message, report.param, told)
    if kinds == {FailureKind.UNSUPPORTED_PARAMETER}:
        return refusal("unsupported_parameter", attempts[0].message, attempts[0].param, told)
    # A route that could not carry the request, or that there was no money for, was never one to
    # try: the others say why it failed.
    kinds -= {FailureKind.UNSUPPORTED_PARAMETER, FailureKind.OVER_BUDGET}
    if kinds and kinds <= {FailureKind.RATE_LIMITED, FailureKind.REQUEST_TOO_LARGE_FOR_QUOTA}:
        return _rate_limited(told, kinds, retry_after)
    if kinds and kinds <= TIMEOUTS:
        return ApiError(
            status=504,
            type="server_error",
            code="timeout",
            message=f"No provider answered in time: {_summary(told)}",
            should_retry=False,
            attempts=told,
        )
    if kinds and kinds <= BAD_ANSWERS:
        return ApiError(
            status=502,
            type="server_error",
            code="bad_upstream",
            message=f"No provider gave a usable answer: {_summary(told)}",
            should_retry=False,
            attempts=told,
        )
    if any(report.attempt is not None for report in told):
        # What was tried has failed, and a key that comes free elsewhere mends little of that.
        retry_after = None
    return ApiError(
        status=503,
        type="server_error",
        code="all_routes_failed",
        message=f"All routes failed: {_summary(told)}",
        retry_after=retry_after,
        should_retry=_is_bearable(retry_after),
        attempts=told,
    )


def refusal(
    code: str, message: str, param: str | None, attempts: tuple[AttemptReport, ...] = ()
) -> ApiError:
    """A 400: the fault is in the request itself, whoever is asked."""
    return ApiError(
        status=400,
        type="invalid_request_error",
        code=code,
        message=message,
        param=param,
        should_retry=False,
        attempts=attempts,
    )


def refusal_after(failure: Failure, attempts: tuple[AttemptReport, ...]) -> ApiError:
    """What the client is told of a failure that is its own to mend."""
    if failure.kind is not FailureKind.KEY_REJECTED:
        return refusal("invalid_value", failure.message, failure.param, attempts)
    return ApiError(
        status=401,
        type="invalid_request_error",
        code="invalid_api_key",
        message=f"The provider refuses the key that came with the request: {failure.message}",
        param="extra.byok",
        should_retry=False,
        attempts=attempts,
    )


def _rate_limited(
    attempts: tuple[AttemptReport, ...], kinds: set[FailureKind], retry_after: float | None
) -> ApiError:
    return ApiError(
        status=429,
        type="tokens" if kinds == {FailureKind.REQUEST_TOO_LARGE_FOR_QUOTA} else "requests",
        code="rate_limit_exceeded",
        message=f"Every key that could serve this is rate-limited: {_summary(attempts)}",
        retry_after=retry_after,
        should_retry=_is_bearable(retry_after),
        attempts=attempts,
    )


def _is_bearable(retry_after: float | None) -> bool:
    return retry_after is not None and retry_after <= LONGEST_USEFUL_WAIT


def _summary(attempts: tuple[AttemptReport, ...]) -> str:
    """The attempts in one line, repeated ones counted rather than listed."""
    if not attempts:
        return "no route was left to try"
    counts: dict[str, int] = {}
    for report in attempts:
        line = f"{report.provider} ({report.model}): {report.kind}"
        if report.status is not None:
            line += f" {report.status}"
        counts[line] = counts.get(line, 0) + 1
    return "; ".join(line if n == 1 else f"{line}, {n} times" for line, n in counts.items())


def rejection(kind: str, message: str, retry_after: float | None) -> ApiError:
    """The gateway's own limiter refused; `kind` is what there is too much of."""
    if kind == SHARED_STATE:
        return ApiError(
            status=503,
            type="server_error",
            code="shared_state_unavailable",
            message=message,
            retry_after=retry_after,
            should_retry=True,
        )
    return ApiError(
        status=429,
        type="tokens" if kind == "tokens" else "requests",
        code="rate_limit_exceeded",
        message=message,
        retry_after=retry_after,
        should_retry=_is_bearable(retry_after),
    )


def broken_stream(words: str, attempts: tuple[AttemptReport, ...]) -> ApiError:
    return ApiError(
        status=502,
        type="server_error",
        code="bad_upstream",
        message=f"The answer broke off: {words}",
        should_retry=False,
        attempts=attempts,
    )


def too_late(total: float, attempts: tuple[AttemptReport, ...]) -> ApiError:
    return ApiError(
        status=504,
        type="server_error",
        code="timeout",
        message=f"No answer within {total:g} s, the request's total time.",
        should_retry=False,
        attempts=attempts,
    )


OWN_FAULT = ApiError(
    status=500,
    type="server_error",
    code="internal_error",
    message="The gateway itself failed on this request; its trace says where.",
    should_retry=False,
)

CLIENT_GONE = ApiError(
    status=499,
    type="invalid_request_error",
    code="client_closed",
    message="The client left before the end.",
)
"""Nobody reads it: it is how the trace says that the request ended (nginx's 499)."""
