"""All operations of the admin API."""

from __future__ import annotations

from signalbox.http.admin import (
    audit,
    budgets,
    credits,
    documents,
    keys,
    presets,
    secrets,
    session,
    usage,
    users,
)
from signalbox.http.admin.operations import Operation

OPERATIONS: tuple[Operation, ...] = (
    *session.OPERATIONS,
    *keys.OPERATIONS,
    *users.OPERATIONS,
    *budgets.OPERATIONS,
    *presets.OPERATIONS,
    *documents.OPERATIONS,
    *secrets.OPERATIONS,
    *credits.OPERATIONS,
    *usage.OPERATIONS,
    *audit.OPERATIONS,
)
