"""Opens the store that `storage.database` names."""

from __future__ import annotations

from pathlib import Path

from signalbox.config_postgres import PostgresUrl, is_postgres_url, read_postgres_url
from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.stores import Store
from signalbox.types import Secret

_EXPECTED = (
    "expected sqlite:///file.db (in the data directory), sqlite:////absolute/file.db "
    "or postgresql://user:password@host/database"
)


def parse_database_url(url: Secret, base_dir: Path) -> Path | PostgresUrl:
    """What a database URL names: a file, a relative one in `base_dir`, or a server's database.

    Raises `ValueError` saying what was expected. It never repeats the URL: one of a database
    server holds a password.
    """
    text = url.reveal()
    if is_postgres_url(text):
        try:
            return read_postgres_url(text)
        except ValueError as error:
            raise ValueError(f"storage.database: {error}") from None
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise ValueError(f"storage.database is not a URL: {_EXPECTED}")
    if scheme != "sqlite":
        raise ValueError(f"storage.database has the scheme {scheme!r}: {_EXPECTED}")
    host, slash, file = rest.partition("/")
    if host:
        raise ValueError(f"storage.database names a host, a file has three slashes: {_EXPECTED}")
    if not slash or not file or file == ":memory:":
        raise ValueError(f"storage.database names no file: {_EXPECTED}")
    if "?" in file or "\0" in file:
        raise ValueError(f"storage.database has options or odd characters: {_EXPECTED}")
    return base_dir / file


def open_store(url: Secret, base_dir: Path) -> Store:
    """Raises `ValueError` for a URL that is wrong, `StoreUnavailable` for what does not open."""
    database = parse_database_url(url, base_dir)
    if isinstance(database, Path):
        return SqliteStore.open(database)
    # Imported here: the driver takes a fifth of a second, which a start on SQLite does without.
    from signalbox.persistence.postgres import PostgresStore  # noqa: PLC0415 - as said above

    return PostgresStore.open(database)
