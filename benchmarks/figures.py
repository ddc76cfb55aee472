"""The statistics: quantiles of one run's samples, medians over the rounds. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def quantile(samples: Sequence[float], share: float) -> float | None:
    """The smallest sample that at least `share` of all samples do not exceed. None of none."""
    if not samples:
        return None
    ordered = sorted(samples)
    # Of n samples the k-th is reached by k/n of them; rounding keeps 0.99 × 100 at 99.
    at = -(-round(share * len(ordered) * 1e9) // 10**9)
    return ordered[max(0, min(len(ordered), at) - 1)]


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over all rounds."""

    median: float
    least: float
    most: float

    def __truediv__(self, other: Spread) -> float:
        """The ratio of the medians."""
        return self.median / other.median


def spread(values: Iterable[float | None]) -> Spread | None:
    """None where no round has the figure."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(statistics.median(known), min(known), max(known))
