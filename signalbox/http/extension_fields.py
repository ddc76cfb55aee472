"""What the fields of an extension may hold: readers that name what is wrong and by which path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from signalbox.errors import ApiError, SignalboxError
from signalbox.machines.decisions import refusal


class BadExtension(SignalboxError):
    """What the client is told: which field, and what was expected."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: {expected}")
        self.error: ApiError = refusal("invalid_value", f"{field}: {expected}", field)


def object_of(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise BadExtension(where, f"expected an object, got {kind_of(value)}")
    return value


def strings_of(where: str, value: object, most: int) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
        raise BadExtension(where, "expected a list of non-empty strings")
    if len(value) > most:
        raise BadExtension(where, f"expected at most {most} entries, got {len(value)}")
    return tuple(value)


def boolean_of(where: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise BadExtension(where, f"expected true or false, got {kind_of(value)}")
    return value


def number_of(where: str, value: object, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadExtension(where, f"expected a number, got {kind_of(value)}")
    if not least <= value <= most:
        raise BadExtension(where, f"expected {least:g} to {most:g}, got {str(value)[:20]}")
    return float(value)


def whole_of(where: str, value: object, least: int, most: int) -> int:
    number = number_of(where, value, least, most)
    if number != int(number):
        raise BadExtension(where, f"expected a whole number, got {number:g}")
    return int(number)


def kind_of(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")
