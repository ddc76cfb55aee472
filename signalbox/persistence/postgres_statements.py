"""Statements as PostgreSQL takes them: with numbered places, and rows by COPY."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import psycopg

from signalbox.persistence.postgres_connections import Connection
from signalbox.persistence.rows import Values


class PostgresSession:
    """A connection to the statements that all engines share."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(
        self, statement: str, values: Sequence[Any] = (), /
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """`?` is where a value goes."""
        return self._connection.execute(numbered(statement), values, binary=True)


class Copy(NamedTuple):
    """`COPY` into one table, in PostgreSQL's binary format."""

    table: str
    columns: Sequence[str]
    types: Sequence[str]

    def run(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Raises `psycopg.errors.UniqueViolation` where one of the rows is there already."""
        if not rows:
            return
        statement = f"COPY {self.table} ({', '.join(self.columns)}) FROM STDIN (FORMAT BINARY)"
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(self.types)
            for row in rows:
                copy.write_row(row)


@lru_cache(maxsize=512)
def numbered(statement: str) -> str:
    """`?` as `$1`, `$2` and so on."""
    first, *others = statement.split("?")
    places = count(1)
    return first + "".join(f"${next(places)}{other}" for other in others)
