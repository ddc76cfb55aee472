"""OpenRouter's `provider` object (openrouter.ai, "Provider Routing"), and the one word that may
stand in its place. Raises `BadExtension`.

As in OpenRouter's schema a field may be null, which is as if it was not there. Fields and values
that cannot be honoured are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from signalbox.http.extension_fields import (
    BadExtension,
    boolean_of,
    kind_of,
    number_of,
    object_of,
    strings_of,
)
from signalbox.types import STRATEGY_WORDS, ProviderPreferences

MOST_NAMES = 64
"""OpenRouter itself has about as many providers."""
HIGHEST_PRICE = Decimal(1_000_000)
"""US dollars per million tokens."""
LONGEST_NUMBER = 32
SLOWEST = 86_400.0
FASTEST = 1_000_000.0


def provider_preferences(where: str, value: object) -> ProviderPreferences:
    if isinstance(value, str) and value:
        word = STRATEGY_WORDS.get(value)
        if word is None:
            return ProviderPreferences(only=(value,))
        return ProviderPreferences(strategy=word)
    if not isinstance(value, dict):
        raise BadExtension(where, "expected a strategy, a provider's name or an object")
    fields: dict[str, Any] = {}
    for name, given in value.items():
        parser = _PREFERENCES.get(name)
        if parser is None:
            raise BadExtension(f"{where}.{name}", f"unknown; expected {', '.join(_PREFERENCES)}")
        if given is not None:
            fields.update(parser(f"{where}.{name}", given))
    return ProviderPreferences(**fields)


_Parser = Callable[[str, object], dict[str, Any]]


def _names(field: str) -> _Parser:
    return lambda where, value: {field: strings_of(where, value, MOST_NAMES)}


def _flag(field: str) -> _Parser:
    return lambda where, value: {field: boolean_of(where, value)}


def _sort(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        return _strategy(where, value)
    fields: dict[str, Any] = {}
    for name, given in value.items():
        if name == "by":
            fields.update(_strategy(f"{where}.by", given))
        elif name != "partition":
            raise BadExtension(f"{where}.{name}", "unknown; expected by, partition")
        elif given not in (None, "model"):
            raise BadExtension(
                f"{where}.partition", "expected model: the models of a request are tried in order"
            )
    return fields


def _strategy(where: str, value: object) -> dict[str, Any]:
    word = STRATEGY_WORDS.get(value) if isinstance(value, str) else None
    if word is None:
        raise BadExtension(where, f"expected one of {', '.join(STRATEGY_WORDS)}")
    return {"strategy": word}


def _data_collection(where: str, value: object) -> dict[str, Any]:
    if value not in ("allow", "deny"):
        raise BadExtension(where, "expected allow or deny")
    return {"deny_data_collection": value == "deny"}


_CEILINGS: Mapping[str, str] = {"prompt": "max_input_price", "completion": "max_output_price"}
_NO_SUCH_PRICE = ("request", "image", "audio")
"""OpenRouter's other ceilings: routes have no such prices here, so none could be kept."""


def _max_price(where: str, value: object) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, given in object_of(where, value).items():
        path = f"{where}.{name}"
        if name in _NO_SUCH_PRICE:
            raise BadExtension(path, "prices are known per token only: prompt and completion")
        if name not in _CEILINGS:
            raise BadExtension(path, f"unknown; expected {', '.join(_CEILINGS)}")
        if given is not None:
            fields[_CEILINGS[name]] = _price(path, given)
    return fields


def _price(where: str, value: object) -> Decimal:
    """US dollars per million tokens, as a number or in decimals."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadExtension(where, f"expected a number, got {kind_of(value)}")
    text = str(value)
    try:
        price = Decimal(text if len(text) <= LONGEST_NUMBER else "NaN")
    except InvalidOperation:
        price = Decimal("NaN")
    if not price.is_finite() or not 0 <= price <= HIGHEST_PRICE:
        raise BadExtension(where, f"expected 0 to {HIGHEST_PRICE}, got {text[:20]!r}")
    return price


_PERCENTILES = ("p50", "p75", "p90", "p99")


def _max_latency(where: str, value: object) -> dict[str, Any]:
    given = value if isinstance(value, dict) else {"p50": value}
    seconds = {
        name: number_of(_path(where, value, name), ceiling, 0, SLOWEST)
        for name, ceiling in _known_percentiles(where, given).items()
    }
    return {"preferred_max_latency": seconds}


def _min_throughput(where: str, value: object) -> dict[str, Any]:
    """Of tokens per second the median is what is measured; its slow end is not."""
    given = value if isinstance(value, dict) else {"p50": value}
    for name in _known_percentiles(where, given):
        if name != "p50":
            raise BadExtension(f"{where}.{name}", "only p50 is measured of tokens per second")
    if given.get("p50") is None:
        return {}
    least = number_of(_path(where, value, "p50"), given["p50"], 0, FASTEST)
    return {"preferred_min_throughput": least}


def _known_percentiles(where: str, given: Mapping[str, object]) -> Mapping[str, object]:
    for name in given:
        if name not in _PERCENTILES:
            raise BadExtension(f"{where}.{name}", f"unknown; expected {', '.join(_PERCENTILES)}")
    return {name: value for name, value in given.items() if value is not None}


def _path(where: str, value: object, name: str) -> str:
    return f"{where}.{name}" if isinstance(value, dict) else where


_PREFERENCES: Mapping[str, _Parser] = {
    "order": _names("order"),
    "only": _names("only"),
    "ignore": _names("ignore"),
    "allow_fallbacks": _flag("allow_fallbacks"),
    "sort": _sort,
    "max_price": _max_price,
    "require_parameters": _flag("require_parameters"),
    "data_collection": _data_collection,
    "zdr": _flag("zdr"),
    "quantizations": _names("quantizations"),
    "preferred_max_latency": _max_latency,
    "preferred_min_throughput": _min_throughput,
}
