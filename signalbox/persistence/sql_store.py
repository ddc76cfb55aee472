"""What every engine answers by the same statements, on the tables whose batches it writes its own
way. As in `record_store.py`, the engine gives the transactions, and `?` is where a value goes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from signalbox.ids import first_id
from signalbox.persistence import bookkeeping, crediting, spending
from signalbox.persistence.columns import Row, microseconds, storable_text
from signalbox.persistence.record_store import RecordStore, Session
from signalbox.persistence.record_tables import AUDIT
from signalbox.persistence.records import AuditRecord
from signalbox.persistence.rows import LEDGER_COLUMNS, STATE_COLUMNS, read_charge, read_state
from signalbox.persistence.stores import (
    NOWHERE,
    Charge,
    ChargeFilter,
    Difference,
    MatchingTraces,
    SpendingQuery,
    StateRecord,
    TraceFilter,
    TraceRecord,
    TracesCompared,
    UsageSum,
)
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

TRACES_DELETED_AT_ONCE = 100
"""One transaction's worth: with payloads of a megabyte it still ends in well under a second, so
that others never wait long behind it."""
_FIRST_ID = "00000000-0000-0000-0000-000000000000"
"""Before all ids."""
_LABELS = ("id", "started_at_us", "end_user", "tags")
_LOOK_AT_TRACES = f"{_select(_LABELS, 'traces')} WHERE id > ? ORDER BY id LIMIT ?"
_OLDEST_TRACES = "SELECT id FROM traces WHERE started_at_us < ? ORDER BY started_at_us LIMIT ?"


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
        if not self.is_id(entry.request_id):
            raise ValueError(f"request_id is {entry.request_id!r}, expected a UUID")
        with self._changing(f"add a {entry.kind} to the ledger") as session:
            return crediting.credit(session, entry, audit)

    def list_charges(
        self, wanted: ChargeFilter, *, limit: int, before: tuple[float, str] | None = None
    ) -> list[Charge]:
        with self._reading("list charges") as session:
            return bookkeeping.charges(session, wanted, limit, before)

    def usage(
        self,
        by: Sequence[str],
        *,
        since: float = 0.0,
        until: float = 1e12,
        where: Mapping[str, str] = NOWHERE,
        limit: int = 10_000,
    ) -> list[UsageSum]:
        with self._reading("sum usage") as session:
            return bookkeeping.usage(session, by, since, until, where, limit)

    def next_hour(self, after: float) -> float | None:
        with self._reading("look for usage") as session:
            return bookkeeping.next_hour(session, after)

    def usage_differences(self, hour: float) -> list[Difference]:
        with self._reading("compare usage with the ledger") as session:
            return bookkeeping.usage_differences(session, hour)

    def trace_differences(self, after: str, limit: int) -> TracesCompared:
        with self._reading("compare traces with the ledger") as session:
            return bookkeeping.trace_differences(session, after, limit)

    def rebuild_usage(self, hours: Sequence[float], audit: AuditRecord) -> None:
        with self._changing("rebuild usage from the ledger") as session:
            for hour in hours:
                bookkeeping.rebuild_hour(session, hour)
            session.execute(AUDIT.insert, AUDIT.values(audit))

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

    def match_traces(self, wanted: TraceFilter, *, after: str | None, limit: int) -> MatchingTraces:
        """All of them are looked at: there is no index of users and tags, and a statement that had
        to find some would take as long as there are traces."""
        with self._reading("look at traces") as session:
            found = session.execute(_LOOK_AT_TRACES, (after or _FIRST_ID, limit)).fetchall()
        before_us = None if wanted.before is None else microseconds(wanted.before, "before")
        user = None if wanted.user is None else storable_text(wanted.user)
        ids = tuple(
            row.text("id")
            for row in (Row("traces", ("id",), _LABELS, values) for values in found)
            if (before_us is None or row.integer("started_at_us") < before_us)
            and user in (None, row.optional_text("end_user"))
            and (wanted.tag is None or wanted.tag in row.json_texts("tags"))
        )
        return MatchingTraces(ids, found[-1][0] if len(found) == limit else None)

    def delete_these_traces(self, ids: Sequence[str]) -> int:
        deleted = 0
        for start in range(0, len(ids), TRACES_DELETED_AT_ONCE):
            part = ids[start : start + TRACES_DELETED_AT_ONCE]
            with self._transaction("delete traces") as session:
                deleted += _delete(session, part)
        return deleted

    def delete_traces(self, *, older_than: float, limit: int) -> int:
        """Oldest first, in transactions of 100, with their events and payloads."""
        older_than_us = microseconds(older_than, "older_than")
        deleted = count = 0
        while deleted < limit:
            wanted = min(TRACES_DELETED_AT_ONCE, limit - deleted)
            with self._transaction("delete traces") as session:
                oldest = session.execute(_OLDEST_TRACES, (older_than_us, wanted)).fetchall()
                count = _delete(session, [id for (id,) in oldest])
            deleted += count
            if count < wanted:
                break
        return deleted

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


def delete_payloads(session: Session, table: str, older_than: float, limit: int) -> int:
    """Of traces whose ids were made before, the oldest first, at most `limit`; how many. The ids
    say when it was: no index of the traces' times has to be read past those that have none."""
    return session.execute(
        f"DELETE FROM {table} WHERE trace_id IN"
        f" (SELECT trace_id FROM {table} WHERE trace_id < ? ORDER BY trace_id LIMIT ?)",
        (first_id(older_than), limit),
    ).rowcount


def _delete(session: Session, ids: Sequence[str]) -> int:
    """How many of the traces were there. The details go first: an engine may hold on to them."""
    if not ids:
        return 0
    among = f"IN ({', '.join('?' * len(ids))})"
    for details in ("trace_events", "trace_payloads"):
        session.execute(f"DELETE FROM {details} WHERE trace_id {among}", ids)
    return session.execute(f"DELETE FROM traces WHERE id {among}", ids).rowcount
