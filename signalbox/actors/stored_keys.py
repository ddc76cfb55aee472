"""Callers' own keys for providers, as they are stored for gateway keys: opened, in memory.

Asked by synchronous calls. `changes.py` says when the database is read again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from signalbox.actors.ports import Workers
from signalbox.errors import SignalboxError
from signalbox.persistence.records import ByokKeyRecord
from signalbox.persistence.stores import ManagedStore
from signalbox.types import Secret

logger = logging.getLogger(__name__)

CallersKeys = Mapping[str, Secret | None]
"""By provider. None: there is one, and it cannot be opened."""


class StoredKeys:
    """Knows them. `unseal` raises a `SignalboxError` for what cannot be opened."""

    def __init__(
        self,
        store: ManagedStore,
        workers: Workers,
        unseal: Callable[[ByokKeyRecord], Secret],
    ) -> None:
        self._store = store
        self._workers = workers
        self._unseal = unseal
        self._keys: dict[str, dict[str, Secret | None]] = {}
        self._told: frozenset[str] = frozenset()

    def of(self, key_id: str) -> CallersKeys:
        """Those of the gateway key with this id."""
        return self._keys.get(key_id, {})

    async def load(self) -> None:
        """Reads the database. Raises `StoreUnavailable`."""
        keys, troubles = await self._workers.run(self._read)
        for trouble in sorted(troubles - self._told):
            logger.error("a caller's stored key is not used: %s", trouble)
        self._keys, self._told = keys, troubles

    def _read(self) -> tuple[dict[str, dict[str, Secret | None]], frozenset[str]]:
        keys: dict[str, dict[str, Secret | None]] = {}
        troubles = set()
        for record in self._store.records(ByokKeyRecord):
            opened: Secret | None = None
            try:
                opened = self._unseal(record)
            except SignalboxError as error:
                troubles.add(str(error))
            keys.setdefault(record.key_id, {})[record.provider] = opened
        return keys, frozenset(troubles)


def nothing_stored(key_id: str) -> CallersKeys:
    """`StoredKeys.of` where there is no database."""
    return {}
