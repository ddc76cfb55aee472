"""TOML that is read back as it was meant."""

from __future__ import annotations

import tomllib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.cli.toml_writer import toml_text
from signalbox.config_lines import index_lines

UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = (
    UNICODE
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.decimals(allow_nan=False, allow_infinity=False, places=9)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(UNICODE, inner, max_size=2),
    max_leaves=4,
)
TABLES = st.dictionaries(UNICODE, VALUES, max_size=2)
DOCUMENTS = st.dictionaries(
    UNICODE, TABLES | st.dictionaries(UNICODE, TABLES, max_size=2), max_size=2
)


def as_read(value: Any) -> Any:
    """What tomllib gives for a value: it knows no decimals by itself, and no tuples."""
    if isinstance(value, dict):
        return {name: as_read(item) for name, item in value.items()}
    if isinstance(value, list):
        return [as_read(item) for item in value]
    if isinstance(value, float):
        return Decimal(repr(value))
    if isinstance(value, Decimal) and "." not in f"{value:f}":
        return int(value)
    return value


@given(DOCUMENTS)
def test_what_is_written_is_read_back(document: dict[str, Any]) -> None:
    text = toml_text(document)
    assert tomllib.loads(text, parse_float=Decimal) == as_read(document)
    index_lines(text)
    text.encode()


@given(UNICODE)
def test_no_text_breaks_out_of_its_quotes(text: str) -> None:
    written = toml_text({"a": {text: [text, {text: text}]}})
    assert tomllib.loads(written) == {"a": {text: [text, {text: text}]}}
    assert all(line.isprintable() for line in written.splitlines() if text.isascii())


def test_a_document_reads_as_people_write_one() -> None:
    document = {
        "retry": {"attempts": 2},
        "providers": {"openai": {"keys": [{"env": "A", "rpm": 5}]}, "groq": {}},
        "models": {
            "a/b": {"routes": [{"provider": "openai", "model": "x", "input": Decimal("2.50")}] * 2}
        },
        "aliases": {"gpt-4": "a/b"},
    }
    assert (
        toml_text(document)
        == """\
[retry]
attempts = 2

[providers.openai]
keys = [{ env = "A", rpm = 5 }]

[providers.groq]

[models."a/b"]
routes = [
  { provider = "openai", model = "x", input = 2.50 },
  { provider = "openai", model = "x", input = 2.50 },
]

[aliases]
gpt-4 = "a/b"
"""
    )


@pytest.mark.parametrize(
    "value", [float("nan"), Decimal("Infinity"), "\ud800", None, b"bytes", {"a": object()}]
)
def test_what_toml_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="TOML"):
        toml_text({"a": {"b": value}})


def test_a_section_is_a_table() -> None:
    with pytest.raises(ValueError, match="expected a table"):
        toml_text({"a": 1})
