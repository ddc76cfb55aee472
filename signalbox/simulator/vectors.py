"""Vectors of a simulated embedding: of length one, the same for the same input."""

from __future__ import annotations

import base64
import hashlib
import struct

DIMENSIONS = 256
"""Where the request does not say."""
MAX_DIMENSIONS = 4096


def vector(text: str, dimensions: int) -> tuple[float, ...]:
    """Values that 32-bit floats hold exactly, so that base64 and JSON tell the same numbers."""
    raw = hashlib.shake_256(text.encode("utf-8", "surrogatepass")).digest(dimensions * 2)
    values = [value / 32768 for value in struct.unpack(f"<{dimensions}h", raw)]
    length = sum(value * value for value in values) ** 0.5 or 1.0
    scaled = (value / length for value in values)
    return struct.unpack(f"<{dimensions}f", struct.pack(f"<{dimensions}f", *scaled))


def as_base64(values: tuple[float, ...]) -> str:
    """Little-endian 32-bit floats."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
