"""What must be reached, and whether a run's rows reach it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import lookup
from benchmarks.cases import AMONG, HELD, MEASURED
from benchmarks.figures import Spread, spread
from benchmarks.lookup import OWN, Figures

JSON = ("json-1", "json-32", "json-256")
SSE = ("sse-32", "sse-256")
KIB = 1024


@dataclass(frozen=True, slots=True)
class Goal:
    title: str
    wanted: str
    found: Sequence[tuple[str, Spread | None]]
    """Each with what it is of; the goal is reached when every median is within the bound."""
    least: float | None = None
    most: float | None = None
    unit: str = " ×"
    errors: int = 0
    """In the rows of this goal, where it asks for none."""

    @property
    def reached(self) -> bool | None:
        """None: something of it was not measured."""
        known = [value for _, value in self.found if value is not None]
        within = all(self._holds(value.median) for value in known) and not self.errors
        if within and len(known) < len(self.found):
            return None
        return within

    def _holds(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )


def goals(figures: Figures) -> list[Goal]:
    return [
        *_beside_others(figures),
        _slow(figures),
        *_idle(figures),
        *_growth(figures),
        Goal(
            "bodies kept against not kept, CPU for a request",
            "≤ 1.4 ×",
            [("32 connections", _costs(figures, "json-32", "traces-off"))],
            most=1.4,
        ),
        Goal(
            "two instances against one, requests for a CPU second",
            "≥ 0.85 ×",
            [("32 connections", _costs(figures, "redis", "two"))],
            least=0.85,
        ),
    ]


def _beside_others(figures: Figures) -> Iterator[Goal]:
    def times(other: str, cases: Sequence[str]) -> list[tuple[str, Spread | None]]:
        """How many times as much a CPU second gets done here as there."""
        return [
            (
                case.rpartition("-")[2],
                lookup.ratio(
                    figures.by_round(other, case, lookup.cost),
                    figures.by_round(OWN, case, lookup.cost),
                ),
            )
            for case in cases
        ]

    def cheaper(what: str, other: str, cases: Sequence[str], least: float) -> Goal:
        title = f"{what} for a CPU second, against {NAMES[other]}"
        return Goal(title, f"≥ {least:g} ×", times(other, cases), least=least)

    yield cheaper("JSON requests", "portkey", JSON, 10)
    yield cheaper("JSON requests", "litellm", JSON, 60)
    yield cheaper("JSON requests", "tensorzero", JSON, 1)
    floor = [
        (
            case.rpartition("-")[2],
            lookup.ratio(
                figures.by_round(OWN, case, lookup.cost),
                figures.by_round("nginx", case, lookup.cost),
            ),
        )
        for case in JSON
    ]
    yield Goal("CPU for a JSON request, against nginx", "≤ 12 ×", floor, most=12)
    yield cheaper("SSE pieces", "portkey", SSE, 2)
    yield cheaper("SSE pieces", "tensorzero", SSE, 1)


def _slow(figures: Figures) -> Goal:
    added = lookup.difference(
        figures.by_round(OWN, "slow-256", lookup.p50),
        figures.by_round("direct", "slow-256", lookup.p50),
    )
    return Goal(
        "upstream of 100 ms, 256 connections, one core: p50 above the upstream's own",
        "≤ 15 ms, no error",
        [("256 connections", added)],
        most=15,
        unit=" ms",
        errors=sum(row.outcome.errors for row in figures.rows(OWN, "slow-256")),
    )


def stream_kib(figures: Figures, case: str) -> Spread | None:
    """KiB of memory that a held stream takes."""
    before = figures.by_round(OWN, case, lookup.memory)
    held = {row.round: row.outcome for row in figures.rows(OWN, case, HELD)}
    return spread(
        (held[number].proportional_bytes / KIB - before[number] * KIB) / held[number].answered
        for number in before
        if number in held
    )


def _idle(figures: Figures) -> Iterator[Goal]:
    cases = ("idle-2000", "idle-5000")
    names = ("2,000", "5,000")
    yield Goal(
        "memory for an idle stream",
        "≤ 32 KiB",
        [(name, stream_kib(figures, case)) for name, case in zip(names, cases, strict=True)],
        most=32,
        unit=" KiB",
    )
    yield Goal(
        "a request among idle streams against one alone, CPU",
        "≤ 1.3 ×",
        [
            (
                name,
                lookup.ratio(
                    figures.by_round(OWN, case, lookup.cost, AMONG),
                    figures.by_round(OWN, case, lookup.cost, MEASURED),
                ),
            )
            for name, case in zip(names, cases, strict=True)
        ],
        most=1.3,
    )


def _growth(figures: Figures) -> Iterator[Goal]:
    for title, pairs in {
        "from 1 connection": [("to 32", "json-32", "json-1"), ("to 256", "json-256", "json-1")],
        "from 1 gateway key": [("to 1,000", "keys-1000", "json-32")],
        "from 1 model": [("to 1,000", "models-1000", "json-32")],
        "from no live viewer": [("to 10", "viewers-10", "json-32")],
    }.items():
        found = [(name, _costs(figures, many, one)) for name, many, one in pairs]
        yield Goal(f"CPU for a JSON request, {title}", "≤ 1.2 ×", found, most=1.2)


def _costs(figures: Figures, case: str, other: str) -> Spread | None:
    """What a request costs in one case, as a multiple of another."""
    return lookup.ratio(
        figures.by_round(OWN, case, lookup.cost), figures.by_round(OWN, other, lookup.cost)
    )


NAMES = {
    "direct": "direct",
    "nginx": "nginx",
    "tensorzero": "TensorZero",
    "portkey": "Portkey",
    "litellm": "LiteLLM",
    OWN: "Signalbox",
}
