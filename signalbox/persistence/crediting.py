"""Top-ups and adjustments of prepaid balances: rows of the ledger that are no usage."""

from __future__ import annotations

from msgspec.structs import replace

from signalbox.persistence.auditing import Actor, audit_of
from signalbox.persistence.columns import storable_text
from signalbox.persistence.record_store import RecordExists, Session
from signalbox.persistence.record_tables import AUDIT
from signalbox.persistence.records import AuditRecord
from signalbox.persistence.rows import LEDGER_COLUMNS, charge_row, read_charge
from signalbox.persistence.stores import Charge
from signalbox.types import NanoUSD, Usage, usd

TOP_UP = "top_up"
ADJUSTMENT = "adjustment"
KINDS = (TOP_UP, ADJUSTMENT)

_INSERT = (
    f"INSERT INTO ledger ({', '.join(LEDGER_COLUMNS)})"
    f" VALUES ({', '.join('?' * len(LEDGER_COLUMNS))}) ON CONFLICT (request_id) DO NOTHING"
)
_SELECT = f"SELECT {', '.join(LEDGER_COLUMNS)} FROM ledger WHERE request_id = ?"


def entry_of(
    kind: str, account: str, amount: NanoUSD, note: str, *, id: str, request_id: str, at: float
) -> Charge:
    """The ledger's row for a change of a balance by `amount`, which an adjustment takes away where
    it is negative. `request_id`: a UUIDv7 that the asker gives again when it asks again.

    Raises `ValueError` for what is no such change.
    """
    if kind not in KINDS:
        raise ValueError(f"the kind is {kind!r}, expected {' or '.join(KINDS)}")
    if not account:
        raise ValueError("the account is empty, expected a user's or a key's id")
    if amount == 0 or (kind == TOP_UP and amount < 0):
        raise ValueError(f"a {kind} of {amount} nano-USD changes nothing, or takes away")
    return Charge(
        id=id,
        request_id=request_id,
        at=at,
        key_id="",
        model="",
        provider="",
        route_model="",
        usage=Usage(),
        amount=amount,
        upstream_cost=None,
        reason=kind,
        price_source="",
        kind=kind,
        account=account,
        note=note,
    )


def audit_of_credit(actor: Actor, entry: Charge, *, id: str) -> AuditRecord:
    """`id`: a fresh UUIDv7."""
    told = {
        "amount": f"{usd(entry.amount or NanoUSD(0)):f}",
        "note": entry.note,
        "request_id": entry.request_id,
    }
    audit = audit_of(actor, entry.kind, "account", entry.account, id=id, at=entry.at)
    return replace(audit, after=told)


def credit(session: Session, entry: Charge, audit: AuditRecord) -> Charge:
    """`SpendingStore.credit`, within a transaction."""
    if entry.kind not in KINDS:
        raise ValueError(f"the kind is {entry.kind!r}, expected {' or '.join(KINDS)}")
    if session.execute(_INSERT, charge_row(entry)).rowcount == 1:
        session.execute(AUDIT.insert, AUDIT.values(audit))
        return entry
    found = session.execute(_SELECT, (storable_text(entry.request_id),)).fetchone()
    there = None if found is None else read_charge(found)
    if there is None or replace(there, id=entry.id, at=entry.at) != entry:
        raise RecordExists("ledger", ("request_id",))
    return there
