"""The gateway keys that clients present: declared ones and those of the database, by their SHA-256.

Looking one up is a dictionary's work. What another process changes in the database (a key created
or revoked on the command line) is noticed by polling the store's change mark.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec
import trio

from signalbox.actors.mailbox import Mailbox
from signalbox.actors.ports import Workers
from signalbox.actors.rate_limiter import KeyLimits
from signalbox.actors.supervisor import ChildSpec, Supervisor
from signalbox.errors import StoreUnavailable
from signalbox.persistence.gateway_keys import covers
from signalbox.persistence.records import GatewayKeyRecord
from signalbox.persistence.stores import ManagedStore

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How late a key that was revoked elsewhere may still be let in."""


class GatewayKey(msgspec.Struct, frozen=True):
    """A key that may be presented. `models`: what it may call; empty: everything."""

    id: str
    name: str
    digest: bytes
    limits: KeyLimits
    models: tuple[str, ...] = ()
    expires_at: float | None = None
    """Unix time in seconds."""
    account: str = ""
    """Who pays for its requests: its owner, else the key itself."""
    providers: tuple[str, ...] = ()
    """Providers that may serve it; empty: all."""
    tags: tuple[str, ...] = ()
    """Put on each of its requests."""
    preset: str | None = None
    """What its requests have where they name none."""
    byok_fallback: bool = False
    """Whether the gateway's keys stand in for a caller's own key that fails."""

    def allows(self, model: str) -> bool:
        return covers(self.models, model)


class KeyRing:
    """The actor that knows the keys. `now` is Unix time in seconds."""

    def __init__(
        self,
        supervisor: Supervisor,
        store: ManagedStore,
        workers: Workers,
        declared: Sequence[GatewayKey],
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._workers = workers
        self._declared = {key.digest: key for key in declared}
        self._created: dict[bytes, GatewayKey] = {}
        self._previous: dict[bytes, tuple[GatewayKey, float]] = {}
        """What rotated keys were before, and until when that is good."""
        self._now = now
        self._mark: int | None = None
        self._mailbox: Mailbox[None, None] = supervisor.add(
            ChildSpec(
                name="key_ring",
                actor=self._run,
                capacity=1,
                capacity_reason="nothing is told to it; its mailbox only says when to stop",
            )
        )

    def __len__(self) -> int:
        return len(self._declared) + len(self._created)

    def find(self, digest: bytes) -> GatewayKey | None:
        """The key with this SHA-256; None where there is none, or it has expired or is disabled."""
        key = self._declared.get(digest) or self._created.get(digest)
        if key is None and digest in self._previous:
            rotated, until = self._previous[digest]
            key = rotated if until > self._now() else None
        if key is None or (key.expires_at is not None and key.expires_at <= self._now()):
            return None
        return key

    async def load(self) -> None:
        """Reads the database's keys. Raises `StoreUnavailable`."""
        # The mark is read first: what changes between the two reads is then read again.
        mark = await self._workers.run(self._store.change_mark)
        records = await self._workers.run(self._store.records, GatewayKeyRecord)
        good = [record for record in records if record.enabled and record.revoked_at is None]
        self._created = {record.digest: _usable(record) for record in good}
        self._previous = {
            record.previous_digest: (_usable(record), record.previous_until)
            for record in good
            if record.previous_digest is not None and record.previous_until is not None
        }
        self._mark = mark

    async def _run(self, mailbox: Mailbox[None, None]) -> None:
        while True:
            with trio.move_on_after(POLL_SECONDS):
                await mailbox.receive_batch(1)
                return
            try:
                if await self._workers.run(self._store.change_mark) != self._mark:
                    await self.load()
            except StoreUnavailable as error:
                logger.warning("gateway keys are as they were, the database is away: %s", error)


def _usable(record: GatewayKeyRecord) -> GatewayKey:
    return GatewayKey(
        id=record.id,
        name=record.name,
        digest=record.digest,
        limits=KeyLimits(record.id, record.rpm, record.tpm, record.concurrency),
        models=record.models,
        expires_at=record.expires_at,
        account=record.account,
        providers=record.providers,
        tags=record.tags,
        preset=record.preset,
        byok_fallback=record.byok_fallback,
    )
