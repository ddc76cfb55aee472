"""What an audit tells of a record before and after a change: all of it but what is secret."""

from __future__ import annotations

from typing import Any

import msgspec

from signalbox.persistence.records import AuditRecord, Managed

_NEVER_SHOWN = frozenset({"digest", "previous_digest", "token_digest", "sealed"})


class Actor(msgspec.Struct, frozen=True):
    """Who asks for a change."""

    name: str
    role: str
    address: str | None = None


COMMAND_LINE = Actor("command line", "admin")
GATEWAY = Actor("gateway", "admin")


def shown(record: Managed | None) -> dict[str, Any] | None:
    """The record in JSON's values, without its digests and what is sealed."""
    if record is None:
        return None
    fields = {
        name: getattr(record, name) for name in record.__struct_fields__ if name not in _NEVER_SHOWN
    }
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(fields))
    return plain


def audit_of(
    actor: Actor,
    action: str,
    kind: str,
    target: str,
    *,
    id: str,
    at: float,
    before: Managed | None = None,
    after: Managed | None = None,
) -> AuditRecord:
    """`id`: a fresh UUIDv7; `at`: Unix seconds."""
    return AuditRecord(
        id=id,
        at=at,
        actor=actor.name,
        role=actor.role,
        action=action,
        kind=kind,
        target=target,
        before=shown(before),
        after=shown(after),
        address=actor.address,
    )
