"""Many seeds of the simulation, on all cores: `make simulate SEEDS=10000`.

Prints the story of each request that broke a rule, and how its seed is run alone. Exits with 1
where there is one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import click

from tests.simulation import SMALL, Simulation
from tests.simulation_rules import check

REPORT_EVERY = 100


def broken_rule(seed: int) -> str | None:
    """What went wrong in the world of this seed; None: nothing."""
    with tempfile.TemporaryDirectory(prefix="signalbox-simulation-") as folder:
        try:
            check(Simulation(seed, SMALL, Path(folder)).run())
        except Exception as error:
            # Whatever a run raises is a finding, and the other seeds are still to be run.
            return f"{type(error).__name__}: {error}\nalone: SIGNALBOX_SEED={seed} " + (
                "pytest tests/test_simulation.py -k small"
            )
    return None


def broken_rules(seeds: range) -> Iterator[tuple[int, str | None]]:
    with get_context("spawn").Pool(os.cpu_count()) as pool:
        yield from zip(seeds, pool.imap(broken_rule, seeds), strict=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Run many seeds of the simulation.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    asked = parser.parse_args()
    failures = 0
    for seed, rule in broken_rules(range(asked.first, asked.first + asked.seeds)):
        if rule is not None:
            failures += 1
            click.echo(f"seed {seed}\n{rule}\n")
        if (seed - asked.first + 1) % REPORT_EVERY == 0:
            click.echo(f"{seed - asked.first + 1} seeds, {failures} failed")
    if failures:
        sys.exit(f"{failures} of {asked.seeds} seeds broke a rule")
    click.echo(f"{asked.seeds} seeds kept the rules")


if __name__ == "__main__":
    main()
