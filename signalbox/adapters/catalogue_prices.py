"""A model's prices as the package `genai-prices` has them → a `Price` of our own.

Prices that depend on the length of the prompt are *tiers*: past its start a tier's prices hold for
all tokens. Prices that depend on the service tier are variants of the same, for each tier alone.
What else makes a price differ (batches, hours of the day) is no matter of a single request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from signalbox.types import Price, PriceTier

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

_CLASSES: Mapping[str, str] = {
    # the package's name for a price → ours
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_input",
    "input_image_mtok": "image_input",
    "output_reasoning_mtok": "reasoning",
    "output_audio_mtok": "audio_output",
    "output_image_mtok": "image_output",
}
_FEES = ("requests_kcount",)
"""What every request costs besides its tokens: charging those alone would be too low."""


def price_of(model: ModelInfo, today: date, source: str) -> Price:
    """The price on that day (UTC) at any hour; without amounts where it is not one of tokens."""
    amounts = _amounts_of(model, today)
    if amounts is None:
        return Price(source=source)
    tiers = [*_tiers(amounts, None)]
    for variant in model.price_variants or ():
        if set(variant.when) == {"service_tier"} and _holds(variant.constraint, today):
            changed = {**amounts, **_given(variant.prices)}
            tier = variant.when["service_tier"]
            tiers += [PriceTier(_at(changed, None), service_tier=tier), *_tiers(changed, tier)]
    tiers.sort(key=lambda tier: tier.above)
    return Price(source=source, tiers=tuple(tiers), **_at(amounts, None))


def _amounts_of(model: ModelInfo, today: date) -> dict[str, Any] | None:
    prices = _prices_of(model, today)
    if prices is None or any(getattr(prices, fee, None) for fee in _FEES):
        return None
    return _given(prices)


def _given(prices: ModelPrice) -> dict[str, Any]:
    """By our names: a decimal, or what has a base and tiers."""
    return {
        ours: amount
        for theirs, ours in _CLASSES.items()
        if (amount := getattr(prices, theirs, None)) is not None
    }


def _tiers(amounts: Mapping[str, Any], service_tier: str | None) -> Iterator[PriceTier]:
    """Those for long prompts."""
    starts = {
        tier.start
        for amount in amounts.values()
        if not isinstance(amount, Decimal)
        for tier in amount.tiers
    }
    for start in starts:
        yield PriceTier(_at(amounts, start), start, service_tier)


def _at(amounts: Mapping[str, Any], above: int | None) -> dict[str, Any]:
    """The amounts for prompts longer than `above`; None: for the shortest."""
    return {name: _amount(value, above) for name, value in amounts.items()}


def _amount(value: Any, above: int | None) -> Decimal:
    if isinstance(value, Decimal):
        return value
    amount: Decimal = value.base
    for tier in value.tiers:
        if above is not None and tier.start <= above:
            amount = tier.price
    return amount


def _prices_of(model: ModelInfo, today: date) -> ModelPrice | None:
    """The last prices that hold on that day at any hour; the package orders them so."""
    if not isinstance(model.prices, list):
        return model.prices
    for conditional in reversed(model.prices):
        if _holds(conditional.constraint, today):
            return conditional.prices
    return None


def _holds(constraint: Any, today: date) -> bool:
    begins = getattr(constraint, "start_date", None)
    return constraint is None or (begins is not None and begins <= today)
