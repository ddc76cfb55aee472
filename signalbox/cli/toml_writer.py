"""Writes a configuration as TOML 1.0 (toml.io): sections with a header, the rest inline.

`tomllib` reads back the very same values.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\t": "\\t",
    "\n": "\\n",
    "\f": "\\f",
    "\r": "\\r",
}
_LINE_CHARS = 100
"""Where a list of tables is longer than that it has a line for each."""


def toml_text(document: Mapping[str, Any]) -> str:
    """The text of a document: sections, whose values may be tables of their own. Values are
    strings, booleans, integers, floats, decimals, lists and mappings of them.

    Raises `ValueError` for what TOML cannot hold.
    """
    blocks = []
    for section, table in document.items():
        if not isinstance(table, Mapping):
            raise ValueError(f"{section}: expected a table")
        if table and all(isinstance(value, Mapping) for value in table.values()):
            blocks += [_block(f"{_key(section)}.{_key(name)}", table[name]) for name in table]
        else:
            blocks.append(_block(_key(section), table))
    return "\n".join(blocks)


def _block(header: str, table: Mapping[str, Any]) -> str:
    lines = [f"[{header}]"]
    lines += [f"{_key(name)} = {_outer(value)}" for name, value in table.items()]
    return "\n".join(lines) + "\n"


def _outer(value: Any) -> str:
    """A value behind its key; a long list of tables is spread over lines."""
    inline = _value(value)
    is_tables = isinstance(value, list) and any(isinstance(item, Mapping) for item in value)
    if not is_tables or (len(value) == 1 and len(inline) <= _LINE_CHARS):
        return inline
    return "[\n" + "".join(f"  {_value(item)},\n" for item in value) + "]"


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _string(value)
        case int():
            return str(value)
        case float():
            return _float(value)
        case Decimal():
            return _decimal(value)
        case Mapping():
            inner = ", ".join(f"{_key(name)} = {_value(item)}" for name, item in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case list() | tuple():
            return f"[{', '.join(_value(item) for item in value)}]"
    raise ValueError(f"TOML has no {type(value).__name__}")


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _string(name)


def _string(text: str) -> str:
    written = []
    for character in text:
        code = ord(character)
        if 0xD800 <= code <= 0xDFFF:
            raise ValueError("TOML has no half of a surrogate pair")
        if character in _ESCAPES:
            written.append(_ESCAPES[character])
        elif code < 0x20 or 0x7F <= code < 0xA0 or code in (0x2028, 0x2029, 0xFEFF):
            written.append(f"\\u{code:04X}")
        else:
            written.append(character)
    return f'"{"".join(written)}"'


def _float(value: float) -> str:
    if not math.isfinite(value):
        raise ValueError("TOML's nan and inf are no values of a configuration")
    return repr(value)


def _decimal(value: Decimal) -> str:
    """Every digit, without an exponent; a whole number is an integer."""
    if not value.is_finite():
        raise ValueError("TOML's nan and inf are no values of a configuration")
    return f"{value:f}"
