"""What operators manage, its audit, who pays for a charge, and usage by the hour."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from signalbox.persistence.migrations import on_postgres

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEY = ("hour_us", "key_id", "account", "model", "provider", "route_model", "end_user", "tags")
SUMS = (
    "requests",
    "byok_requests",
    "unknown_amounts",
    "input_tokens",
    "output_tokens",
    "cached_read_tokens",
    "reasoning_tokens",
    "amount_nano_usd",
    "upstream_cost_nano_usd",
)
# What the ledger has of requests before this revision. Nobody was told of an account then.
USAGE_SO_FAR = """
    INSERT INTO usage_hourly (hour_us, key_id, account, model, provider, route_model, end_user,
        tags, requests, byok_requests, unknown_amounts, input_tokens, output_tokens,
        cached_read_tokens, reasoning_tokens, amount_nano_usd, upstream_cost_nano_usd)
    SELECT at_us - at_us % 3600000000, key_id, account, model, provider, route_model, '', tags,
        COUNT(*), 0, COUNT(*) - COUNT(amount_nano_usd),
        COALESCE(SUM(COALESCE(prompt_tokens, 0) + COALESCE(cached_read_tokens, 0)
            + COALESCE(cache_write_tokens, 0) + COALESCE(cache_write_1h_tokens, 0)
            + COALESCE(audio_input_tokens, 0) + COALESCE(image_input_tokens, 0)), 0),
        COALESCE(SUM(COALESCE(completion_tokens, 0) + COALESCE(reasoning_tokens, 0)
            + COALESCE(audio_output_tokens, 0) + COALESCE(image_output_tokens, 0)), 0),
        COALESCE(SUM(cached_read_tokens), 0), COALESCE(SUM(reasoning_tokens), 0),
        COALESCE(SUM(amount_nano_usd), 0), COALESCE(SUM(upstream_cost_nano_usd), 0)
    FROM ledger
    GROUP BY at_us - at_us % 3600000000, key_id, account, model, provider, route_model, tags
"""

# Each charge that is really new, and no other: SQLite counts it in the statement that adds it.
COUNT_USAGE_SQLITE = """
    CREATE TRIGGER ledger_counts_usage AFTER INSERT ON ledger WHEN NEW.kind = 'charge'
    BEGIN
        INSERT INTO usage_hourly (hour_us, key_id, account, model, provider, route_model, end_user,
            tags, requests, byok_requests, unknown_amounts, input_tokens, output_tokens,
            cached_read_tokens, reasoning_tokens, amount_nano_usd, upstream_cost_nano_usd)
        VALUES (NEW.at_us - NEW.at_us % 3600000000, NEW.key_id, NEW.account, NEW.model,
            NEW.provider, NEW.route_model, COALESCE(NEW.end_user, ''), NEW.tags, 1, NEW.is_byok,
            NEW.amount_nano_usd IS NULL,
            COALESCE(NEW.prompt_tokens, 0) + COALESCE(NEW.cached_read_tokens, 0)
                + COALESCE(NEW.cache_write_tokens, 0) + COALESCE(NEW.cache_write_1h_tokens, 0)
                + COALESCE(NEW.audio_input_tokens, 0) + COALESCE(NEW.image_input_tokens, 0),
            COALESCE(NEW.completion_tokens, 0) + COALESCE(NEW.reasoning_tokens, 0)
                + COALESCE(NEW.audio_output_tokens, 0) + COALESCE(NEW.image_output_tokens, 0),
            COALESCE(NEW.cached_read_tokens, 0), COALESCE(NEW.reasoning_tokens, 0),
            COALESCE(NEW.amount_nano_usd, 0), COALESCE(NEW.upstream_cost_nano_usd, 0))
        ON CONFLICT (hour_us, key_id, account, model, provider, route_model, end_user, tags)
        DO UPDATE SET requests = requests + excluded.requests,
            byok_requests = byok_requests + excluded.byok_requests,
            unknown_amounts = unknown_amounts + excluded.unknown_amounts,
            input_tokens = input_tokens + excluded.input_tokens,
            output_tokens = output_tokens + excluded.output_tokens,
            cached_read_tokens = cached_read_tokens + excluded.cached_read_tokens,
            reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
            amount_nano_usd = amount_nano_usd + excluded.amount_nano_usd,
            upstream_cost_nano_usd = upstream_cost_nano_usd + excluded.upstream_cost_nano_usd;
    END
