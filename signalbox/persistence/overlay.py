"""What the database says of the configuration, as `config_overlay.py` takes it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from signalbox.config import AddedKey, Overlay
from signalbox.errors import SignalboxError
from signalbox.persistence.records import ConfigEntryRecord, ProviderKeyRecord
from signalbox.persistence.stores import ManagedStore
from signalbox.types import Secret

logger = logging.getLogger(__name__)

Unseal = Callable[[ProviderKeyRecord], Secret]
"""Raises a `SignalboxError` where the master key is not there or another one sealed it."""


def read_overlay(store: ManagedStore, unseal: Unseal) -> Overlay:
    """Raises `StoreUnavailable`. A key that cannot be unsealed is left out, and logged: the others
    go on."""
    entries: dict[Any, dict[str, Any]] = {}
    for entry in store.records(ConfigEntryRecord):
        entries.setdefault(entry.section, {})[entry.name] = entry.document
    keys = []
    for record in store.records(ProviderKeyRecord):
        if record.enabled:
            try:
                keys.append(added_key(record, unseal(record)))
            except SignalboxError as error:
                logger.error(
                    "the key %s of %s is not used: %s", record.label, record.provider, error
                )
    return Overlay(entries, tuple(keys))


def added_key(record: ProviderKeyRecord, secret: Secret) -> AddedKey:
    return AddedKey(record.id, record.provider, record.label, secret, record.rpm, record.tpm)
