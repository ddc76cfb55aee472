"""Reading and changing the small tables of `records.py`: one SQL text for every engine.

The statements have `?` where a value goes and use nothing that SQLite and PostgreSQL do not share.
An engine gives its transactions; a change and its audit are one of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import msgspec

from signalbox.errors import SignalboxError
from signalbox.persistence.columns import storable_text
from signalbox.persistence.record_tables import AUDIT, MANAGED, RecordTable
from signalbox.persistence.records import AuditRecord, Managed

M = TypeVar("M", bound=Managed)


class RecordExists(SignalboxError):
    """A record with this key, name or other unique field is there already."""

    def __init__(self, table: str, fields: Sequence[str]) -> None:
        super().__init__(f"{table}: there is one with the same {' and '.join(fields)} already")
        self.table = table
        self.fields = tuple(fields)


class RecordMissing(SignalboxError):
    """What was to be changed is not there, or was changed or deleted by somebody else."""


class Insert(msgspec.Struct, frozen=True):
    """Raises `RecordExists`."""

    record: Managed


class Update(msgspec.Struct, frozen=True):
    """The record of the same key becomes this one. Raises `RecordMissing`, `RecordExists`."""

    record: Managed
    was: Managed | None = None
    """Where given, what it must still be: otherwise nothing is changed."""


class Delete(msgspec.Struct, frozen=True):
    """Raises `RecordMissing`."""

    record: Managed


Change = Insert | Update | Delete


class Result(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int: ...

    def fetchall(self) -> Sequence[Sequence[Any]]: ...

    def fetchone(self) -> Sequence[Any] | None: ...


class Session(Protocol):
    """An open transaction."""

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Result: ...


class RecordStore(ABC):
    """The part of a store that keeps what operators manage."""

    @abstractmethod
    def _reading(self, operation: str) -> AbstractContextManager[Session]:
        """One snapshot; `operation` is what the error says could not be done."""

    @abstractmethod
    def _changing(self, operation: str) -> AbstractContextManager[Session]:
        """A transaction that moves `change_mark` for other processes."""

    def records(self, kind: type[M], where: Mapping[str, object] | None = None) -> list[M]:
        """All of a kind in the order of their table, or those with these columns."""
        table = MANAGED[kind]
        test, values = _where(where or {})
        with self._reading(f"read {table.name}") as session:
            found = session.execute(table.select + test + table.order, values).fetchall()
        return [table.read(values) for values in found]

    def page(
        self,
        kind: type[M],
        *,
        limit: int,
        after: Sequence[object] | None = None,
        where: Mapping[str, object] | None = None,
    ) -> list[M]:
        """At most `limit` of what `records` gives, behind `after`: the place in the order
        (`RecordTable.place_of`) of the last one of the page before, be it there still or not."""
        table = MANAGED[kind]
        test, values = _where(where or {})
        if after is not None:
            places = ", ".join("?" * len(after))
            test += f"{' AND' if test else ' WHERE'} ({table.place_columns}) > ({places})"
            values = (*values, *_told(after))
        statement = f"{table.select}{test}{table.order} LIMIT ?"
        with self._reading(f"read {table.name}") as session:
            found = session.execute(statement, (*values, limit)).fetchall()
        return [table.read(values) for values in found]

    def record(self, kind: type[M], *key: object) -> M | None:
        """The one with this primary key."""
        table = MANAGED[kind]
        with self._reading(f"read {table.name}") as session:
            found = session.execute(f"{table.select} WHERE {table.by_key}", _told(key)).fetchone()
        return None if found is None else table.read(found)

    def change(self, changes: Sequence[Change], audit: AuditRecord, *more: AuditRecord) -> None:
        """All of it with its audit, or nothing. Durable when it returns. Changes of several kinds
        have an audit each.

        Raises `RecordExists`, `RecordMissing`, `ValueError` (a value that no database keeps).
        """
        noted = [AUDIT.values(each) for each in (audit, *more)]
        with self._changing(f"{audit.action} a {audit.kind}") as session:
            for change in changes:
                _perform(session, change)
            for values in noted:
                session.execute(AUDIT.insert, values)

    def audit(
        self, *, limit: int, before: str | None = None, where: Mapping[str, object] | None = None
    ) -> list[AuditRecord]:
        """Newest first; `before` is the id of the last one of the page before."""
        test, values = _where(where or {})
        if before is not None:
            test += f"{' AND' if test else ' WHERE'} id < ?"
            values = (*values, storable_text(before))
        statement = f"{AUDIT.select}{test} ORDER BY id DESC LIMIT ?"
        with self._reading("read the audit") as session:
            found = session.execute(statement, (*values, limit)).fetchall()
        return [AUDIT.read(values) for values in found]


def _perform(session: Session, change: Change) -> None:
    table = MANAGED[type(change.record)]
    match change:
        case Insert(record):
            _refuse_doubles(session, table, record, new=True)
            session.execute(table.insert, table.values(record))
        case Update(record, was):
            _refuse_doubles(session, table, record, new=False)
            if was is not None and _current(session, table, record) != was:
                raise RecordMissing(f"{table.name}: it was changed by somebody else meanwhile")
            values = (*table.values(record), *table.key_of(record))
            _must_be_there(session.execute(table.update, values), table)
        case Delete(record):
            _must_be_there(session.execute(table.delete, table.key_of(record)), table)


def _current(session: Session, table: RecordTable[Any], record: Managed) -> Managed | None:
    key = table.key_of(record)
    found = session.execute(f"{table.select} WHERE {table.by_key}", key).fetchone()
    return None if found is None else table.read(found)


def _must_be_there(result: Result, table: RecordTable[Any]) -> None:
    if result.rowcount != 1:
        raise RecordMissing(f"{table.name}: there is no such record")


def _refuse_doubles(
    session: Session, table: RecordTable[Any], record: Managed, *, new: bool
) -> None:
    key = table.key_of(record)
    for fields in (table.key, *table.unique) if new else table.unique:
        test = " AND ".join(f"{field} = ?" for field in fields)
        values = _told([getattr(record, field) for field in fields])
        if not new:
            test += f" AND NOT ({table.by_key})"
            values = (*values, *key)
        if session.execute(f"SELECT 1 FROM {table.name} WHERE {test}", values).fetchone():
            raise RecordExists(table.name, fields)


def _where(wanted: Mapping[str, object]) -> tuple[str, tuple[object, ...]]:
    if not wanted:
        return "", ()
    return " WHERE " + " AND ".join(f"{column} = ?" for column in wanted), _told(wanted.values())


def _told(values: Any) -> tuple[object, ...]:
    return tuple(storable_text(value) if isinstance(value, str) else value for value in values)
