"""Fields of Gemini's API, whose names Google takes in two spellings.

`generateContent` takes `inlineData` and `inline_data` alike (proto3's JSON mapping: "Parsers accept
both the lowerCamelCase name and the original proto field name"). Names here are written in the
first of the two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

Object = Mapping[str, Any]


@lru_cache(maxsize=1024)
def snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)


@lru_cache(maxsize=1024)
def camel(name: str) -> str:
    """The first spelling of a name in either."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def given(value: Object, name: str) -> Any:
    """The field's value, in whichever spelling it is there; None where it is not."""
    found = value.get(name)
    return value.get(snake(name)) if found is None else found


def spelled(value: Object, name: str) -> str:
    """The name as it is spelled there."""
    return name if value.get(name) is not None or snake(name) not in value else snake(name)


def fields_of(value: Object) -> dict[str, Any]:
    """The fields by their first spelling, without those that are null."""
    return {camel(name): field for name, field in value.items() if field is not None}


def as_list(value: object) -> list[Any]:
    """A repeated field; a single one may stand without its list, as Google takes it."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
