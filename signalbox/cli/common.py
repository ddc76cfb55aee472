"""What the commands share: their options, the configuration, the store, how an error is told."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import click

from signalbox.config import ConfigError, Settings, load_settings
from signalbox.persistence.open import open_store
from signalbox.persistence.stores import Store
from signalbox.types import StoreUnavailable

FAILED = 1
MISUSED = 2
"""Exit codes. 2 is click's own for wrong usage, and stands for a wrong configuration too."""

Command = TypeVar("Command", bound=Callable[..., object])

_config = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The configuration file; otherwise $SIGNALBOX_CONFIG or ./signalbox.toml.",
)
_data_dir = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    envvar="SIGNALBOX_DATA_DIR",
    help="Where the database and the gateway's own files lie.",
)


def located(command: Command) -> Command:
    """Adds `--config` and `--data-dir`."""
    return _config(_data_dir(command))


def read_settings(config: Path | None) -> Settings:
    """The configuration; a mistake in it ends the command."""
    try:
        return load_settings(config, os.environ, Path.cwd())
    except ConfigError as error:
        fail(str(error), MISUSED)


@contextmanager
def opened_store(settings: Settings, data_dir: Path) -> Iterator[Store]:
    """The store, open; trouble with it ends the command."""
    try:
        make_private(data_dir)
        store = open_store(settings.storage.database, data_dir)
    except (StoreUnavailable, ValueError, OSError) as error:
        fail(str(error))
    try:
        yield store
    except StoreUnavailable as error:
        fail(str(error))
    finally:
        store.close()


def make_private(folder: Path) -> None:
    """Makes the folder where it is missing, for its owner alone. Raises `OSError`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def unix_now() -> float:
    return time.time()  # noqa: TID251 (edge)


def fail(message: str, code: int = FAILED) -> NoReturn:
    click.echo(f"signalbox: {message}", err=True)
    raise SystemExit(code)
