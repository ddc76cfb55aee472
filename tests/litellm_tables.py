"""A LiteLLM database for tests: its tables, as far as they matter, and rows in them."""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tests.postgres import Database

TABLES = """
CREATE TABLE "LiteLLM_VerificationToken" (
    token TEXT PRIMARY KEY, key_name TEXT, key_alias TEXT,
    soft_budget_cooldown BOOLEAN NOT NULL DEFAULT false,
    spend DOUBLE PRECISION NOT NULL DEFAULT 0, expires TIMESTAMP(3), models TEXT[],
    aliases JSONB NOT NULL DEFAULT '{}', config JSONB NOT NULL DEFAULT '{}', user_id TEXT,
    team_id TEXT, permissions JSONB NOT NULL DEFAULT '{}', max_parallel_requests INTEGER,
    metadata JSONB NOT NULL DEFAULT '{}', blocked BOOLEAN, tpm_limit BIGINT, rpm_limit BIGINT,
    max_budget DOUBLE PRECISION, budget_duration TEXT, budget_reset_at TIMESTAMP(3),
    allowed_cache_controls TEXT[] DEFAULT ARRAY[]::TEXT[], allowed_routes TEXT[],
    model_spend JSONB NOT NULL DEFAULT '{}', model_max_budget JSONB NOT NULL DEFAULT '{}',
    budget_id TEXT, created_at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP, created_by TEXT
);
CREATE TABLE "LiteLLM_TeamTable" (
    team_id TEXT PRIMARY KEY, team_alias TEXT, members_with_roles JSONB NOT NULL DEFAULT '{}',
    max_budget DOUBLE PRECISION, soft_budget DOUBLE PRECISION,
    spend DOUBLE PRECISION NOT NULL DEFAULT 0, models TEXT[], tpm_limit BIGINT, rpm_limit BIGINT,
    budget_duration TEXT, blocked BOOLEAN NOT NULL DEFAULT false
);
CREATE TABLE "LiteLLM_UserTable" (
    user_id TEXT PRIMARY KEY, user_alias TEXT, user_email TEXT, password TEXT,
    max_budget DOUBLE PRECISION, spend DOUBLE PRECISION NOT NULL DEFAULT 0, models TEXT[],
    tpm_limit BIGINT, rpm_limit BIGINT
);
CREATE TABLE "LiteLLM_BudgetTable" (
    budget_id TEXT PRIMARY KEY, max_budget DOUBLE PRECISION, soft_budget DOUBLE PRECISION,
    max_parallel_requests INTEGER, tpm_limit BIGINT, rpm_limit BIGINT, budget_duration TEXT
);
CREATE TABLE "LiteLLM_DeprecatedVerificationToken" (
    id TEXT PRIMARY KEY, token TEXT NOT NULL, active_token_id TEXT NOT NULL,
    revoke_at TIMESTAMP(3) NOT NULL
);
CREATE TABLE "LiteLLM_ProxyModelTable" (
    model_id TEXT PRIMARY KEY, model_name TEXT NOT NULL, litellm_params JSONB NOT NULL
);
CREATE TABLE "LiteLLM_EndUserTable" (user_id TEXT PRIMARY KEY);
"""
"""After the columns of LiteLLM's `schema.prisma`, as Prisma makes them in PostgreSQL."""

OLD_TABLES = """
CREATE TABLE "LiteLLM_VerificationToken" (
    token TEXT PRIMARY KEY, spend DOUBLE PRECISION NOT NULL DEFAULT 0, expires TIMESTAMP(3),
    models TEXT[], aliases JSONB NOT NULL DEFAULT '{}', user_id TEXT,
    max_parallel_requests INTEGER, metadata JSONB NOT NULL DEFAULT '{}'
);
"""
"""As its first versions had it."""


def hashed(key: str) -> str:
    """A key as LiteLLM keeps it."""
    return hashlib.sha256(key.encode()).hexdigest()


def make_tables(database: Database, tables: str = TABLES, schema: str = "public") -> None:
    with database.by_hand("signalbox") as connection:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}; SET search_path TO {schema}")
        connection.execute(tables)


def insert(database: Database, table: str, schema: str = "public", **values: Any) -> None:
    told = {
        name: Jsonb(value) if isinstance(value, dict) else value for name, value in values.items()
    }
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(schema, f"LiteLLM_{table}"),
        sql.SQL(", ").join(map(sql.Identifier, told)),
        sql.SQL(", ").join([sql.Placeholder()] * len(told)),
    )
    with database.by_hand("signalbox") as connection:
        connection.execute(statement, list(told.values()))


def insert_key(database: Database, key: str, **values: Any) -> None:
    """A virtual key by its text."""
    shown = {"key_name": f"sk-...{key[-4:]}", "models": []}
    insert(database, "VerificationToken", **{"token": hashed(key), **shown, **values})


def empty(database: Database) -> None:
    with database.by_hand("signalbox") as connection:
        found: psycopg.Cursor[Any] = connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'LiteLLM%'"
        )
        for (name,) in found.fetchall():
            connection.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(name)))
