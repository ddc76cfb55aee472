"""`python -m benchmarks`: the whole run, or the part of it that is asked for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import cases, report, rows
from benchmarks.run import SERVERS, Runner

ROUNDS, QUICK_ROUNDS = 3, 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cases, one round")
    parser.add_argument("--servers", type=_names, help=f"of {','.join(SERVERS)}")
    parser.add_argument("--cases", type=_names, help="by name, with commas between them")
    parser.add_argument("--rounds", type=int, help=f"{ROUNDS}; --quick: {QUICK_ROUNDS}")
    parser.add_argument("--list", action="store_true", help="the cases")
    parser.add_argument("--out", type=Path, help="where the rows go")
    asked = parser.parse_args()
    if asked.list:
        sys.stdout.writelines(f"{case.name:<18} {case.title}\n" for case in cases.CASES)
        return
    servers = asked.servers or SERVERS
    if unknown := set(servers) - set(SERVERS):
        parser.error(f"no server {', '.join(sorted(unknown))}; there are {', '.join(SERVERS)}")
    names = asked.cases or (cases.QUICK if asked.quick else [case.name for case in cases.CASES])
    try:
        wanted = cases.by_name(list(names))
    except KeyError as error:
        parser.error(f"no case {error}; --list tells them")
    rounds = asked.rounds or (QUICK_ROUNDS if asked.quick else ROUNDS)
    whole = not (asked.quick or asked.servers or asked.cases)
    run = Runner(servers, wanted, rounds).run()
    out = asked.out or (rows.FULL if whole else rows.QUICK)
    rows.save(run, out)
    if out == rows.FULL:
        report.write()
    errors = sum(row.outcome.errors for row in run.rows)
    sys.stdout.write(f"{len(run.rows)} rows, {errors} errors, {len(run.missing)} not measured\n")


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


if __name__ == "__main__":
    main()
