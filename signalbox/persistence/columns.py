"""Single values of a row, checked on the way in and on the way out."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

from signalbox.errors import StoreUnavailable

_MICROSECONDS = 1_000_000
_INT64 = range(-(1 << 63), 1 << 63)
# No database keeps lone surrogates, PostgreSQL no NUL; a client's JSON may hold both.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class CorruptRow(StoreUnavailable):
    """A stored row is not one that this program wrote. Asking again does not help."""


def storable_text(text: str) -> str:
    """The text with each character that no database keeps replaced by U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def is_storable(text: str) -> bool:
    """Whether `storable_text` leaves it as it is."""
    return "\0" not in text if text.isascii() else _UNSTORABLE.search(text) is None


def storable_optional_text(text: str | None) -> str | None:
    return None if text is None else storable_text(text)


def storable_int(value: int | None, column: str) -> int | None:
    if value is not None and value not in _INT64:
        raise ValueError(f"{column} does not fit into a signed integer of 64 bits")
    return value


def microseconds(seconds: float, column: str) -> int:
    """Rounded to the microsecond, which is what is kept of a time."""
    if not math.isfinite(seconds):
        raise ValueError(f"{column} is {seconds}, expected a number of seconds")
    value = round(seconds * _MICROSECONDS)
    if value not in _INT64:
        raise ValueError(f"{column} is {seconds} s, expected microseconds that fit into 64 bits")
    return value


def optional_microseconds(seconds: float | None, column: str) -> int | None:
    return None if seconds is None else microseconds(seconds, column)


def storable_json(value: object, column: str) -> str:
    """Compact JSON in ASCII, which keeps any string of JSON as it is."""
    try:
        return _to_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{column} is not JSON: {error}") from None


class Row:
    """One row as the database gave it. Each getter checks what it returns.

    They raise `CorruptRow` naming the table, the row and the column, but not the value: it may be
    a client's words.
    """

    __slots__ = ("_name", "_values")

    def __init__(
        self, table: str, key: Sequence[str], columns: Sequence[str], values: Sequence[object]
    ) -> None:
        self._values: Mapping[str, object] = dict(zip(columns, values, strict=True))
        self._name = f"{table} row " + ", ".join(f"{self._values[part]}" for part in key)

    def text(self, column: str) -> str:
        value = self._values[column]
        if not isinstance(value, str):
            raise self.corrupt(column, "text")
        return value

    def optional_text(self, column: str) -> str | None:
        return None if self._values[column] is None else self.text(column)

    def integer(self, column: str) -> int:
        value = self._values[column]
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.corrupt(column, "an integer")
        return value

    def optional_integer(self, column: str) -> int | None:
        return None if self._values[column] is None else self.integer(column)

    def flag(self, column: str) -> bool:
        value = self._values[column]
        if not isinstance(value, int) or value not in (0, 1):
            raise self.corrupt(column, "0 or 1")
        return bool(value)

    def blob(self, column: str) -> bytes:
        value = self._values[column]
        if not isinstance(value, bytes):
            raise self.corrupt(column, "bytes")
        return value

    def optional_blob(self, column: str) -> bytes | None:
        return None if self._values[column] is None else self.blob(column)

    def seconds(self, column: str) -> float:
        return self.integer(column) / _MICROSECONDS

    def optional_seconds(self, column: str) -> float | None:
        return None if self._values[column] is None else self.seconds(column)

    def json_object(self, column: str) -> dict[str, object]:
        value = self.json(column)
        if not isinstance(value, dict):
            raise self.corrupt(column, "a JSON object")
        return value

    def json_text_map(self, column: str) -> dict[str, str]:
        texts: dict[str, str] = {}
        for name, value in self.json_object(column).items():
            if not isinstance(value, str):
                raise self.corrupt(column, "a JSON object of strings")
            texts[name] = value
        return texts

    def json_texts(self, column: str) -> tuple[str, ...]:
        value = self.json(column)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.corrupt(column, "a JSON array of strings")
        return tuple(value)

    def json_numbers(self, column: str) -> tuple[float, ...]:
        value = self.json(column)
        if not isinstance(value, list) or not all(
            isinstance(item, int | float) and not isinstance(item, bool) for item in value
        ):
            raise self.corrupt(column, "a JSON array of numbers")
        return tuple(value)

    def json(self, column: str) -> object:
        try:
            value: object = json.loads(self.text(column))
        except (ValueError, RecursionError):
            raise self.corrupt(column, "JSON") from None
        return value

    def corrupt(self, column: str, expected: str) -> CorruptRow:
        found = type(self._values[column]).__name__
        return CorruptRow(f"{self._name}: column {column!r} holds {found}, expected {expected}")
