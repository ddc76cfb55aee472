"""What migrations do on PostgreSQL alone. Databases were made by it: add to it, change nothing."""

from __future__ import annotations

from alembic import op

# Bumped by every statement that changes what operators manage, whoever runs it. In the same
# transaction, so that the mark is seen to move when the change is seen, and not before.
CHANGES = """
    CREATE TABLE changes (
        one boolean CONSTRAINT pk_changes PRIMARY KEY DEFAULT true
            CONSTRAINT ck_changes_one CHECK (one),
        mark bigint NOT NULL DEFAULT 0
    );
    INSERT INTO changes DEFAULT VALUES;
    CREATE FUNCTION tell_of_change() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT AS $$
    BEGIN
        UPDATE changes SET mark = mark + 1;
        PERFORM pg_notify('signalbox_changes', '');
        RETURN NULL;
    END $$;
"""
GUARD_LEDGER = """
    CREATE FUNCTION refuse_change_of_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the ledger is append-only: no row is changed or deleted'
            USING ERRCODE = 'restrict_violation';
    END $$;
    CREATE TRIGGER ledger_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_ledger();
"""
# No value of more than 2,700 bytes has room in an index, and what clients name may be longer.
USAGE_INDEXES = """
    CREATE UNIQUE INDEX uq_usage_hourly ON usage_hourly (hour_us, key_id, account, md5(model),
        md5(provider), md5(route_model), md5(end_user), md5(tags));
    CREATE INDEX ix_usage_hourly_end_user ON usage_hourly USING hash (end_user);
"""


def is_postgres() -> bool:
    return op.get_context().dialect.name == "postgresql"


def create_changes() -> None:
    op.execute(CHANGES)


def watch(*tables: str) -> None:
    """Changes of these tables are told to whoever listens."""
    for table in tables:
        op.execute(
            f"CREATE TRIGGER {table}_tell_of_change"
            f" AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}"
            " FOR EACH STATEMENT EXECUTE FUNCTION tell_of_change()"
        )


def guard_ledger() -> None:
    op.execute(GUARD_LEDGER)


def create_usage_indexes() -> None:
    """In place of a primary key of all that tells rows apart."""
    op.execute(USAGE_INDEXES)


def by_day(key: str) -> str:
    """For `postgresql_partition_by`: ids are UUIDv7, whose order is that of time."""
    return f"RANGE ({key})"


def create_default_partition(table: str) -> None:
    """For rows of days that have no partition of their own."""
    if is_postgres():
        op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
