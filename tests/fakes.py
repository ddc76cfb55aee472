"""Parts of the outside, held in memory, whose faults a test chooses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, TypeVarTuple, Unpack

import trio
from msgspec.structs import replace

from signalbox.actors.supervisor import Supervisor
from signalbox.errors import StoreUnavailable
from signalbox.persistence.record_store import (
    Change,
    Delete,
    Insert,
    RecordExists,
    RecordMissing,
)
from signalbox.persistence.record_tables import MANAGED
from signalbox.persistence.records import AuditRecord, Managed
from signalbox.persistence.rows import charge_row, state_row
from signalbox.persistence.stores import (
    NOWHERE,
    Charge,
    ChargeFilter,
    Difference,
    M,
    MatchingTraces,
    SpendingQuery,
    StateRecord,
    Swept,
    TraceFilter,
    TraceRecord,
    TracesCompared,
    UsageSum,
)
from signalbox.persistence.trace_rows import event_row, payload_row, read_trace, trace_row
from signalbox.types import NanoUSD

ResultT = TypeVar("ResultT")
Arguments = TypeVarTuple("Arguments")

Fault = Callable[[str], None]
"""Called with the name of each operation before it has any effect; what it raises is raised."""


def no_fault(operation: str) -> None:
    """Everything works."""


def database_away(operation: str) -> None:
    raise StoreUnavailable(f"{operation}: the database does not answer")


@asynccontextmanager
async def supervised(supervisor: Supervisor) -> AsyncIterator[None]:
    """The actors run in the block and are stopped in order after it."""
    async with trio.open_nursery() as nursery:
        await nursery.start(supervisor.run)
        yield
        supervisor.stop()


def asked(query: SpendingQuery, charge: Charge) -> bool:
    """Whether a row of the ledger is among those that are summed: the rule in plain words."""
    subjects: dict[str, Sequence[str | None]] = {
        "global": [query.subject],
        "key": [charge.key_id],
        "user": [charge.end_user],
        "tag": charge.tags,
        "account": [charge.account],
    }
    return (
        charge.kind == "charge"
        and query.subject in subjects[query.scope]
        and query.since <= charge.at
        and (query.until is None or charge.at < query.until)
        and charge.request_id not in query.without
    )


def counted(query: SpendingQuery, charge: Charge) -> int:
    """What of a row is summed."""
    if not asked(query, charge):
        return 0
    if query.byok:
        return (charge.upstream_cost or 0) if charge.is_byok else 0
    return charge.amount or 0


class InlineWorkers:
    """`Workers` without threads: MockClock cannot see that a thread is at work.

    Each call takes `seconds` of the test's clock, and at least one turn of the loop.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    async def run(
        self, function: Callable[[Unpack[Arguments]], ResultT], *args: *Arguments
    ) -> ResultT:
        await trio.sleep(self.seconds)
        return function(*args)


