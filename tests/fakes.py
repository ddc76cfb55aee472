"""Parts of the outside, held in memory, whose faults a test chooses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar, TypeVarTuple, Unpack

import trio
from msgspec.structs import replace

from signalbox.actors.supervisor import Supervisor
from signalbox.errors import StoreUnavailable
from signalbox.persistence.rows import charge_row, state_row
from signalbox.persistence.stores import Charge, GatewayKeyRecord, StateRecord, TraceRecord
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
        self.charges: dict[str, Charge] = {}
        """By request id."""
        self.traces: dict[str, TraceRecord] = {}
        self.state: dict[bytes, StateRecord] = {}
        """By digest."""
        self._keys: dict[str, GatewayKeyRecord] = {}
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

    def spent_by_key(self, key_id: str, since: Sequence[float]) -> tuple[NanoUSD, ...]:
        self.fault("spent_by_key")
        own = [charge for charge in self.charges.values() if charge.key_id == key_id]
        return tuple(
            NanoUSD(sum(charge.amount or 0 for charge in own if charge.at >= time))
            for time in since
        )

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

    def add_key(self, key: GatewayKeyRecord) -> None:
        self.fault("add_key")
        for other in self._keys.values():
            if other.name == key.name or other.digest == key.digest:
                raise ValueError(f"key {key.name}: its name or digest is taken by {other.name}")
        self._keys[key.id] = key
        self._mark += 1

    def list_keys(self) -> list[GatewayKeyRecord]:
        self.fault("list_keys")
        return list(self._keys.values())

    def revoke_key(self, name_or_id: str, at: float) -> GatewayKeyRecord | None:
        self.fault("revoke_key")
        for key in self._keys.values():
            if name_or_id in (key.id, key.name):
                revoked = replace(key, revoked_at=at)
                self._keys[key.id] = revoked
                self._mark += 1
                return revoked
        return None

    def change_mark(self) -> int:
        self.fault("change_mark")
        return self._mark

    def ping(self) -> None:
        self.fault("ping")

    def close(self) -> None:
        """Nothing to give back."""
