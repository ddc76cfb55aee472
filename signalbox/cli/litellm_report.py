"""The report of an import: counts first, then what is to be done, then every key by its outcome."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from signalbox.cli.litellm_keys import Plan
from signalbox.cli.litellm_log import Entry, Log, Outcome
from signalbox.cli.table import printable
from signalbox.types import NanoUSD, usd

GOOD_TO_KNOW = (
    "A gateway key without a list of models may call every model of a configured provider, also "
    "those that the configuration does not name. Give keys `models` where that is too much.",
    "LiteLLM listens on port 4000, Signalbox on 8080: `signalbox serve --port 4000` keeps the "
    "clients' address.",
    "Every call needs a gateway key here, also where LiteLLM had no master key.",
)

KEYS_TO_KNOW = (
    "A key with a list of models falls back to models of its list only; LiteLLM lets fallbacks go "
    "past it."
)
SHOWN_NAMES = 10
"""In the terminal; the report file has all of them."""


def report(log: Log, *, complete: bool) -> Iterator[str]:
    """Lines. `complete`: also every key that was carried over as it is."""
    entries = sorted(log.entries.values(), key=lambda entry: _line(entry.place))
    counts = {outcome: sum(e.outcome is outcome for e in entries) for outcome in Outcome}
    yield f"{len(entries)} keys: " + ", ".join(
        f"{counts[outcome]} {outcome.value}" for outcome in Outcome
    )
    if log.tasks:
        yield ""
        yield f"to do before the start ({len(log.tasks)}):"
        yield from (f"  {printable(task.place)}: {printable(task.text)}" for task in log.tasks)
    for outcome in (Outcome.LEFT, Outcome.CHANGED, Outcome.CARRIED):
        if outcome is not Outcome.CARRIED or complete:
            yield from _section(outcome, [e for e in entries if e.outcome is outcome])
    yield ""
    yield "good to know:"
    yield from (f"  {printable(hint)}" for hint in (*log.hints, *GOOD_TO_KNOW))


def keys_report(plan: Plan, *, complete: bool, dry_run: bool) -> Iterator[str]:
    """Lines about the keys of LiteLLM's database."""
    keys = [each.key.name for each in plan.additions if each.key is not None]
    budgets = [each.budget.name for each in plan.additions if each.budget is not None]
    would = "would be added" if dry_run else "added"
    yield (
        f"gateway keys: {len(keys)} {would}, {len(plan.there)} there already; "
        f"budgets: {len(budgets)} {would}"
    )
    spent = sum(each.charge.amount or 0 for each in plan.additions if each.charge is not None)
    if spent:
        recorded = "would be recorded" if dry_run else "is recorded"
        yield f"${usd(NanoUSD(spent))} that was spent of their budgets {recorded} in the ledger"
    for title, names in (("added", keys), ("there already", plan.there)):
        if names:
            yield f"  {title}: {_some(names, complete=complete)}"
    for text, names in plan.remarks.items():
        yield f"  {printable(text)}: {_some(names, complete=complete)}"
    if keys:
        yield ""
        yield KEYS_TO_KNOW


def _some(names: Sequence[str], *, complete: bool) -> str:
    shown = names if complete else names[:SHOWN_NAMES]
    more = len(names) - len(shown)
    told = ", ".join(map(printable, shown))
    return f"{told} and {more} more" if more else told


def _line(place: str) -> tuple[str, int]:
    """`config.yaml:12` in the order of the file."""
    file, _, line = place.rpartition(":")
    return file, int(line)


def _section(outcome: Outcome, entries: Sequence[Entry]) -> Iterator[str]:
    if not entries:
        return
    yield ""
    yield f"{outcome.value} ({len(entries)}):"
    for entry in entries:
        text = f": {entry.text}" if entry.text else ""
        yield printable(f"  {entry.place}: {entry.key}{text}")
