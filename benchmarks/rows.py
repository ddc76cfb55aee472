"""The raw rows of a run, as they are kept in results/*.json."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.plan import Outcome

RESULTS = Path(__file__).parent / "results"
FULL = RESULTS / "full.json"
"""The run that docs/performance.md is made from."""
QUICK = RESULTS / "quick.json"


class Row(msgspec.Struct, frozen=True):
    round: int
    server: str
    setup: str
    case: str
    outcome: Outcome
    upstream_calls: dict[str, int]
    """During the whole case, also while it warmed up, by the upstream's behaviours."""


class Missing(msgspec.Struct, frozen=True):
    """What was to be measured and could not be."""

    server: str
    case: str
    """Empty: none of the server's."""
    reason: str


class Run(msgspec.Struct, frozen=True):
    rounds: int
    machine: dict[str, str]
    servers: dict[str, str]
    """Versions, in the order in which they ran."""
    conditions: dict[str, str]
    rows: list[Row]
    missing: list[Missing]


def load(path: Path) -> Run:
    return msgspec.json.decode(path.read_bytes(), type=Run)


def save(run: Run, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    # One row a line, so that a run can be compared with another one by line.
    text = msgspec.json.encode(run, order="deterministic")
    pretty = msgspec.json.format(text, indent=1)
    path.write_bytes(pretty + b"\n")
