"""Reading the keys, teams, users and budgets of LiteLLM's PostgreSQL database. Nothing is written.

Tables and columns are those of LiteLLM's `schema.prisma`; which of them are there depends on its
version, so only what is there is asked for. Times there are UTC without a time zone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
import psycopg
from psycopg import sql
from psycopg.pq import Conninfo
from psycopg.rows import dict_row

from signalbox.config_postgres import PostgresUrl, is_postgres_url, read_postgres_url
from signalbox.errors import SignalboxError

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 60
"""A table of some hundred thousand keys is read in a few."""

_TOKENS, _TEAMS = "LiteLLM_VerificationToken", "LiteLLM_TeamTable"
_USERS, _BUDGETS = "LiteLLM_UserTable", "LiteLLM_BudgetTable"
_OLD_TOKENS, _MODELS = "LiteLLM_DeprecatedVerificationToken", "LiteLLM_ProxyModelTable"
_END_USERS, _TAGS = "LiteLLM_EndUserTable", "LiteLLM_TagTable"
_ORGANIZATIONS = "LiteLLM_OrganizationTable"

_NEVER_READ = frozenset({"credential_values", "litellm_params", "password"})
"""Secrets that nothing here needs."""


class DatabaseError(SignalboxError):
    """LiteLLM's database cannot be read. The text never holds its password."""


class Limits(msgspec.Struct, frozen=True):
    """What a key, a team, a user or a budget of LiteLLM's may do."""

    max_budget: Decimal | None = None
    """US dollars."""
    soft_budget: Decimal | None = None
    budget_duration: str | None = None
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


class Holder(msgspec.Struct, frozen=True):
    """A team or a user."""

    id: str
    name: str
    limits: Limits
    spend: Decimal = Decimal(0)
    models: tuple[str, ...] = ()
    blocked: bool = False


class Token(msgspec.Struct, frozen=True):
    """A virtual key."""

    token: str
    """The SHA-256 of the key in hexadecimal digits, of keys that begin with `sk-`."""
    alias: str | None
    shown: str | None
    """`sk-...abcd`."""
    limits: Limits
    spend: Decimal
    resets_at: float | None
    expires_at: float | None
    created_at: float | None
    blocked: bool
    models: tuple[str, ...]
    user_id: str | None
    team_id: str | None
    budget_id: str | None
    tags: tuple[str, ...]
    others: tuple[str, ...]
    """Columns, and keys of its metadata, that hold something and have no counterpart."""


class Succession(msgspec.Struct, frozen=True):
    """The token of before a rotation, while it is still good."""

    old: str
    new: str
    until: float


class Database(msgspec.Struct, frozen=True):
    """What LiteLLM keeps, as far as it is carried over or told."""

    tokens: tuple[Token, ...]
    teams: Mapping[str, Holder]
    users: Mapping[str, Holder]
    budgets: Mapping[str, Limits]
    successions: tuple[Succession, ...]
    models: tuple[str, ...]
    """Names of models that stand in the database, where their parameters are encrypted."""
    others: Mapping[str, int]
    """How many rows there are of what is not carried over, by what it is."""


def read_database(url: str) -> Database:
    """Everything in one read-only snapshot. Raises `DatabaseError`."""
    address, schema = _address(url)
    try:
        with closing(
            psycopg.connect(
                address.conninfo.reveal(),
                connect_timeout=CONNECT_SECONDS,
                application_name="signalbox import",
                row_factory=dict_row,
            )
        ) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with connection.transaction():
                return _read(_Reader(connection, schema))
    except psycopg.Error as error:
        reason = (error.diag.message_primary or type(error).__name__).strip()
        raise DatabaseError(f"{address} cannot be read: {reason}") from None


def _address(url: str) -> tuple[PostgresUrl, str]:
    """Prisma's own parameters are no parameters of the driver; its `schema` is where the tables
    lie."""
    expected = "--database-url: expected postgresql://user:password@host/database"
    if not is_postgres_url(url):
        raise DatabaseError(expected)
    known = {default.keyword.decode() for default in Conninfo.get_defaults()}
    try:
        parts = urlsplit(url)
        asked = parse_qsl(parts.query)
        kept = urlencode([(name, value) for name, value in asked if name in known])
        return read_postgres_url(urlunsplit(parts._replace(query=kept))), dict(asked).get(
            "schema", "public"
        )
    except ValueError:
        raise DatabaseError(expected) from None


