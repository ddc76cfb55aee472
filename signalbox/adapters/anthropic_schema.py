"""JSON Schemas in the subset that Anthropic's structured outputs and strict tools take.

Source: Anthropic's documentation, "Structured outputs", JSON Schema limitations: every object is
closed (`additionalProperties: false`), bounds on numbers, texts and lists are refused. As the
vendor's own SDKs do it, a bound becomes words of the description.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

_BOUNDS = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
        "patternProperties",
        "propertyNames",
        "contains",
    }
)
_SCHEMAS_BY_NAME = ("properties", "$defs", "definitions")
_LISTS_OF_SCHEMAS = ("anyOf", "allOf")
MOST_NESTED = 50
"""Schemas in schemas; what is deeper is left as it is. Five levels are many."""


class OpenObject(ValueError):
    """A schema of objects whose keys are not named: a closed one would mean another thing."""


def fitted_schema(schema: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A schema that is taken, and the keywords that became words. Raises `OpenObject`."""
    moved: dict[str, None] = {}
    return _fitted(schema, moved, MOST_NESTED), tuple(moved)


def _fitted(schema: Mapping[str, Any], moved: dict[str, None], depth: int) -> dict[str, Any]:
    if not depth:
        return dict(schema)
    fitted: dict[str, Any] = {}
    bounds: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _BOUNDS or (name == "minItems" and value not in (0, 1)):
            bounds[name] = value
        elif name in _SCHEMAS_BY_NAME and isinstance(value, dict):
            fitted[name] = {key: _inner(it, moved, depth) for key, it in value.items()}
        elif name in (*_LISTS_OF_SCHEMAS, "oneOf") and isinstance(value, list):
            fitted["anyOf" if name == "oneOf" else name] = [
                _inner(it, moved, depth) for it in value
            ]
        elif name == "items":
            fitted[name] = _inner(value, moved, depth)
        else:
            fitted[name] = value
    if bounds:
        moved.update(dict.fromkeys(bounds))
        words = ", ".join(f"{name}: {_json(value)}" for name, value in bounds.items())
        fitted["description"] = "\n\n".join(filter(None, [_text(schema), f"{{{words}}}"]))
    if _is_of_objects(schema):
        more = schema.get("additionalProperties")
        if isinstance(more, dict) or (more is not False and not schema.get("properties")):
            raise OpenObject
        fitted["additionalProperties"] = False
    return fitted


def _inner(value: Any, moved: dict[str, None], depth: int) -> Any:
    return _fitted(value, moved, depth - 1) if isinstance(value, dict) else value


def _is_of_objects(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


def _text(schema: Mapping[str, Any]) -> str:
    said = schema.get("description")
    return said if isinstance(said, str) else ""


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
