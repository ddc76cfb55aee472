"""Writes docs/performance.md from the raw rows: `python -m benchmarks.report`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import lookup, rows
from benchmarks.bed import ROOT
from benchmarks.cases import AMONG, CASES, HELD, MEASURED, Case
from benchmarks.figures import Spread
from benchmarks.goals import NAMES, Goal, goals, stream_kib
from benchmarks.lookup import OWN, Figures, Measure
from benchmarks.rows import Run

DOCUMENT = ROOT / "docs/performance.md"
NOTES = Path(__file__).with_name("notes.md")
"""Written by hand: what the profile shows, what was tried."""

INTRODUCTION = """# Performance

What a request costs here and in other gateways, measured side by side in one run on one machine.
`make bench` makes the run and writes this page from its raw rows, `benchmarks/results/full.json`;
nothing of it but the last section is written by hand. [The benchmark](../benchmarks/README.md) says
how it works."""

CONDITIONS = Path(__file__).with_name("conditions.md")
"""Written by hand, with `{rounds}` and `{machine}` for what the run says of them."""


def document(run: Run, conditions: str, notes: str) -> str:
    figures = Figures(run)
    told = conditions.strip().replace("{rounds}", str(run.rounds))
    told = told.replace("{machine}", _machine(run))
    servers = [name for name in (OWN, *NAMES) if name in run.servers]
    servers = list(dict.fromkeys(servers))
    gateways = [name for name in servers if name != "direct"]
    shared = [case for case in CASES if case.others]
    return (
        "\n\n".join(
            [
                INTRODUCTION,
                "## What must be reached\n\n" + _goals(goals(figures)),
                "## CPU\n\nMicroseconds for a request, or for a piece of text of a stream.\n\n"
                + _table(figures, shared, gateways, lookup.cost),
                "## Throughput\n\nRequests, or pieces of text, a second, on one core. The cases "
                "with streams and with the slow upstream are paced by the upstream.\n\n"
                + _table(figures, shared, servers, lookup.rate),
                "## Latency\n\n" + _latency(figures, shared, servers),
                "## Memory\n\nMiB of the whole process tree after a case, what its processes share "
                "counted once.\n\n" + _table(figures, shared, gateways, lookup.memory),
                "## This gateway by itself\n\n" + _own(figures),
                "## Errors, and what was not measured\n\n" + _errors(run),
                "## Conditions\n\n" + told,
                "## What the profile shows\n\n" + notes.strip(),
            ]
        ).replace("\n\n\n", "\n\n")
        + "\n"
    )


def _goals(found: Iterable[Goal]) -> str:
    lines = []
    for goal in found:
        figures = "; ".join(f"{name}: {_spread(value, goal.unit)}" for name, value in goal.found)
        if goal.errors:
            figures += f"; {goal.errors} errors"
        word = {True: "reached", False: "**not reached**", None: "not measured"}[goal.reached]
        lines.append([goal.title, goal.wanted, figures, word])
    return _markdown(["figure", "wanted", "found", ""], lines)


def _table(
    figures: Figures, shown: Sequence[Case], servers: Sequence[str], measure: Measure
) -> str:
    lines = []
    for case in shown:
        found = [figures.of(server, case.name, measure) for server in servers]
        if any(found):
            lines.append([case.title, *(_spread(value) for value in found)])
    return _markdown(["", *(NAMES[server] for server in servers)], lines)


def _latency(figures: Figures, shown: Sequence[Case], servers: Sequence[str]) -> str:
    """Added to the upstream's own, with the worst of all answers as it was."""
    text = (
        "Milliseconds until the end of an answer, of a stream until its first piece of text. p50 "
        "and p99 are what is added to those of the same load on the upstream itself, which is "
        "measured in the same round; where all connections are always busy, that is the time in "
        "the queue for one core. The worst is that of all answers of all rounds, in all.\n\n"
    )
    lines = []
    for case in shown:
        alone = [figures.by_round("direct", case.name, at) for at in (lookup.p50, lookup.p99)]
        for server in servers:
            worst = figures.of(server, case.name, lookup.worst)
            if server == "direct" or worst is None:
                continue
            measured = [figures.by_round(server, case.name, at) for at in (lookup.p50, lookup.p99)]
            # A translating case has no direct one: the times themselves.
            added = [
                lookup.difference(of, base) if base else figures.of(server, case.name, at)
                for of, base, at in zip(measured, alone, (lookup.p50, lookup.p99), strict=True)
            ]
            mark = "" if alone[0] else " (in all)"
            cells = [_spread(value) + mark for value in added]
            lines.append([case.title, NAMES[server], *cells, _number(worst.most)])
    return text + _markdown(["", "", "p50 added", "p99 added", "worst"], lines)


