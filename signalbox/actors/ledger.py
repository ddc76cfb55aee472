"""The ledger: writes what requests cost, and says so only when it is durable.

Charges go to the database; while it is unavailable they go to the spool, and from there to the
database when it is back. `Charge.request_id` is the idempotency key all the way: asking twice, or
replaying what is there already, changes nothing.

Holds reserve money before the call and are settled by the charge: `record` is the moment at which
a hold of the same `request_id` ends. Whoever keeps the holds settles on its return, and leaves the
hold to its TTL when it raises.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from enum import StrEnum

import msgspec
import trio

from signalbox.actors.mailbox import Envelope, Mailbox
from signalbox.actors.ports import Workers
from signalbox.actors.supervisor import ChildSpec, Supervisor
from signalbox.errors import SignalboxError, StoreUnavailable
from signalbox.persistence.spool import ChargeSpool, SpoolDamaged, SpoolFull
from signalbox.persistence.stores import Charge, LedgerStore

logger = logging.getLogger(__name__)

BATCH_CHARGES = 256
"""One commit serves so many requests; at 6 µs a row it is done in a few milliseconds."""


class RecordedIn(StrEnum):
    """Where a charge is durable."""

    DATABASE = "database"
    SPOOL = "spool"


class ChargeLost(SignalboxError):
    """Nothing took the charge. The message says why: for both database and spool, or for itself."""


class LedgerStatistics(msgspec.Struct, frozen=True):
    to_database: int
    """Charges that went there directly."""
    to_spool: int
    replayed: int
    lost: int
    database_away: bool


class Ledger:
    """The actor that owns the ledger's way to the disk."""

    def __init__(
        self,
        supervisor: Supervisor,
        store: LedgerStore,
        spool: ChargeSpool,
        workers: Workers,
        *,
        deadline_seconds: float = 15.0,
        replay_seconds: float = 5.0,
    ) -> None:
        """`deadline_seconds` is longer than the store's own timeout: the spool needs its turn.

        While the database is away, it is tried again every `replay_seconds`.
        """
        self._store = store
        self._spool = spool
        self._workers = workers
        self._deadline_seconds = deadline_seconds
        self._replay_seconds = replay_seconds
        self._replay_at = math.inf
        self._database_away = False
        self._spooled = True
        self._recorded = dict.fromkeys(RecordedIn, 0)
        self._replayed = 0
        self._lost = 0
        self._mailbox: Mailbox[Charge, RecordedIn] = supervisor.add(
            ChildSpec(
                name="ledger",
                actor=self._run,
                capacity=4096,
                capacity_reason="one charge for each request under way; 1 KB each",
                drain_seconds=deadline_seconds,
            )
        )

    async def record(self, charge: Charge) -> RecordedIn:
        """Where the charge is durable now. One that is under way is not given up when the caller is
        cancelled: it may be written already.

        Raises `ChargeLost`, or `AskTimedOut`, `ActorCrashed`, `MailboxClosed`: then it may or may
        not be written, and the same charge may be recorded again.
        """
        return await self._mailbox.ask(charge, self._deadline_seconds, shielded=True)

    @property
    def has_spooled(self) -> bool:
        """Whether charges may wait in this process's spool: in the first moment of a run nobody has
        looked."""
        return self._spooled

    def statistics(self) -> LedgerStatistics:
        return LedgerStatistics(
            to_database=self._recorded[RecordedIn.DATABASE],
            to_spool=self._recorded[RecordedIn.SPOOL],
            replayed=self._replayed,
            lost=self._lost,
            database_away=self._database_away,
        )

    async def _run(self, mailbox: Mailbox[Charge, RecordedIn]) -> None:
        # What the last run knew is forgotten: the first charge and the spool tell it anew.
        self._database_away = False
        self._replay_at = -math.inf
        while True:
            with trio.CancelScope(deadline=self._replay_at) as replay_due:
                batch = await mailbox.receive_batch(BATCH_CHARGES)
            if replay_due.cancelled_caught:
                await self._replay()
            elif batch:
                await self._record(batch)
            else:
                return

    async def _record(self, batch: Sequence[Envelope[Charge, RecordedIn]]) -> None:
        try:
            place = await self._write([envelope.message for envelope in batch])
        except ChargeLost as lost:
            self._lose(batch, lost)
        except ValueError as wrong:
            if len(batch) == 1:
                self._lose(batch, wrong)
                return
            # One charge that no ledger could keep does not take the others with it.
            for envelope in batch:
                await self._record([envelope])
        else:
            self._recorded[place] += len(batch)
            for envelope in batch:
                envelope.reply(place)

    def _lose(self, batch: Sequence[Envelope[Charge, RecordedIn]], why: Exception) -> None:
        self._lost += len(batch)
        for envelope in batch:
            envelope.fail(ChargeLost(f"the charge of request {envelope.message.request_id}: {why}"))

    async def _write(self, charges: Sequence[Charge]) -> RecordedIn:
        """Where the charges are now. Raises `ChargeLost`, or `ValueError` for a wrong charge."""
        ways = [
            (RecordedIn.DATABASE, self._append_to_database),
            (RecordedIn.SPOOL, self._append_to_spool),
        ]
        if self._database_away:
            # Each batch would have to wait for the timeout of a database known to be away.
            ways.reverse()
        failures = []
        for place, append in ways:
            try:
                await append(charges)
            except (StoreUnavailable, SpoolFull) as error:
                failures.append(f"{place}: {error}")
            else:
                return place
        raise ChargeLost("; ".join(failures))

    async def _append_to_database(self, charges: Sequence[Charge]) -> None:
        try:
            await self._workers.run(self._store.append_charges, charges)
        except StoreUnavailable as error:
            self._try_again_later(error)
            raise
        self._database_away = False

    async def _append_to_spool(self, charges: Sequence[Charge]) -> None:
        # Before they are there: also what a crash leaves half done may be.
        self._spooled = True
        await self._workers.run(self._spool.append, charges)

    async def _replay(self) -> None:
        """Brings what is spooled into the database; an empty spool is no work."""
        try:
            replayed = await self._workers.run(self._spool.replay, self._store)
        except StoreUnavailable as error:
            self._try_again_later(error)
            return
        except SpoolDamaged as damaged:
            logger.error("%s", damaged)
            replayed = damaged.replayed
        if replayed:
            logger.info("%d spooled charges are in the database now", replayed)
        self._replayed += replayed
        self._spooled = False
        self._database_away = False
        self._replay_at = math.inf

    def _try_again_later(self, error: StoreUnavailable) -> None:
        if not self._database_away:
            logger.warning("charges go to the spool until the database is back: %s", error)
        self._database_away = True
        self._replay_at = trio.current_time() + self._replay_seconds
