"""AWS's binary event stream: cut anywhere, damaged anywhere, and hostile."""

from __future__ import annotations

import contextlib
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signalbox.adapters.aws_event_stream import (
    MAX_MESSAGE_BYTES,
    AwsEventStreamDecoder,
    Message,
)
from signalbox.errors import ProviderProtocolError
from tests.aws_events import encoded
from tests.recordings import cut

HEADERS = st.dictionaries(st.text(max_size=6), st.text(max_size=8), max_size=3)
MESSAGES = st.lists(st.tuples(HEADERS, st.binary(max_size=20)), min_size=1, max_size=4)


def sealed(block: bytes, payload: bytes = b"") -> bytes:
    """A message with headers that are these bytes."""
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + payload
    return message + struct.pack(">I", zlib.crc32(message))


def decode(*pieces: bytes) -> list[Message]:
    decoder = AwsEventStreamDecoder()
    return [message for piece in pieces for message in decoder.feed(piece)]


def test_a_message_byte_for_byte() -> None:
    """Prelude, its checksum, one header, the payload, the whole's checksum."""
    data = bytes.fromhex("0000001e00000008") + struct.pack(
        ">I", zlib.crc32(bytes.fromhex("0000001e00000008"))
    )
    data += b"\x02:a\x07\x00\x02hi" + b"{}XYZW"
    data += struct.pack(">I", zlib.crc32(data))
    assert decode(data[:12] + data[12:]) == [Message({":a": "hi"}, b"{}XYZW")]


@settings(max_examples=60, deadline=None)
@given(messages=MESSAGES, places=st.lists(st.integers(0, 500), max_size=8))
def test_cuts_change_nothing(
    messages: list[tuple[dict[str, str], bytes]], places: list[int]
) -> None:
    data = b"".join(encoded(headers, payload) for headers, payload in messages)
    assert decode(*cut(data, places)) == [Message(*each) for each in messages]


@settings(max_examples=80, deadline=None)
@given(
    headers=HEADERS,
    payload=st.binary(max_size=20),
    place=st.integers(0, 999),
    bit=st.integers(0, 7),
)
def test_a_damaged_bit_is_noticed(
    headers: dict[str, str], payload: bytes, place: int, bit: int
) -> None:
    data = bytearray(encoded(headers, payload))
    data[place % len(data)] ^= 1 << bit
    with pytest.raises(ProviderProtocolError):
        decode(bytes(data))


def test_headers_of_every_type_are_stepped_over() -> None:
    block = b"\x01t\x00" + b"\x01f\x01" + b"\x01b\x02x" + b"\x01s\x03xx" + b"\x01i\x04xxxx"
    block += b"\x01l\x05" + b"x" * 8 + b"\x01y\x06\x00\x01x" + b"\x01m\x08" + b"x" * 8
    block += b"\x01u\x09" + b"x" * 16 + b"\x01z\x07\x00\x02ok"
    assert decode(sealed(block, b"p")) == [Message({"z": "ok"}, b"p")]


@pytest.mark.parametrize(
    "block",
    [
        b"\x05ab",
        b"\x01a",
        b"\x01a\x0a",
        b"\x01a\x07\x00",
        b"\x01a\x07\x00\x05hi",
        b"\x01a\x04xx",
        b"\x01\xff\x00",
        b"\x01a\x07\x00\x01\xff",
    ],
)
def test_headers_that_are_none(block: bytes) -> None:
    with pytest.raises(ProviderProtocolError):
        decode(sealed(block))


@pytest.mark.parametrize("total", [0, 15, MAX_MESSAGE_BYTES + 1, 2**32 - 1])
def test_a_length_that_cannot_be_is_not_waited_for(total: int) -> None:
    prelude = struct.pack(">II", total, 0)
    with pytest.raises(ProviderProtocolError):
        decode(prelude + struct.pack(">I", zlib.crc32(prelude)))


def test_more_headers_than_the_message_has_bytes() -> None:
    prelude = struct.pack(">II", 20, 5)
    with pytest.raises(ProviderProtocolError):
        decode(prelude + struct.pack(">I", zlib.crc32(prelude)))


def test_what_came_before_damage_is_told_first() -> None:
    decoder = AwsEventStreamDecoder()
    assert decoder.feed(encoded({}, b"a") + b"\x00" * 12) == [Message({}, b"a")]
    with pytest.raises(ProviderProtocolError):
        decoder.feed(b"")


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=60), block=st.binary(max_size=30))
def test_no_bytes_raise_anything_else(data: bytes, block: bytes) -> None:
    for hostile in (data, sealed(block), encoded({}, b"") + data):
        with contextlib.suppress(ProviderProtocolError):
            decode(hostile)
