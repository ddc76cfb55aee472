"""Alembic runs this file for every command; the connection comes from `upgrade.py`."""

from __future__ import annotations

from alembic import context

from signalbox.persistence.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
)
# The caller began the transaction and ends it, so that all migrations happen or none.
context.run_migrations()
