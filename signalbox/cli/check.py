"""`signalbox check`: what the configuration comes to."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import click

from signalbox.adapters.models import ModelTable, UnknownModel
from signalbox.cli.banner import nothing_to_call
from signalbox.cli.common import (
    MISUSED,
    effective_settings,
    fail,
    load_models,
    located,
    named_database,
)
from signalbox.cli.table import table
from signalbox.config import ConfigError, Settings
from signalbox.types import Price


@click.command()
@located
def check(config: Path | None, data_dir: Path) -> None:
    """Checks the configuration and shows every model's routes."""
    settings = effective_settings(config, data_dir)
    database = named_database(settings, data_dir)
    try:
        models = load_models(settings)
    except ConfigError as error:
        fail(str(error), MISUSED)
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(f"configuration  {settings.file or 'none; providers by their key variables'}")
    click.echo(f"database       {database}")
    click.echo()
    if settings.providers:
        _show_providers(settings)
        _show_models(settings, models)
    if not any(provider.usable for provider in settings.providers.values()):
        click.echo(nothing_to_call(settings))


def _show_providers(settings: Settings) -> None:
    rows = []
    for provider in settings.providers.values():
        labels = [key.label if key.needed else "none needed" for key in provider.keys]
        keys = ", ".join(labels) or "none set"
        rows.append((provider.name, provider.api, provider.base_url, keys))
    table(("provider", "api", "base URL", "keys"), rows)
    click.echo()


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
    if rows:
        table(("model", "route", "USD per million in / out", "context", "fallbacks"), rows)
        click.echo()
    for alias, target in settings.aliases.items():
        click.echo(f"{alias} is another name of {target}")
    if settings.routing.fallbacks:
        click.echo(f"every model falls back to {', '.join(settings.routing.fallbacks)}")
    known = len(models.listing())
    click.echo(f"{known} models can be called by name, with those of the catalogue.")


def _price(price: Price) -> str:
    if price.input is None and price.output is None:
        return "unknown"
    return f"{_dollars(price.input)} / {_dollars(price.output)}"


def _dollars(amount: Decimal | None) -> str:
    return "unknown" if amount is None else f"{amount.normalize():f}"
