"""AWS's binary event stream, `application/vnd.amazon.eventstream`, message by message.

Source: "Event Stream Encoding" of Amazon Transcribe's developer guide and Smithy's "Amazon Event
Stream": each message is

    total length (4 bytes), length of the headers (4), CRC32 of these eight (4),
    headers, payload, CRC32 of everything before it (4)

with numbers in network order. A header is the length of its name (1), the name, a type (1) and a
value; strings and bytes have their length (2) before them.
"""

from __future__ import annotations

import struct
import zlib

import msgspec

from signalbox.adapters.sse import MAX_EVENT_BYTES
from signalbox.errors import ProviderProtocolError

MEDIA_TYPE = "application/vnd.amazon.eventstream"
MAX_MESSAGE_BYTES = min(24 * 1024 * 1024, MAX_EVENT_BYTES)
"""The format's own limit, or that of any stream's event here."""
MAX_HEADER_BYTES = 128 * 1024
"""The format's own limit."""
_PRELUDE = 12
_LEAST = 16
"""Bytes of a message without headers and payload."""
_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Types of headers whose values have one length: booleans, numbers, a time, a UUID."""
_BYTES, _STRING = 6, 7


class Message(msgspec.Struct, frozen=True):
    """One message; `headers` are those that are strings."""

    headers: dict[str, str]
    payload: bytes


class AwsEventStreamDecoder:
    """Takes bytes cut anywhere, gives whole messages. Raises only `ProviderProtocolError`."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> bool:
        """Whether it holds a part of a message."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Message]:
        self._buffer += data
        messages: list[Message] = []
        start = 0
        try:
            while (size := self._size(start)) is not None:
                messages.append(_message(bytes(self._buffer[start : start + size])))
                start += size
        except ProviderProtocolError:
            if not messages:
                raise
            # What came before it is good; what is left raises when it is looked at again.
        del self._buffer[:start]
        return messages

    def _size(self, start: int) -> int | None:
        """Of the message at `start`, where all of it is there. A prelude is checked as soon as it
        is whole: a length that is not true would be waited for."""
        if len(self._buffer) - start < _PRELUDE:
            return None
        prelude = bytes(self._buffer[start : start + _PRELUDE])
        total, headers, checksum = struct.unpack(">III", prelude)
        if zlib.crc32(prelude[:8]) != checksum:
            raise ProviderProtocolError("the prelude of an event-stream message is damaged")
        if not _LEAST <= total <= MAX_MESSAGE_BYTES:
            raise ProviderProtocolError(f"an event-stream message of {total} bytes")
        if headers > min(MAX_HEADER_BYTES, total - _LEAST):
            raise ProviderProtocolError(f"an event-stream message with {headers} bytes of headers")
        return total if len(self._buffer) - start >= total else None


def _message(data: bytes) -> Message:
    (checksum,) = struct.unpack(">I", data[-4:])
    if zlib.crc32(data[:-4]) != checksum:
        raise ProviderProtocolError("an event-stream message is damaged")
    (headers,) = struct.unpack(">I", data[4:8])
    end = _PRELUDE + headers
    return Message(_headers(data[_PRELUDE:end]), data[end:-4])


def _headers(data: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    place = 0
    try:
        while place < len(data):
            name_end = place + 1 + data[place]
            name = _text(data, place + 1, name_end)
            kind = data[name_end]
            place = name_end + 1
            if kind in _FIXED:
                place += _FIXED[kind]
                continue
            if kind not in (_BYTES, _STRING):
                raise ProviderProtocolError(f"a header of the unknown type {kind}")
            (size,) = struct.unpack_from(">H", data, place)
            place += 2
            if kind == _STRING:
                headers[name] = _text(data, place, place + size)
            place += size
    except (IndexError, struct.error) as error:
        raise ProviderProtocolError("the headers of an event-stream message end early") from error
    if place != len(data):
        raise ProviderProtocolError("the headers of an event-stream message end early")
    return headers


def _text(data: bytes, start: int, end: int) -> str:
    if end > len(data):
        raise IndexError
    try:
        return data[start:end].decode()
    except UnicodeDecodeError as error:
        raise ProviderProtocolError("a header of an event-stream message is no text") from error
