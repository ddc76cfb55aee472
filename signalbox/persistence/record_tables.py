"""The tables of `records.py`: which column holds which field, and how.

A field's column has its name, with `_us` behind it for a time and `_nano_usd` for an amount.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from signalbox.persistence.columns import (
    Row,
    microseconds,
    optional_microseconds,
    storable_int,
    storable_json,
    storable_optional_text,
    storable_text,
)
from signalbox.persistence.records import (
    AuditRecord,
    BudgetRecord,
    ByokKeyRecord,
    ConfigEntryRecord,
    GatewayKeyRecord,
    PresetRecord,
    ProviderKeyRecord,
    UserRecord,
)

Values = tuple[object, ...]
R = TypeVar("R", bound=msgspec.Struct)


class Form(NamedTuple):
    """How a field's value is kept. Both functions take the column's name for their errors."""

    write: Callable[[Any, str], object]
    read: Callable[[Row, str], Any]
    suffix: str = ""


def _as_it_is(value: Any, column: str) -> object:
    return value


TEXT = Form(lambda value, _: storable_text(value), Row.text)
OPTIONAL_TEXT = Form(lambda value, _: storable_optional_text(value), Row.optional_text)
INTEGER = Form(storable_int, Row.integer)
OPTIONAL_INTEGER = Form(storable_int, Row.optional_integer)
AMOUNT = Form(storable_int, Row.integer, "_nano_usd")
TIME = Form(microseconds, Row.seconds, "_us")
OPTIONAL_TIME = Form(optional_microseconds, Row.optional_seconds, "_us")
FLAG = Form(_as_it_is, Row.flag)
BYTES = Form(_as_it_is, Row.blob)
OPTIONAL_BYTES = Form(_as_it_is, Row.optional_blob)
JSON = Form(storable_json, Row.json)
TEXTS = Form(storable_json, Row.json_texts)
NUMBERS = Form(storable_json, Row.json_numbers)
OBJECT = Form(storable_json, Row.json_object)


def _is_int64(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63


class RecordTable(Generic[R]):
    """One table of records of one type."""

    def __init__(
        self,
        name: str,
        record: type[R],
        fields: Mapping[str, Form],
        *,
        key: Sequence[str] = ("id",),
        unique: Sequence[Sequence[str]] = (),
        order: Sequence[str],
    ) -> None:
        """`key`, `unique` and `order` are fields; those of `key` and `order` are kept as they
        are called."""
        self.name = name
        self.record = record
        self.key = tuple(key)
        self.unique = tuple(tuple(fields) for fields in unique)
        self.fields = dict(fields)
        self.columns = tuple(f"{field}{form.suffix}" for field, form in self.fields.items())
        columns = ", ".join(self.columns)
        places = ", ".join("?" * len(self.columns))
        changed = ", ".join(f"{column} = ?" for column in self.columns)
        self.by_key = " AND ".join(f"{field} = ?" for field in self.key)
        self.select = f"SELECT {columns} FROM {name}"
        self.place = tuple(order)
        self.place_columns = ", ".join(self._column(field) for field in order)
        self.order = f" ORDER BY {self.place_columns}"
        self.insert = f"INSERT INTO {name} ({columns}) VALUES ({places})"
        self.update = f"UPDATE {name} SET {changed} WHERE {self.by_key}"
        self.delete = f"DELETE FROM {name} WHERE {self.by_key}"

    def _column(self, field: str) -> str:
        return f"{field}{self.fields[field].suffix}"

    def key_of(self, record: R) -> Values:
        return tuple(getattr(record, field) for field in self.key)

    def place_of(self, record: R) -> Values:
        """Where it stands in the order of the table."""
        return tuple(
            self.fields[field].write(getattr(record, field), field) for field in self.place
        )

    def is_place(self, values: Sequence[object]) -> bool:
        """Whether a record could stand there, as far as the types of its columns go."""
        return len(values) == len(self.place) and all(
            _is_int64(value) if self.fields[field] in (TIME, INTEGER) else isinstance(value, str)
            for field, value in zip(self.place, values, strict=True)
        )

    def values(self, record: R) -> Values:
        """Raises `ValueError` naming the record and the field that no database could keep."""
        try:
            return tuple(
                form.write(getattr(record, field), field) for field, form in self.fields.items()
            )
        except ValueError as error:
            named = ", ".join(map(str, self.key_of(record)))
            raise ValueError(f"{self.name} {named}: {error}") from None

    def read(self, values: Sequence[object]) -> R:
        """Raises `CorruptRow`."""
        row = Row(self.name, [self._column(field) for field in self.key], self.columns, values)
        return self.record(
            **{
                field: form.read(row, f"{field}{form.suffix}")
                for field, form in self.fields.items()
            }
        )


GATEWAY_KEYS = RecordTable(
    "gateway_keys",
    GatewayKeyRecord,
    {
        "id": TEXT,
        "name": TEXT,
        "digest": BYTES,
        "prefix": TEXT,
        "created_at": TIME,
        "revoked_at": OPTIONAL_TIME,
        "expires_at": OPTIONAL_TIME,
        "rpm": OPTIONAL_INTEGER,
        "tpm": OPTIONAL_INTEGER,
        "concurrency": OPTIONAL_INTEGER,
        "models": TEXTS,
        "owner": OPTIONAL_TEXT,
        "enabled": FLAG,
        "providers": TEXTS,
        "tags": TEXTS,
        "preset": OPTIONAL_TEXT,
        "byok_fallback": FLAG,
        "previous_digest": OPTIONAL_BYTES,
        "previous_until": OPTIONAL_TIME,
        "updated_at": OPTIONAL_TIME,
    },
    unique=[("name",), ("digest",)],
    order=("created_at", "id"),
)
USERS = RecordTable(
    "users",
    UserRecord,
    {
        "id": TEXT,
        "name": TEXT,
        "created_at": TIME,
        "email": OPTIONAL_TEXT,
        "role": TEXT,
        "token_digest": OPTIONAL_BYTES,
        "token_prefix": OPTIONAL_TEXT,
        "enabled": FLAG,
        "updated_at": OPTIONAL_TIME,
    },
    unique=[("name",)],
    order=("created_at", "id"),
)
BUDGETS = RecordTable(
    "budgets",
    BudgetRecord,
    {
        "id": TEXT,
        "name": TEXT,
        "scope": TEXT,
        "subject": OPTIONAL_TEXT,
        "limit": AMOUNT,
        "period": TEXT,
        "created_at": TIME,
        "hard": FLAG,
        "alert_at": NUMBERS,
        "enabled": FLAG,
        "updated_at": OPTIONAL_TIME,
    },
    unique=[("name",)],
    order=("created_at", "id"),
)
PRESETS = RecordTable(
    "presets",
    PresetRecord,
    {
        "slug": TEXT,
        "version": INTEGER,
        "document": OBJECT,
        "created_at": TIME,
        "author": TEXT,
        "note": TEXT,
    },
    key=("slug", "version"),
    order=("slug", "version"),
)
CONFIG_ENTRIES = RecordTable(
    "config_entries",
    ConfigEntryRecord,
    {
        "section": TEXT,
        "name": TEXT,
        "document": JSON,
        "version": INTEGER,
        "created_at": TIME,
        "updated_at": OPTIONAL_TIME,
    },
    key=("section", "name"),
    order=("section", "name"),
)
PROVIDER_KEYS = RecordTable(
    "provider_keys",
    ProviderKeyRecord,
    {
        "id": TEXT,
        "provider": TEXT,
        "label": TEXT,
        "sealed": BYTES,
        "created_at": TIME,
        "rpm": OPTIONAL_INTEGER,
        "tpm": OPTIONAL_INTEGER,
        "enabled": FLAG,
        "updated_at": OPTIONAL_TIME,
    },
    order=("provider", "created_at", "id"),
)
BYOK_KEYS = RecordTable(
    "byok_keys",
    ByokKeyRecord,
    {
        "id": TEXT,
        "key_id": TEXT,
        "provider": TEXT,
        "label": TEXT,
        "sealed": BYTES,
        "created_at": TIME,
    },
    unique=[("key_id", "provider")],
    order=("key_id", "provider"),
)
AUDIT = RecordTable(
    "audit",
    AuditRecord,
    {
        "id": TEXT,
        "at": TIME,
        "actor": TEXT,
        "role": TEXT,
        "action": TEXT,
        "kind": TEXT,
        "target": TEXT,
        "before": JSON,
        "after": JSON,
        "address": OPTIONAL_TEXT,
    },
    order=("id",),
)

MANAGED: Mapping[type, RecordTable[Any]] = {
    table.record: table
    for table in (
        GATEWAY_KEYS,
        USERS,
        BUDGETS,
        PRESETS,
        CONFIG_ENTRIES,
        PROVIDER_KEYS,
        BYOK_KEYS,
    )
}
"""By the type of record."""
