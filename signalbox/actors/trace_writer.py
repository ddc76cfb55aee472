"""The trace writer: saves finished requests in batches, and deletes those past their time.

Nobody waits for it. A trace that finds no room is dropped and counted; a charge never comes here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec
import trio

from signalbox.actors.mailbox import Mailbox, MailboxClosed
from signalbox.actors.patience import write_patiently
from signalbox.actors.ports import Workers
from signalbox.actors.supervisor import ChildSpec, Supervisor
from signalbox.errors import MailboxFull, StoreUnavailable
from signalbox.persistence.stores import TraceRecord, TraceStore

logger = logging.getLogger(__name__)

BATCH_BYTES = 1_000_000
BATCH_SECONDS = 0.020
"""A batch ends at whichever comes first, so that the ledger never waits long for the database."""

BATCH_TRACES = 64
"""Taken from the mailbox at a time; how far a batch may overshoot before it is cut in parts."""

MAX_QUEUED_BYTES = 64 * 1024 * 1024
"""About a minute of traffic at 1 MB of bodies a second, on a machine with 1 GB of memory."""

SWEEP_TRACES = 100
"""Deleted at a time. With bodies of a megabyte that is well under a second, and charges wait."""
SWEEP_PAUSE_SECONDS = 0.1
SWEEP_SECONDS = 3600.0

SECONDS_PER_DAY = 86_400


class TraceWriterStatistics(msgspec.Struct, frozen=True):
    saved: int
    dropped: int
    """Found no room, refused by the database, or in hand at a crash or a hard stop."""
    queued: int
    """Taken and neither saved nor dropped yet."""
    queued_bytes: int
    deleted: int
    """By retention."""


class _Queued(msgspec.Struct, frozen=True):
    trace: TraceRecord
    size: int


class TraceWriter:
    """The actor that saves traces."""

    def __init__(
        self,
        supervisor: Supervisor,
        store: TraceStore,
        workers: Workers,
        *,
        retention_days: float,
        payload_retention_days: float | None = None,
        now: Callable[[], float],
        max_queued_bytes: int = MAX_QUEUED_BYTES,
    ) -> None:
        """`now` is the wall clock, in Unix seconds as `TraceRecord.started_at`."""
        self._store = store
        self._workers = workers
        self._retention_seconds = retention_days * SECONDS_PER_DAY
        self._payload_seconds = payload_retention_days and payload_retention_days * SECONDS_PER_DAY
        self._now = now
        self._max_queued_bytes = max_queued_bytes
        self._saved = 0
        self._dropped = 0
        self._queued = 0
        self._queued_bytes = 0
        self._deleted = 0
        self._full = trio.Event()
        """There is enough for a batch."""
        self._mailbox: Mailbox[_Queued, None] = supervisor.add(
            ChildSpec(
                name="trace_writer",
                actor=self._run,
                capacity=8192,
                capacity_reason="8 s of 1,000 requests a second while the database is busy",
            )
        )

    def save(self, trace: TraceRecord) -> None:
        """Leaves the trace to be saved. Never waits and never raises; see `statistics`."""
        queued = _Queued(trace, _size(trace))
        if self._queued_bytes + queued.size > self._max_queued_bytes:
            self._dropped += 1
            return
        try:
            self._mailbox.tell(queued)
        except (MailboxFull, MailboxClosed):
            self._dropped += 1
            return
        self._queued += 1
        self._queued_bytes += queued.size
        if self._queued_bytes >= BATCH_BYTES:
            self._full.set()

    def statistics(self) -> TraceWriterStatistics:
        return TraceWriterStatistics(
            saved=self._saved,
            dropped=self._dropped,
            queued=self._queued,
            queued_bytes=self._queued_bytes,
            deleted=self._deleted,
        )

    async def _run(self, mailbox: Mailbox[_Queued, None]) -> None:
        sweep_at = trio.current_time()
        while True:
            with trio.CancelScope(deadline=sweep_at) as sweep_due:
                batch = await mailbox.receive_batch(BATCH_TRACES)
            if sweep_due.cancelled_caught:
                sweep_at = trio.current_time() + await self._sweep()
            elif batch:
                await self._serve([envelope.message for envelope in batch], mailbox)
            else:
                return

    async def _serve(self, taken: list[_Queued], mailbox: Mailbox[_Queued, None]) -> None:
        """Saves what was taken and what comes soon after it."""
        saved = 0
        try:
            await self._collect(taken, mailbox)
            for part in _parts(taken):
                saved += await self._save(part)
        finally:
            self._saved += saved
            self._dropped += len(taken) - saved
            self._queued -= len(taken)
            self._queued_bytes -= sum(queued.size for queued in taken)

    async def _collect(self, taken: list[_Queued], mailbox: Mailbox[_Queued, None]) -> None:
        """Adds to `taken` what else arrives before the batch is big or old enough.

        What arrives waits in the mailbox meanwhile: to wake up for each trace would cost more than
        all else that is done with it here.
        """
        if self._queued_bytes < BATCH_BYTES and not mailbox.closed:
            self._full = trio.Event()
            with trio.move_on_after(BATCH_SECONDS):
                await self._full.wait()
        while mailbox.statistics().depth and sum(each.size for each in taken) < BATCH_BYTES:
            batch = await mailbox.receive_batch(BATCH_TRACES)
            taken.extend(envelope.message for envelope in batch)

    async def _save(self, traces: Sequence[TraceRecord]) -> int:
        """How many of them are saved."""
        write = partial(self._workers.run, self._store.save_traces, traces)
        try:
            return len(traces) if await write_patiently(write, f"{len(traces)} traces") else 0
        except ValueError as wrong:
            if len(traces) == 1:
                logger.error("a trace is dropped: %s", wrong)
                return 0
        # One trace that no database could keep does not take the others with it.
        return sum([await self._save([trace]) for trace in traces])

    async def _sweep(self) -> float:
        """Deletes some of the traces past their time; in how many seconds to go on."""
        now = self._now()
        sweep = partial(
            self._store.sweep_traces,
            now=now,
            older_than=now - self._retention_seconds,
            payloads_older_than=self._payload_seconds and now - self._payload_seconds,
            limit=SWEEP_TRACES,
        )
        try:
            swept = await self._workers.run(sweep)
        except StoreUnavailable as error:
            logger.warning("old traces are not deleted yet: %s", error)
            return SWEEP_SECONDS
        self._deleted += swept.deleted
        return SWEEP_PAUSE_SECONDS if swept.more else SWEEP_SECONDS


def _size(trace: TraceRecord) -> int:
    """About how many bytes of memory and of the database it takes: bodies, rows, events."""
    bodies = sum(len(payload.body) for payload in trace.payloads)
    return 1024 + 512 * len(trace.events) + bodies


def _parts(queued: Sequence[_Queued]) -> Iterator[list[TraceRecord]]:
    """Cuts into parts of at most `BATCH_BYTES`; a trace that is bigger is a part of its own."""
    part: list[TraceRecord] = []
    size = 0
    for item in queued:
        if part and size + item.size > BATCH_BYTES:
            yield part
            part, size = [], 0
        part.append(item.trace)
        size += item.size
    if part:
        yield part
