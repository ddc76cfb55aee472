"""The request extensions: `extra` in the body and the header `x-signalbox-extra`.

The body wins over the header, field by field. A field that is not known, or that this version
cannot honour, is refused by name: an extension that is silently without effect is worse than none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from signalbox.errors import ApiError, SignalboxError
from signalbox.http.asgi import header_text
from signalbox.machines.decisions import refusal
from signalbox.types import STRATEGY_WORDS, Extra, ProviderPreferences

HEADER = "x-signalbox-extra"
NOT_YET = frozenset({"byok", "preset", "max_cost", "hedge"})
"""Extensions of the contract whose parts are not there yet."""
PAYLOAD_MODES = ("full", "redacted", "off")
MOST_FALLBACKS = 16
"""More models than this in one request is a mistake or an attack, not a fallback chain."""
MOST_TAGS = 16
LONGEST_TAG = 128


class BadExtension(SignalboxError):
    """What the client is told: which field, and what was expected."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: {expected}")
        self.error: ApiError = refusal("invalid_value", f"{field}: {expected}", field)


def parse_extra(body_extra: object, header: str | None) -> Extra:
    """The validated extensions. Raises `BadExtension`."""
    fields: dict[str, Any] = {}
    if header is not None:
        fields.update(_header_fields(header))
    if body_extra is not None:
        fields.update(_object("extra", body_extra))
    parsed: dict[str, Any] = {}
    for name, value in fields.items():
        where = f"extra.{name}"
        if name in NOT_YET:
            raise BadExtension(where, "this version does not have it yet")
        parser = _PARSERS.get(name)
        if parser is None:
            raise BadExtension(where, f"unknown; the extensions are {', '.join(sorted(_PARSERS))}")
        parsed.update(parser(where, value))
    return Extra(**parsed)


def _header_fields(header: str) -> Mapping[str, Any]:
    try:
        value = msgspec.json.decode(header_text(header))
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadExtension(HEADER, f"expected a JSON object ({error})") from None
    return _object(HEADER, value)