def _own(figures: Figures) -> str:
    lines = []
    base = figures.by_round(OWN, "json-32", lookup.cost)
    for case in CASES:
        for step, words in ((MEASURED, ""), (AMONG, ", requests among them")):
            cost = figures.by_round(OWN, case.name, lookup.cost, step)
            if case.others or not cost or (case.held and step == MEASURED):
                continue
            if case.held:
                versus = figures.by_round(OWN, case.name, lookup.cost)
                what = "the same without them"
            else:
                other = {"fallback": "models-1000", "two": "redis"}.get(case.name, "json-32")
                versus = figures.by_round(OWN, other, lookup.cost) if base else {}
                what = next(each.title for each in CASES if each.name == other)
            calls = figures.rows(OWN, case.name)[0].upstream_calls
            more = []
            if case.name == "fallback":
                more.append(
                    f"{calls.get('fail', 0) / max(1, calls.get('now', 0)):.2f} failures each"
                )
            if (store := _store(figures, case.name)) is not None:
                more.append(f"Redis: {_spread(store)} µs")
            if case.held:
                more.append(f"{_spread(stream_kib(figures, case.name))} KiB a stream")
                more.append(
                    f"{_spread(figures.of(OWN, case.name, lookup.cost, HELD))} µs to open one"
                )
            lines.append(
                [
                    case.title + words,
                    _spread(figures.of(OWN, case.name, lookup.cost, step)),
                    f"{_spread(lookup.ratio(cost, versus), ' ×')} of {what}",
                    "; ".join(more),
                ]
            )
    intro = "JSON of 1 KB, 32 connections unless the title says otherwise; CPU µs for a request."
    return intro + "\n\n" + _markdown(["", "CPU µs", "compared", ""], lines)


def _store(figures: Figures, case: str) -> Spread | None:
    return figures.of(
        OWN,
        case,
        lambda outcome: outcome.store_cpu_seconds / outcome.answered * 1e6 or None,
    )


def _errors(run: Run) -> str:
    lines = []
    for row in run.rows:
        if row.outcome.errors:
            complaint = _cell(row.outcome.complaints[0]) if row.outcome.complaints else ""
            what = f"round {row.round}: {row.outcome.errors} of "
            what += f"{row.outcome.errors + row.outcome.answered}: {complaint}"
            lines.append([NAMES[row.server], row.case, what])
    left: dict[tuple[str, str], list[str]] = {}
    for missing in run.missing:
        if missing.server != "direct":
            left.setdefault((missing.server, missing.reason), []).append(missing.case or "all")
    for (server, reason), names in left.items():
        lines.append([NAMES[server], ", ".join(names), f"not measured: {_cell(reason)}"])
    if not lines:
        return "No error, and nothing was left out."
    return _markdown(["", "case", ""], lines)


def _machine(run: Run) -> str:
    facts = _markdown(["machine", ""], [[name, value] for name, value in run.machine.items()])
    servers = _markdown(
        ["server", "version", "how it is set up"],
        [[NAMES[name], run.servers[name], run.conditions[name]] for name in run.servers],
    )
    return facts + "\n\n" + servers


def _cell(text: str) -> str:
    """Of whatever somebody else wrote, one line that does not break a table."""
    flat = " ".join(text.split()).replace("|", "\\|").replace("`", "'")
    return f"`{flat[:300]}`" if flat else ""


def _number(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


def _spread(value: Spread | None, unit: str = "") -> str:
    if value is None:
        return "–"
    if value.least == value.most:
        return f"{_number(value.median)}{unit}"
    return f"{_number(value.median)}{unit} ({_number(value.least)} to {_number(value.most)})"


def _markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *lines])


def page(source: Path) -> str:
    """Of a run's rows and of what is written by hand."""
    return document(rows.load(source), CONDITIONS.read_text("utf-8"), NOTES.read_text("utf-8"))


def write() -> None:
    DOCUMENT.write_text(page(rows.FULL), "utf-8")


def main() -> None:
    if len(sys.argv) > 1:
        sys.stdout.write(page(Path(sys.argv[1])))
    else:
        write()


if __name__ == "__main__":
    main()
