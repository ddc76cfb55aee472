"""What is compressed comes back as it was, and what is no such value is refused."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from signalbox.persistence.packing import (
    EVENTS_DICTIONARY,
    LEAST_BYTES,
    MOST_BYTES,
    Kept,
    packed,
    packed_events,
    unpacked,
)

MAGIC = b"\x28\xb5\x2f\xfd"
DIGEST = "0bc55d4b858fd489df70fb58537b11a55926f39bd8f5176cf993aed65fa14000"


@given(st.binary(), st.integers(1, 2 * LEAST_BYTES))
def test_whatever_is_packed_comes_back(value: bytes, times: int) -> None:
    repeated = (value * times)[: 4 * LEAST_BYTES]
    assert unpacked(*packed(repeated)) == repeated
    assert unpacked(*packed_events(value)) == value


def test_only_what_is_long_is_compressed() -> None:
    assert packed(bytes(LEAST_BYTES - 1)) == (Kept.PLAIN, bytes(LEAST_BYTES - 1))
    kept, value = packed(bytes(LEAST_BYTES))
    assert kept is Kept.ZSTD
    assert len(value) < 100


def test_events_are_compressed_with_what_most_of_them_have_in_common() -> None:
    others = EVENTS_DICTIONARY.read_bytes()[-3000:]
    for known, other in {b"gpt-4o": b"mistral-7b", b'"a"': b'"elsewhere"', b"0.": b"7."}.items():
        others = others.replace(known, other)
    kept, value = packed_events(others)
    assert kept is Kept.ZSTD_EVENTS
    assert len(value) < len(others) / 8


def test_the_dictionary_is_the_one_that_databases_were_written_with() -> None:
    dictionary = EVENTS_DICTIONARY.read_bytes()
    assert sha256(dictionary).hexdigest() == DIGEST
    # What looks like events is events: three traces, one after the other.
    assert json.loads(b"[%s]" % dictionary.replace(b"]][[", b"]],[["))


@pytest.mark.parametrize("kept", [Kept.ZSTD, Kept.ZSTD_EVENTS])
@given(st.binary(max_size=40), st.booleans(), st.integers(0, 60))
def test_other_bytes_are_refused_by_name(
    kept: Kept, noise: bytes, is_frame: bool, length: int
) -> None:
    value = (MAGIC if is_frame else b"") + noise
    for damaged in (value, packed_events(b"events" * 9)[1][:length] + noise):
        try:
            unpacked(kept, damaged)
        except ValueError:
            continue


def test_a_frame_that_would_fill_the_memory_is_refused() -> None:
    # A frame header: a single segment whose length is told in eight bytes.
    bomb = MAGIC + b"\xe0" + (MOST_BYTES + 1).to_bytes(8, "little") + bytes(20)
    with pytest.raises(ValueError, match="bound"):
        unpacked(Kept.ZSTD, bomb)
    unsaid = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100))
    with pytest.raises(ValueError, match="bound"):
        unpacked(Kept.ZSTD, unsaid)


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(ValueError, match="9"):
        unpacked(9, b"")
