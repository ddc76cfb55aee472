"""What is learnt from an attempt that is over: by the key pool, by the route's health, by the
trace."""

from __future__ import annotations

from signalbox.actors.attempt import Attempt
from signalbox.actors.billing import total_tokens, usage_of
from signalbox.actors.key_pool import AttemptOutcome
from signalbox.actors.masking import masked, secrets_of
from signalbox.actors.request_trace import RequestTrace
from signalbox.actors.services import RunnerServices
from signalbox.errors import Failure, FailureKind
from signalbox.machines.commands import SettleAttempt
from signalbox.machines.decisions import TIMEOUTS
from signalbox.persistence.lease_stores import NEVER_SENT
from signalbox.types import Origin, Request

NOTHING_SENT = NEVER_SENT | {FailureKind.INTERNAL}


def settle_attempt(
    attempt: Attempt,
    command: SettleAttempt,
    request: Request,
    services: RunnerServices,
    trace: RequestTrace,
    *,
    at: float,
    hurried: bool,
) -> None:
    """Releases the lease of `attempt` and tells of its end; again, nothing happens.

    `hurried`: the request asks for more haste than the configuration, so a timeout is no fault of
    the route.
    """
    if attempt.settled:
        return
    attempt.settled = True
    attempt.never_sent = command.failure is not None and command.failure.kind in NOTHING_SENT
    failure, cancelled = command.failure, command.cancelled
    if cancelled or failure is not None:
        attempt.abandon()
    if attempt.lease is not None:
        services.key_pool.settle(
            attempt.lease,
            AttemptOutcome(
                failure=failure,
                tokens=_tokens_used(request, attempt, failure),
                rate_limits=attempt.rate_limits,
                observed_at=attempt.head_at,
                cancelled=cancelled,
            ),
        )
    _remember_state(request, attempt, services, on_disk=trace.payload_limit > 0)
    route, first = attempt.route, attempt.first_token_at
    if first is None and command.outrun:
        # It would have come still later. Without this a route that is always outrun seems fast.
        first = at
    services.health.record(
        route.id,
        at=at,
        failure=failure,
        first_token=None if first is None else first - attempt.started_at,
        tokens_per_second=_speed(attempt),
        cancelled=cancelled or (hurried and failure is not None and failure.kind in TIMEOUTS),
        attempt=attempt.health_number,
    )
    trace.attempt_ended(
        attempt.number,
        route.provider,
        route.model,
        attempt.key.label,
        failure,
        dropped=cancelled,
    )
    trace.left_out(attempt.number, attempt.dropped)
    trace.body("upstream_request", attempt.sent, attempt.number)
    # Latin-1 takes every byte as a character and back.
    received = masked(attempt.received.decode("latin-1"), secrets_of(attempt.key, route))
    trace.body("upstream_response", received.encode("latin-1"), attempt.number)


def _remember_state(
    request: Request, attempt: Attempt, services: RunnerServices, *, on_disk: bool
) -> None:
    """Before the end is sent: what a client does next may refer to it.

    `on_disk`: not where the request's payloads are to be kept nowhere.
    """
    made = tuple(attempt.made)
    if attempt.answer_id and request.stored and "store" not in attempt.dropped:
        made += (attempt.answer_id,)
    if made or attempt.tool_states:
        origin = Origin(attempt.route.id, attempt.key.id)
        services.provider_state.remember(
            request.key_id, made, origin, attempt.tool_states, on_disk=on_disk
        )


def _tokens_used(request: Request, attempt: Attempt, failure: Failure | None) -> int | None:
    """What the provider counts for the attempt; None where it cannot be known."""
    if attempt.status == 200:
        return total_tokens(usage_of(request, attempt))
    if attempt.status is not None or (failure and failure.kind in NOTHING_SENT):
        return 0
    return None


def _speed(attempt: Attempt) -> float | None:
    """Output tokens per second between the first and the last content; None where unknown."""
    first, last = attempt.first_token_at, attempt.last_content_at
    tokens = attempt.usage.output_total if attempt.usage is not None else None
    if first is None or last is None or tokens is None or last <= first:
        return None
    return tokens / (last - first)