class _Reader:
    def __init__(self, connection: psycopg.Connection[dict[str, Any]], schema: str) -> None:
        self._connection = connection
        self._schema = schema
        timeout = sql.SQL("SET LOCAL statement_timeout = {}").format(f"{STATEMENT_SECONDS}s")
        connection.execute(timeout)
        found = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = %s AND table_name LIKE 'LiteLLM%%'",
            [schema],
        )
        self.columns: dict[str, list[str]] = {}
        for row in found:
            if row["column_name"] not in _NEVER_READ:
                self.columns.setdefault(row["table_name"], []).append(row["column_name"])

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All of a table; none where there is no such table."""
        if table not in self.columns:
            return []
        statement = sql.SQL("SELECT {} FROM {}").format(
            sql.SQL(", ").join(map(sql.Identifier, self.columns[table])),
            sql.Identifier(self._schema, table),
        )
        return self._connection.execute(statement).fetchall()

    def count(self, table: str) -> int:
        if table not in self.columns:
            return 0
        statement = sql.SQL("SELECT COUNT(*) AS n FROM {}").format(
            sql.Identifier(self._schema, table)
        )
        [row] = self._connection.execute(statement).fetchall()
        return int(row["n"])


def _read(reader: _Reader) -> Database:
    if "token" not in reader.columns.get(_TOKENS, ()):
        raise DatabaseError(f"there is no table {_TOKENS} there: is it LiteLLM's database?")
    teams = [_holder(row, "team_id", ("team_alias",)) for row in reader.rows(_TEAMS)]
    users = [_holder(row, "user_id", ("user_alias", "user_email")) for row in reader.rows(_USERS)]
    tokens = [_token(row) for row in reader.rows(_TOKENS)]
    return Database(
        tokens=tuple(sorted(tokens, key=lambda token: (token.created_at or 0, token.token))),
        teams={team.id: team for team in teams},
        users={user.id: user for user in users},
        budgets={str(row.get("budget_id")): _limits(row) for row in reader.rows(_BUDGETS)},
        successions=tuple(
            Succession(str(row.get("token")), str(row.get("active_token_id")), until)
            for row in reader.rows(_OLD_TOKENS)
            if (until := _seconds(row.get("revoke_at"))) is not None
        ),
        models=tuple(sorted({str(row.get("model_name")) for row in reader.rows(_MODELS)})),
        others={
            "end users with settings of their own": reader.count(_END_USERS),
            "tags with settings of their own": reader.count(_TAGS),
            "organizations": reader.count(_ORGANIZATIONS),
        },
    )


_CARRIED = """
    token key_name key_alias spend expires models user_id team_id max_parallel_requests metadata
    blocked tpm_limit rpm_limit max_budget budget_duration budget_reset_at budget_id created_at
    created_by updated_at updated_by last_active soft_budget_cooldown model_spend rotation_count
    last_rotation_at key_rotation_at
"""
_CARRIED_COLUMNS = frozenset(_CARRIED.split())
"""Of a token: what is read here, and what is LiteLLM's own bookkeeping."""


def _token(row: Mapping[str, Any]) -> Token:
    metadata = row.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    others = [name for name, value in row.items() if name not in _CARRIED_COLUMNS and value]
    others += [f"metadata.{name}" for name, value in metadata.items() if name != "tags" and value]
    return Token(
        token=str(row.get("token")),
        alias=_text(row.get("key_alias")),
        shown=_text(row.get("key_name")),
        limits=_limits(row),
        spend=_dollars(row.get("spend")) or Decimal(0),
        resets_at=_seconds(row.get("budget_reset_at")),
        expires_at=_seconds(row.get("expires")),
        created_at=_seconds(row.get("created_at")),
        blocked=row.get("blocked") is True,
        models=_texts(row.get("models")),
        user_id=_text(row.get("user_id")),
        team_id=_text(row.get("team_id")),
        budget_id=_text(row.get("budget_id")),
        tags=_texts(metadata.get("tags")),
        others=tuple(sorted(others)),
    )


def _holder(row: Mapping[str, Any], key: str, names: Sequence[str]) -> Holder:
    id = str(row.get(key))
    name = next((text for name in names if (text := _text(row.get(name)))), id)
    return Holder(
        id=id,
        name=name,
        limits=_limits(row),
        spend=_dollars(row.get("spend")) or Decimal(0),
        models=_texts(row.get("models")),
        blocked=row.get("blocked") is True,
    )


def _limits(row: Mapping[str, Any]) -> Limits:
    return Limits(
        max_budget=_dollars(row.get("max_budget")),
        soft_budget=_dollars(row.get("soft_budget")),
        budget_duration=_text(row.get("budget_duration")),
        rpm=_count(row.get("rpm_limit")),
        tpm=_count(row.get("tpm_limit")),
        concurrency=_count(row.get("max_parallel_requests")),
    )


# Single values, whatever a row holds


def _text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def _texts(value: Any) -> tuple[str, ...]:
    parts = value if isinstance(value, list) else []
    return tuple(part.strip() for part in parts if isinstance(part, str) and part.strip())


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _dollars(value: Any) -> Decimal | None:
    """As it is written: the database keeps doubles."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    amount = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return amount if math.isfinite(amount) else None


def _seconds(value: Any) -> float | None:
    if not isinstance(value, datetime):
        return None
    moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    return moment.timestamp()
