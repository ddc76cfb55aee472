"""Who changed what: the audit, newest first."""

from __future__ import annotations

from functools import partial
from typing import Any

from msgspec import UNSET, UnsetType

from signalbox.http.admin.fields import cursor_of, place_of
from signalbox.http.admin.operations import Call, Operation, View
from signalbox.http.admin.resources import Page, Paging, filled, given_fields


class AuditQuery(Paging, frozen=True):
    actor: str | UnsetType = UNSET
    action: str | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    target: str | UnsetType = UNSET


class AuditEntry(View, frozen=True):
    id: str
    at: float
    actor: str
    """A user's name, `admin token`, `command line` or `gateway`."""
    role: str
    action: str
    kind: str
    target: str
    """The id or the name of what was changed."""
    before: Any
    after: Any
    address: str | None


async def _list(call: Call[AuditQuery, Any]) -> Page[AuditEntry]:
    query = call.query
    where = given_fields(query)
    limit, after = where.pop("limit"), where.pop("after", None)
    before = None if after is None else place_of(after, str)
    read = partial(call.desk.store.audit, limit=limit + 1, before=before, where=where)
    records = await call.desk.readers.run(read)
    return Page(
        [filled(AuditEntry, record) for record in records[:limit]],
        cursor_of(records[limit - 1].id) if len(records) > limit else None,
    )


OPERATIONS = (
    Operation(
        "GET", "/audit", "Who changed what, newest first", _list, Page[AuditEntry], query=AuditQuery
    ),
)
