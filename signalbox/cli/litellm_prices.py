"""Prices of a LiteLLM deployment, US dollars a token, as a route's, US dollars a million tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from signalbox.cli.litellm_tables import Table
from signalbox.config_check import MAX_PRICE, PRICE_DECIMALS

_CLASSES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "input_cost_per_audio_token": "audio_input",
    "input_cost_per_image_token": "image_input",
    "output_cost_per_reasoning_token": "reasoning",
    "output_cost_per_audio_token": "audio_output",
    "output_cost_per_image_token": "image_output",
}
"""LiteLLM's names → the classes of tokens."""

_ABOVE = re.compile(r"(.+)_above_(\d{1,7})k_tokens")
_TIER = re.compile(r"(.+)_(flex|priority|batch)")
IS_COST = re.compile(r"(input|output|cache_read|cache_creation)_\w*cost\w*")


def read_prices(tables: Sequence[Table]) -> dict[str, Any]:
    """What the tables say, the first one first: a route's price keys, none where there is none."""
    own: dict[str, Decimal] = {}
    tiers: dict[int, dict[str, Decimal]] = {}
    service_tiers: dict[str, dict[str, Decimal]] = {}
    for table in tables:
        for key in [name for name in table.nodes() if IS_COST.fullmatch(name)]:
            _read(table, key, own, tiers, service_tiers)
    if not own and not tiers and not service_tiers:
        return {}
    # LiteLLM counts a class that has no price as free.
    priced: dict[str, Any] = {"input": Decimal(0), "output": Decimal(0)} | own
    if tiers:
        priced["tiers"] = [{"above": above} | tiers[above] for above in sorted(tiers)]
    if service_tiers:
        priced["service_tiers"] = service_tiers
    return priced


def _read(
    table: Table,
    key: str,
    own: dict[str, Decimal],
    tiers: dict[int, dict[str, Decimal]],
    service_tiers: dict[str, dict[str, Decimal]],
) -> None:
    above = _ABOVE.fullmatch(key)
    tier = _TIER.fullmatch(key)
    if key in _CLASSES:
        place = own
    elif above is not None and above[1] in _CLASSES and int(above[2]) > 0:
        place = tiers.setdefault(int(above[2]) * 1000, {})
    elif tier is not None and tier[1] in _CLASSES:
        place = service_tiers.setdefault(tier[2], {})
    else:
        table.left(key, "Signalbox has no price of this class; it counts tokens")
        return
    name = _CLASSES[key if key in _CLASSES else (above or tier)[1]]  # type: ignore[index]  # one of them matched
    per_token = table.number(key)
    if per_token is None or name in place:
        return
    if per_token * 1_000_000 > MAX_PRICE:
        table.mistake(key, f"expected at most {MAX_PRICE // 1_000_000} US dollar a token")
        return
    place[name] = _per_million(table, key, per_token)


def _per_million(table: Table, key: str, per_token: Decimal) -> Decimal:
    exact = per_token.scaleb(6)
    rounded = exact.quantize(Decimal(1).scaleb(-PRICE_DECIMALS), ROUND_HALF_EVEN)
    if rounded != exact:
        table.changed(
            key, f"is rounded to {PRICE_DECIMALS} decimals of US dollars a million tokens"
        )
    return rounded.normalize()
