"""Changes of what operators manage that are more than another value in a field. Pure.

Whoever makes one, a command or the admin API, writes its result and its audit in one transaction.
Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.persistence.gateway_keys import new_key_secret, new_user_token
from signalbox.persistence.records import GatewayKeyRecord, PresetRecord, UserRecord
from signalbox.types import Secret

OVERLAP = 86_400.0
"""Seconds for which the secret of before a rotation stays good, where nobody says otherwise."""
LONGEST_OVERLAP = 90 * 86_400.0
"""Two secrets that both open the same door are meant for the time of a change."""


class Rotated(msgspec.Struct, frozen=True):
    secret: Secret
    """To be shown once."""
    record: GatewayKeyRecord
    ended: bool
    """A secret of before another rotation was still good, and is refused from now on."""


def rotated(record: GatewayKeyRecord, *, at: float, overlap: float = OVERLAP) -> Rotated:
    """The same key with another secret, so that its limits, budgets and usage go on.

    The secret that it has now is good for `overlap` more seconds.
    """
    made = new_key_secret()
    ended = record.previous_until is not None and record.previous_until > at
    keeps = overlap > 0
    changed = replace(
        record,
        digest=made.digest,
        prefix=made.prefix,
        previous_digest=record.digest if keeps else None,
        previous_until=at + overlap if keeps else None,
        updated_at=at,
    )
    return Rotated(made.secret, changed, ended)


def revoked(record: GatewayKeyRecord, *, at: float) -> GatewayKeyRecord:
    """The key is over, with both of its secrets; one that was revoked before stays as it is."""
    if record.revoked_at is not None:
        return record
    return replace(record, revoked_at=at, updated_at=at)


def with_token(user: UserRecord, *, at: float) -> tuple[Secret, UserRecord]:
    """A new token to sign in with, to be shown once, in the place of the one before."""
    made = new_user_token()
    changed = replace(user, token_digest=made.digest, token_prefix=made.prefix, updated_at=at)
    return made.secret, changed


def without_token(user: UserRecord, *, at: float) -> UserRecord:
    return replace(user, token_digest=None, token_prefix=None, updated_at=at)


def new_version(
    slug: str,
    document: Mapping[str, Any],
    before: Iterable[PresetRecord],
    *,
    at: float,
    author: str,
    note: str = "",
) -> PresetRecord:
    """The next version of a preset; `before` are its versions, in any order."""
    newest = max((record.version for record in before if record.slug == slug), default=0)
    return PresetRecord(slug, newest + 1, document, at, author, note)
