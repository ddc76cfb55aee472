"""What a request is charged: the provider's own token counts, or an estimate that says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from signalbox.actors.attempt import Attempt
from signalbox.actors.ledger import ChargeLost, Ledger
from signalbox.actors.mailbox import AskTimedOut, MailboxClosed
from signalbox.errors import ActorCrashed
from signalbox.machines.commands import Resume
from signalbox.persistence.stores import AttemptCost, Charge
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
    request: Request,
    told: Sequence[Attempt],
    made: Sequence[Attempt],
    reason: str,
    *,
    charge_id: str,
    at: float,
    config_version: str = "",
) -> Charge | None:
    """The ledger's row for what the attempts `told` delivered together, the last of them to the
    end. `made`: all of the request's, in order.

    The caller pays for its prompt once, as the last attempt had it, and for every token that it was
    sent, at the price of the route that the token came from; what came on a key of its own is on
    its own account there. What it cost upstream is all of it, whoever pays: also what was told
    twice, and what other attempts are known to have cost.

    Where none was told, the row is of zero and says what the attempts cost all the same; None: they
    cost nothing. `at` is Unix time in seconds.
    """
    own = {each: each.route.price.cost(usage_of(request, each)) for each in told}
    costs = [cost for each in made if (cost := _cost_of(request, each, own)) is not None]
    if not costs:
        return None
    attempt = told[-1] if told else made[-1]
    amount: NanoUSD | None = NanoUSD(0)
    usage = attempt.usage or Usage()
    if told:
        kept = _kept_outputs(request, told)
        usage = sum_of([*(usage for _, usage in kept), usage_of(request, attempt)])
        if reason != NO_CONTENT:
            amounts = [_charged(each, each.route.price.cost(part)) for each, part in kept]
            amount = _total([*amounts, _charged(attempt, own[attempt])])
    return Charge(
        id=charge_id,
        request_id=request.id,
        at=at,
        key_id=request.key_id,
        model=request.model,
        provider=attempt.route.provider,
        route_model=attempt.route.model,
        usage=usage,
        amount=amount,
        upstream_cost=_upstream_cost([*own.values()], costs),
        reason=reason,
        price_source=_version(attempt.route.price.source, config_version),
        account=request.account,
        end_user=request.user,
        tags=request.tags,
        is_byok=all(each.callers_own for each in told or made),
        attempts=tuple(costs),
    )


def _cost_of(
    request: Request, attempt: Attempt, own: Mapping[Attempt, NanoUSD | None]
) -> AttemptCost | None:
    """What one call cost; None where the provider bills nothing for it.

    A call of which only the provider knows what became (it was late, cut off or outrun) is of
    unknown cost, unless it has said what it counts.
    """
    cost: NanoUSD | None = None
    if attempt in own:
        cost = own[attempt]
    elif attempt.usage is not None:
        cost = attempt.route.price.cost(usage_of(request, attempt))
    elif attempt.never_sent or not attempt.sent or (attempt.status or 200) >= 300:
        return None
    route = attempt.route
    return AttemptCost(attempt.number, route.provider, route.model, cost, attempt.callers_own)


def _upstream_cost(own: Sequence[NanoUSD | None], costs: Sequence[AttemptCost]) -> NanoUSD | None:
    """All that is known of it; None where not even what was told is, or nothing."""
    known = [each.cost for each in costs if each.cost is not None]
    return NanoUSD(sum(known)) if known and None not in own else None


def _charged(attempt: Attempt, cost: NanoUSD | None) -> NanoUSD | None:
    return NanoUSD(0) if attempt.callers_own else cost


def _version(source: str, config_version: str) -> str:
    """Prices that the configuration gives are of its version; a package's name has its own."""
    return f"{source} {config_version}".rstrip() if source == "config" else source


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


def _total(amounts: Sequence[NanoUSD | None]) -> NanoUSD | None:
    """Their sum; None where one is unknown."""
    known = [amount for amount in amounts if amount is not None]
    return NanoUSD(sum(known)) if len(known) == len(amounts) else None


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
