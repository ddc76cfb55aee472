"""Commands that only look: `check`, `diagram`, `trace`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import click

from signalbox.adapters.models import ModelTable, UnknownModel
from signalbox.app import load_models
from signalbox.cli.common import MISUSED, fail, located, opened_store, read_settings
from signalbox.config import ConfigError, Settings
from signalbox.machines.diagram import FORMATS, MACHINES, render
from signalbox.persistence.stores import TraceRecord
from signalbox.persistence.views import trace_detail
from signalbox.types import Price, usd


@click.command()
@located
def check(config: Path | None, data_dir: Path) -> None:
    """Checks the configuration and shows every model's routes."""
    settings = read_settings(config)
    try:
        models = load_models(settings)
    except ConfigError as error:
        fail(str(error), MISUSED)
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"configuration  {settings.file or 'none; providers by their key variables'}")
    _show_providers(settings)
    _show_models(settings, models)


def _show_providers(settings: Settings) -> None:
    rows = [
        (p.name, p.api, p.base_url, ", ".join(key.label for key in p.keys) or "no key set")
        for p in settings.providers.values()
    ]
    click.echo()
    _table(("provider", "api", "base URL", "keys"), rows)


def _show_models(settings: Settings, models: ModelTable) -> None:
    rows: list[Sequence[str]] = []
    for name in settings.models:
        plan = settings.models[name] if "*" in name else models.resolve(name)
        if isinstance(plan, UnknownModel):
            rows.append((name, "no route has a key", "", "", ""))
            continue
        for number, route in enumerate(plan.routes):
            context = f"{route.context_length:,}" if route.context_length else "unknown"
            first = (name, ", ".join(plan.fallbacks)) if number == 0 else ("", "")
            rows.append((first[0], route.id, _price(route.price), context, first[1]))
    click.echo()
    if rows:
        header = ("model", "route", "USD per million in / out", "context", "fallbacks")
        _table(header, rows)
    for alias, target in settings.aliases.items():
        click.echo(f"{alias} is another name of {target}")
    if settings.routing.fallbacks:
        click.echo(f"every model falls back to {', '.join(settings.routing.fallbacks)}")
    known = len(models.listing())
    click.echo(f"{known} models can be called by name, with those of the catalogue.")


def _price(price: Price) -> str:
    return f"{_dollars(price.input)} / {_dollars(price.output)}"


def _dollars(amount: Decimal | None) -> str:
    return "unknown" if amount is None else f"{amount.normalize():f}"


@click.command()
@click.argument("machine", type=click.Choice(list(MACHINES)))
@click.option(
    "--format", "form", type=click.Choice(list(FORMATS)), default="mermaid", show_default=True
)
def diagram(machine: str, form: str) -> None:
    """Prints a state machine as a diagram or a table."""
    click.echo(render(machine, form))


@click.command()
@click.argument("trace_id")
@click.option("--json", "as_json", is_flag=True, help="All of it, bodies too.")
@located
def trace(trace_id: str, as_json: bool, config: Path | None, data_dir: Path) -> None:
    """Shows a saved request: what was decided, when, and why."""
    with opened_store(read_settings(config), data_dir) as store:
        found = store.load_trace(trace_id)
    if found is None:
        fail(f"there is no saved trace {trace_id}; one that is under way is saved at its end")
    if as_json:
        click.echo(json.dumps(trace_detail(found), indent=2, ensure_ascii=False))
    else:
        _show_trace(found)


def _show_trace(trace: TraceRecord) -> None:
    when = datetime.fromtimestamp(trace.started_at, UTC).isoformat(sep=" ", timespec="milliseconds")
    click.echo(f"{trace.id}  {trace.state}  status {trace.status}  {when}")
    click.echo(f"{trace.model} → {_answered_by(trace)}, {trace.attempts} upstream calls")
    first = "" if trace.first_token_ms is None else f", first token {trace.first_token_ms:.0f} ms"
    click.echo(f"{trace.duration_ms:.0f} ms{first}, {_tokens(trace)}, cost {_cost(trace)}")
    if trace.error_code is not None:
        click.echo(f"{trace.error_code}: {trace.error_message}")
    click.echo()
    for event in trace.events:
        if event.kind == "event":
            data = event.data
            where = f"{data['source']} → {data['target']}"
            via = f"  {data['provider']}" if data.get("provider") else ""
            reason = f"  {data['reason']}" if data.get("reason") else ""
            click.echo(f"{event.at * 1000:9.1f} ms  {event.name:20} {where:26}{via}{reason}")


def _answered_by(trace: TraceRecord) -> str:
    return f"{trace.provider}:{trace.route_model}" if trace.provider else "no answer"


def _tokens(trace: TraceRecord) -> str:
    usage = trace.usage
    if usage.input_total is None or usage.output_total is None:
        return "tokens unknown"
    about = "about " if usage.estimated else ""
    return f"{about}{usage.input_total:,} + {usage.output_total:,} tokens"


def _cost(trace: TraceRecord) -> str:
    return "unknown" if trace.cost is None else f"${usd(trace.cost):f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as their widest cell."""
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
