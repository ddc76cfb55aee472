"""Tokens that have a price of their own: audio, pictures, an hour's cache; and the service tier."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TOKENS = (
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "image_input_tokens",
    "audio_output_tokens",
    "image_output_tokens",
)


def upgrade() -> None:
    for table in ("traces", "ledger"):
        for name in TOKENS:
            op.add_column(table, sa.Column(name, sa.BigInteger))
        op.add_column(table, sa.Column("service_tier", sa.Text))
