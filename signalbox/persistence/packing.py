"""Values of many bytes as a database keeps them: compressed where that pays.

A number beside the value says how it is kept (`Kept`). What the numbers mean, and the bytes of the
dictionary, never change: databases hold what was written with them.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from pathlib import Path
from threading import Lock

import zstandard

EVENTS_DICTIONARY = Path(__file__).with_name("events.dictionary")
"""Events as traces have them, the commonest last. A trace's 5 KB of events are mostly the names of
fields. With these known before, they become 300 bytes in 9 µs; without them 1,300 in 14. As they
are, they would cost more than a page, and a page costs about 10 µs."""

LEAST_BYTES = 16 * 1024
"""Shorter values are kept as they are: to compress them costs more CPU than to write them. Measured
on texts that become a third: 4 KB cost 17 µs and save a page, at 24 KB it is even, and 64 KB cost
120 µs and save ten pages."""

MOST_BYTES = 1_000_000_000
"""What a value may unpack to: the most that SQLite would have taken of it unpacked."""

_LEVEL = 1
"""Level 3 makes a trace's bodies 1 % smaller, for a third more time."""


class Kept(IntEnum):
    """How a value is kept."""

    PLAIN = 0
    ZSTD = 1
    ZSTD_EVENTS = 2
    """With `EVENTS_DICTIONARY`."""


def packed(value: bytes) -> tuple[Kept, bytes]:
    if len(value) < LEAST_BYTES:
        return Kept.PLAIN, value
    return Kept.ZSTD, _packer(Kept.ZSTD).pack(value)


def packed_events(value: bytes) -> tuple[Kept, bytes]:
    return Kept.ZSTD_EVENTS, _packer(Kept.ZSTD_EVENTS).pack(value)


def unpacked(kept: int, value: bytes) -> bytes:
    """Raises `ValueError` for what `packed` and `packed_events` did not make."""
    how = Kept(kept)
    return value if how is Kept.PLAIN else _packer(how).unpack(value)


class _Packer:
    """Its contexts are made once, as that costs more than most values; one thread at a time."""

    def __init__(self, dictionary: zstandard.ZstdCompressionDict | None) -> None:
        self._lock = Lock()
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL, dict_data=dictionary)
        self._decompressor = zstandard.ZstdDecompressor(dict_data=dictionary)

    def pack(self, value: bytes) -> bytes:
        with self._lock:
            return self._compressor.compress(value)

    def unpack(self, value: bytes) -> bytes:
        try:
            # A frame says how long it is unpacked, and the library believes it.
            if zstandard.frame_content_size(value) not in range(MOST_BYTES + 1):
                raise ValueError("its length is not told, or beyond the bound")
            with self._lock:
                return self._decompressor.decompress(value)
        except zstandard.ZstdError as error:
            raise ValueError(str(error)) from None


@cache
def _packer(how: Kept) -> _Packer:
    if how is Kept.ZSTD:
        return _Packer(None)
    dictionary = zstandard.ZstdCompressionDict(
        EVENTS_DICTIONARY.read_bytes(), dict_type=zstandard.DICT_TYPE_RAWCONTENT
    )
    dictionary.precompute_compress(level=_LEVEL)
    return _Packer(dictionary)
