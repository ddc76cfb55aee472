"""Who made the state that lives at a provider."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "provider_state",
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("route_id", sa.Text, nullable=False),
        sa.Column("key_mark", sa.Text, nullable=False),
        sa.Column("expires_at_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_provider_state"),
    )
    op.create_index("ix_provider_state_expires_at_us", "provider_state", ["expires_at_us"])
