"""What tokens cost: `genai-prices`' own answer is the oracle."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache

import genai_prices.types as oracle
from genai_prices.data import providers
from hypothesis import example, given
from hypothesis import strategies as st

from signalbox.adapters.catalogue_prices import model_data
from signalbox.types import NanoUSD, Price, PriceTier, Usage

DAY = date(2026, 11, 22)
COUNTS = st.integers(0, 400_000)
TOKENS = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok")
"""Prices that the comparison is made for."""


@cache
def priced_models() -> list[oracle.ModelInfo]:
    """Models that are charged by text tokens alone, at one price at any hour."""
    return [
        model
        for provider in providers
        for model in provider.models
        if isinstance(model.prices, oracle.ModelPrice)
        and all(value is None or name in TOKENS for name, value in vars(model.prices).items())
        and model.prices.input_mtok is not None
        and model.prices.output_mtok is not None
    ]


@given(st.data(), COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_a_request_costs_what_the_package_says(
    data: st.DataObject, prompt: int, read: int, write: int, hour: int, completion: int
) -> None:
    model = data.draw(st.sampled_from(priced_models()))
    prices = model.prices
    assert isinstance(prices, oracle.ModelPrice)
    written = write + hour
    if prices.cache_write_mtok is None and prices.cache_write_1h_mtok is not None:
        written = hour = 0
    usage = Usage(prompt, read, written - hour, completion, cache_write_1h=hour)
    expected = prices.calc_price(
        oracle.Usage(
            input_tokens=usage.input_total,
            cache_read_tokens=read,
            cache_write_tokens=written,
            cache_write_1h_tokens=hour,
            output_tokens=completion,
        )
    )["total_price"]
    cost = model_data(model).price(DAY, "test").cost(usage)
    assert cost is not None
    assert abs(Decimal(cost) - expected * 1_000_000_000) <= Decimal("0.5")


def test_a_service_tier_has_its_own_price() -> None:
    [model] = [m for p in providers if p.id == "openai" for m in p.models if m.id == "gpt-5-mini"]
    price = model_data(model).price(DAY, "test")
    for tier in ("flex", "priority"):
        usage = Usage(prompt=1000, completion=100, service_tier=tier)
        resolved = model.get_prices(
            datetime(2026, 11, 22, tzinfo=UTC), price_context={"service_tier": tier}
        )
        expected = resolved.calc_price(oracle.Usage(input_tokens=1000, output_tokens=100))
        assert price.cost(usage) == expected["total_price"] * 1_000_000_000
    assert price.cost(Usage(prompt=1000, completion=100)) != price.cost(
        Usage(prompt=1000, completion=100, service_tier="flex")
    )


PRICE = Price(Decimal(1), Decimal(2))


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            (
                "cached_read",
                "cache_write",
                "cache_write_1h",
                "audio_input",
                "image_input",
                "reasoning",
                "audio_output",
                "image_output",
            ),
            COUNTS,
        ),
    )
)
@example({"audio_input": 3})
def test_what_has_no_price_of_its_own_is_charged_as_text(counts: dict[str, int]) -> None:
    usage = Usage(prompt=10, completion=10, **counts)  # type: ignore[arg-type]  # counts alone
    assert usage.input_total is not None
    assert usage.output_total is not None
    assert PRICE.cost(usage) == 1000 * usage.input_total + 2000 * usage.output_total


def test_a_price_of_zero_is_no_missing_one() -> None:
    free = Price(Decimal(1), Decimal(2), cached_read=Decimal(0), audio_input=Decimal(0))
    assert free.cost(Usage(prompt=0, completion=0, cached_read=9, audio_input=9)) == 0


def test_only_what_was_used_needs_a_price() -> None:
    embedding = Price(input=Decimal("0.02"))
    assert embedding.cost(Usage(prompt=1000, completion=0)) == NanoUSD(20_000)
    assert embedding.cost(Usage(prompt=1000, completion=1)) is None
    assert Price().cost(Usage(prompt=0, completion=0)) is None


def test_a_long_prompt_pays_its_tier_for_every_token() -> None:
    tiered = Price(
        Decimal(1),
        Decimal(1),
        tiers=(
            PriceTier({"input": Decimal(2), "output": Decimal(2)}, 100),
            PriceTier({"input": Decimal(3), "output": Decimal(3)}, 200),
        ),
    )
    for prompt, rate in ((100, 1), (101, 2), (200, 2), (201, 3)):
        assert tiered.cost(Usage(prompt=prompt, completion=7)) == 1000 * rate * (prompt + 7)
