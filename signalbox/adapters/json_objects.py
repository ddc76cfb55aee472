"""JSON of providers, read without trust: a value of another type than expected counts as absent."""

from __future__ import annotations

from typing import Any

import msgspec

from signalbox.adapters.openai_errors import clean
from signalbox.errors import ProviderProtocolError

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not JSON or are nested too deep."""
MOST_TOKENS = 1_000_000_000
"""A hundred times the longest context there is. A larger count is an error of the provider's."""
_EXCERPT_CHARS = 200


def decode_object(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises `ProviderProtocolError`."""
    try:
        fields = msgspec.json.decode(data)
    except DECODE_ERRORS as error:
        excerpt = clean(data[: _EXCERPT_CHARS * 4].decode("utf-8", "replace"), _EXCERPT_CHARS)
        raise ProviderProtocolError(f"not the JSON of an answer ({error}): {excerpt}") from error
    if not isinstance(fields, dict):
        raise ProviderProtocolError("the answer is no JSON object")
    return fields


def object_at(value: object, *path: str) -> dict[str, Any]:
    """The object that the path leads to; empty where there is none."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def objects_at(value: object, name: str) -> list[dict[str, Any]]:
    """A field's objects: a list of them, or one alone (streams have both)."""
    found = value.get(name) if isinstance(value, dict) else None
    found = found if isinstance(found, list) else [found]
    return [each for each in found if isinstance(each, dict)]


def text_at(value: object, name: str) -> str:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""
