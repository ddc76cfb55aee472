"""Small catalogues, made of the same types as the package's data."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from genai_prices import types as data

from signalbox.adapters.catalogue import Catalogue
from signalbox.adapters.catalogue_prices import data_of

TODAY = date(2026, 6, 15)


def model(
    model_id: str,
    prices: data.ModelPrice | list[data.ConditionalPrice],
    match: data.MatchLogic | None = None,
    context: int | None = None,
) -> data.ModelInfo:
    return data.ModelInfo(
        id=model_id,
        match=match or data.ClauseEquals(model_id),
        prices=prices,
        context_window=context,
    )


def vendor(vendor_id: str, *models: data.ModelInfo, resells: tuple[str, ...] = ()) -> data.Provider:
    return data.Provider(
        id=vendor_id,
        name=vendor_id,
        api_pattern=rf"https://api\.{vendor_id}\.example",
        fallback_model_providers=list(resells),
        models=list(models),
    )


def catalogue(*vendors: data.Provider) -> Catalogue:
    return Catalogue(data_of(vendors, "test"), TODAY)


def tokens(price: str) -> data.ModelPrice:
    return data.ModelPrice(input_mtok=Decimal(price), output_mtok=Decimal(price))
