"""What a request is charged: the provider's own token counts, or an estimate that says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from signalbox.actors.attempt import Attempt
from signalbox.actors.ledger import ChargeLost, Ledger
from signalbox.actors.mailbox import AskTimedOut, MailboxClosed
from signalbox.errors import ActorCrashed
from signalbox.machines.commands import Resume
from signalbox.persistence.stores import Charge
from signalbox.prices import output_of, sum_of
from signalbox.types import CHARS_PER_TOKEN, NanoUSD, Request, Usage, usd

NO_CONTENT = "no_content"
"""The reason of a charge of zero: what delivers nothing costs nothing."""


def usage_of(request: Request, attempt: Attempt) -> Usage:
    """The reported usage where it is whole, else an estimate from what was delivered."""
    reported = attempt.usage
    if reported is not None and reported.prompt is not None and reported.completion is not None:
        return reported
    return Usage(
        prompt=request.prompt_tokens,
        completion=-(-attempt.content_chars // CHARS_PER_TOKEN),
        estimated=True,
    )


def total_tokens(usage: Usage) -> int | None:
    """Input and output together; None where either is unknown."""
    if usage.input_total is None or usage.output_total is None:
        return None
    return usage.input_total + usage.output_total


def charge_of(
    request: Request, attempts: Sequence[Attempt], reason: str, *, charge_id: str, at: float
) -> Charge:
    """The ledger's row for what `attempts` delivered together, the last of them to the end.

    The caller pays for its prompt once, as the last attempt had it, and for every token that it was
    sent, at the price of the route that the token came from; what came on a key of its own is on
    its own account there. What it cost upstream is all of it, whoever pays, also what was told
    twice. `at` is Unix time in seconds.
    """
    attempt = attempts[-1]
    parts = [*_kept_outputs(request, attempts), (attempt, usage_of(request, attempt))]
    amount = _total(
        NanoUSD(0) if part.callers_own else part.route.price.cost(usage) for part, usage in parts
    )
    if len(attempts) == 1 and not attempt.callers_own:
        upstream_cost = amount
    else:
        upstream_cost = _total(each.route.price.cost(usage_of(request, each)) for each in attempts)
    return Charge(
        id=charge_id,
        request_id=request.id,
        at=at,
        key_id=request.key_id,
        model=request.model,
        provider=attempt.route.provider,
        route_model=attempt.route.model,
        usage=sum_of([usage for _, usage in parts]),
        amount=NanoUSD(0) if reason == NO_CONTENT else amount,
        upstream_cost=upstream_cost,
        reason=reason,
        price_source=attempt.route.price.source,
        account=request.account,
        end_user=request.user,
        tags=request.tags,
    )


def _kept_outputs(request: Request, attempts: Sequence[Attempt]) -> list[tuple[Attempt, Usage]]:
    """What of the attempts before the last one is not told again by a later one: their output."""
    kept: list[tuple[Attempt, Usage]] = []
    for earlier, later in pairwise(attempts):
        if later.resume is Resume.SPLICE:
            kept.clear()
        else:
            usage = usage_of(request, earlier)
            kept.append((earlier, output_of(usage)))
    return kept


def _total(costs: Iterable[NanoUSD | None]) -> NanoUSD | None:
    """Their sum; None where one is unknown."""
    amounts = list(costs)
    if any(cost is None for cost in amounts):
        return None
    return NanoUSD(sum(cost for cost in amounts if cost is not None))


async def record(ledger: Ledger, charge: Charge) -> str | None:
    """Makes the charge durable. None when it is, else why not."""
    try:
        await ledger.record(charge)
    except (ChargeLost, AskTimedOut, ActorCrashed, MailboxClosed) as error:
        return str(error)
    return None


def cost_text(charge: Charge | None) -> str | None:
    """The charged amount in US dollars, exact and without an exponent; None where unknown."""
    if charge is None or charge.amount is None:
        return None
    return format(usd(charge.amount), "f")
