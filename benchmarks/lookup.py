"""Figures by server and case, out of a run's raw rows. Pure."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.cases import MEASURED
from benchmarks.figures import Spread, spread
from benchmarks.plan import Outcome
from benchmarks.rows import Row, Run

Measure = Callable[[Outcome], float | None]
MIB = 2**20
OWN = "signalbox"
WRONG = 0.01
"""The share of wrong answers from which a row of another server has no figures."""


def cost(outcome: Outcome) -> float | None:
    """Microseconds of CPU for a request, or for a piece of text where streams were measured."""
    units = outcome.pieces or outcome.answered
    return outcome.cpu_seconds / units * 1e6 if units and outcome.cpu_seconds else None


def rate(outcome: Outcome) -> float | None:
    """Requests, or pieces of text, a second."""
    units = outcome.pieces or outcome.answered
    return units / outcome.seconds if units and outcome.seconds else None


def p50(outcome: Outcome) -> float | None:
    """Milliseconds."""
    return None if outcome.p50 is None else outcome.p50 * 1e3


def p99(outcome: Outcome) -> float | None:
    return None if outcome.p99 is None else outcome.p99 * 1e3


def worst(outcome: Outcome) -> float | None:
    return None if outcome.worst is None else outcome.worst * 1e3


def memory(outcome: Outcome) -> float | None:
    """MiB of the whole process tree, what its processes share counted once."""
    return outcome.proportional_bytes / MIB or None


def _mostly_wrong(outcome: Outcome) -> bool:
    """Whether what it cost says nothing of the answers that were right."""
    return outcome.errors > (outcome.answered + outcome.errors) * WRONG


class Figures:
    def __init__(self, run: Run) -> None:
        self._rows = {
            (row.server, row.case, row.outcome.name, row.round): row
            for row in run.rows
            if row.outcome.answered and (row.server == OWN or not _mostly_wrong(row.outcome))
        }
        self._rounds = range(1, run.rounds + 1)

    def rows(self, server: str, case: str, step: str = MEASURED) -> list[Row]:
        found = [self._rows.get((server, case, step, number)) for number in self._rounds]
        return [row for row in found if row is not None]

    def by_round(
        self, server: str, case: str, measure: Measure, step: str = MEASURED
    ) -> dict[int, float]:
        found = {row.round: measure(row.outcome) for row in self.rows(server, case, step)}
        return {number: value for number, value in found.items() if value is not None}

    def of(self, server: str, case: str, measure: Measure, step: str = MEASURED) -> Spread | None:
        return spread(self.by_round(server, case, measure, step).values())


def ratio(above: dict[int, float], below: dict[int, float]) -> Spread | None:
    """Round by round, so that what slowed a whole round slowed both."""
    return spread(above[number] / below[number] for number in above if number in below)


def difference(left: dict[int, float], right: dict[int, float]) -> Spread | None:
    """As `ratio`."""
    return spread(left[number] - right[number] for number in left if number in right)
