"""Schemas of Gemini's API as JSON Schema.

Its own form is a subset of OpenAPI 3.0 (Google, `Schema`): types in capitals, `nullable`, counts as
text, an order of properties. Source: Google, Gemini API reference, "Caching: Schema".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from signalbox.adapters.gemini_fields import camel

_COUNTS = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
)
_ONE = frozenset({"items"})
_MANY = frozenset({"anyOf", "prefixItems"})
_NAMED = frozenset({"properties", "defs"})
_RENAMED = {"defs": "$defs", "ref": "$ref", "example": "examples"}
_LEFT_OUT = frozenset({"propertyOrdering", "nullable"})


DEEPEST = 64
"""Schemas inside of schemas. What is deeper stays as it is; Google refuses far less."""


def json_schema(schema: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """The same as JSON Schema; fields that are not known stay as they are."""
    told: dict[str, Any] = {}
    if depth > DEEPEST:
        return dict(schema)
    for spelling, value in schema.items():
        name = camel(spelling) if "_" in spelling else spelling
        if name not in _LEFT_OUT and value is not None:
            told[_RENAMED.get(name, name)] = _field(name, value, depth + 1)
    if schema.get("nullable") is True:
        _allow_null(told)
    return told


def _field(name: str, value: Any, depth: int) -> Any:
    if name == "type":
        if isinstance(value, list):
            return [each.lower() if isinstance(each, str) else each for each in value]
        return value.lower() if isinstance(value, str) else value
    if name in _COUNTS and isinstance(value, str) and value.isdecimal() and len(value) < 19:
        return int(value)
    if name in _ONE and isinstance(value, dict):
        return json_schema(value, depth)
    if name in _MANY and isinstance(value, list):
        return [json_schema(each, depth) if isinstance(each, dict) else each for each in value]
    if name in _NAMED and isinstance(value, dict):
        return {n: json_schema(v, depth) if isinstance(v, dict) else v for n, v in value.items()}
    if name == "example":
        return [value]
    return value


def _allow_null(told: dict[str, Any]) -> None:
    kind = told.get("type")
    if isinstance(kind, str) and kind != "null":
        told["type"] = [kind, "null"]
    elif isinstance(told.get("anyOf"), list):
        told["anyOf"] = [*told["anyOf"], {"type": "null"}]
    if isinstance(told.get("enum"), list) and None not in told["enum"]:
        told["enum"] = [*told["enum"], None]
