"""The schema of a PostgreSQL database: made, upgraded, or refused, before anything else is done."""

from __future__ import annotations

from typing import Any

import psycopg

from signalbox.config_postgres import PostgresUrl
from signalbox.errors import StoreUnavailable
from signalbox.persistence.migrations import HEAD, REVISIONS
from signalbox.persistence.postgres_connections import Connection, connect_for_upgrade

OLDEST_VERSION = 130_000
"""As the server tells it. Older ones are no longer maintained by their makers."""
UPGRADE_SECONDS = 3600
"""A migration may write a large table anew, and others wait until it is done."""
TABLE_SECONDS = 30
"""For others to let go of a table. All that wants it meanwhile waits behind the migration."""

_UPGRADE_LOCK = 0x7369676E616C
"""Of the database's advisory locks: `signal`."""
_TABLES = """
    SELECT c.relname FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
        AND NOT EXISTS (
            SELECT 1 FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
        )
    ORDER BY c.relname
"""


def prepare_schema(connection: Connection, database: PostgresUrl) -> None:
    """Raises `StoreUnavailable` for a server that is too old or of another encoding, and for a
    database that is newer or not ours."""
    _check_server(connection, database)
    if _needs_upgrade(connection, database):
        _upgrade(database)


def _check_server(connection: Connection, database: PostgresUrl) -> None:
    info = connection.info
    if info.server_version < OLDEST_VERSION:
        raise StoreUnavailable(
            f"{database} runs PostgreSQL {info.server_version // 10_000}, "
            f"expected {OLDEST_VERSION // 10_000} or newer"
        )
    encoding = info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreUnavailable(
            f"{database} has the encoding {encoding}, expected UTF8: make one by "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


def _needs_upgrade(connection: psycopg.Connection[Any], database: PostgresUrl) -> bool:
    (schema,) = connection.execute("SELECT current_schema()").fetchone() or (None,)
    if schema is None:
        raise StoreUnavailable(
            f"{database} has none of the schemas of its search_path that this user may use"
        )
    tables = [name for (name,) in connection.execute(_TABLES)]
    if not tables:
        return True
    if "alembic_version" not in tables:
        raise StoreUnavailable(
            f"{database} is a database of something else (its schema {schema} has the tables "
            f"{', '.join(tables[:5])}); name another one in storage.database"
        )
    found = [revision for (revision,) in connection.execute("SELECT * FROM alembic_version")]
    if len(found) != 1 or found[0] not in REVISIONS:
        raise StoreUnavailable(
            f"{database} is at revision {', '.join(map(str, found)) or 'none'}, and this version "
            f"of Signalbox knows revisions up to {HEAD}: start the version that wrote it, or a "
            "newer one, or name another database in storage.database"
        )
    return bool(found[0] != HEAD)


def _upgrade(database: PostgresUrl) -> None:
    # Imported here: half a second and more, which a start at the newest revision does not pay.
    import sqlalchemy  # noqa: PLC0415 - as said above

    from signalbox.persistence.migrations.upgrade import upgrade  # noqa: PLC0415 - as said above

    connection = connect_for_upgrade(database, UPGRADE_SECONDS)
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: connection, poolclass=sqlalchemy.StaticPool
    )
    try:
        with engine.begin() as transaction:
            # Whoever comes second waits here, and finds that nothing is left to do.
            transaction.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})")
            transaction.exec_driver_sql(f"SET LOCAL lock_timeout = '{TABLE_SECONDS}s'")
            if _needs_upgrade(connection, database):
                upgrade(transaction)
    except sqlalchemy.exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        words = str(cause).partition("\n")[0]
        raise StoreUnavailable(
            f"could not upgrade the schema of {database}, which was left as it was: {words}"
        ) from error
    finally:
        engine.dispose()
