"""What the commands share: their options, the configuration, the store, how an error is told."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import NoReturn, TypeVar

import click

from signalbox.adapters.catalogue import Catalogue
from signalbox.adapters.models import ModelTable
from signalbox.cli.prices import price_data
from signalbox.config import ConfigError, Settings, load_settings, read_environ
from signalbox.config_postgres import PostgresUrl
from signalbox.errors import StoreUnavailable
from signalbox.http.preset_checks import check_presets
from signalbox.ids import Uuid7Generator
from signalbox.persistence.master_keys import FILE, VARIABLE, MasterKeys
from signalbox.persistence.open import open_store, parse_database_url
from signalbox.persistence.overlay import read_overlay
from signalbox.persistence.sealed_records import secret_of
from signalbox.persistence.stores import Store
from signalbox.persistence.vault import Vault
from signalbox.types import Secret

FAILED = 1
MISUSED = 2
"""Exit codes. 2 is click's own for wrong usage, and stands for a wrong configuration too."""

Command = TypeVar("Command", bound=Callable[..., object])

_config = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration file; otherwise $SIGNALBOX_CONFIG or ./signalbox.toml.",
)
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=lambda: environment().get("SIGNALBOX_DATA_DIR") or "data",
    show_default="$SIGNALBOX_DATA_DIR or ./data",
    help="Where the database and the gateway's own files lie.",
)


def located(command: Command) -> Command:
    """Adds `--config` and `--data-dir`."""
    return configured(data_dir_option(command))


def configured(command: Command) -> Command:
    """Adds `--config`, for commands that keep nothing."""
    return _config(command)


def environment() -> Mapping[str, str]:
    """The environment over `.env` in the working directory; a broken one ends the command."""
    try:
        return read_environ(os.environ, Path.cwd())
    except ConfigError as error:
        fail(str(error), MISUSED)


def read_settings(config: Path | None) -> Settings:
    """The configuration; a mistake in it ends the command."""
    try:
        return load_settings(config, os.environ, Path.cwd())
    except ConfigError as error:
        fail(str(error), MISUSED)


def effective_settings(config: Path | None, data_dir: Path) -> Settings:
    """The configuration with what the database has to say to it, where there is one."""
    settings = read_settings(config)
    if is_missing(named_database(settings, data_dir)):
        return settings
    with opened_store(settings, data_dir) as store:
        overlay = read_overlay(store, partial(secret_of, the_vault(data_dir)))
    try:
        return load_settings(config, os.environ, Path.cwd(), overlay)
    except ConfigError as error:
        fail(str(error), MISUSED)


def load_models(settings: Settings) -> ModelTable:
    """The models of the configuration with today's prices. Raises `ConfigError`, also where a
    preset is of no use; what should be said of presets goes to standard error."""
    today = datetime.now(UTC).date()  # noqa: TID251 (edge)
    models = ModelTable(settings, Catalogue(price_data(), today))
    for warning in check_presets(settings):
        click.echo(f"warning: {warning}", err=True)
    return models


def named_database(settings: Settings, data_dir: Path) -> Path | PostgresUrl:
    """The database, or its file, which may not be there; a wrong URL ends the command."""
    try:
        return parse_database_url(settings.storage.database, data_dir)
    except ValueError as error:
        key = "storage.database"
        place = settings.origins.describe(("storage", "database")).removesuffix(key)
        fail(f"{place}{error}", MISUSED)


@contextmanager
def opened_store(settings: Settings, data_dir: Path, code: int = FAILED) -> Iterator[Store]:
    """The store, open; trouble with it ends the command with the exit code `code`."""
    named_database(settings, data_dir)
    with opened_database(settings.storage.database, data_dir, code) as store:
        yield store


@contextmanager
def opened_database(url: Secret, data_dir: Path, code: int = FAILED) -> Iterator[Store]:
    """As `opened_store`, for a URL that `parse_database_url` takes."""
    try:
        make_private(data_dir)
    except OSError as error:
        fail(f"the data directory {data_dir} cannot be made: {error.strerror}", code)
    try:
        store = open_store(url, data_dir)
    except StoreUnavailable as error:
        fail(str(error), code)
    try:
        yield store
    except StoreUnavailable as error:
        fail(str(error), code)
    finally:
        store.close()


@contextmanager
def existing_store(settings: Settings, data_dir: Path, code: int = FAILED) -> Iterator[Store]:
    """As `opened_store`, for commands that have nothing to do where there is no database yet."""
    database = named_database(settings, data_dir)
    if is_missing(database):
        where = "--data-dir or --config may name another place"
        fail(f"there is no database {database} yet; {where}", code)
    with opened_store(settings, data_dir, code) as store:
        yield store


def is_missing(database: Path | PostgresUrl) -> bool:
    """Whether it is a file that is not there; what a server has is seen when it is opened."""
    return isinstance(database, Path) and not database.exists()


def the_vault(data_dir: Path) -> Vault:
    """Under the master keys of the environment, of `.env`, or of the data directory."""
    text = environment().get(VARIABLE, "").strip()
    return Vault(MasterKeys(Secret(text) if text else None, data_dir / FILE))


def make_private(folder: Path) -> None:
    """Makes the folder where it is missing, for its owner alone. Raises `OSError`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def unix_now() -> float:
    return time.time()  # noqa: TID251 (edge)


def new_id() -> str:
    """Each sorts after the one before."""
    return _ids()()


@cache
def _ids() -> Uuid7Generator:
    return Uuid7Generator(unix_now, secrets.randbits)


def fail(message: str, code: int = FAILED) -> NoReturn:
    click.echo(f"signalbox: {message}", err=True)
    raise SystemExit(code)
