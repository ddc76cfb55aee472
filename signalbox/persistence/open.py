"""Opens the store that `storage.database` names."""

from __future__ import annotations

from pathlib import Path

from signalbox.persistence.sqlite import SqliteStore
from signalbox.persistence.stores import Store

_EXPECTED = "expected sqlite:///file.db (in the data directory) or sqlite:////absolute/file.db"


def parse_database_url(url: str, base_dir: Path) -> Path:
    """The file that a database URL names; a relative one lies in `base_dir`.

    Raises `ValueError` saying what was expected. It never repeats the URL: one of a database
    server holds a password.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise ValueError(f"storage.database is not a URL: {_EXPECTED}")
    if scheme.partition("+")[0] in ("postgresql", "postgres"):
        raise ValueError(
            f"storage.database names a PostgreSQL server, which comes with PostgreSQL support; "
            f"this version keeps SQLite: {_EXPECTED}"
        )
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


def open_store(url: str, base_dir: Path) -> Store:
    """Raises `ValueError` for a URL that is wrong, `StoreUnavailable` for what does not open."""
    return SqliteStore.open(parse_database_url(url, base_dir))
