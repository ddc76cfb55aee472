"""Records that hold a sealed secret: how they are sealed, and sealed anew under another master key.

A secret is bound to its row: table, id and provider. Whoever keeps one does it like this, in one
thread:

    with vault.held():
        store.change([Insert(with_secret(vault, record, secret))], audit)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from signalbox.persistence.master_keys import MasterKey, VaultError, new_master_key
from signalbox.persistence.record_store import RecordMissing, Update
from signalbox.persistence.record_tables import MANAGED
from signalbox.persistence.records import AuditRecord, ByokKeyRecord, ProviderKeyRecord
from signalbox.persistence.stores import ManagedStore
from signalbox.persistence.vault import CannotUnseal, Vault, key_id_of
from signalbox.types import Secret

SealedRecord = ProviderKeyRecord | ByokKeyRecord
S = TypeVar("S", bound=SealedRecord)

ROUNDS = 10
"""How often rows that others changed or added meanwhile are looked at again."""


class Rotation(msgspec.Struct, frozen=True):
    """What a rotation did. Ids of master keys."""

    key: str
    """The one that everything is sealed under now."""
    sealed: int
    """Rows that hold a sealed secret."""
    dropped: tuple[str, ...]
    """Keys that are in use no more: they are gone from the file, and may go from the variable."""


def with_secret(vault: Vault, record: S, plain: Secret) -> S:
    """The record with `plain` in it, whatever was in `sealed` before. Raises `VaultLocked`."""
    return replace(record, sealed=vault.seal(plain, context_of(record)))


def secret_of(vault: Vault, record: SealedRecord) -> Secret:
    """Raises `VaultLocked`, `CannotUnseal`, which name the row."""
    context = context_of(record)
    try:
        return vault.unseal(record.sealed, context)
    except VaultError as error:
        told = str(error)
        raise type(error)(told if context in told else f"{context}: {told}") from None


def context_of(record: SealedRecord) -> str:
    return f"{MANAGED[type(record)].name} {record.id} {record.provider}"


def sealed_records(store: ManagedStore) -> list[SealedRecord]:
    return [*store.records(ProviderKeyRecord), *store.records(ByokKeyRecord)]


def sealed_under(store: ManagedStore) -> Counter[str]:
    """How many secrets are sealed under which master key; `?`: what is no sealed secret."""
    return Counter(_key_id(record) for record in sealed_records(store))


def rotate(vault: Vault, store: ManagedStore, audit: Callable[[str], AuditRecord]) -> Rotation:
    """A new master key comes first, everything is sealed anew under it, the others go.

    Whenever it ends early, by an error or with its process, each row is sealed under a key that is
    still there, and the next rotation does what is left. Keys of the environment are the
    operator's: there the first of them is taken, and none is dropped but said to be superfluous.
    `audit` is given the new key's id.

    Raises `VaultLocked` and `CannotUnseal`, which name the row; then nothing is sealed anew.
    """
    keys = vault.keys
    with keys.alone():
        before = keys.read()
        for record in sealed_records(store):
            secret_of(vault, record)
        if keys.in_file:
            keys.write([new_master_key(), *before])
        first = keys.first()
        count = _seal_anew(vault, store, first, audit)
        if keys.in_file:
            keys.write([first])
    return Rotation(first.id, count, tuple(key.id for key in before if key.id != first.id))


def _seal_anew(
    vault: Vault, store: ManagedStore, first: MasterKey, audit: Callable[[str], AuditRecord]
) -> int:
    """Until every row is read back and opens under `first`; how many there are."""
    found = sealed_records(store)
    for _ in range(ROUNDS):
        # One transaction, in which no row is touched that was changed since it was read.
        changes = [
            Update(_again(vault, record), was=record)
            for record in found
            if _key_id(record) != first.id
        ]
        with suppress(RecordMissing):
            store.change(changes, audit(first.id))
        found = sealed_records(store)
        if all(_key_id(record) == first.id for record in found):
            for record in found:
                secret_of(vault, record)
            return len(found)
    raise VaultError("secrets are changed all the time, so that not all could be sealed anew")


def _again(vault: Vault, record: SealedRecord) -> SealedRecord:
    return with_secret(vault, record, secret_of(vault, record))


def _key_id(record: SealedRecord) -> str:
    try:
        return key_id_of(record.sealed)
    except CannotUnseal:
        return "?"
