"""A plausible value for a JSON schema, drawn from a seeded generator.

Covers what tool parameters and structured outputs use: types, enum, const, required and optional
properties, arrays, bounds, local `$ref`, anyOf/oneOf/allOf, common string formats. `pattern`,
`not` and conditions are ignored.
"""

from __future__ import annotations

import math
import random
from typing import Any

MAX_DEPTH = 8
"""Deeper values are left empty: a schema may refer to itself."""
MAX_VALUES = 500
"""Per example: a schema with many self-references grows without end before it gets deep."""
MAX_STRING = 1_000
"""Characters; `minLength` of a hostile schema is cut to this."""

_STRINGS = {
    "date": "2025-06-15",
    "time": "12:00:00Z",
    "date-time": "2025-06-15T12:00:00Z",
    "duration": "PT1H",
    "email": "ada@example.com",
    "hostname": "example.com",
    "uri": "https://example.com/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "7f1c2a9e-4b1d-4c1a-9c55-0d8f4f6b2a10",
}
_PLACES = ("Paris", "Oslo", "Lisbon", "Kyoto")
_WORDS = ("signal", "platform", "junction", "semaphore", "timetable")


def schema_example(schema: Any, rng: random.Random) -> Any:
    """A value that the schema describes; `{}` where it describes nothing that is known here."""
    return _Examples(schema, rng).value(schema, "", 0)


class _Examples:
    def __init__(self, root: Any, rng: random.Random) -> None:
        self._root = root
        self._rng = rng
        self._left = MAX_VALUES

    def value(self, schema: Any, name: str, depth: int) -> Any:
        self._left -= 1
        if not isinstance(schema, dict) or depth > MAX_DEPTH or self._left < 0:
            return {}
        if "const" in schema:
            return schema["const"]
        for choices in (schema.get("enum"), schema.get("examples")):
            if isinstance(choices, list) and choices:
                return self._rng.choice(choices)
        if "default" in schema:
            return schema["default"]
        if isinstance(schema.get("$ref"), str):
            return self.value(self._resolve(schema["$ref"]), name, depth + 1)
        for word in ("anyOf", "oneOf"):
            if isinstance(schema.get(word), list) and schema[word]:
                return self.value(schema[word][0], name, depth + 1)
        if isinstance(schema.get("allOf"), list) and schema["allOf"]:
            return self._all_of(schema["allOf"], name, depth)
        return self._of_type(schema, name, depth)

    def _of_type(self, schema: dict[str, Any], name: str, depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = next((one for one in kind if one != "null"), "null")
        match kind:
            case "string":
                return self._string(schema, name)
            case "integer":
                return math.ceil(self._number(schema, step=1))
            case "number":
                return round(self._number(schema, step=0.5), 2)
            case "boolean":
                return self._rng.random() < 0.5
            case "null":
                return None
            case "array":
                return self._array(schema, name, depth)
            case _:
                return self._object(schema, depth)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        if not isinstance(properties, dict):
            return {}
        required = schema.get("required")
        names = required if isinstance(required, list) and required else list(properties)
        return {
            name: self.value(properties[name], name, depth + 1)
            for name in properties
            if name in names
        }

    def _array(self, schema: dict[str, Any], name: str, depth: int) -> list[Any]:
        least = schema.get("minItems")
        count = min(max(least, 1), 8) if isinstance(least, int) else 1
        items = schema.get("items", {"type": "string"})
        return [self.value(items, name, depth + 1) for _ in range(count)]

    def _string(self, schema: dict[str, Any], name: str) -> str:
        text = _STRINGS.get(str(schema.get("format")))
        if text is None:
            place = any(word in name.lower() for word in ("city", "location", "place"))
            text = self._rng.choice(_PLACES if place else _WORDS)
        least, most = schema.get("minLength"), schema.get("maxLength")
        if isinstance(least, int):
            text = text.ljust(min(least, MAX_STRING), ".")
        return text[: max(most, 0)] if isinstance(most, int) else text

    def _number(self, schema: dict[str, Any], *, step: float) -> float:
        low = _bound(schema, "minimum", "exclusiveMinimum", step)
        high = _bound(schema, "maximum", "exclusiveMaximum", -step)
        if low is None:
            low = 1.0 if high is None else min(1.0, high)
        if high is None:
            high = low + 20
        return min(low + step * self._rng.randrange(20), max(low, high))

    def _all_of(self, parts: list[Any], name: str, depth: int) -> Any:
        values = [self.value(part, name, depth + 1) for part in parts]
        if not all(isinstance(value, dict) for value in values):
            return values[0]
        return {key: inner for value in values for key, inner in value.items()}

    def _resolve(self, ref: str) -> Any:
        """What a local reference (`#/$defs/name`, RFC 6901) points at."""
        value = self._root
        for part in ref.removeprefix("#").split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            value = value.get(name) if isinstance(value, dict) else None
        return value


def _bound(schema: dict[str, Any], closed: str, open_: str, step: float) -> float | None:
    for name, shift in ((closed, 0.0), (open_, step)):
        value = schema.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return max(min(value, 10**15), -(10**15)) + shift
    return None
