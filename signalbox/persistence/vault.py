"""Secrets at rest, sealed with AES-256-GCM (NIST SP 800-38D) under a master key.

A sealed secret is

    version (1 byte, 1) · the master key's id (8) · nonce (12, random) · ciphertext and tag (16)

and authenticates, besides itself, its *context*: which row of which table it belongs to. Moved to
another row, or changed in one bit, it is refused. With random nonces one key is good for 2³²
secrets.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from signalbox.persistence.master_keys import (
    ID_BYTES,
    MasterKey,
    MasterKeys,
    VaultError,
    VaultLocked,
)
from signalbox.types import Secret

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = b"\x01"
NONCE_BYTES = 12
TAG_BYTES = 16
_HEAD_BYTES = len(VERSION) + ID_BYTES
_SEALING = b"signalbox master key: sealing"


class CannotUnseal(VaultError):
    """It is not what was sealed for this place: altered, moved here, or never sealed at all."""


class Vault:
    """Seals and unseals. Its methods may be called from any thread."""

    def __init__(self, keys: MasterKeys) -> None:
        self.keys = keys
        self._known: dict[str, MasterKey] = {}

    def __repr__(self) -> str:
        return f"Vault({self.keys.place})"

    def seal(self, plain: Secret, context: str) -> bytes:
        """Raises `VaultLocked`. Makes the master key where there is none and it may."""
        # Read each time: another process may have made another key the first one.
        key = self.keys.first()
        head = VERSION + bytes.fromhex(key.id)
        nonce = os.urandom(NONCE_BYTES)
        text = plain.reveal().encode("utf-8", "surrogatepass")
        return head + nonce + _cipher(key).encrypt(nonce, text, _bound(head, context))

    def unseal(self, sealed: bytes, context: str) -> Secret:
        """Raises `VaultLocked` where its master key is not here, `CannotUnseal`."""
        # Imported here: a start without stored secrets does without.
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as said above

        key = self._find(key_id_of(sealed))
        head, rest = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES:]
        nonce, text = rest[:NONCE_BYTES], rest[NONCE_BYTES:]
        try:
            plain = _cipher(key).decrypt(nonce, text, _bound(head, context))
        except InvalidTag:
            raise CannotUnseal(
                f"{context}: what is kept there was altered, or was sealed for another place"
                f" (under the master key {key.id})"
            ) from None
        return Secret(plain.decode("utf-8", "surrogatepass"))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Around sealing and writing what was sealed: no rotation on this machine drops the key
        between the two. Raises `VaultLocked`."""
        with self.keys.together():
            yield

    def _find(self, key_id: str) -> MasterKey:
        if key_id not in self._known:
            self._known = {key.id: key for key in self.keys.read()}
        if key_id not in self._known:
            raise VaultLocked(_missing(key_id, self._known, self.keys))
        return self._known[key_id]


def key_id_of(sealed: bytes) -> str:
    """The id of the master key that it is sealed under. Raises `CannotUnseal`."""
    if len(sealed) < _HEAD_BYTES + NONCE_BYTES + TAG_BYTES or sealed[:1] != VERSION:
        raise CannotUnseal("it is no sealed secret of a form that this version of Signalbox knows")
    return sealed[1:_HEAD_BYTES].hex()


def _cipher(key: MasterKey) -> AESGCM:
    # Imported here: a start without stored secrets does without.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - as said above

    # Derived, so that the id and the ciphertexts come from keys that tell nothing of each other.
    return AESGCM(hmac.digest(key.bytes, _SEALING, "sha256"))


def _bound(head: bytes, context: str) -> bytes:
    return head + context.encode("utf-8", "surrogatepass")


def _missing(key_id: str, known: dict[str, MasterKey], keys: MasterKeys) -> str:
    there = f"has {', '.join(known)}" if known else "is not there"
    hint = "" if keys.in_file or not keys.file.exists() else f"; {keys.file} is not read beside it"
    return f"the master key {key_id} is needed, and {keys.place} {there}{hint}"
