"""`signalbox import litellm`: a LiteLLM proxy's configuration, and the keys of its database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from signalbox.adapters.catalogue import Catalogue, vendor_id
from signalbox.cli.common import MISUSED, data_dir_option, environment, fail, unix_now
from signalbox.cli.litellm_config import Imported, convert
from signalbox.cli.litellm_database import Database, DatabaseError, read_database
from signalbox.cli.litellm_keys import Plan, plan_keys
from signalbox.cli.litellm_providers import PREFIXES, prefix_by_name
from signalbox.cli.litellm_report import keys_report, report
from signalbox.cli.litellm_secrets import variables_of
from signalbox.cli.litellm_target import add, database_of, existing_records, target
from signalbox.cli.prices import price_data
from signalbox.cli.table import printable
from signalbox.cli.toml_writer import toml_text
from signalbox.cli.yaml_tree import MAX_BYTES, Node, YamlError, read_yaml
from signalbox.config_prices import CLASSES
from signalbox.types import Secret

HEADER = """\
# Made by `signalbox import litellm` from {file}.
# `signalbox check` shows what it comes to.
"""


@click.command("litellm")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("signalbox.toml"),
    show_default=True,
    help="Where the configuration is written; `-` prints it.",
)
@click.option(
    "--report",
    "report_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file for the whole report, with every key that was carried over.",
)
@click.option("--force", is_flag=True, help="Replaces the files where they are there already.")
@click.option(
    "--database-url",
    envvar="LITELLM_DATABASE_URL",
    help="LiteLLM's PostgreSQL database, whose keys are taken over; also $LITELLM_DATABASE_URL.",
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration that says which database the keys go to; otherwise the one written.",
)
@data_dir_option
@click.option("--dry-run", is_flag=True, help="Writes nothing; shows the report.")
def litellm(
    file: Path,
    output: Path,
    report_file: Path | None,
    force: bool,
    database_url: str | None,
    config: Path | None,
    data_dir: Path,
    dry_run: bool,
) -> None:
    """Makes a signalbox.toml of LiteLLM's config.yaml in FILE, and says what has no counterpart.

    With --database-url, LiteLLM's virtual keys become gateway keys, so that clients go on with
    theirs.
    """
    if report_file is not None and report_file.exists() and not force and not dry_run:
        fail(f"{report_file} is there already; --force replaces it")
    imported = _converted(file)
    database = None if database_url is None else _database(database_url)
    text = HEADER.format(file=file.name) + "\n" + toml_text(imported.document)
    written = False
    if not dry_run:
        written = _write(output, text, force=force)
    lines = [*report(imported.log, complete=True)], [*report(imported.log, complete=False)]
    if database is not None:
        plan = _keys(imported, database, _target_of(config, output), data_dir, dry_run=dry_run)
        for complete, each in zip((True, False), lines, strict=True):
            each += ["", *keys_report(plan, complete=complete, dry_run=dry_run)]
    if report_file is not None and not dry_run:
        _write(report_file, _lines(lines[0]), force=True)
    to_terminal = str(output) == "-"
    click.echo(_lines(lines[1]), err=to_terminal, nl=False)
    if dry_run:
        click.echo("\nnothing was written.", err=to_terminal)
    elif not to_terminal:
        word = "is written" if written else "is as it was"
        click.echo(f"\n{output} {word}; `signalbox check --config {output}` shows it.")


def _database(url: str) -> Database:
    try:
        return read_database(url)
    except DatabaseError as error:
        fail(printable(str(error)))


def _target_of(config: Path | None, output: Path) -> Secret:
    if config is None and str(output) != "-" and output.exists():
        config = output
    return database_of(config)


def _keys(
    imported: Imported, database: Database, url: Secret, data_dir: Path, *, dry_run: bool
) -> Plan:
    """Plans the keys and, unless it is a dry run, adds them."""
    with target(url, data_dir, dry_run=dry_run) as store:
        plan = plan_keys(
            database,
            existing_records(store, imported.document),
            models=imported.models,
            access_groups=imported.access_groups,
            now=unix_now(),
        )
        if store is not None and not dry_run:
            add(store, plan)
        return plan


def _converted(file: Path) -> Imported:
    environ = environment()
    try:
        root = _read(file, file.name)
        imported = convert(
            root, environ, lambda name: _read(file.parent / name, name), _base_price()
        )
    except YamlError as error:
        fail("\n".join(map(printable, error.mistakes)), MISUSED)
    asked = " ".join(task.text for task in imported.log.tasks)
    unset = {name for name in variables_of(imported.document) if not environ.get(name)}
    if unset := {name for name in unset if f"set {name} to" not in asked}:
        imported.log.hint(f"The file reads variables that are not set here: {_listed(unset)}.")
    return imported


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _read(file: Path, name: str) -> Node:
    """Raises `YamlError`."""
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it has no name that a file can have"
        raise YamlError(f"{name} cannot be read: {reason}") from None
    return read_yaml(text, name)


def _base_price() -> Callable[[str], Mapping[str, Any]]:
    """Prices and context of models as LiteLLM names them, from the catalogue of today."""
    today = datetime.now(UTC).date()  # noqa: TID251 (edge)
    catalogue = Catalogue(price_data(), today)

    def known(model: str) -> Mapping[str, Any]:
        word, slash, bare = model.partition("/")
        if not slash or word not in PREFIXES:
            word, bare = prefix_by_name(model) or "openai", model
        vendor = vendor_id(PREFIXES[word].name)
        price = catalogue.price(vendor, bare)
        if price.input is None or price.output is None:
            return {}
        said = {name: getattr(price, name) for name in CLASSES}
        context = catalogue.context_length(vendor, bare)
        return {
            **{name: amount for name, amount in said.items() if amount is not None},
            **({"context_length": context} if context is not None else {}),
        }

    return known


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _write(file: Path, text: str, *, force: bool) -> bool:
    """Whether it had to be written. Only its owner may read it: addresses and names are nobody
    else's business."""
    if str(file) == "-":
        click.echo(text, nl=False)
        return True
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        if file.is_file() and file.read_bytes() == text.encode():
            return False
        with os.fdopen(os.open(file, flags, 0o600), "w", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        fail(f"{file} is there already; --force replaces it, --output names another")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it has no name that a file can have"
        fail(f"{file} cannot be written: {reason}")
    return True
