"""The schema, once for every engine. The migrations build it; a test holds the two together.

Times are integer microseconds of Unix time (UTC), durations integer microseconds: exact, compared
and indexed alike by both engines, and free of drivers' time zones. Money is integer nano-USD, where
NULL is an unknown amount. JSON is kept as text: nothing queries into it, and PostgreSQL's own type
refuses the NUL that a client's string may hold.

Importing this module imports SQLAlchemy (half a second of a start), so only what creates or
upgrades a database does; the stores name their columns in `rows.py`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    false,
    text,
    true,
)

metadata = MetaData(
    # Names of constraints that a later migration can rely on, on either engine.
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

UuidText = Uuid(as_uuid=False).with_variant(String(36), "sqlite")
"""A UUID in its canonical text, which SQLite keeps as it is: both forms sort by time."""


def usage_columns() -> list[Column[int] | Column[bool] | Column[str]]:
    """Tokens in disjoint classes; NULL where the provider did not say."""
    return [
        Column("prompt_tokens", BigInteger),
        Column("cached_read_tokens", BigInteger),
        Column("cache_write_tokens", BigInteger),
        Column("completion_tokens", BigInteger),
        Column("reasoning_tokens", BigInteger),
        Column("usage_estimated", Boolean, nullable=False),
        Column("cache_write_1h_tokens", BigInteger),
        Column("audio_input_tokens", BigInteger),
        Column("image_input_tokens", BigInteger),
        Column("audio_output_tokens", BigInteger),
        Column("image_output_tokens", BigInteger),
        Column("service_tier", Text),
    ]


gateway_keys = Table(
    "gateway_keys",
    metadata,
    # Text on every engine, as in all tables that are asked for whatever somebody typed.
    Column("id", String(36), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("prefix", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("revoked_at_us", BigInteger),
    Column("expires_at_us", BigInteger),
    Column("rpm", BigInteger),
    Column("tpm", BigInteger),
    Column("concurrency", BigInteger),
    Column("models", Text, nullable=False),
    Column("owner", Text),
    Column("enabled", Boolean, nullable=False, server_default=true()),
    Column("providers", Text, nullable=False, server_default="[]"),
    Column("tags", Text, nullable=False, server_default="[]"),
    Column("preset", Text),
    Column("byok_fallback", Boolean, nullable=False, server_default=false()),
    Column("previous_digest", LargeBinary),
    Column("previous_until_us", BigInteger),
    Column("updated_at_us", BigInteger),
)

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at_us", BigInteger, nullable=False),
    Column("email", Text),
    Column("role", Text, nullable=False),
    Column("token_digest", LargeBinary),
    Column("token_prefix", Text),
    Column("enabled", Boolean, nullable=False),
    Column("updated_at_us", BigInteger),
)

budgets = Table(
    "budgets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("scope", Text, nullable=False),
    Column("subject", Text),
    Column("limit_nano_usd", BigInteger, nullable=False),
    Column("period", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("hard", Boolean, nullable=False),
    Column("alert_at", Text, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("updated_at_us", BigInteger),
)

presets = Table(
    "presets",
    metadata,
    Column("slug", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("document", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("author", Text, nullable=False),
    Column("note", Text, nullable=False),
)

config_entries = Table(
    "config_entries",
    metadata,
    Column("section", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("document", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger),
)

provider_keys = Table(
    "provider_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("rpm", BigInteger),
    Column("tpm", BigInteger),
    Column("enabled", Boolean, nullable=False),
    Column("updated_at_us", BigInteger),
)

byok_keys = Table(
    "byok_keys",
    metadata,
    Column("id", Text, primary_key=True),
    # No foreign key: a key declared in the configuration has no row of its own.
    Column("key_id", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    UniqueConstraint("key_id", "provider"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Text, primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Column("address", Text),
    Index(None, "kind", "target", "id"),
)

_failed = text("state = 'failed'")

traces = Table(
    "traces",
    metadata,
    # The order of the ids is the order of time, so the key serves the newest-first listing.
    Column("id", UuidText, primary_key=True),
    Column("started_at_us", BigInteger, nullable=False),
    Column("ended_at_us", BigInteger, nullable=False),
    Column("door", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("status", BigInteger, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("key_name", Text, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("provider", Text),
    Column("route_model", Text),
    Column("error_code", Text),
    Column("error_message", Text),
    # `user` is a reserved word in PostgreSQL.
    Column("end_user", Text),
    Column("tags", Text, nullable=False),
    Column("labels", Text, nullable=False),
    *usage_columns(),
    Column("cost_nano_usd", BigInteger),
    Column("first_token_us", BigInteger),
    Column("duration_us", BigInteger, nullable=False),
    Index(None, "model", "id"),
    # Of those that are done a page is found soon enough by the id alone.
    Index("ix_traces_failed", "id", sqlite_where=_failed, postgresql_where=_failed),
    # For retention, which goes by the time and not by the id.
    Index(None, "started_at_us"),
)

# One row a trace; `trace_rows.py` says what is in it. Without a rowid such small rows lie in the
# key's own index, and SQLite has one tree to write instead of two.
trace_events = Table(
    "trace_events",
    metadata,
    Column("trace_id", UuidText, ForeignKey("traces.id", ondelete="CASCADE"), primary_key=True),
    Column("encoding", BigInteger, nullable=False),
    Column("events", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# One row a trace, too. Bodies are retained apart from the rest.
trace_payloads = Table(
    "trace_payloads",
    metadata,
    Column("trace_id", UuidText, ForeignKey("traces.id", ondelete="CASCADE"), primary_key=True),
    Column("encoding", BigInteger, nullable=False),
    Column("payloads", LargeBinary, nullable=False),
)

# Who made what lives at a provider; `actors/provider_state.py` says what the digest is of.
provider_state = Table(
    "provider_state",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("route_id", Text, nullable=False),
    Column("key_mark", Text, nullable=False),
    Column("expires_at_us", BigInteger, nullable=False),
    Column("state", LargeBinary),
    Index(None, "expires_at_us"),
)

_no_charge = text("kind <> 'charge'")

# Append-only: the migration adds the triggers that hold it to that, in each engine's own words.
ledger = Table(
    "ledger",
    metadata,
    Column("id", UuidText, primary_key=True),
    Column("request_id", UuidText, nullable=False, unique=True),
    Column("at_us", BigInteger, nullable=False),
    # No foreign key: a key declared in the configuration has no row of its own.
    Column("key_id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("route_model", Text, nullable=False),
    *usage_columns(),
    Column("amount_nano_usd", BigInteger),
    Column("upstream_cost_nano_usd", BigInteger),
    Column("reason", Text, nullable=False),
    Column("price_source", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default="charge"),
    Column("account", Text, nullable=False, server_default=""),
    Column("end_user", Text),
    Column("tags", Text, nullable=False, server_default="[]"),
    Column("is_byok", Boolean, nullable=False, server_default=false()),
    Column("attempts", Text, nullable=False, server_default="[]"),
    Column("note", Text),
    Index(None, "key_id", "at_us"),
    Index(None, "account", "at_us"),
    Index(None, "at_us"),
    # What balances are made of: few rows among all the charges.
    Index("ix_ledger_credits", "account", sqlite_where=_no_charge, postgresql_where=_no_charge),
)

# What the ledger comes to (`usage_rows.py`), kept in the statements that add to it. The key is
# whole: `''` is no end user.
usage_hourly = Table(
    "usage_hourly",
    metadata,
    Column("hour_us", BigInteger, primary_key=True, autoincrement=False),
    Column("key_id", Text, primary_key=True),
    Column("account", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("route_model", Text, primary_key=True),
    Column("end_user", Text, primary_key=True),
    Column("tags", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("byok_requests", BigInteger, nullable=False),
    Column("unknown_amounts", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cached_read_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("amount_nano_usd", BigInteger, nullable=False),
    Column("upstream_cost_nano_usd", BigInteger, nullable=False),
    Index(None, "key_id", "hour_us"),
    Index(None, "account", "hour_us"),
    Index(None, "end_user", "hour_us"),
)
