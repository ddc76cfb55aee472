"""Prices and context windows of public models, from the package `genai-prices`.

The package's data becomes a table of our own (`catalogue_data.py`); afterwards the package is not
asked. Its rules, which know which dated and alternative ids mean which model, are part of the
table. Prices are as of the day of loading.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import lru_cache

import msgspec

from signalbox.adapters.catalogue_data import ModelData, PriceData
from signalbox.adapters.catalogue_prices import installed
from signalbox.types import Price

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

    def __init__(self, data: PriceData, today: date) -> None:
        """Prices that begin at a date are taken as of `today` (UTC)."""
        self._data = data
        self._today = today
        self._vendors = {vendor.id: vendor for vendor in data.vendors}
        self._models: dict[str, Mapping[str, CatalogueModel]] = {}
        """By vendor, made when one is asked for, and by id."""
        self._match = lru_cache(MAX_REMEMBERED_IDS)(self._match_by_rules)

    @classmethod
    def load(cls, today: date) -> Catalogue:
        """The installed package's data. Takes about half a second."""
        return cls(installed(), today)

    def vendor_of(self, provider_name: str, base_url: str) -> str | None:
        """The vendor whose models a provider serves: by its name, else by its address."""
        if vendor_id(provider_name) in self._vendors:
            return vendor_id(provider_name)
        for vendor in self._data.vendors:
            if re.match(vendor.address, base_url):
                return vendor.id
        return None

    def models(self, vendor: str) -> tuple[CatalogueModel, ...]:
        """The models of a vendor that can be called by name."""
        return tuple(self._of(vendor).values())

    def find(self, vendor: str, model_id: str, *, exact: bool = False) -> CatalogueModel | None:
        """The vendor's own model of this id; without `exact`, other ids of a model count too."""
        model = self._of(vendor).get(model_id.lower())
        if model is not None or exact:
            return model
        model, is_own = self._match(vendor, model_id)
        return model if is_own else None

    def price(self, provider_name: str, model_id: str) -> Price:
        """The price of a model at a provider, other vendors' models that it resells included."""
        model = self._find_or_resold(provider_name, model_id)
        return model.price if model else Price(source=self._data.source)

    def context_length(self, provider_name: str, model_id: str) -> int | None:
        model = self._find_or_resold(provider_name, model_id)
        return model.context_length if model else None

    def _find_or_resold(self, provider_name: str, model_id: str) -> CatalogueModel | None:
        vendor = vendor_id(provider_name)
        found = self.find(vendor, model_id, exact=True)
        return found or self._match(vendor, model_id)[0]

    def _of(self, vendor: str) -> Mapping[str, CatalogueModel]:
        known = self._models.get(vendor)
        if known is None:
            if vendor not in self._vendors:  # Clients name them: nothing is kept.
                return {}
            known = self._models[vendor] = {
                model.id.lower(): self._entry(model, wire_id)
                for model in self._vendors[vendor].models
                if (wire_id := model.wire_id) is not None
            }
        return known

    def _match_by_rules(self, vendor: str, model_id: str) -> tuple[CatalogueModel | None, bool]:
        """The model that the rules name, and whether it is the vendor's own."""
        seller = self._vendors.get(vendor)
        if seller is None:
            return None, False
        own = seller.find(model_id)
        model = own or self._data.find_resold(seller, model_id)
        return (self._entry(model, model_id) if model else None), own is not None

    def _entry(self, model: ModelData, wire_id: str) -> CatalogueModel:
        price = model.price(self._today, self._data.source)
        return CatalogueModel(model.id, wire_id, price, model.context_length)
