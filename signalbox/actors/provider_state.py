"""Who made the state that lives at a provider: the route and the key of every id and every piece of
encrypted reasoning that an answer gave out. And state that the gateway keeps itself, by its kind:
what goes back with tool calls, answers that no provider keeps.

What was told lately is in memory, all of it in the database, written in batches that nobody waits
for. A restarted gateway, or another one on the same database, finds it there.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import msgspec
import trio

from signalbox.actors.key_pool import CALLERS_KEY, ProviderKey
from signalbox.actors.mailbox import Mailbox, MailboxClosed
from signalbox.actors.patience import write_patiently
from signalbox.actors.ports import Workers
from signalbox.actors.supervisor import ChildSpec, Supervisor
from signalbox.config import account_of
from signalbox.errors import MailboxFull, StoreUnavailable
from signalbox.persistence.stores import ProviderStateStore, StateRecord
from signalbox.types import Origin, OwnState, StateKind, ToolState

logger = logging.getLogger(__name__)

KEPT_SECONDS = 30 * 86_400.0
"""OpenAI keeps responses for 30 days, and nothing longer that it makes without being asked."""

MAX_IN_MEMORY = 65_536
"""An hour of 18 a second, in about 25 MB. The one that rested longest is left to the database."""

MAX_STATE_BYTES = 32 * 1024 * 1024
"""Of what the gateway keeps itself, in memory: some 10,000 tool calls at 3 KB of signed thinking
each, or the last 1,000 answers with 30 KB of conversation."""

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Of the same, not yet in the database: some seconds of the largest answers. What comes on top is
known to memory alone."""

_OURS = ""
"""The route and the key of what the gateway keeps itself."""
_NONE: Mapping[str, bytes] = MappingProxyType({})

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


