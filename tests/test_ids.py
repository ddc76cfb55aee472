from __future__ import annotations

import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.ids import (
    RANDOM_BITS,
    READ_AHEAD,
    RandomBits,
    Uuid7Generator,
    first_id,
    is_uuid,
    is_uuid7,
    uuid7,
    uuid7_ms,
)

moments = st.integers(0, 2**48 - 1)
randoms = st.integers(0, 2**RANDOM_BITS - 1)


def test_the_example_of_the_rfc() -> None:
    random_bits = 0xCC3 << 62 | 0x18C4DC0C0C07398F
    assert uuid7(0x017F22E279B0, random_bits) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(moments, randoms)
def test_an_id_is_a_uuid_of_version_7_that_carries_its_time(ms: int, random_bits: int) -> None:
    made = uuid7(ms, random_bits)
    read = uuid.UUID(made)
    assert (str(read), read.version, read.variant) == (made, 7, uuid.RFC_4122)
    assert is_uuid7(made)
    assert uuid7_ms(made) == ms


@given(st.tuples(moments, randoms), st.tuples(moments, randoms))
def test_ids_sort_by_time_then_by_their_random_bits(a: tuple[int, int], b: tuple[int, int]) -> None:
    assert (a < b) == (uuid7(*a) < uuid7(*b))


@given(st.integers(1, 2**48 - 1), randoms)
def test_the_first_id_of_a_moment_parts_those_before_from_those_after(ms: int, bits: int) -> None:
    assert uuid7(ms - 1, bits) < first_id(ms / 1000) < uuid7(ms, bits)
    assert first_id(-1.0) < uuid7(0, bits)


@pytest.mark.parametrize(
    ("ms", "random_bits", "named"),
    [(-1, 0, "unix_ms"), (2**48, 0, "unix_ms"), (0, -1, "random_bits"), (0, 2**74, "random_bits")],
)
def test_an_argument_out_of_range_is_named(ms: int, random_bits: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        uuid7(ms, random_bits)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "017F22E2-79B0-7CC3-98C4-DC0C0C07398F",
        "017f22e279b07cc398c4dc0c0c07398f",
        "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",
        "017f22e2-79b0-7cc3-58c4-dc0c0c07398f",
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f\n",
        "\u066017f22e2-79b0-7cc3-98c4-dc0c0c07398f",
    ],
)
def test_what_is_no_canonical_uuid7_is_refused(text: str) -> None:
    assert not is_uuid7(text)
    with pytest.raises(ValueError, match="not a UUIDv7"):
        uuid7_ms(text)


@given(st.uuids())
def test_a_uuid_of_any_version_is_one_in_canonical_form(one: uuid.UUID) -> None:
    assert is_uuid(str(one))
    for other in (one.hex, f"{one}\n", f"{{{one}}}", str(one)[1:], f"G{str(one)[1:]}"):
        assert not is_uuid(other)


@given(
    st.lists(st.floats(0, 4_000_000_000), min_size=2, max_size=50),
    st.integers(),
    st.sampled_from([0, 1]),
)
def test_each_id_sorts_after_the_one_before_whatever_the_clock_does(
    clock: list[float], seed: int, all_ones: int
) -> None:
    rng = random.Random(seed)

    def random_bits(n: int) -> int:
        # All ones overflow the random part at once.
        return (1 << n) - 1 if all_ones else rng.getrandbits(n)

    times = iter(clock)
    generate = Uuid7Generator(lambda: next(times), random_bits)
    made = [generate() for _ in clock]
    assert made == sorted(set(made))


def test_an_id_takes_the_time_of_the_clock_when_it_moves_on() -> None:
    times = iter([1.0, 1.0004, 2.5])
    generate = Uuid7Generator(lambda: next(times), random.Random(1).getrandbits)
    assert [uuid7_ms(generate()) for _ in range(3)] == [1000, 1000, 2500]


@given(st.lists(st.integers(1, 100), min_size=1, max_size=400))
def test_random_bits_are_those_read_each_used_once(sizes: list[int]) -> None:
    read = list[bytes]()

    def reader(size: int) -> bytes:
        read.append(random.Random(len(read)).randbytes(size))
        return read[-1]

    bits = RandomBits(reader)
    drawn = [bits(size) for size in sizes]
    source = iter(read)
    left = next(source)
    for size, number in zip(sizes, drawn, strict=True):
        needed = (size + 7) // 8
        if len(left) < needed:
            left = next(source)
        assert number == int.from_bytes(left[:needed], "big") >> (needed * 8 - size)
        left = left[needed:]
    assert all(len(each) == READ_AHEAD for each in read)
