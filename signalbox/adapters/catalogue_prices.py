"""What the package `genai-prices` has → data of our own (`catalogue_data.py`).

Prices that depend on the length of the prompt are *tiers*: past its start a tier's prices hold for
all tokens. Prices that depend on the service tier are variants of the same, for each tier alone.
What else makes a price differ (batches, hours of the day) is no matter of a single request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from signalbox.adapters.catalogue_data import (
    AllOf,
    AnyOf,
    Contains,
    EndsWith,
    Equals,
    Fits,
    ModelData,
    PriceData,
    Rates,
    Rule,
    StartsWith,
    VendorData,
)
from signalbox.types import PriceTier

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

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


def installed() -> PriceData:
    """The installed package's data. Takes about half a second."""
    # Imports here: the package brings pydantic and an HTTP client, and is rarely asked itself.
    import genai_prices  # noqa: PLC0415 (see above)
    from genai_prices.data import providers  # noqa: PLC0415 (see above)

    return data_of(providers, f"genai-prices {genai_prices.__version__}")


def data_of(vendors: Iterable[Provider], source: str) -> PriceData:
    return PriceData(
        source,
        tuple(
            VendorData(
                vendor.id,
                vendor.api_pattern,
                tuple(vendor.fallback_model_providers or ()),
                tuple(model_data(model) for model in vendor.models),
            )
            for vendor in vendors
        ),
    )


def model_data(model: ModelInfo) -> ModelData:
    days = [date.min, *sorted(_days(model))]
    rates = [_rates(model, day) for day in days]
    changes = (
        now for now, before in zip(rates, [None, *rates], strict=False) if _differ(now, before)
    )
    return ModelData(model.id, _rule(model.match), model.context_window, tuple(changes))


def _days(model: ModelInfo) -> set[date]:
    """Those from which something else holds."""
    conditional = [*(model.price_variants or ())]
    conditional += model.prices if isinstance(model.prices, list) else ()
    begins = (getattr(each.constraint, "start_date", None) for each in conditional)
    return {day for day in begins if day is not None}


def _differ(now: Rates, before: Rates | None) -> bool:
    return before is None or now != msgspec.structs.replace(before, since=now.since)


def _rule(clause: Any) -> Rule:
    """The package's clauses are told apart by their one field."""
    [(kind, value)] = vars(clause).items()
    match kind:
        case "equals":
            return Equals(value)
        case "starts_with":
            return StartsWith(value.lower())
        case "ends_with":
            return EndsWith(value.lower())
        case "contains":
            return Contains(value.lower())
        case "regex":
            return Fits(value)
        case "or_":
            return AnyOf(tuple(_rule(each) for each in value))
        case "and_":
            return AllOf(tuple(_rule(each) for each in value))
    return AnyOf(())  # A kind that a later version has: such a model is unknown, and so its price.


def _rates(model: ModelInfo, day: date) -> Rates:
    """At any hour of that day (UTC); without amounts where it is not charged by tokens."""
    amounts = _amounts_of(model, day)
    if amounts is None:
        return Rates(day, {})
    tiers = [*_tiers(amounts, None)]
    for variant in model.price_variants or ():
        if set(variant.when) == {"service_tier"} and _holds(variant.constraint, day):
            changed = {**amounts, **_given(variant.prices)}
            tier = variant.when["service_tier"]
            tiers += [PriceTier(_at(changed, None), service_tier=tier), *_tiers(changed, tier)]
    tiers.sort(key=lambda tier: tier.above)
    return Rates(day, _at(amounts, None), tuple(tiers))


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
    for start in sorted(starts):
        yield PriceTier(_at(amounts, start), start, service_tier)


def _at(amounts: Mapping[str, Any], above: int | None) -> dict[str, Decimal]:
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
