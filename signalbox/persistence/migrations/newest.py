"""The newest schema as one SQL text for SQLite, `newest.sql`, written from the migrations.

A new database is made from it: Alembic and SQLAlchemy would take 0.7 s for the same tables.
`tools/write_docs.py` writes the file again after a change of the migrations.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

NEWEST = Path(__file__).with_name("newest.sql")


def statements() -> Iterator[str]:
    """One after the other; a trigger has semicolons within."""
    statement = ""
    for line in NEWEST.read_text(encoding="utf-8").splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def render() -> str:
    """What the migrations make of an empty database."""
    # Imported here: only those who change the schema come here.
    import sqlalchemy  # noqa: PLC0415 - as said above

    from signalbox.persistence.migrations.upgrade import upgrade  # noqa: PLC0415 - as said above

    engine = sqlalchemy.create_engine("sqlite://")
    with engine.begin() as connection:
        upgrade(connection)
        made = connection.exec_driver_sql(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"
        ).scalars()
        schema = [f"{_tidy(sql)};" for sql in made]
        [revision] = connection.exec_driver_sql("SELECT * FROM alembic_version").scalars()
    engine.dispose()
    schema.append(f"INSERT INTO alembic_version VALUES ('{revision}');")
    head = "-- Written by tools/write_docs.py from the migrations; change those."
    return "\n\n".join([head, *schema]) + "\n"


def _tidy(sql: str) -> str:
    return "\n".join(line.rstrip() for line in sql.replace("\t", "    ").strip().splitlines())
