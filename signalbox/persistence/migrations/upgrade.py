"""Runs the migrations on an open connection. Imports Alembic: import it only when one is due."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", "signalbox.persistence:migrations")
    return config


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Brings the schema to a revision, the newest, within the connection's open transaction."""
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
