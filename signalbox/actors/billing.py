"""What a request is charged: the provider's own token counts, or an estimate that says so."""

from __future__ import annotations

from signalbox.actors.attempt import Attempt
from signalbox.persistence.stores import Charge
from signalbox.types import NanoUSD, Request, Usage, usd

CHARS_PER_TOKEN = 4
"""OpenAI's rule of thumb for English text; used only where a provider reports nothing."""

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
    request: Request, attempt: Attempt, reason: str, *, charge_id: str, at: float
) -> Charge:
    """The ledger's row for what `attempt` delivered. `at` is Unix time in seconds."""
    usage = usage_of(request, attempt)
    price = attempt.route.price
    upstream_cost = price.cost(usage)
    return Charge(
        id=charge_id,
        request_id=request.id,
        at=at,
        key_id=request.key_id,
        model=request.model,
        provider=attempt.route.provider,
        route_model=attempt.route.model,
        usage=usage,
        amount=NanoUSD(0) if reason == NO_CONTENT else upstream_cost,
        upstream_cost=upstream_cost,
        reason=reason,
        price_source=price.source,
    )


def cost_text(charge: Charge | None) -> str | None:
    """The charged amount in US dollars, exact and without an exponent; None where unknown."""
    if charge is None or charge.amount is None:
        return None
    return format(usd(charge.amount), "f")
