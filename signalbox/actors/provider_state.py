"""Who made the state that lives at a provider: the route and the key of every id and every piece of
encrypted reasoning that an answer gave out.

What was told lately is in memory, all of it in the database, written in batches that nobody waits
for. A restarted gateway, or another one on the same database, finds it there.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import trio

from signalbox.actors.key_pool import CALLERS_KEY, ProviderKey
from signalbox.actors.mailbox import Mailbox, MailboxClosed
from signalbox.actors.patience import write_patiently
from signalbox.actors.ports import Workers
from signalbox.actors.supervisor import ChildSpec, Supervisor
from signalbox.errors import MailboxFull, StoreUnavailable
from signalbox.persistence.stores import ProviderStateStore, StateRecord
from signalbox.types import Origin

logger = logging.getLogger(__name__)

KEPT_SECONDS = 30 * 86_400.0
"""OpenAI keeps responses for 30 days, and nothing longer that it makes without being asked."""

MAX_IN_MEMORY = 65_536
"""An hour of 18 a second, in about 25 MB. The one that rested longest is left to the database."""

BATCH_ANSWERS = 256
BATCH_SECONDS = 0.1
"""How long the first of a batch waits for others: one commit serves them all, and memory knows of
them meanwhile."""

SWEEP_RECORDS = 1_000
SWEEP_PAUSE_SECONDS = 0.1
SWEEP_SECONDS = 3600.0

DIGEST_BYTES = 32
MARK_BYTES = 8
"""Enough to tell a provider's keys apart, and too few to say anything of a key."""


@dataclass(frozen=True, slots=True)
class ProviderStateStatistics:
    in_memory: int
    saved: int
    lost: int
    """Found no room, refused by the database, or in hand at a crash or a hard stop: known to this
    process alone."""


class ProviderState:
    """The actor that remembers whose state is where."""

    def __init__(
        self,
        supervisor: Supervisor,
        store: ProviderStateStore,
        keys: Sequence[ProviderKey],
        *,
        readers: Workers,
        writers: Workers,
        now: Callable[[], float],
    ) -> None:
        """`keys`: those that are configured now. `now`: the wall clock, in Unix seconds."""
        self._store = store
        self._readers = readers
        self._writers = writers
        self._now = now
        self._marks = {key.id: _mark(key) for key in keys} | {CALLERS_KEY: CALLERS_KEY}
        self._keys = {mark: key_id for key_id, mark in self._marks.items()}
        self._keys_of: dict[str, list[str]] = {}
        for key in keys:
            self._keys_of.setdefault(key.provider, []).append(key.id)
        self._known: OrderedDict[bytes, StateRecord] = OrderedDict()
        """By digest, the longest unused first."""
        self._saved = 0
        self._lost = 0
        self._mailbox: Mailbox[Sequence[StateRecord], None] = supervisor.add(
            ChildSpec(
                name="provider_state",
                actor=self._run,
                capacity=4096,
                capacity_reason="answers of some seconds while the database is busy; 1 KB each",
            )
        )

    def keys_of(self, provider: str) -> Sequence[str]:
        """The ids of its configured keys."""
        return self._keys_of.get(provider, ())

    def remember(self, gateway_key: str, references: Iterable[str], origin: Origin) -> None:
        """An answer gave out `references`, which requests with this gateway key may refer to.

        Never waits and never raises; see `statistics`.
        """
        mark = self._marks[origin.key_id]
        expires_at = self._now() + KEPT_SECONDS
        records = [
            StateRecord(_digest(gateway_key, reference), origin.route_id, mark, expires_at)
            for reference in references
        ]
        for record in records:
            self._keep(record)
        try:
            self._mailbox.tell(records)
        except (MailboxFull, MailboxClosed):
            self._lost += len(records)

    async def origins(self, gateway_key: str, references: Iterable[str]) -> Mapping[str, Origin]:
        """Who made them; those that are unknown, or whose time or key is gone, are left out.

        Raises `StoreUnavailable` where one is not in memory and the database is away.
        """
        await trio.lowlevel.checkpoint()
        digests = {_digest(gateway_key, reference): reference for reference in references}
        records = [self._known[digest] for digest in digests if digest in self._known]
        unknown = [digest for digest in digests if digest not in self._known]
        if unknown:
            records += await self._readers.run(self._store.load_state, unknown)
        found: dict[str, Origin] = {}
        for record in records:
            self._keep(record)
            key_id = self._keys.get(record.key_mark)
            if key_id is not None and record.expires_at > self._now():
                found[digests[record.digest]] = Origin(record.route_id, key_id)
        return found

    def statistics(self) -> ProviderStateStatistics:
        return ProviderStateStatistics(len(self._known), self._saved, self._lost)

    def _keep(self, record: StateRecord) -> None:
        self._known[record.digest] = record
        self._known.move_to_end(record.digest)
        if len(self._known) > MAX_IN_MEMORY:
            self._known.popitem(last=False)

    async def _run(self, mailbox: Mailbox[Sequence[StateRecord], None]) -> None:
        sweep_at = trio.current_time()
        while True:
            with trio.CancelScope(deadline=sweep_at) as sweep_due:
                batch = await mailbox.receive_batch(BATCH_ANSWERS)
            if sweep_due.cancelled_caught:
                sweep_at = trio.current_time() + await self._sweep()
            elif batch:
                records = [record for envelope in batch for record in envelope.message]
                await self._serve(records, mailbox)
            else:
                return

    async def _serve(
        self, taken: list[StateRecord], mailbox: Mailbox[Sequence[StateRecord], None]
    ) -> None:
        """Saves what was taken and what comes soon after it."""
        saved = 0
        try:
            with trio.move_on_after(BATCH_SECONDS):
                while batch := await mailbox.receive_batch(BATCH_ANSWERS):
                    taken += [record for envelope in batch for record in envelope.message]
            write = partial(self._writers.run, self._store.save_state, taken)
            if await write_patiently(write, f"{len(taken)} records of whose state it is"):
                saved = len(taken)
        finally:
            self._saved += saved
            self._lost += len(taken) - saved

    async def _sweep(self) -> float:
        """Deletes some of the records past their time; in how many seconds to go on."""
        delete = partial(self._store.delete_state, expired_at=self._now(), limit=SWEEP_RECORDS)
        try:
            deleted = await self._writers.run(delete)
        except StoreUnavailable as error:
            logger.warning("records of whose state it was are not deleted yet: %s", error)
            return SWEEP_SECONDS
        return SWEEP_PAUSE_SECONDS if deleted == SWEEP_RECORDS else SWEEP_SECONDS


def _digest(gateway_key: str, reference: str) -> bytes:
    """Of long values too only this is kept. Another gateway key knows none of them."""
    data = msgspec.json.encode([gateway_key, reference])
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def _mark(key: ProviderKey) -> str:
    """The same for the same key wherever it stands in the configuration; its id is its place.

    Keys that came with requests are not told apart: nothing of them is kept.
    """
    secret = key.secret.reveal() if key.secret is not None else None
    data = msgspec.json.encode([key.provider, secret])
    return hashlib.blake2b(data, digest_size=MARK_BYTES).hexdigest()
