"""Prices that a route declares."""

from __future__ import annotations

from typing import Any

from signalbox import config_schema as schema
from signalbox.config_lines import KeyPath
from signalbox.config_report import Report
from signalbox.types import Price, PriceTier

CLASSES = schema.Prices.__struct_fields__
"""The classes of tokens that can have a price of their own."""


def price_of(route: schema.RouteTable, path: KeyPath, report: Report) -> Price:
    """The route's price; a tier's is the route's but for what the tier says itself."""
    own = _amounts(route)
    if (route.input is None) != (route.output is None):
        report.mistake(path, "expected both input and output, or neither")
    if route.input is None and (own or route.tiers or route.service_tiers):
        report.mistake(path, "expected input and output beside other prices")
    if len({tier.above for tier in route.tiers}) < len(route.tiers):
        report.mistake((*path, "tiers"), "expected each `above` once")
    tiers = [PriceTier(_amounts(tier), tier.above) for tier in route.tiers]
    for name, prices in route.service_tiers.items():
        tiers.append(PriceTier(_amounts(prices), service_tier=name))
    return Price(**own, tiers=tuple(sorted(tiers, key=lambda tier: tier.above)))


def _amounts(prices: schema.Prices) -> dict[str, Any]:
    """Decimals, by class."""
    return {name: amount for name in CLASSES if (amount := getattr(prices, name)) is not None}
