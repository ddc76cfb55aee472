"""Writes the files that are generated, most of them documentation; `--check` only says which of
them are stale.

.venv/bin/python tools/write_docs.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from signalbox.adapters import openai_parameters_page
from signalbox.adapters.catalogue_prices import installed
from signalbox.cli import prices
from signalbox.machines import decision_table
from signalbox.machines.diagram import MACHINES, render, states_page
from signalbox.persistence.migrations import newest
from tests import matrix

ROOT = Path(__file__).parents[1]

START, END = "<!-- diagram:start -->", "<!-- diagram:end -->"
README_DIAGRAM = "[![The states of a request](docs/diagrams/request.svg)](docs/states.md)"


def generated(root: Path) -> Iterator[tuple[str, str]]:
    """(path below `root`, text) of every file that is written by code, whole or in part."""
    yield "docs/states.md", states_page()
    yield "docs/decisions.md", decision_table.render()
    yield "docs/parameters.md", openai_parameters_page.render()
    yield "docs/compatibility.md", matrix.page()
    for name in MACHINES:
        yield f"docs/diagrams/{name}.svg", render(name, "svg")
    yield "signalbox/persistence/migrations/newest.sql", newest.render()
    yield "signalbox/cli/prices.json", prices.render(installed())
    readme = root / "README.md"
    if readme.exists():
        yield "README.md", with_diagram(readme.read_text(encoding="utf-8"))


def with_diagram(readme: str) -> str:
    """The README with the diagram between its markers; the rest is written by hand."""
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        sys.exit(f"README.md: expected {START} and, after it, {END}")
    return f"{before}{START}\n{README_DIAGRAM}\n{END}{after}"


def stale(root: Path) -> list[str]:
    """The generated files that are missing or say something else."""
    return [
        name
        for name, text in generated(root)
        if not (root / name).exists() or (root / name).read_text(encoding="utf-8") != text
    ]


def write(root: Path) -> None:
    for name, text in generated(root):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the generated parts of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 naming stale")
    if not parser.parse_args().check:
        write(ROOT)
    elif names := stale(ROOT):
        sys.exit(f"stale: {', '.join(names)}; run .venv/bin/python tools/write_docs.py")


if __name__ == "__main__":
    main()
