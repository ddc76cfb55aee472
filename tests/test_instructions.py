"""The guard against slow creep: instructions for a request and for a piece of a stream."""

from __future__ import annotations

import pytest

from benchmarks import instructions
from benchmarks.instructions import Baseline, Counts, complaints, ratios

BEFORE = Baseline(request=100.0, piece=10.0)


def counts(request: float, piece: float) -> Counts:
    """With turns of 1,000 instructions."""
    return Counts(request * 1000, piece * 1000, 1000)


def test_counts_are_told_as_multiples_of_the_calibration() -> None:
    assert ratios(Counts(request=4_000_000, piece=81_000, turn=4_000)) == Baseline(1000.0, 20.25)


def test_what_is_within_the_margin_or_cheaper_is_no_complaint() -> None:
    assert complaints(counts(114.9, 11.4), BEFORE) == []
    assert complaints(counts(50.0, 1.0), BEFORE) == []


def test_a_complaint_names_the_figures_and_how_to_renew_them() -> None:
    [told] = complaints(counts(116.0, 10.0), BEFORE)
    assert told == (
        "a request takes 116,000 instructions, 116 turns of the calibration; the baseline is 100, "
        "with its margin 115.00. If that is meant: make instructions ARGS=--renew"
    )
    [told] = complaints(counts(100.0, 12.0), BEFORE)
    assert told.startswith("a piece of a stream takes 12,000 instructions, 12 turns")


@pytest.mark.system
@pytest.mark.slow
def test_the_gateway_takes_no_more_instructions_than_the_baseline_says() -> None:
    assert complaints(instructions.measure(), instructions.baseline()) == []
