"""Prices that a route declares."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from signalbox.config import ConfigError
from signalbox.types import Price, Usage
from tests.configs import load

ROUTE = """
providers.local = {{ base_url = "http://127.0.0.1:1", keys = [] }}
[models.m]
routes = [{{ provider = "local", model = "a", {prices} }}]
"""


def price(folder: Path, prices: str) -> Price:
    return load(folder, ROUTE.format(prices=prices)).models["m"].routes[0].price


def test_every_class_of_tokens_can_have_its_price(tmp_path: Path) -> None:
    told = price(
        tmp_path,
        "input = 1, output = 2, cached_read = 0.1, cache_write = 1.25, cache_write_1h = 1.5,"
        "audio_input = 3, image_input = 4, reasoning = 5, audio_output = 6, image_output = 7",
    )
    classes = ("cached_read", "cache_write_1h", "audio_input", "image_output", "completion")
    expected = [Decimal(amount) for amount in ("0.1", "1.5", "3", "7", "2")]
    assert [told.amount(name) for name in classes] == expected


def test_a_tier_is_the_route_s_price_but_for_what_it_says(tmp_path: Path) -> None:
    told = price(
        tmp_path,
        "input = 1, output = 2, audio_input = 3,"
        "tiers = [{ above = 200, output = 5 }, { above = 100, output = 4 }],"
        "service_tiers = { flex = { input = 0.5 } }",
    )
    longer = told.applying(Usage(prompt=150, completion=1))
    assert longer.amount("audio_input") == 3
    assert longer.output == 4
    flex = told.applying(Usage(prompt=1, completion=1, service_tier="flex"))
    assert (flex.input, flex.output) == (Decimal("0.5"), Decimal(2))


@pytest.mark.parametrize(
    ("prices", "words"),
    [
        ("audio_input = 1", "expected input and output beside other prices"),
        ("input = 1, output = 1, tiers = [{ above = 9 }, { above = 9 }]", "each `above` once"),
        ("input = 1, output = 1, tiers = [{ input = 1 }]", "above"),
        ("input = 1, output = 1, service_tiers = { flex = { in = 1 } }", "in"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, prices: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        price(tmp_path, prices)
