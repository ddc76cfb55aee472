"""Inserts of many rows by few statements.

Each statement costs the thread Python's lock twice, and while the loop is busy it gets it back only
after a switch interval (5 ms). So a batch goes in by one statement, or a few, and not by one a row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain

MOST_ROWS = 32
"""In one statement: about a thousand variables, of the 32,766 that SQLite takes."""

_EXACTLY = 8
"""Up to here there is a statement for each number of rows, above for each multiple of it: every
batch is two statements at most, and the driver has few to keep prepared (1 KB a row)."""

CACHED_STATEMENTS = 128
"""More than all inserts and all other statements of a store together."""


class Insert:
    """`INSERT INTO` one table."""

    def __init__(self, table: str, columns: Sequence[str], otherwise: str = "") -> None:
        """`otherwise`: what follows the values, an `ON CONFLICT` clause."""
        self._head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
        self._row = f"({', '.join('?' * len(columns))})"
        self._tail = f" {otherwise}" if otherwise else ""
        self._statements: dict[int, str] = {}

    def run(self, connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> int:
        """How many of the rows were inserted."""
        inserted = start = 0
        while start < len(rows):
            end = start + _in_one(len(rows) - start)
            part = rows if end - start == len(rows) else rows[start:end]
            values = tuple(chain.from_iterable(part))
            inserted += connection.execute(self._statement(len(part)), values).rowcount
            start = end
        return inserted

    def _statement(self, rows: int) -> str:
        statement = self._statements.get(rows)
        if statement is None:
            statement = self._head + ", ".join([self._row] * rows) + self._tail
            self._statements[rows] = statement
        return statement


def is_one_statement(rows: int) -> bool:
    """Whether `Insert.run` needs one statement for so many: it is a transaction by itself."""
    return rows > 0 and _in_one(rows) == rows


def _in_one(rows: int) -> int:
    """With how many of the rows the next statement begins."""
    rows = min(rows, MOST_ROWS)
    return rows if rows <= _EXACTLY else rows - rows % _EXACTLY