def _object(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadExtension(where, f"expected an object, got {_kind(value)}")
    return value


def _strings(where: str, value: object, most: int) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
        raise BadExtension(where, "expected a list of non-empty strings")
    if len(value) > most:
        raise BadExtension(where, f"expected at most {most} entries, got {len(value)}")
    return tuple(value)


def _boolean(where: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise BadExtension(where, f"expected true or false, got {_kind(value)}")
    return value


def _number(where: str, value: object, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadExtension(where, f"expected a number, got {_kind(value)}")
    if not least <= value <= most:
        raise BadExtension(where, f"expected {least:g} to {most:g}, got {str(value)[:20]}")
    return float(value)


def _whole(where: str, value: object, least: int, most: int) -> int:
    number = _number(where, value, least, most)
    if number != int(number):
        raise BadExtension(where, f"expected a whole number, got {number:g}")
    return int(number)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")


def _fallback_models(where: str, value: object) -> dict[str, Any]:
    return {"fallback_models": _strings(where, value, MOST_FALLBACKS)}


def _tags(where: str, value: object) -> dict[str, Any]:
    tags = _strings(where, value, MOST_TAGS)
    if any(len(tag) > LONGEST_TAG for tag in tags):
        raise BadExtension(where, f"expected tags of at most {LONGEST_TAG} characters")
    return {"tags": tags}


_RETRY: Mapping[str, tuple[str, float, float, float]] = {
    # field: (name in RetryPolicy, least, most, how many of the field's unit make the policy's)
    "attempts": ("attempts", 0, 10, 1),
    "base_delay_ms": ("base_delay", 0, 60_000, 1000),
    "backoff": ("backoff", 1, 10, 1),
    "max_delay_ms": ("max_delay", 0, 60_000, 1000),
}


def _retry(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {"retry": {"attempts": _whole(where, value, 0, 10)}}
    policy: dict[str, float] = {}
    for name, given in value.items():
        known = _RETRY.get(name)
        if known is None:
            raise BadExtension(f"{where}.{name}", f"unknown; expected {', '.join(_RETRY)}")
        field, least, most, unit = known
        if name == "attempts":
            policy[field] = _whole(f"{where}.{name}", given, int(least), int(most))
        else:
            policy[field] = _number(f"{where}.{name}", given, least, most) / unit
    return {"retry": policy}


_CLOCKS = ("connect", "first_token", "idle", "response", "total")


def _timeout(where: str, value: object) -> dict[str, Any]:
    clocks: dict[str, float] = {}
    for name, given in _object(where, value).items():
        if name not in _CLOCKS:
            raise BadExtension(f"{where}.{name}", f"unknown; expected {', '.join(_CLOCKS)}")
        clocks[name] = _number(f"{where}.{name}", given, 0.001, 86_400)
    return {"timeout": clocks}


def _payloads(where: str, value: object) -> dict[str, Any]:
    if value not in PAYLOAD_MODES:
        raise BadExtension(where, f"expected one of {', '.join(PAYLOAD_MODES)}")
    return {"payloads": value}


def _unsupported(where: str, value: object) -> dict[str, Any]:
    if value not in ("drop", "refuse"):
        raise BadExtension(where, "expected drop or refuse")
    return {"refuse_unsupported": value == "refuse"}


def _midstream(where: str, value: object) -> dict[str, Any]:
    if value != "error":
        raise BadExtension(where, "this version can only say error: it has no rescue yet")
    return {}


def _provider(where: str, value: object) -> dict[str, Any]:
    if isinstance(value, str) and value:
        word = STRATEGY_WORDS.get(value)
        chosen = (
            ProviderPreferences(only=(value,))
            if word is None
            else ProviderPreferences(strategy=word)
        )
        return {"provider": chosen}
    if not isinstance(value, dict):
        raise BadExtension(where, "expected a strategy, a provider's name or an object")
    fields: dict[str, Any] = {}
    for name, given in value.items():
        parser = _PREFERENCES.get(name)
        if parser is None:
            raise BadExtension(f"{where}.{name}", f"unknown; expected {', '.join(_PREFERENCES)}")
        fields.update(parser(f"{where}.{name}", given))
    return {"provider": ProviderPreferences(**fields)}


def _names(field: str) -> Callable[[str, object], dict[str, Any]]:
    return lambda where, value: {field: _strings(where, value, 64)}


def _flag(field: str) -> Callable[[str, object], dict[str, Any]]:
    return lambda where, value: {field: _boolean(where, value)}


def _sort(where: str, value: object) -> dict[str, Any]:
    word = STRATEGY_WORDS.get(value) if isinstance(value, str) else None
    if word is None:
        raise BadExtension(where, f"expected one of {', '.join(STRATEGY_WORDS)}")
    return {"strategy": word}


def _data_collection(where: str, value: object) -> dict[str, Any]:
    if value not in ("allow", "deny"):
        raise BadExtension(where, "expected allow or deny")
    return {"deny_data_collection": value == "deny"}


def _max_price(where: str, value: object) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, given in _object(where, value).items():
        if name not in ("prompt", "completion"):
            raise BadExtension(f"{where}.{name}", "unknown; expected prompt, completion")
        ceiling = Decimal(str(_number(f"{where}.{name}", given, 0, 1e6)))
        fields["max_input_price" if name == "prompt" else "max_output_price"] = ceiling
    return fields


_PREFERENCES: Mapping[str, Callable[[str, object], dict[str, Any]]] = {
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
}
"""OpenRouter's `provider` object (openrouter.ai, "Provider Routing")."""

_PARSERS: Mapping[str, Callable[[str, object], dict[str, Any]]] = {
    "fallback_models": _fallback_models,
    "provider": _provider,
    "retry": _retry,
    "timeout": _timeout,
    "midstream": _midstream,
    "payloads": _payloads,
    "unsupported": _unsupported,
    "tags": _tags,
}
