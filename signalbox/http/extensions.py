"""The request extensions: `extra` in the body, the header `x-signalbox-extra`, and OpenRouter's own
fields for the same at the top level of the body.

`extra` wins over the header, the header over the top level, and all of them over the preset, field
by field. A field that is not known, or that this version cannot honour, is refused by name: an
extension that is silently without effect is worse than none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec

from signalbox.http.asgi import header_text
from signalbox.http.callers_keys import callers_keys
from signalbox.http.extension_fields import (
    BadExtension,
    kind_of,
    number_of,
    object_of,
    strings_of,
    whole_of,
)
from signalbox.http.provider_preferences import provider_preferences
from signalbox.machines.budget import MOST
from signalbox.prices import NANO_PER_USD
from signalbox.types import LONGEST_TAG, MOST_TAGS, Extra, Midstream, NanoUSD, Preset, usd

HEADER = "x-signalbox-extra"
PAYLOAD_MODES = ("full", "redacted", "off")
MOST_FALLBACKS = 16
"""More models than this in one request is a mistake or an attack, not a fallback chain."""
LEAST_COST = 1e-9
"""US dollars: the smallest amount that is kept."""
LONGEST_WAIT = 86_400.0
"""Seconds: a day, longer than any clock that the configuration can set."""

_TOP_LEVEL = {"models": "fallback_models", "provider": "provider"}
"""OpenRouter's field → the extension that it stands for."""
_NO_BODY: Mapping[str, Any] = MappingProxyType({})
Extensions = Mapping[str, tuple[str, Any]]
"""By name: where it is said, and its value."""
NO_EXTENSIONS: Extensions = MappingProxyType({})
_MERGED = frozenset({"provider", "retry"})
"""Objects of which each field is said on its own."""


_NOTHING_ASKED = Extra()


def parse_extra(
    body_extra: object,
    header: str | None,
    body: Mapping[str, Any] = _NO_BODY,
    preset: Extensions = NO_EXTENSIONS,
) -> Extra:
    """The validated extensions; `body` for OpenRouter's fields. Raises `BadExtension`."""
    fields = _top_level_fields(body)
    if header is not None:
        fields.update(_named(header_fields(header)))
    if body_extra is not None:
        fields.update(_named(object_of("extra", body_extra)))
    if preset:
        fields = _over(preset, fields)
    if not fields:
        return _NOTHING_ASKED
    parsed: dict[str, Any] = {}
    for name, (where, value) in fields.items():
        parser = _PARSERS.get(name)
        if parser is None:
            raise BadExtension(where, f"unknown; the extensions are {', '.join(sorted(_PARSERS))}")
        parsed.update(parser(where, value))
    return Extra(**parsed)


def _named(fields: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    return {name: (f"extra.{name}", value) for name, value in fields.items()}


def _top_level_fields(body: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """The extension → its name in the body and its value."""
    if body.get("route") not in (None, "fallback"):
        raise BadExtension("route", "expected fallback: the models of `models` are tried in order")
    return {
        extension: (name, body[name])
        for name, extension in _TOP_LEVEL.items()
        if body.get(name) is not None
    }


def preset_extensions(preset: Preset) -> Extensions:
    """What a preset's document says of them, in either way. Raises `BadExtension`."""
    document = preset.document
    where = f"@preset/{preset.slug}"
    own = document.get("extra")
    said = {} if own is None else object_of(f"{where}.extra", own)
    return {
        **{
            name: (f"{where}.{at}", value)
            for name, (at, value) in _top_level_fields(document).items()
        },
        **{name: (f"{where}.extra.{name}", value) for name, value in said.items()},
    }


def _over(preset: Extensions, own: Extensions) -> dict[str, tuple[str, Any]]:
    """The request's over those of its preset. Of two timeouts the tighter holds."""
    fields = {**preset, **own}
    for name in preset.keys() & own.keys():
        where, value = own[name]
        _, base = preset[name]
        if isinstance(value, dict) and isinstance(base, dict):
            if name == "timeout":
                fields[name] = where, {**base, **value, **_tighter(base, value)}
            elif name in _MERGED:
                fields[name] = where, {**base, **value}
    return fields


def _tighter(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, float]:
    return {
        clock: min(base[clock], own[clock])
        for clock in base.keys() & own.keys()
        if isinstance(own[clock], int | float) and isinstance(base[clock], int | float)
    }


def header_fields(header: str) -> Mapping[str, Any]:
    """The extensions of the header. Raises `BadExtension`."""
    try:
        value = msgspec.json.decode(header_text(header))
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadExtension(HEADER, f"expected a JSON object ({error})") from None
    return object_of(HEADER, value)


def _fallback_models(where: str, value: object) -> dict[str, Any]:
    return {"fallback_models": strings_of(where, value, MOST_FALLBACKS)}


def _tags(where: str, value: object) -> dict[str, Any]:
    tags = strings_of(where, value, MOST_TAGS)
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
        return {"retry": {"attempts": whole_of(where, value, 0, 10)}}
    policy: dict[str, float] = {}
    for name, given in value.items():
        known = _RETRY.get(name)
        if known is None:
            raise BadExtension(f"{where}.{name}", f"unknown; expected {', '.join(_RETRY)}")
        field, least, most, unit = known
        if name == "attempts":
            policy[field] = whole_of(f"{where}.{name}", given, int(least), int(most))
        else:
            policy[field] = number_of(f"{where}.{name}", given, least, most) / unit
    return {"retry": policy}


_CLOCKS = ("connect", "first_token", "idle", "response", "total")


def _timeout(where: str, value: object) -> dict[str, Any]:
    clocks: dict[str, float] = {}
    for name, given in object_of(where, value).items():
        if name not in _CLOCKS:
            raise BadExtension(f"{where}.{name}", f"unknown; expected {', '.join(_CLOCKS)}")
        clocks[name] = number_of(f"{where}.{name}", given, 0.001, LONGEST_WAIT)
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
    words = [word.value for word in Midstream]
    if value not in words:
        raise BadExtension(where, f"expected one of {', '.join(words)}")
    return {"midstream": Midstream(value)}


def _hedge(where: str, value: object) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"hedge": value}
    if not isinstance(value, int | float):
        raise BadExtension(where, f"expected true, false or seconds, got {kind_of(value)}")
    return {"hedge": True, "hedge_after": number_of(where, value, 0.001, LONGEST_WAIT)}


def _provider(where: str, value: object) -> dict[str, Any]:
    return {"provider": provider_preferences(where, value)}


def _max_cost(where: str, value: object) -> dict[str, Any]:
    dollars = number_of(where, value, LEAST_COST, float(usd(MOST)))
    return {"max_cost": NanoUSD(int(Decimal(repr(dollars)) * NANO_PER_USD))}


def _byok(where: str, value: object) -> dict[str, Any]:
    return {"byok": callers_keys(where, value)}


_PARSERS: Mapping[str, Callable[[str, object], dict[str, Any]]] = {
    "fallback_models": _fallback_models,
    "provider": _provider,
    "retry": _retry,
    "timeout": _timeout,
    "midstream": _midstream,
    "hedge": _hedge,
    "payloads": _payloads,
    "unsupported": _unsupported,
    "tags": _tags,
    "max_cost": _max_cost,
    "byok": _byok,
    "preset": lambda where, value: {},  # It is in the request by then (`presets.py`).
}
