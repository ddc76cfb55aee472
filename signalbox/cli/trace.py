"""`signalbox trace`: one saved request."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from signalbox.cli.common import existing_store, fail, located, read_settings
from signalbox.persistence.stores import TraceEvent, TraceRecord
from signalbox.persistence.views import trace_detail
from signalbox.types import usd


@click.command()
@click.argument("trace_id")
@click.option("--json", "as_json", is_flag=True, help="All of it, bodies too.")
@located
def trace(trace_id: str, as_json: bool, config: Path | None, data_dir: Path) -> None:
    """Shows a saved request: what was decided, when, and why."""
    with existing_store(read_settings(config), data_dir) as store:
        found = store.load_trace(trace_id)
    if found is None:
        fail(f"there is no saved trace {trace_id}; one that is under way is saved at its end")
    if as_json:
        click.echo(json.dumps(trace_detail(found), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(found)))


def _lines(trace: TraceRecord) -> list[str]:
    when = datetime.fromtimestamp(trace.started_at, UTC).isoformat(sep=" ", timespec="milliseconds")
    calls = "1 upstream call" if trace.attempts == 1 else f"{trace.attempts} upstream calls"
    first = "" if trace.first_token_ms is None else f", first token {trace.first_token_ms:.0f} ms"
    lines = [
        f"{trace.id}  {trace.state}, status {trace.status or 'none'}",
        f"{when} UTC, {trace.duration_ms:.0f} ms{first}",
        f"{trace.model} → {_answered_by(trace)}, {calls}{_preset(trace)}",
        f"{_tokens(trace)}, cost {_cost(trace)}",
    ]
    if trace.error_code is not None:
        lines.append(f"{trace.error_code}: {trace.error_message}")
    return [*lines, "", *(_event_line(event) for event in trace.events if event.kind != "fact")]


def _event_line(event: TraceEvent) -> str:
    data = event.data
    if event.kind == "note":
        told = f"attempt {data['attempt']}: {', '.join(data['fields'])}"
        return f"{event.at * 1000:9.1f} ms  {event.name:20} {told}"
    steps = f"{data['source']} → {data['target']}"
    more = [data[name] for name in ("provider", "reason") if data.get(name)]
    return "  ".join([f"{event.at * 1000:9.1f} ms  {event.name:20} {steps:26}", *more]).rstrip()


def _answered_by(trace: TraceRecord) -> str:
    return f"{trace.provider}:{trace.route_model}" if trace.provider else "no answer"


def _preset(trace: TraceRecord) -> str:
    return f", preset {trace.labels['preset']}" if "preset" in trace.labels else ""


def _tokens(trace: TraceRecord) -> str:
    usage = trace.usage
    if usage.input_total is None or usage.output_total is None:
        return "tokens unknown"
    about = "about " if usage.estimated else ""
    return f"{about}{usage.input_total:,} + {usage.output_total:,} tokens"


def _cost(trace: TraceRecord) -> str:
    return "unknown" if trace.cost is None else f"${usd(trace.cost):f}"
