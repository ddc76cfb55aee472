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
    """One row a line, so that two runs can be compared by line."""
    path.parent.mkdir(exist_ok=True)
    fields = msgspec.structs.asdict(run)
    parts = []
    for name, value in fields.items():
        if isinstance(value, list):
            lines = ",\n".join(msgspec.json.encode(each).decode() for each in value)
            parts.append(f'"{name}": [\n{lines}\n]')
        else:
            parts.append(f'"{name}": {msgspec.json.encode(value).decode()}')
    path.write_text("{" + ",\n".join(parts) + "}\n", "utf-8")
