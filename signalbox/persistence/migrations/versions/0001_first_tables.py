"""The first tables: gateway keys, traces with their events and payloads, the ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from signalbox.persistence.migrations import on_postgres

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UUID_TEXT = sa.Uuid(as_uuid=False).with_variant(sa.String(36), "sqlite")

# The third closes the way round the second: INSERT OR REPLACE deletes without a DELETE trigger.
# It leaves a request that is charged already as it is, which is what the store asks for anyway.
LEDGER_GUARDS_SQLITE = (
    """
    CREATE TRIGGER ledger_refuses_update BEFORE UPDATE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: no row is changed'); END
    """,
    """
    CREATE TRIGGER ledger_refuses_delete BEFORE DELETE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: no row is deleted'); END
    """,
    """
    CREATE TRIGGER ledger_refuses_replace BEFORE INSERT ON ledger
    BEGIN
        SELECT RAISE(IGNORE) FROM ledger WHERE request_id = NEW.request_id;
        SELECT RAISE(ABORT, 'the ledger is append-only: no row is replaced')
            FROM ledger WHERE id = NEW.id;
    END
    """,
)


def usage_columns() -> list[sa.Column[int] | sa.Column[bool]]:
    return [
        sa.Column("prompt_tokens", sa.BigInteger),
        sa.Column("cached_read_tokens", sa.BigInteger),
        sa.Column("cache_write_tokens", sa.BigInteger),
        sa.Column("completion_tokens", sa.BigInteger),
        sa.Column("reasoning_tokens", sa.BigInteger),
        sa.Column("usage_estimated", sa.Boolean, nullable=False),
    ]


def upgrade() -> None:
    create_gateway_keys()
    create_traces()
    create_trace_details()
    create_ledger()


def create_gateway_keys() -> None:
    op.create_table(
        "gateway_keys",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("revoked_at_us", sa.BigInteger),
        sa.Column("expires_at_us", sa.BigInteger),
        sa.Column("rpm", sa.BigInteger),
        sa.Column("tpm", sa.BigInteger),
        sa.Column("concurrency", sa.BigInteger),
        sa.Column("models", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_gateway_keys"),
        sa.UniqueConstraint("name", name="uq_gateway_keys_name"),
        sa.UniqueConstraint("digest", name="uq_gateway_keys_digest"),
    )
    if on_postgres.is_postgres():
        on_postgres.create_changes()
        on_postgres.watch("gateway_keys")


def create_traces() -> None:
    op.create_table(
        "traces",
        sa.Column("id", UUID_TEXT, nullable=False),
        sa.Column("started_at_us", sa.BigInteger, nullable=False),
        sa.Column("ended_at_us", sa.BigInteger, nullable=False),
        sa.Column("door", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("status", sa.BigInteger, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("key_name", sa.Text, nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("provider", sa.Text),
        sa.Column("route_model", sa.Text),
        sa.Column("error_code", sa.Text),
        sa.Column("error_message", sa.Text),
        sa.Column("end_user", sa.Text),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        *usage_columns(),
        sa.Column("cost_nano_usd", sa.BigInteger),
        sa.Column("first_token_us", sa.BigInteger),
        sa.Column("duration_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_traces"),
        postgresql_partition_by=on_postgres.by_day("id"),
    )
    on_postgres.create_default_partition("traces")
    # PostgreSQL indexes no value of more than 2,700 bytes, and a model's name is a client's word.
    model = sa.text("substr(model, 1, 200)") if on_postgres.is_postgres() else "model"
    op.create_index("ix_traces_model_id", "traces", [model, "id"])
    op.create_index("ix_traces_state_id", "traces", ["state", "id"])
    op.create_index("ix_traces_started_at_us", "traces", ["started_at_us"])


def create_trace_details() -> None:
    op.create_table(
        "trace_events",
        sa.Column("trace_id", UUID_TEXT, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("trace_id", "seq", name="pk_trace_events"),
        *of_a_trace("trace_events"),
        postgresql_partition_by=on_postgres.by_day("trace_id"),
    )
    on_postgres.create_default_partition("trace_events")
    op.create_table(
        "trace_payloads",
        sa.Column("trace_id", UUID_TEXT, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("attempt", sa.BigInteger),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("truncated", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("trace_id", "seq", name="pk_trace_payloads"),
        *of_a_trace("trace_payloads"),
        postgresql_partition_by=on_postgres.by_day("trace_id"),
    )
    on_postgres.create_default_partition("trace_payloads")


def of_a_trace(table: str) -> list[sa.ForeignKeyConstraint]:
    """Not on PostgreSQL, where a day is dropped whole: it would have to look for each trace."""
    if on_postgres.is_postgres():
        return []
    name = f"fk_{table}_trace_id_traces"
    return [sa.ForeignKeyConstraint(["trace_id"], ["traces.id"], name=name, ondelete="CASCADE")]


def create_ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("id", UUID_TEXT, nullable=False),
        sa.Column("request_id", UUID_TEXT, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("route_model", sa.Text, nullable=False),
        *usage_columns(),
        sa.Column("amount_nano_usd", sa.BigInteger),
        sa.Column("upstream_cost_nano_usd", sa.BigInteger),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("price_source", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger"),
        sa.UniqueConstraint("request_id", name="uq_ledger_request_id"),
    )
    if on_postgres.is_postgres():
        on_postgres.guard_ledger()
        return
    for guard in LEDGER_GUARDS_SQLITE:
        op.execute(guard)
