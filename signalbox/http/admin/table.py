"""All operations of the admin API."""

from __future__ import annotations

from signalbox.http.admin import audit, keys, session, users
from signalbox.http.admin.operations import Operation

OPERATIONS: tuple[Operation, ...] = (
    *session.OPERATIONS,
    *keys.OPERATIONS,
    *users.OPERATIONS,
    *audit.OPERATIONS,
)