class MemoryStore:
    """A `Store` that keeps its promises until it is told to break them.

    It refuses the rows that a database would refuse, by the rules of the real ones, and traces come
    back from it as from a database.
    `fault` may be changed at any time. `calls` has (operation, number of rows) of each write that
    was tried, in order, whether it failed or not.
    """

    def __init__(self, fault: Fault = no_fault) -> None:
        self.fault = fault
        self.calls: list[tuple[str, int]] = []
        self.payloads_older_than: float | None = None
        """What the last step of retention was told."""
        self.charges: dict[str, Charge] = {}
        """By request id."""
        self.traces: dict[str, TraceRecord] = {}
        self.state: dict[bytes, StateRecord] = {}
        """By digest."""
        self._managed: dict[tuple[object, ...], Managed] = {}
        self.audits: list[AuditRecord] = []
        self._mark = 0

    def append_charges(self, charges: Sequence[Charge]) -> None:
        self.calls.append(("append_charges", len(charges)))
        self.fault("append_charges")
        for charge in charges:
            charge_row(charge)
        for charge in charges:
            self.charges.setdefault(charge.request_id, charge)

    def load_charge(self, request_id: str) -> Charge | None:
        self.fault("load_charge")
        return self.charges.get(request_id)

    def spent(self, queries: Sequence[SpendingQuery]) -> list[NanoUSD]:
        self.fault("spent")
        return [
            NanoUSD(sum(counted(query, each) for each in self.charges.values()))
            for query in queries
        ]

    def balances(self, accounts: Sequence[str] | None = None) -> dict[str, NanoUSD]:
        self.fault("balances")
        found: dict[str, NanoUSD] = {}
        for each in self.charges.values():
            if each.kind != "charge" and (accounts is None or each.account in accounts):
                so_far = found.get(each.account, NanoUSD(0))
                found[each.account] = NanoUSD(so_far + (each.amount or 0))
        return found

    def credit(self, entry: Charge, audit: AuditRecord) -> Charge:
        self.fault("credit")
        if entry.request_id not in self.charges:
            self.audits.append(audit)
            self._mark += 1
        there = self.charges.setdefault(entry.request_id, entry)
        if replace(there, id=entry.id, at=entry.at) != entry:
            raise RecordExists("ledger", ("request_id",))
        return there

    # Books are compared where there are two.

    def list_charges(
        self, wanted: ChargeFilter, *, limit: int, before: tuple[float, str] | None = None
    ) -> list[Charge]:
        raise NotImplementedError

    def usage(
        self,
        by: Sequence[str],
        *,
        since: float = 0.0,
        until: float = 1e12,
        where: Mapping[str, str] = NOWHERE,
        limit: int = 10_000,
    ) -> list[UsageSum]:
        raise NotImplementedError

    def next_hour(self, after: float) -> float | None:
        raise NotImplementedError

    def usage_differences(self, hour: float) -> list[Difference]:
        raise NotImplementedError

    def trace_differences(self, after: str, limit: int) -> TracesCompared:
        raise NotImplementedError

    def rebuild_usage(self, hours: Sequence[float], audit: AuditRecord) -> None:
        raise NotImplementedError

    def save_traces(self, traces: Sequence[TraceRecord]) -> None:
        self.calls.append(("save_traces", len(traces)))
        self.fault("save_traces")
        rows = [(trace_row(trace), event_row(trace), payload_row(trace)) for trace in traces]
        for trace, kept in zip(traces, rows, strict=True):
            self.traces.setdefault(trace.id, read_trace(*kept))

    def load_trace(self, trace_id: str) -> TraceRecord | None:
        self.fault("load_trace")
        return self.traces.get(trace_id)

    def list_traces(
        self,
        *,
        limit: int,
        before: str | None = None,
        state: str | None = None,
        model: str | None = None,
    ) -> list[TraceRecord]:
        self.fault("list_traces")
        found = [
            replace(trace, events=(), payloads=())
            for _, trace in sorted(self.traces.items(), reverse=True)
            if (before is None or trace.id < before)
            and state in (None, trace.state)
            and model in (None, trace.model)
        ]
        return found[:limit]

    def delete_traces(self, *, older_than: float, limit: int) -> int:
        self.calls.append(("delete_traces", limit))
        self.fault("delete_traces")
        old = [trace.id for trace in self.traces.values() if trace.started_at < older_than]
        for trace_id in old[:limit]:
            del self.traces[trace_id]
        return len(old[:limit])

    def match_traces(self, wanted: TraceFilter, *, after: str | None, limit: int) -> MatchingTraces:
        raise NotImplementedError("only the command line asks for this")

    def delete_these_traces(self, ids: Sequence[str]) -> int:
        raise NotImplementedError("only the command line asks for this")

    def sweep_traces(
        self,
        *,
        now: float,
        older_than: float,
        limit: int,
        payloads_older_than: float | None = None,
    ) -> Swept:
        self.payloads_older_than = payloads_older_than
        deleted = self.delete_traces(older_than=older_than, limit=limit)
        return Swept(deleted, more=deleted == limit)

    def save_state(self, records: Sequence[StateRecord]) -> None:
        self.calls.append(("save_state", len(records)))
        self.fault("save_state")
        for record in records:
            state_row(record)
        self.state.update((record.digest, record) for record in records)

    def load_state(self, digests: Sequence[bytes]) -> list[StateRecord]:
        self.fault("load_state")
        return [self.state[digest] for digest in digests if digest in self.state]

    def delete_state(self, *, expired_at: float, limit: int) -> int:
        self.calls.append(("delete_state", limit))
        self.fault("delete_state")
        expired = [each.digest for each in self.state.values() if each.expires_at <= expired_at]
        for digest in expired[:limit]:
            del self.state[digest]
        return len(expired[:limit])

    def records(self, kind: type[M], where: Mapping[str, object] | None = None) -> list[M]:
        self.fault("records")
        table = MANAGED[kind]
        return [
            each
            for each in self._managed.values()
            if isinstance(each, kind)
            and all(getattr(each, field) == value for field, value in (where or {}).items())
            and table.values(each)
        ]

    def page(
        self,
        kind: type[M],
        *,
        limit: int,
        after: Sequence[object] | None = None,
        where: Mapping[str, object] | None = None,
    ) -> list[M]:
        place_of: Callable[[M], tuple[Any, ...]] = MANAGED[kind].place_of
        found = sorted(self.records(kind, where), key=place_of)
        return [each for each in found if after is None or place_of(each) > tuple(after)][:limit]

    def record(self, kind: type[M], *key: object) -> M | None:
        self.fault("record")
        found = self._managed.get((kind, *key))
        return found if isinstance(found, kind) else None

    def change(self, changes: Sequence[Change], audit: AuditRecord, *more: AuditRecord) -> None:
        self.fault("change")
        managed = dict(self._managed)
        for change in changes:
            record = change.record
            table = MANAGED[type(record)]
            place = (type(record), *table.key_of(record))
            if isinstance(change, Insert) == (place in managed):
                raise RecordExists(table.name, table.key) if place in managed else RecordMissing()
            if isinstance(change, Delete):
                del managed[place]
            else:
                managed[place] = record
        self._managed = managed
        self.audits += [audit, *more]
        self._mark += 1

    def audit(
        self, *, limit: int, before: str | None = None, where: Mapping[str, object] | None = None
    ) -> list[AuditRecord]:
        self.fault("audit")
        found = [each for each in self.audits[::-1] if before is None or each.id < before]
        return found[:limit]

    def change_mark(self) -> int:
        self.fault("change_mark")
        return self._mark

    def wait_for_change(self, mark: int, seconds: float) -> int:
        """As if the time were over: `InlineWorkers` let it pass."""
        return self.change_mark()

    def stop_waiting(self) -> None:
        """Nobody waits."""

    def ping(self) -> None:
        self.fault("ping")

    def close(self) -> None:
        """Nothing to give back."""
