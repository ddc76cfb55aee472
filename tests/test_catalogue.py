"""Prices and context windows: which of the package's many prices count, and for which ids."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import genai_prices
import pytest
from genai_prices import types as data
from genai_prices.data import providers

from signalbox.adapters.catalogue import Catalogue
from signalbox.adapters.catalogue_data import PriceData
from signalbox.adapters.catalogue_prices import installed
from signalbox.cli import prices
from signalbox.types import Price
from tests.catalogues import TODAY, catalogue, model, tokens, vendor


def input_price(prices: data.ModelPrice | list[data.ConditionalPrice]) -> Decimal | None:
    return catalogue(vendor("v", model("m", prices))).price("v", "m").input


def test_a_price_keeps_its_classes_and_its_source() -> None:
    prices = data.ModelPrice(
        input_mtok=Decimal("2.5"),
        output_mtok=Decimal(10),
        cache_read_mtok=Decimal("1.25"),
        cache_write_mtok=Decimal(3),
    )
    known = catalogue(vendor("v", model("m", prices, context=128_000)))
    assert known.price("v", "m") == Price(
        Decimal("2.5"), Decimal(10), Decimal("1.25"), Decimal(3), "test"
    )
    assert known.context_length("v", "m") == 128_000


@pytest.mark.parametrize("name", [("v", "other"), ("other", "m")])
def test_what_is_not_in_the_catalogue_is_unknown_and_not_free(name: tuple[str, str]) -> None:
    known = catalogue(vendor("v", model("m", tokens("1"))))
    assert not known.price(*name).known
    assert known.context_length(*name) is None


def test_the_lowest_tier_counts() -> None:
    tiered = data.TieredPrices(Decimal(1), [data.Tier(200_000, Decimal(2))])
    assert input_price(data.ModelPrice(input_mtok=tiered)) == 1


def test_prices_count_from_their_day_on_and_hours_do_not() -> None:
    def starts(day: date, price: str) -> data.ConditionalPrice:
        return data.ConditionalPrice(data.StartDateConstraint(day), prices=tokens(price))

    at_night = data.TimeOfDateConstraint(time(0, tzinfo=UTC), time(8, tzinfo=UTC))
    prices = [
        data.ConditionalPrice(prices=tokens("1")),
        starts(TODAY, "2"),
        starts(date(2026, 6, 16), "3"),
        data.ConditionalPrice(at_night, prices=tokens("4")),
    ]
    assert input_price(prices) == 2


def test_a_model_with_a_fee_for_each_request_has_no_price() -> None:
    prices = data.ModelPrice(
        input_mtok=Decimal(1), output_mtok=Decimal(1), requests_kcount=Decimal(5)
    )
    assert input_price(prices) is None


def test_dated_ids_are_those_of_the_package_s_rules() -> None:
    dated = data.ClauseOr([data.ClauseEquals("m"), data.ClauseStartsWith("m-20")])
    known = catalogue(vendor("v", model("m", tokens("1"), dated)))
    found = known.find("v", "m-2026-01-01")
    assert found is not None
    assert (found.id, found.wire_id) == ("m", "m-2026-01-01")
    assert known.find("v", "m-2026-01-01", exact=True) is None


def test_an_id_that_is_only_a_name_goes_out_as_the_provider_s_id() -> None:
    known = catalogue(
        vendor(
            "v",
            model("short", tokens("1"), data.ClauseEquals("accounts/v/models/short")),
            model("family", tokens("1"), data.ClauseStartsWith("family-")),
        )
    )
    assert [(each.id, each.wire_id) for each in known.models("v")] == [
        ("short", "accounts/v/models/short")
    ]


def test_a_reseller_has_prices_for_another_vendor_s_models_but_not_the_models() -> None:
    known = catalogue(vendor("v", model("m", tokens("1"))), vendor("azure", resells=("v",)))
    assert known.price("azure", "m").input == 1
    assert known.find("azure", "m") is None


def test_a_provider_is_known_by_its_name_or_its_address() -> None:
    known = catalogue(vendor("x-ai"), vendor("v"))
    assert known.vendor_of("xai", "http://127.0.0.1:1") == "x-ai"
    assert known.vendor_of("mine", "https://api.v.example/v1") == "v"
    assert known.vendor_of("mine", "http://127.0.0.1:1") is None


def test_the_installed_package_knows_common_models() -> None:
    known = Catalogue.load(datetime(2026, 1, 1, tzinfo=UTC).date())
    price = known.price("openai", "gpt-4o-2024-08-06")
    assert price.known
    assert price.source == f"genai-prices {genai_prices.__version__}"
    assert known.context_length("openai", "gpt-4o") == 128_000


def some_ids(seller: data.Provider) -> list[str]:
    """Ids of its models and of others', spelled in the ways in which they are met."""
    every = [model.id for provider in providers for model in provider.models]
    own = [model.id for model in seller.models]
    ids = Random(seller.id).sample(every, 20) + own[:: max(1, len(own) // 20)]
    endings = ("", "-20251211", "-2025-12-11", "-20251399", ":free")
    return [id.upper() for id in ids[::3]] + [f"{id}{end}" for id in ids for end in endings]


@pytest.mark.parametrize("seller", providers, ids=lambda seller: seller.id)
def test_an_id_means_what_the_package_takes_it_for(seller: data.Provider) -> None:
    known = prices.price_data()
    [vendor] = [vendor for vendor in known.vendors if vendor.id == seller.id]
    for model_id in some_ids(seller):
        own = seller.find_model(model_id)
        any_ = seller.find_model(model_id, all_providers=providers)
        found = vendor.find(model_id)
        assert (found and found.id) == (own and own.id), model_id
        found = found or known.find_resold(vendor, model_id)
        assert (found and found.id) == (any_ and any_.id), model_id


def test_a_rule_of_a_kind_that_is_not_known_yet_means_no_model() -> None:
    @dataclass
    class ClauseNot:
        not_: data.MatchLogic

    strange: Any = data.ClauseOr([ClauseNot(data.ClauseEquals("x"))])  # type: ignore[list-item]  # of a later version
    known = catalogue(vendor("v", model("m", tokens("1"), strange)))
    assert known.models("v") == ()
    assert known.find("v", "m") is None


# What a start reads instead of the package


def test_the_prices_of_the_installed_version_are_written_down() -> None:
    assert prices.is_installed(f"genai-prices {genai_prices.__version__}")
    assert prices.price_data() == installed(), "run .venv/bin/python tools/write_docs.py"


def test_another_version_than_the_written_one_is_asked_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "prices.json"
    old.write_text(prices.render(PriceData("genai-prices 0.1.0", ())), encoding="utf-8")
    monkeypatch.setattr(prices, "WRITTEN", old)
    assert prices.price_data() == installed()


@pytest.mark.parametrize("source", ["genai-prices 0.1.0", "no-such-package 1.0"])
def test_what_is_not_installed_is_not_there(source: str) -> None:
    assert not prices.is_installed(source)


def test_neither_the_models_nor_their_prices_import_the_package() -> None:
    code = (
        "import sys, signalbox.adapters.models, signalbox.cli.prices as prices\n"
        "assert len(prices.price_data().vendors) > 20\n"
        "sys.exit('genai_prices' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
