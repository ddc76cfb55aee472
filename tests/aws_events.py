"""Messages of AWS's binary event stream, as a service sends them."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

_STRING = 7
_LEAST = 16


def encoded(headers: dict[str, str], payload: bytes) -> bytes:
    """One message. Names have at most 255 bytes, values 65,535."""
    block = b"".join(
        bytes([len(name.encode())])
        + name.encode()
        + bytes([_STRING])
        + struct.pack(">H", len(value.encode()))
        + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", _LEAST + len(block) + len(payload), len(block))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + payload
    return message + struct.pack(">I", zlib.crc32(message))


def event(kind: str, **payload: Any) -> bytes:
    """One event of a conversation."""
    headers = {
        ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return encoded(headers, json.dumps(payload).encode())


def exception(kind: str, message: str) -> bytes:
    headers = {
        ":exception-type": kind,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return encoded(headers, json.dumps({"message": message}).encode())
