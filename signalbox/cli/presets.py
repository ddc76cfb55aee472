"""`signalbox presets`: those of the configuration and of the database."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from signalbox.cli.common import (
    existing_store,
    fail,
    is_missing,
    located,
    named_database,
    read_settings,
)
from signalbox.cli.table import printable, table
from signalbox.config import Settings
from signalbox.config_report import did_you_mean
from signalbox.persistence.records import PresetRecord
from signalbox.types import Preset


@click.group()
def presets() -> None:
    """Presets: what requests may leave open."""


@presets.command("list")
@located
def list_presets(config: Path | None, data_dir: Path) -> None:
    """Lists the presets in force."""
    settings = read_settings(config)
    newest = {record.slug: record for record in _records(settings, data_dir)}
    rows = [
        (slug, preset.version, _model(preset.document), "declared")
        for slug, preset in settings.presets.items()
    ]
    rows += [
        (slug, str(record.version), _model(record.document), _made(record))
        for slug, record in newest.items()
        if slug not in settings.presets
    ]
    if rows:
        table(("preset", "version", "model", "made"), rows)
    else:
        click.echo("There are no presets.")


@presets.command("show")
@click.argument("slug")
@click.option("--version", type=click.IntRange(1), help="An older one of the database's.")
@located
def show(slug: str, version: int | None, config: Path | None, data_dir: Path) -> None:
    """Prints a preset's document, as JSON."""
    settings = read_settings(config)
    stored = [record for record in _records(settings, data_dir) if record.slug == slug]
    declared = settings.presets.get(slug)
    if declared is not None and version is None:
        _print(declared)
        return
    found = [record for record in stored if version in (None, record.version)]
    if not found:
        known = {*settings.presets, *(record.slug for record in _records(settings, data_dir))}
        what = "preset" if version is None else f"version {version} of the preset"
        fail(f"there is no {what} {slug!r}{did_you_mean(slug, known) if not stored else ''}")
    record = found[-1]
    _print(Preset(slug, str(record.version), record.document))


def _records(settings: Settings, data_dir: Path) -> list[PresetRecord]:
    """In the order of their versions."""
    if is_missing(named_database(settings, data_dir)):
        return []
    with existing_store(settings, data_dir) as store:
        return sorted(store.records(PresetRecord), key=lambda record: record.version)


def _print(preset: Preset) -> None:
    click.echo(json.dumps(dict(preset.document), indent=2, ensure_ascii=False))
    click.echo(preset.label, err=True)


def _model(document: object) -> str:
    model = document.get("model") if isinstance(document, dict) else None
    return printable(str(model)) if model is not None else "the request's"


def _made(record: PresetRecord) -> str:
    day = datetime.fromtimestamp(record.created_at, UTC).strftime("%Y-%m-%d")
    return f"{day} by {printable(record.author)}" if record.author else day
