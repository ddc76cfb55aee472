"""`signalbox replay`: a saved request's facts through today's machine and configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from textwrap import wrap
from typing import Any

import click
from msgspec.structs import asdict

from signalbox.adapters.models import UnknownModel
from signalbox.cli.common import (
    FAILED,
    MISUSED,
    effective_settings,
    existing_store,
    fail,
    load_models,
    located,
)
from signalbox.cli.replanning import Difference, differences, todays_plan
from signalbox.cli.table import printable, table
from signalbox.config import ConfigError, Settings
from signalbox.machines.commands import RecordTransition
from signalbox.machines.plan import RequestPlan
from signalbox.machines.replay import (
    ComparedStep,
    Comparison,
    Ending,
    compare,
)
from signalbox.persistence.records import GatewayKeyRecord
from signalbox.persistence.stores import Store, TraceRecord
from signalbox.persistence.trace_values import UnreadableTrace, plain, read_recorded

CELL = 40
"""Characters of a cell of the table of details: two of them fit into 100 columns."""
NOTHING = "–"


@click.command()
@click.argument("trace_id")
@click.option("--recorded", is_flag=True, help="With the configuration that was recorded.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@located
def replay(
    trace_id: str, recorded: bool, as_json: bool, config: Path | None, data_dir: Path
) -> None:
    """Feeds the recorded facts of a request to today's machine and configuration.

    Exit code 0: the decisions are the same; 1: they differ, the first difference is shown; 2: there
    is no such trace, or it cannot be read.
    """
    settings = effective_settings(config, data_dir)
    with existing_store(settings, data_dir, MISUSED) as store:
        trace = store.load_trace(trace_id)
        if trace is None:
            fail(f"there is no saved trace {trace_id}", MISUSED)
        try:
            request = read_recorded(trace)
        except UnreadableTrace as error:
            fail(f"trace {trace_id} cannot be read: {printable(str(error))}", MISUSED)
        key_models = _models_of_key(trace.key_id, settings, store)
    then = request.planned.plan
    plan = then if recorded else _todays_plan(then, trace, settings, key_models)
    if isinstance(plan, UnknownModel):
        changed = [Difference("model", trace.model, "unknown, or no key can serve it")]
        comparison = Comparison((), request.ending, None, complete=True)
    else:
        changed, comparison = differences(then, plan), compare(request, plan)
    if as_json:
        click.echo(json.dumps(_document(trace, changed, comparison), indent=2, ensure_ascii=False))
    else:
        click.echo(f"{trace.id}  {printable(trace.model)}")
        _show_configuration(changed, recorded=recorded)
        _show(comparison)
    if not comparison.identical:
        raise SystemExit(FAILED)


def _models_of_key(key_id: str, settings: Settings, store: Store) -> tuple[str, ...]:
    """What the gateway key may call today; of one that is gone nothing is known: everything."""
    created = {key.id: key.models for key in store.records(GatewayKeyRecord)}
    declared = {key.id: key.models for key in settings.keys}
    return {**created, **declared}.get(key_id, ())


def _todays_plan(
    then: RequestPlan, trace: TraceRecord, settings: Settings, key_models: tuple[str, ...]
) -> RequestPlan | UnknownModel:
    try:
        models = load_models(settings)
    except ConfigError as error:
        fail(str(error), MISUSED)
    return todays_plan(then, trace.model, settings, models, key_models)


# In the terminal


def _show_configuration(changed: Sequence[Difference], *, recorded: bool) -> None:
    if recorded:
        click.echo("configuration: as recorded")
    elif not changed:
        click.echo("configuration: the same, as far as this request depends on it")
    for each in changed:
        line = f"configuration: {each.setting}: then {each.then}; now {each.now}"
        click.echo("\n".join(wrap(printable(line), 98, subsequent_indent="  ")))
    click.echo()


def _show(comparison: Comparison) -> None:
    rows = [row for step in comparison.steps for row in _rows(step)]
    if not comparison.steps and not comparison.identical:
        click.echo("The first difference: the request is not admitted. See --recorded.")
        return
    differing = next((step for step in comparison.steps if not step.same), None)
    if differing is None and comparison.complete:
        recorded, today = comparison.recorded, comparison.today
        mark = "" if comparison.identical else "≠"
        rows.append((mark, "", "end", _end_words(recorded), _end_words(today)))
    table(("", "       time", "fact", "recorded", "today"), rows)
    click.echo()
    if differing is not None:
        click.echo(f"The first difference, on {_fact(differing)}:")
        table(("", "recorded", "today"), _details(differing))
    elif not comparison.identical:
        click.echo("The decisions are the same, the end is not.")
    elif comparison.complete:
        click.echo(f"Identical: {_count(comparison)}.")
    else:
        click.echo(
            f"Identical as far as the record goes: {_count(comparison)}. A trace keeps a bounded"
            " number of events, and this one stops before the request did."
        )


def _rows(step: ComparedStep) -> Iterator[tuple[str, ...]]:
    """A line for each transition, the first with the fact."""
    lead = ["" if step.same else "≠", f"{step.recorded.at * 1000:8.1f} ms", _fact(step)]
    recorded = [_move_words(move) for move in step.recorded.moves]
    today = [_move_words(move) for move in step.today.moves]
    if step.today.misfit:
        today = ["cannot take it"]
    elif step.today.cut_short:
        today.append("(cut short there)")
    for then, now in zip_longest(recorded or [NOTHING], today or [NOTHING], fillvalue=NOTHING):
        yield (*lead, then, now)
        lead = ["", "", ""]


def _details(step: ComparedStep) -> Iterator[tuple[str, str, str]]:
    """Of the first transition that differs, what differs in it, wrapped."""
    pairs = zip_longest(step.recorded.moves, step.today.moves)
    then, now = next(((a, b) for a, b in pairs if a != b), (None, None))
    fields = dict.fromkeys(("event", "target", "attempt", "provider", "model", "reason"), "")
    for name in fields:
        one, other = (_field(move, name) for move in (then, now))
        if step.today.misfit:
            other = step.today.misfit if name == "event" else ""
        if one != other:
            yield from _wrapped(name, one, other)


def _wrapped(name: str, one: str, other: str) -> Iterator[tuple[str, str, str]]:
    for left, right in zip_longest(wrap(one, CELL), wrap(other, CELL), fillvalue=""):
        yield name, left, right
        name = ""


def _field(move: RecordTransition | None, name: str) -> str:
    if move is None:
        return "no transition" if name == "event" else ""
    value = getattr(move, name)
    return NOTHING if value in (None, "") else printable(str(value))


def _fact(step: ComparedStep) -> str:
    return type(step.recorded.fact).__name__


def _move_words(move: RecordTransition) -> str:
    return f"{move.event} → {move.target}"


def _end_words(ending: Ending | None) -> str:
    if ending is None:
        return "not at an end"
    code = printable(ending.error_code or "")
    return f"{ending.state}, {code}" if code else ending.state.value


def _count(comparison: Comparison) -> str:
    moves = sum(len(step.today.moves) for step in comparison.steps)
    return f"{len(comparison.steps)} facts, {moves} transitions"


# For programs


def _document(
    trace: TraceRecord, changed: Sequence[Difference], comparison: Comparison
) -> dict[str, Any]:
    return {
        "id": trace.id,
        "identical": comparison.identical,
        "complete": comparison.complete,
        "configuration": [asdict(each) for each in changed],
        "steps": [
            {
                "at": step.recorded.at,
                "fact": _fact(step),
                "same": step.same,
                "recorded": [plain(move) for move in step.recorded.moves],
                "today": [plain(move) for move in step.today.moves],
                "cut_short": step.today.cut_short,
                "misfit": step.today.misfit,
            }
            for step in comparison.steps
        ],
        "recorded_end": plain(comparison.recorded),
        "todays_end": comparison.today and plain(comparison.today),
    }
