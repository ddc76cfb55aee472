"""The gateway keys that clients present: declared ones and those of the database, by their SHA-256.

Looking one up is a dictionary's work. `changes.py` says when the database is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec
from msgspec.structs import replace

from signalbox.actors.ports import Workers
from signalbox.actors.rate_limiter import KeyLimits
from signalbox.persistence.gateway_keys import covers
from signalbox.persistence.records import GatewayKeyRecord, UserRecord
from signalbox.persistence.stores import ManagedStore


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
    """Knows the keys. `now` is Unix time in seconds."""

    def __init__(
        self,
        store: ManagedStore,
        workers: Workers,
        declared: Sequence[GatewayKey],
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._workers = workers
        self._given = tuple(declared)
        self._users: Sequence[UserRecord] = ()
        self._declared = _by_digest(declared)
        self._created: dict[bytes, GatewayKey] = {}
        self._previous: dict[bytes, tuple[GatewayKey, float]] = {}
        """What rotated keys were before, and until when that is good."""
        self._now = now

    def __len__(self) -> int:
        return len(self._declared) + len(self._created)

    def find(self, digest: bytes) -> GatewayKey | None:
        """The key with this SHA-256; None where there is none, or it or its owner is disabled, or
        it has expired."""
        key = self._declared.get(digest) or self._created.get(digest)
        if key is None and digest in self._previous:
            rotated, until = self._previous[digest]
            key = rotated if until > self._now() else None
        if key is None or (key.expires_at is not None and key.expires_at <= self._now()):
            return None
        return key

    def declare(self, declared: Sequence[GatewayKey]) -> None:
        """Those of the configuration, in the place of the ones before. The `account` of one that
        has an owner is the owner's name: where there is a user of this name, that user pays."""
        self._given = tuple(declared)
        self._declared = _by_digest(_owned(self._given, self._users))

    async def load(self) -> None:
        """Reads the database's keys, and whose they are. Raises `StoreUnavailable`."""
        records, self._users = await self._workers.run(_read, self._store)
        self.declare(self._given)
        away = {user.id for user in self._users if not user.enabled}
        good = [
            record
            for record in records
            if record.enabled and record.revoked_at is None and record.owner not in away
        ]
        self._created = {record.digest: _usable(record) for record in good}
        self._previous = {
            record.previous_digest: (_usable(record), record.previous_until)
            for record in good
            if record.previous_digest is not None and record.previous_until is not None
        }


def _read(store: ManagedStore) -> tuple[Sequence[GatewayKeyRecord], Sequence[UserRecord]]:
    return store.records(GatewayKeyRecord), store.records(UserRecord)


def _owned(keys: Iterable[GatewayKey], users: Iterable[UserRecord]) -> list[GatewayKey]:
    """The keys with their owners' accounts, without those of users who are disabled."""
    by_name = {user.name: user for user in users}
    owned = []
    for key in keys:
        user = by_name.get(key.account) if key.account != key.id else None
        if user is None:
            owned.append(key)
        elif user.enabled:
            owned.append(replace(key, account=user.id))
    return owned


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


def _by_digest(keys: Sequence[GatewayKey]) -> dict[bytes, GatewayKey]:
    return {key.digest: key for key in keys}