"""


def upgrade() -> None:
    extend_gateway_keys()
    create_users()
    create_budgets()
    create_presets()
    create_config_entries()
    create_secrets()
    create_audit()
    extend_ledger()
    create_usage()
    if on_postgres.is_postgres():
        managed = ("users", "budgets", "presets", "config_entries", "provider_keys", "byok_keys")
        # The audit stands for what is changed elsewhere: a balance.
        on_postgres.watch(*managed, "audit")


def extend_gateway_keys() -> None:
    for column in (
        sa.Column("owner", sa.Text),
        sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("providers", sa.Text, nullable=False, server_default="[]"),
        sa.Column("tags", sa.Text, nullable=False, server_default="[]"),
        sa.Column("preset", sa.Text),
        sa.Column("byok_fallback", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("previous_digest", sa.LargeBinary),
        sa.Column("previous_until_us", sa.BigInteger),
        sa.Column("updated_at_us", sa.BigInteger),
    ):
        op.add_column("gateway_keys", column)


def create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("email", sa.Text),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("token_digest", sa.LargeBinary),
        sa.Column("token_prefix", sa.Text),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("updated_at_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("name", name="uq_users_name"),
    )


def create_budgets() -> None:
    op.create_table(
        "budgets",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("subject", sa.Text),
        sa.Column("limit_nano_usd", sa.BigInteger, nullable=False),
        sa.Column("period", sa.Text, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("hard", sa.Boolean, nullable=False),
        sa.Column("alert_at", sa.Text, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("updated_at_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_budgets"),
        sa.UniqueConstraint("name", name="uq_budgets_name"),
    )


def create_presets() -> None:
    op.create_table(
        "presets",
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("slug", "version", name="pk_presets"),
    )


def create_config_entries() -> None:
    op.create_table(
        "config_entries",
        sa.Column("section", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("updated_at_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("section", "name", name="pk_config_entries"),
    )


def create_secrets() -> None:
    op.create_table(
        "provider_keys",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.Column("rpm", sa.BigInteger),
        sa.Column("tpm", sa.BigInteger),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("updated_at_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_provider_keys"),
    )
    op.create_table(
        "byok_keys",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_byok_keys"),
        sa.UniqueConstraint("key_id", "provider", name="uq_byok_keys_key_id_provider"),
    )


def create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("before", sa.Text, nullable=False),
        sa.Column("after", sa.Text, nullable=False),
        sa.Column("address", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_kind_target_id", "audit", ["kind", "target", "id"])


def extend_ledger() -> None:
    for column in (
        sa.Column("kind", sa.Text, nullable=False, server_default="charge"),
        sa.Column("account", sa.Text, nullable=False, server_default=""),
        sa.Column("end_user", sa.Text),
        sa.Column("tags", sa.Text, nullable=False, server_default="[]"),
        sa.Column("is_byok", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("attempts", sa.Text, nullable=False, server_default="[]"),
        sa.Column("note", sa.Text),
    ):
        op.add_column("ledger", column)
    op.create_index("ix_ledger_key_id_at_us", "ledger", ["key_id", "at_us"])
    op.create_index("ix_ledger_account_at_us", "ledger", ["account", "at_us"])
    op.create_index("ix_ledger_at_us", "ledger", ["at_us"])
    no_charge = sa.text("kind <> 'charge'")
    op.create_index(
        "ix_ledger_credits",
        "ledger",
        ["account"],
        sqlite_where=no_charge,
        postgresql_where=no_charge,
    )


def create_usage() -> None:
    postgres = on_postgres.is_postgres()
    op.create_table(
        "usage_hourly",
        sa.Column("hour_us", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in KEY[1:]),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in SUMS),
        *([] if postgres else [sa.PrimaryKeyConstraint(*KEY, name="pk_usage_hourly")]),
    )
    for column in ("key_id", "account"):
        op.create_index(f"ix_usage_hourly_{column}_hour_us", "usage_hourly", [column, "hour_us"])
    if postgres:
        on_postgres.create_usage_indexes()
    else:
        op.create_index("ix_usage_hourly_end_user_hour_us", "usage_hourly", ["end_user", "hour_us"])
    op.execute(USAGE_SO_FAR)
    if not postgres:
        op.execute(COUNT_USAGE_SQLITE)
