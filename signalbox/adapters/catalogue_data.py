"""What is known of public models, as data: prices by day, context windows, which ids mean which.

Made from the package `genai-prices` (`catalogue_prices.py`), whose rules are followed: the first
model of a vendor whose rule matches is the one, in lower case throughout.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

import msgspec

from signalbox.types import Price, PriceTier


class Equals(msgspec.Struct, frozen=True, array_like=True, tag="equals"):
    text: str
    """As the vendor spells it, for it may be what is sent; other rules' texts are lower case."""

    def matches(self, model_id: str) -> bool:
        return model_id == self.text.lower()


class StartsWith(msgspec.Struct, frozen=True, array_like=True, tag="starts_with"):
    text: str

    def matches(self, model_id: str) -> bool:
        return model_id.startswith(self.text)


class EndsWith(msgspec.Struct, frozen=True, array_like=True, tag="ends_with"):
    text: str

    def matches(self, model_id: str) -> bool:
        return model_id.endswith(self.text)


class Contains(msgspec.Struct, frozen=True, array_like=True, tag="contains"):
    text: str

    def matches(self, model_id: str) -> bool:
        return self.text in model_id


class Fits(msgspec.Struct, frozen=True, array_like=True, tag="regex"):
    pattern: str
    """Of a regular expression that is searched for."""

    def matches(self, model_id: str) -> bool:
        return re.search(self.pattern, model_id) is not None


class AnyOf(msgspec.Struct, frozen=True, array_like=True, tag="or"):
    rules: tuple[Rule, ...]

    def matches(self, model_id: str) -> bool:
        return any(rule.matches(model_id) for rule in self.rules)


class AllOf(msgspec.Struct, frozen=True, array_like=True, tag="and"):
    rules: tuple[Rule, ...]

    def matches(self, model_id: str) -> bool:
        return all(rule.matches(model_id) for rule in self.rules)


Rule = Equals | StartsWith | EndsWith | Contains | Fits | AnyOf | AllOf
"""Says of an id, in lower case, whether it means the model."""


class Rates(msgspec.Struct, frozen=True, array_like=True):
    """What a model costs from a day on."""

    since: date
    """UTC; `date.min`: always."""
    rates: dict[str, Decimal]
    """US dollars per million tokens by the names of `Price`; empty: it is not charged by tokens."""
    tiers: tuple[PriceTier, ...] = ()


class ModelData(msgspec.Struct, frozen=True, array_like=True):
    id: str
    rule: Rule
    context_length: int | None
    rates: tuple[Rates, ...]
    """By `since`, ascending; the first from `date.min` on."""

    def price(self, today: date, source: str) -> Price:
        """At any hour of that day."""
        last = next(rates for rates in reversed(self.rates) if rates.since <= today)
        return Price(source=source, tiers=last.tiers, **last.rates)

    @property
    def wire_id(self) -> str | None:
        """The id that its own rule takes, first of all its own; None: no single one."""
        if self.rule.matches(self.id.lower()):
            return self.id
        rules = self.rule.rules if isinstance(self.rule, AnyOf) else (self.rule,)
        return next((rule.text for rule in rules if isinstance(rule, Equals)), None)


class VendorData(msgspec.Struct, frozen=True, array_like=True):
    id: str
    address: str
    """The pattern of its endpoints' URLs."""
    resells: tuple[str, ...]
    """Vendors whose models it may have without their being listed here."""
    models: tuple[ModelData, ...]

    def find(self, model_id: str) -> ModelData | None:
        """Its own model of this id."""
        spellings = (self._find(spelled) for spelled in _spellings(model_id))
        return next((model for model in spellings if model is not None), None)

    def _find(self, spelled: str) -> ModelData | None:
        return next((model for model in self.models if model.rule.matches(spelled)), None)


class PriceData(msgspec.Struct, frozen=True):
    source: str
    """The package and its version, as the ledger keeps it."""
    vendors: tuple[VendorData, ...]

    def find_resold(self, vendor: VendorData, model_id: str) -> ModelData | None:
        """Another vendor's model of this id that `vendor` resells."""
        by_name = {other.id: other for other in self.vendors}
        makers = [by_name[name] for name in vendor.resells if name in by_name]
        for spelled in _spellings(model_id):
            for maker in makers:
                found = maker._find(spelled)
                if found is not None:
                    return found
        return None


_COMPACT_DATE = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


def _spellings(model_id: str) -> tuple[str, ...]:
    """As rules compare it. Resellers write `m-20261201`: it is looked for as `m-2026-12-01` too."""
    lower = model_id.lower()
    dashed = _COMPACT_DATE.sub(_dashed, lower)
    return (lower,) if dashed == lower else (lower, dashed)


def _dashed(found: re.Match[str]) -> str:
    year, month, day = found.groups()
    try:
        date(int(year), int(month), int(day))
    except ValueError:
        return found[0]
    return f"-{year}-{month}-{day}"
