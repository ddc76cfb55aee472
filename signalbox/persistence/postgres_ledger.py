"""Charges go into the ledger, and into usage by the hour, by one statement a batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain

from signalbox.persistence.postgres_connections import Connection
from signalbox.persistence.postgres_statements import numbered
from signalbox.persistence.rows import HOURLY_KEY, LEDGER_COLUMNS, Values
from signalbox.persistence.usage_rows import added, folded

MOST_ROWS = 256
"""In one statement: as many as the ledger writes at once, and about eight thousand of the 65,535
values that the protocol counts."""

_USAGE_KEY = (*HOURLY_KEY[:3], *(f"md5({column})" for column in HOURLY_KEY[3:]))
"""As its index has it: what clients name may be too long for one."""


def append(connection: Connection, rows: Sequence[Values]) -> None:
    """A transaction for each `MOST_ROWS`, durable when it returns; a row whose request is there
    already is left alone.

    What is new is counted by the statement that adds it, so that nothing is ever in one of the two
    tables alone. It is one for a whole batch, whose rows are counted in one order: two gateways
    never wait for each other in a ring.
    """
    for start in range(0, len(rows), MOST_ROWS):
        part = rows[start : start + MOST_ROWS]
        # Numbers as text, whose type the server finds out: so a value is of one type whether there
        # is one or not, and one prepared statement serves all rows.
        values = [
            str(value) if type(value) is int else value for value in chain.from_iterable(part)
        ]
        # Filled up with the last row, which is there by then.
        count = _filled_up(len(part))
        values += values[-len(LEDGER_COLUMNS) :] * (count - len(part))
        connection.execute(_statement(count), values, prepare=True)


@cache
def _statement(rows: int) -> str:
    columns = ", ".join(LEDGER_COLUMNS)
    places = ", ".join([f"({', '.join('?' * len(LEDGER_COLUMNS))})"] * rows)
    return numbered(
        f"WITH inserted AS (INSERT INTO ledger ({columns}) VALUES {places}"
        " ON CONFLICT (request_id) DO NOTHING RETURNING *)"
        f" {added(folded('inserted'), _USAGE_KEY)}"
    )


def _filled_up(rows: int) -> int:
    """To 1, 2, 4, then multiples of 8, above 64 of 64: the server has few to keep prepared."""
    if rows <= 4:
        return 4 if rows == 3 else rows
    step = 8 if rows <= 64 else 64
    return -(-rows // step) * step
