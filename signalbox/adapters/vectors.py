"""Vectors as floats and as base64 of little-endian 32-bit floats (IEEE 754), both ways.

OpenAI's API reference names the second form (`encoding_format: base64`) but not its bytes; its SDKs
read them so (`openai/resources/embeddings.py`).
"""

from __future__ import annotations

import binascii
import math
from array import array
from collections.abc import Iterable
from sys import byteorder

BYTES_PER_FLOAT = 4
_FLOAT32 = "f"


def to_base64(floats: Iterable[float]) -> str:
    """Each float is rounded to 32 bits. Raises `ValueError` for one that is no finite number."""
    return binascii.b2a_base64(_little_endian(_finite(floats)).tobytes(), newline=False).decode()


def to_floats(text: str) -> tuple[float, ...]:
    """The floats, exactly. Raises `ValueError` where `text` does not hold finite 32-bit floats."""
    data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    if len(data) % BYTES_PER_FLOAT:
        raise ValueError(f"{len(data)} bytes are no whole number of 32-bit floats")
    floats: array[float] = array(_FLOAT32)
    floats.frombytes(data)
    return tuple(_finite(_little_endian(floats)))


def _finite(floats: Iterable[float]) -> array[float]:
    numbers = array(_FLOAT32, floats)
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a vector holds what is no finite 32-bit float")
    return numbers


def _little_endian(floats: array[float]) -> array[float]:
    if byteorder == "big":
        floats.byteswap()
    return floats
