"""Prices and context windows of public models, from the package `genai-prices`.

The package's data becomes a table of our own when it is loaded. Afterwards the package is asked
only when a model id is seen for the first time that is no entry's own id: its rules know which
dated and alternative ids mean which model. Its updater is never started.

Prices are as of the day of loading (`catalogue_prices.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from signalbox.adapters.catalogue_prices import price_of
from signalbox.types import Price

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

MAX_REMEMBERED_IDS = 4096
"""Ids that are no entry's own: clients choose them, and each costs some 200 bytes."""

_CATALOGUE_IDS = {"xai": "x-ai", "gemini": "google", "bedrock": "aws"}


def vendor_id(provider_name: str) -> str:
    """A provider's name as the catalogue and model names spell it (`xai`: `x-ai`)."""
    return _CATALOGUE_IDS.get(provider_name, provider_name)


class CatalogueModel(msgspec.Struct, frozen=True):
    id: str
    wire_id: str
    """What the provider itself calls it; mostly the same."""
    price: Price
    context_length: int | None


class Catalogue:
    """What is known of the models of public vendors. Unknown is None, never zero."""

    def __init__(self, vendors: Iterable[Provider], source: str, today: date) -> None:
        self._source = source
        self._today = today
        self._vendors = {vendor.id: vendor for vendor in vendors}
        self._addresses = {
            vendor.id: re.compile(vendor.api_pattern) for vendor in self._vendors.values()
        }
        self._models: Mapping[str, Mapping[str, CatalogueModel]] = {
            vendor.id: {
                model.id.lower(): self._entry(model, wire_id)
                for model in vendor.models
                if (wire_id := _wire_id(model)) is not None
            }
            for vendor in self._vendors.values()
        }
        self._match = lru_cache(MAX_REMEMBERED_IDS)(self._match_by_rules)

    @classmethod
    def load(cls, today: date) -> Catalogue:
        """The installed package's data. Takes about half a second.

        Prices that begin at a date are taken as of `today` (UTC).
        """
        # Imports here: the package brings pydantic, and only a gateway that serves needs it.
        import genai_prices  # noqa: PLC0415 (see above)
        from genai_prices.data import providers  # noqa: PLC0415 (see above)

        return cls(providers, f"genai-prices {genai_prices.__version__}", today)

    def vendor_of(self, provider_name: str, base_url: str) -> str | None:
        """The vendor whose models a provider serves: by its name, else by its address."""
        if vendor_id(provider_name) in self._vendors:
            return vendor_id(provider_name)
        for vendor, address in self._addresses.items():
            if address.match(base_url):
                return vendor
        return None

    def models(self, vendor: str) -> tuple[CatalogueModel, ...]:
        """The models of a vendor that can be called by name."""
        return tuple(self._models.get(vendor, {}).values())

    def find(self, vendor: str, model_id: str, *, exact: bool = False) -> CatalogueModel | None:
        """The vendor's own model of this id; without `exact`, other ids of a model count too."""
        model = self._models.get(vendor, {}).get(model_id.lower())
        if model is not None or exact:
            return model
        model, is_own = self._match(vendor, model_id)
        return model if is_own else None

    def price(self, provider_name: str, model_id: str) -> Price:
        """The price of a model at a provider, other vendors' models that it resells included."""
        model = self._find_or_resold(provider_name, model_id)
        return model.price if model else Price(source=self._source)

    def context_length(self, provider_name: str, model_id: str) -> int | None:
        model = self._find_or_resold(provider_name, model_id)
        return model.context_length if model else None

    def _find_or_resold(self, provider_name: str, model_id: str) -> CatalogueModel | None:
        vendor = vendor_id(provider_name)
        found = self.find(vendor, model_id, exact=True)
        return found or self._match(vendor, model_id)[0]

    def _match_by_rules(self, vendor: str, model_id: str) -> tuple[CatalogueModel | None, bool]:
        """The model that the package's rules name, and whether it is the vendor's own."""
        provider = self._vendors.get(vendor)
        if provider is None:
            return None, False
        own = provider.find_model(model_id)
        info = own or provider.find_model(model_id, all_providers=list(self._vendors.values()))
        return (self._entry(info, model_id) if info else None), own is not None

    def _entry(self, model: ModelInfo, wire_id: str) -> CatalogueModel:
        price = price_of(model, self._today, self._source)
        return CatalogueModel(model.id, wire_id, price, model.context_window)


def _wire_id(model: ModelInfo) -> str | None:
    """The id that the model's own rule takes, first of all its own; None: no single one."""
    if model.is_match(model.id):
        return model.id
    clauses = getattr(model.match, "or_", [model.match])
    return next((clause.equals for clause in clauses if hasattr(clause, "equals")), None)
