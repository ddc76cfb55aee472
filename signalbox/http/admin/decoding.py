"""Bodies and queries as the types that an operation declares, or what is wrong with them.

msgspec checks; here its words become the ones of the API, which repeat no value: a secret may stand
anywhere.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect as types

from signalbox.config_check import member_type
from signalbox.config_report import did_you_mean
from signalbox.http.admin import problems
from signalbox.http.admin.fields import PATTERN_WORDS
from signalbox.http.asgi import RequestError

T = TypeVar("T", bound=msgspec.Struct)

MAX_DEPTH = 100
"""Of lists and objects in each other. No document needs a tenth of it, and what reads one later
may go down by calling itself."""
MAX_PARAMETERS = 50

_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{\]}]', re.DOTALL)
"""And whole strings. One that does not end is taken too, so that a text is looked at once."""
_PLACE = re.compile(r" - at `(?:key in )?\$(.*)`$")
_FIELD = re.compile(r"Object (contains unknown|missing required) field `(.*)`$", re.DOTALL)
_PATTERN = re.compile(r"Expected `str` matching regex '(.*)'$")
_TYPE_WORDS = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def decode_body(body: bytes, kind: type[T]) -> T:
    """An empty body is an object without fields. Raises `RequestError`."""
    try:
        text = (body or b"{}").decode()
        if _depth(text) > MAX_DEPTH:
            raise problems.invalid(None, f"The body is nested more than {MAX_DEPTH} deep.")
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError as error:
        raise _worded(str(error), kind) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = "The body is not JSON in UTF-8 (or holds a lone surrogate)."
        raise problems.invalid(None, message) from None


def decode_query(query: bytes, kind: type[T]) -> T:
    """Raises `RequestError`."""
    given: dict[str, str] = {}
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except (UnicodeDecodeError, ValueError):
        expected = f"The query is not UTF-8, or has more than {MAX_PARAMETERS} parameters."
        raise problems.invalid(None, expected) from None
    for name, value in pairs:
        if name in given:
            raise problems.invalid(name[:80], "is there twice")
        given[name] = value
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise _worded(str(error), kind) from None


def _depth(text: str) -> int:
    """How deep lists and objects lie in each other; at least, where brackets stand in strings."""
    deepest = depth = 0
    for bracket in _BRACKETS.finditer(text):
        if bracket[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif bracket[0] in "]}":
            depth -= 1
    return deepest


def _worded(message: str, kind: type[msgspec.Struct]) -> RequestError:
    place = _PLACE.search(message)
    path = place[1].lstrip(".") if place else ""
    text = message[: place.start()] if place else message
    if (field := _FIELD.match(text)) is not None:
        return _about_a_field(field, path, kind)
    return problems.invalid(path or None, _expected(text, path, kind))


def _about_a_field(field: re.Match[str], path: str, kind: type[msgspec.Struct]) -> RequestError:
    name = field[2][:80]
    whole = f"{path}.{name}" if path else name
    if field[1] == "missing required":
        return problems.invalid(whole, "is missing")
    known = [f.encode_name for option in _options_at(kind, path) for f in _fields(option)]
    return problems.invalid(whole, f"there is no such field{did_you_mean(name, known)}")


def _expected(text: str, path: str, kind: type[msgspec.Struct]) -> str:
    if (pattern := _PATTERN.match(text)) is not None:
        # msgspec tells it as Python would write it.
        return f"expected {PATTERN_WORDS[pattern[1].encode().decode('unicode_escape')]}"
    if text.startswith("Invalid enum value"):
        choices = [
            str(value)
            for option in _options_at(kind, path)
            if isinstance(option, types.LiteralType)
            for value in option.values
        ]
        return f"expected one of {', '.join(choices)}"
    worded = re.sub(r"`([^`]*)`", lambda quoted: _type_words(quoted[1]), text)
    return worded[:1].lower() + worded[1:]


def _type_words(named: str) -> str:
    return " or ".join(_TYPE_WORDS.get(word, word) for word in named.split(" | "))


def _options_at(kind: type[msgspec.Struct], path: str) -> list[types.Type]:
    """The types that may stand at a path."""
    found: types.Type | None = types.type_info(kind)
    for name in re.findall(r"[^.\[\]]+", path):
        found = member_type(found, name) if found is not None else None
    if isinstance(found, types.UnionType):
        return list(found.types)
    return [] if found is None else [found]


def _fields(option: Any) -> tuple[types.Field, ...]:
    return option.fields if isinstance(option, types.StructType) else ()
