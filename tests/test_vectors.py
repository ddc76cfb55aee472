"""Vectors as floats and as base64 of little-endian 32-bit floats."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.adapters.vectors import to_base64, to_floats

FLOATS32 = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=40)


@given(FLOATS32)
def test_floats_come_back_bit_by_bit(floats: list[float]) -> None:
    text = to_base64(floats)
    assert base64.b64decode(text) == struct.pack(f"<{len(floats)}f", *floats)
    back = to_floats(text)
    assert struct.pack(f"<{len(back)}f", *back) == struct.pack(f"<{len(floats)}f", *floats)


@given(FLOATS32)
def test_base64_comes_back_character_by_character(floats: list[float]) -> None:
    text = base64.b64encode(struct.pack(f"<{len(floats)}f", *floats)).decode()
    assert to_base64(to_floats(text)) == text


def test_a_float_of_64_bits_is_rounded() -> None:
    assert to_floats(to_base64([0.1])) == struct.unpack("<f", struct.pack("<f", 0.1))


@pytest.mark.parametrize("text", ["AAAA", "AA==", "A", "%%%%", "AACAfw==", "AADAfw==", "é"])
def test_what_holds_no_floats_is_refused(text: str) -> None:
    """Also an infinity and what is no number: nothing could be done with such a vector."""
    with pytest.raises(ValueError, match=r"."):
        to_floats(text)


@pytest.mark.parametrize("number", [1e39, float("inf"), float("nan")])
def test_what_is_no_float_of_32_bits_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match="no finite"):
        to_base64([number])


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        to_floats(text)
    except ValueError:
        return
