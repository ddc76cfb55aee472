"""UUIDv7 (RFC 9562, section 5.7): ids that sort by the time they were made."""

from __future__ import annotations

import re
from collections.abc import Callable

RANDOM_BITS = 74
"""rand_a (12 bits) and rand_b (62 bits): all that is neither time, version nor variant."""

READ_AHEAD = 4096
"""Random bytes, for some hundreds of ids."""

_MAX_MS = (1 << 48) - 1
_RAND_B_BITS = 62
_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62
_STEP_BITS = 32
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CANONICAL = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def uuid7(unix_ms: int, random_bits: int) -> str:
    """The UUIDv7 of a moment (Unix milliseconds, 48 bits) and 74 random bits, in canonical form.

    Raises `ValueError` naming the argument that is out of range.
    """
    if not 0 <= unix_ms <= _MAX_MS:
        raise ValueError(f"unix_ms is {unix_ms}, expected 0 to {_MAX_MS}")
    if random_bits < 0 or random_bits >> RANDOM_BITS:
        raise ValueError(f"random_bits is {random_bits}, expected {RANDOM_BITS} bits")
    rand_a = random_bits >> _RAND_B_BITS
    rand_b = random_bits & ((1 << _RAND_B_BITS) - 1)
    return _canonical(unix_ms << 80 | _VERSION | rand_a << 64 | _VARIANT | rand_b)


def first_id(at: float) -> str:
    """Before all UUIDv7 that are made from this moment on (Unix seconds), and after those before
    it."""
    unix_ms = min(max(round(at * 1000), 0), _MAX_MS)
    return _canonical(unix_ms << 80)


def is_uuid(text: str) -> bool:
    """Whether `text` is a UUID of any version in canonical form."""
    return _UUID.fullmatch(text) is not None


def is_uuid7(text: str) -> bool:
    """Whether `text` is a UUIDv7 in canonical form: lower case, with its four hyphens."""
    return _CANONICAL.fullmatch(text) is not None


def uuid7_ms(uuid: str) -> int:
    """The Unix milliseconds in a UUIDv7. Raises `ValueError` when it is not one."""
    if not is_uuid7(uuid):
        raise ValueError(f"{uuid!r} is not a UUIDv7 in canonical form")
    return int(uuid[:8] + uuid[9:13], 16)


class RandomBits:
    """Random integers from bytes that are read ahead: asking the kernel costs more than the rest of
    making an id. `read(n)` gives n random bytes."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._bytes = b""
        self._used = 0

    def __call__(self, bits: int) -> int:
        size = (bits + 7) // 8
        end = self._used + size
        if end > len(self._bytes):
            self._bytes = self._read(max(READ_AHEAD, size))
            self._used, end = 0, size
        drawn = int.from_bytes(self._bytes[self._used : end], "big")
        self._used = end
        return drawn >> (size * 8 - bits)


class Uuid7Generator:
    """Makes UUIDv7s that each sort after the one before, also within one millisecond.

    Within a millisecond, and while the clock stands behind the last id's time, the random part
    grows by a random step (RFC 9562, section 6.2, method 2); when it overflows, the id's time
    moves on by a millisecond. For the use of one thread.

    `clock` gives Unix seconds; `random_bits(n)` gives an integer of n random bits.
    """

    def __init__(self, clock: Callable[[], float], random_bits: Callable[[int], int]) -> None:
        self._clock = clock
        self._random_bits = random_bits
        self._ms = -1
        self._random = 0

    def __call__(self) -> str:
        now_ms = int(self._clock() * 1000)
        stepped = self._random + 1 + self._random_bits(_STEP_BITS)
        if now_ms <= self._ms and not stepped >> RANDOM_BITS:
            self._random = stepped
        else:
            self._ms = max(now_ms, self._ms + 1)
            self._random = self._random_bits(RANDOM_BITS)
        return uuid7(self._ms, self._random)


def _canonical(number: int) -> str:
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
