"""Databases of the tests' own, on one private server a test run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from signalbox.config_postgres import PostgresUrl, read_postgres_url
from signalbox.persistence.postgres import PostgresStore
from signalbox.types import Secret
from tests.servers import PrivateServer, make_postgres_data

ROLE = "signalbox"
"""No superuser: owns its database, as an operator's would."""
TEMPLATE = "signalbox_template"

_numbers = count()


class Database:
    """One database, seen by the gateway's own user and by its superuser."""

    def __init__(self, server: PrivateServer, name: str) -> None:
        self.name = name
        self.folder = server.address
        self.url = f"postgresql://{ROLE}@{quote(str(server.address), safe='')}/{name}"

    @property
    def secret_url(self) -> Secret:
        return Secret(self.url)

    @property
    def address(self) -> PostgresUrl:
        return read_postgres_url(self.url)

    def open(self) -> PostgresStore:
        return PostgresStore.open(self.address)

    @contextmanager
    def by_hand(self, user: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
        """What somebody does with `psql`; the superuser may do all of it."""
        with closing(connect(self.folder, self.name, user)) as connection:
            yield connection

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.by_hand() as connection:
            return connection.execute(query).fetchall()

    def empty(self) -> None:
        """Deletes every row, past the triggers."""
        with self.by_hand() as connection:
            connection.execute("SET session_replication_role = replica")
            tables = connection.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                " AND relkind IN ('r', 'p') AND NOT relispartition"
                " AND relname NOT IN ('alembic_version', 'changes')"
            ).fetchall()
            connection.execute("; ".join(f"DELETE FROM {table}" for (table,) in tables))


def connect(folder: Path, database: str, user: str = "postgres") -> psycopg.Connection[Any]:
    return psycopg.connect(host=str(folder), dbname=database, user=user, autocommit=True)


def prepare(server: PrivateServer) -> None:
    """Makes the user, and the database at the newest revision that others are copied from."""
    with closing(connect(server.address, "postgres")) as superuser:
        superuser.execute(f"CREATE ROLE {ROLE} LOGIN")
    new_database(server, TEMPLATE).open().close()


def new_database(
    server: PrivateServer, name: str = "", template: str = "template0", more: str = ""
) -> Database:
    """An empty database; or one at the newest revision, from `TEMPLATE`."""
    name = name or f"test_{next(_numbers)}"
    with closing(connect(server.address, "postgres")) as superuser:
        superuser.execute(f"CREATE DATABASE {name} OWNER {ROLE} TEMPLATE {template} {more}")
    return Database(server, name)


def opener(database: Database) -> Callable[[Path], PostgresStore]:
    """Opens the database as if it were one in each folder: another folder finds it empty."""
    folders: list[Path] = []

    def open_in(folder: Path) -> PostgresStore:
        if folders[-1:] != [folder]:
            database.empty()
            folders.append(folder)
        return database.open()

    return open_in


@contextmanager
def own_folder() -> Iterator[Path]:
    """Of a server that ends and comes again."""
    with tempfile.TemporaryDirectory(prefix="signalbox-pg-") as name:
        make_postgres_data(Path(name))
        yield Path(name)


def values(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Of rows with one column."""
    return [value for (value,) in rows]
