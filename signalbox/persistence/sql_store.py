"""What every engine answers by the same statements, on the tables whose batches it writes its own
way. As in `record_store.py`, the engine gives the transactions, and `?` is where a value goes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager

from signalbox.persistence import crediting, spending
from signalbox.persistence.columns import microseconds, storable_text
from signalbox.persistence.record_store import RecordStore, Session
from signalbox.persistence.records import AuditRecord
from signalbox.persistence.rows import LEDGER_COLUMNS, STATE_COLUMNS, read_charge, read_state
from signalbox.persistence.stores import Charge, SpendingQuery, StateRecord, TraceRecord
from signalbox.persistence.trace_rows import (
    EVENT_COLUMNS,
    PAYLOAD_COLUMNS,
    TRACE_COLUMNS,
    read_trace,
)
from signalbox.types import NanoUSD

_DIGESTS_AT_ONCE = 500
"""Well under the number of variables that any build of SQLite takes in one statement."""


def _select(columns: Sequence[str], table: str) -> str:
    return f"SELECT {', '.join(columns)} FROM {table}"


_SELECT_CHARGE = _select(LEDGER_COLUMNS, "ledger")
_SELECT_TRACE = _select(TRACE_COLUMNS, "traces")
_SELECT_EVENTS = _select(EVENT_COLUMNS, "trace_events") + " WHERE trace_id = ?"
_SELECT_PAYLOADS = _select(PAYLOAD_COLUMNS, "trace_payloads") + " WHERE trace_id = ?"
_SELECT_STATE = _select(STATE_COLUMNS, "provider_state")
_DELETE_EXPIRED_STATE = """
    DELETE FROM provider_state WHERE digest IN (
        SELECT digest FROM provider_state WHERE expires_at_us <= ? ORDER BY expires_at_us LIMIT ?
    )
"""


class SqlStore(RecordStore):
    """A store without what is its engine's own."""

    model_test = "model = ?"
    """Whether a trace is of a model, in the words that the engine's index is made for."""

    def is_id(self, text: str) -> bool:
        """Whether a request may be called so, as far as the engine cares."""
        return True

    @abstractmethod
    def _transaction(self, operation: str) -> AbstractContextManager[Session]:
        """Durable at its end."""

    def load_charge(self, request_id: str) -> Charge | None:
        if not self.is_id(request_id):
            return None
        key = (storable_text(request_id),)
        with self._reading("load a charge") as session:
            found = session.execute(_SELECT_CHARGE + " WHERE request_id = ?", key).fetchone()
        return None if found is None else read_charge(found)

    def spent(self, queries: Sequence[SpendingQuery]) -> list[NanoUSD]:
        with self._reading("sum what was spent") as session:
            return spending.spent(session, queries)

    def balances(self, accounts: Sequence[str] | None = None) -> dict[str, NanoUSD]:
        with self._reading("sum what was paid in") as session:
            return spending.balances(session, accounts)

    def credit(self, entry: Charge, audit: AuditRecord) -> Charge:
        with self._changing(f"add a {entry.kind} to the ledger") as session:
            return crediting.credit(session, entry, audit)

    def load_trace(self, trace_id: str) -> TraceRecord | None:
        if not self.is_id(trace_id):
            return None
        key = (storable_text(trace_id),)
        with self._reading("load a trace") as session:
            found = session.execute(_SELECT_TRACE + " WHERE id = ?", key).fetchone()
            events = session.execute(_SELECT_EVENTS, key).fetchone()
            payloads = session.execute(_SELECT_PAYLOADS, key).fetchone()
        return None if found is None else read_trace(found, events, payloads)

    def list_traces(
        self,
        *,
        limit: int,
        before: str | None = None,
        state: str | None = None,
        model: str | None = None,
    ) -> list[TraceRecord]:
        """Newest by id: ids are UUIDv7, so the page before a deleted trace is still that page."""
        if limit < 1:
            raise ValueError(f"limit is {limit}, expected at least 1")
        if before is not None and not self.is_id(before):
            raise ValueError(f"before is {before!r}, expected a trace's id")
        # The failed ones in so many words, so that their index is seen to serve.
        of_state = "state = 'failed' AND state = ?" if state == "failed" else "state = ?"
        wanted = {"id < ?": before, of_state: state, self.model_test: model}
        filters = {
            test: storable_text(value) for test, value in wanted.items() if value is not None
        }
        values = [value for test, value in filters.items() for _ in range(test.count("?"))]
        where = f" WHERE {' AND '.join(filters)}" if filters else ""
        statement = f"{_SELECT_TRACE}{where} ORDER BY id DESC LIMIT ?"
        with self._reading("list traces") as session:
            found = session.execute(statement, (*values, limit)).fetchall()
        return [read_trace(values) for values in found]

    def load_state(self, digests: Sequence[bytes]) -> list[StateRecord]:
        found: list[StateRecord] = []
        with self._reading("load whose state it is") as session:
            for start in range(0, len(digests), _DIGESTS_AT_ONCE):
                part = digests[start : start + _DIGESTS_AT_ONCE]
                where = f" WHERE digest IN ({', '.join('?' * len(part))})"
                rows = session.execute(_SELECT_STATE + where, part).fetchall()
                found += map(read_state, rows)
        return found

    def delete_state(self, *, expired_at: float, limit: int) -> int:
        expired_at_us = microseconds(expired_at, "expired_at")
        with self._transaction("delete whose state it was") as session:
            return session.execute(_DELETE_EXPIRED_STATE, (expired_at_us, limit)).rowcount