class ProviderStateStatistics(msgspec.Struct, frozen=True):
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
        self._marks: dict[str, str] = {CALLERS_KEY: CALLERS_KEY}
        """Also of keys that are no longer configured: requests that began with them go on."""
        self.configure(keys)
        self._known: OrderedDict[bytes, StateRecord] = OrderedDict()
        """By digest, the longest unused first."""
        self._state_bytes = 0
        self._waiting_bytes = 0
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

    def configure(self, keys: Sequence[ProviderKey]) -> None:
        """These are configured from now on."""
        marks = {key.id: _mark(key) for key in keys} | {CALLERS_KEY: CALLERS_KEY}
        self._marks.update(marks)
        self._keys = {mark: key_id for key_id, mark in marks.items()}
        self._keys_of: dict[str, list[str]] = {}
        for key in keys:
            self._keys_of.setdefault(key.provider, []).append(key.id)

    def keys_of(self, provider: str) -> Sequence[str]:
        """The ids of its configured keys."""
        return self._keys_of.get(provider, ())

    def remember(
        self,
        gateway_key: str,
        references: Iterable[str],
        origin: Origin,
        tool_states: Mapping[str, bytes] = _NONE,
        *,
        on_disk: bool = True,
    ) -> None:
        """An answer gave out `references`, which requests with this gateway key may refer to, and
        wants `tool_states` back, each with the tool call of that id.

        `on_disk`: whether the database may keep those states, which hold what the model thought.
        Never waits and never raises; see `statistics`.
        """
        mark = self._marks[origin.key_id]
        expires_at = self._now() + KEPT_SECONDS

        def record(name: str, state: bytes | None = None) -> StateRecord:
            digest = _digest(gateway_key, name)
            return StateRecord(digest, origin.route_id, mark, expires_at, state)

        states = [record(StateKind.TOOL_CALL + call, it) for call, it in tool_states.items()]
        records = [record(reference) for reference in references]
        if on_disk:
            records += states
        else:
            for state in states:
                self._keep(state)
        if records:
            self._tell(records)

    def keep(self, gateway_key: str, states: Iterable[OwnState]) -> None:
        """The gateway's own state, which no provider has a part in; the same again replaces it.

        Never waits and never raises; see `statistics`.
        """
        expires_at = self._now() + KEPT_SECONDS
        self._tell(
            [
                StateRecord(_digest(gateway_key, kind + name), _OURS, _OURS, expires_at, data)
                for kind, name, data in states
            ]
        )

    def _tell(self, records: list[StateRecord]) -> None:
        for record in records:
            self._keep(record)
        size = _bytes_of(records)
        if self._waiting_bytes + size > MAX_WAITING_BYTES:
            self._lost += len(records)
            return
        try:
            self._mailbox.tell(records)
        except (MailboxFull, MailboxClosed):
            self._lost += len(records)
        else:
            self._waiting_bytes += size

    async def origins(self, gateway_key: str, references: Iterable[str]) -> Mapping[str, Origin]:
        """Who made them; those that are unknown, or whose time or key is gone, are left out.

        Raises `StoreUnavailable` where one is not in memory and the database is away.
        """
        found = await self._find(gateway_key, references)
        return {
            reference: origin
            for reference, record in found.items()
            if (origin := self._origin(record)) is not None
        }

    async def tool_states(self, gateway_key: str, calls: Iterable[str]) -> Mapping[str, ToolState]:
        """What is to go back with tool calls, by their ids; see `origins`."""
        found = await self._find(gateway_key, [StateKind.TOOL_CALL + call for call in calls])
        return {
            name.removeprefix(StateKind.TOOL_CALL): ToolState(origin, record.state)
            for name, record in found.items()
            if (origin := self._origin(record)) is not None and record.state is not None
        }

    async def kept(
        self, gateway_key: str, names: Iterable[tuple[StateKind, str]]
    ) -> Mapping[tuple[StateKind, str], bytes]:
        """The gateway's own state of these kinds and names; see `origins`.

        What is known here to live at a provider is not looked for in the database.
        """
        wanted = {kind + name: (kind, name) for kind, name in names}
        here = {
            full
            for full, (_, name) in wanted.items()
            if _digest(gateway_key, full) in self._known
            or _digest(gateway_key, name) not in self._known
        }
        found = await self._find(gateway_key, here)
        return {
            wanted[full]: record.state for full, record in found.items() if record.state is not None
        }

    def _origin(self, record: StateRecord) -> Origin | None:
        key_id = self._keys.get(record.key_mark)
        return None if key_id is None else Origin(record.route_id, key_id)

    async def _find(self, gateway_key: str, names: Iterable[str]) -> dict[str, StateRecord]:
        """Those that are known and whose time is not over."""
        await trio.lowlevel.checkpoint()
        digests = {_digest(gateway_key, name): name for name in names}
        records = [self._known[digest] for digest in digests if digest in self._known]
        unknown = [digest for digest in digests if digest not in self._known]
        if unknown:
            records += await self._readers.run(self._store.load_state, unknown)
        now = self._now()
        found: dict[str, StateRecord] = {}
        for record in records:
            self._keep(record)
            if record.expires_at > now:
                found[digests[record.digest]] = record
        return found

    def statistics(self) -> ProviderStateStatistics:
        return ProviderStateStatistics(len(self._known), self._saved, self._lost)

    def _keep(self, record: StateRecord) -> None:
        self._forget(self._known.pop(record.digest, None))
        self._known[record.digest] = record
        self._state_bytes += len(record.state or b"")
        while len(self._known) > MAX_IN_MEMORY or self._state_bytes > MAX_STATE_BYTES:
            self._forget(self._known.popitem(last=False)[1])

    def _forget(self, record: StateRecord | None) -> None:
        if record is not None:
            self._state_bytes -= len(record.state or b"")

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
            self._waiting_bytes -= _bytes_of(taken)
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


def _bytes_of(records: Iterable[StateRecord]) -> int:
    return sum(len(record.state or b"") for record in records)


def _digest(gateway_key: str, reference: str) -> bytes:
    """Of long values too only this is kept. Another gateway key knows none of them."""
    data = msgspec.json.encode([gateway_key, reference])
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def _mark(key: ProviderKey) -> str:
    """The same for the same key wherever it stands in the configuration; its id is its place.

    Keys that came with requests are not told apart: nothing of them is kept.
    """
    secret = key.secret.reveal() if key.secret is not None else None
    whose = secret if key.credential is None else account_of(key.credential)
    data = msgspec.json.encode([key.provider, whose])
    return hashlib.blake2b(data, digest_size=MARK_BYTES).hexdigest()
