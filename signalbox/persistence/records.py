"""What operators manage, as it is kept: keys, users, budgets, presets, configuration, secrets.

Each is a row of a small table that is read whole and changed rarely. Every change is written with
an `AuditRecord`, in one transaction. Times are Unix seconds, UTC; ids are UUIDv7. What is `sealed`
is encrypted (`vault.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from signalbox.types import NanoUSD


class GatewayKeyRecord(msgspec.Struct, frozen=True):
    """A gateway key at rest: its SHA-256 and a prefix that people recognise it by."""

    id: str
    name: str
    digest: bytes
    prefix: str
    created_at: float
    revoked_at: float | None = None
    expires_at: float | None = None
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    models: tuple[str, ...] = ()
    """Model names and wildcards that the key may call; empty: all."""
    owner: str | None = None
    """The id of the user whose credits pay for it; None: the key is an account of its own."""
    enabled: bool = True
    providers: tuple[str, ...] = ()
    """Providers that may serve it; empty: all."""
    tags: tuple[str, ...] = ()
    """Put on each of its requests."""
    preset: str | None = None
    """The preset that its requests have where they name none."""
    byok_fallback: bool = False
    """Whether the gateway's keys stand in for a caller's own key that fails."""
    previous_digest: bytes | None = None
    """Of the key that this one took the place of; it is good until `previous_until`."""
    previous_until: float | None = None
    updated_at: float | None = None

    @property
    def account(self) -> str:
        """Who pays."""
        return self.owner or self.id


class UserRecord(msgspec.Struct, frozen=True):
    """Somebody who owns keys and credits, and may sign in where there is a role and a token."""

    id: str
    name: str
    created_at: float
    email: str | None = None
    role: str = "none"
    """`none`, `viewer` or `admin`: what they may do with the admin API and the pages."""
    token_digest: bytes | None = None
    """SHA-256 of the token that they sign in with."""
    token_prefix: str | None = None
    enabled: bool = True
    updated_at: float | None = None


class BudgetRecord(msgspec.Struct, frozen=True):
    """A ceiling on what is spent."""

    id: str
    name: str
    scope: str
    """`global`, `key`, `user` (the end user that requests name), `tag` or `account`."""
    subject: str | None
    """Whose it is: a key's id, an end user, a tag, an account. None: everybody's together for
    `global`, each one's own for the others."""
    limit: NanoUSD
    period: str
    """`hour`, `day`, `week`, `month` or `total`."""
    created_at: float
    hard: bool = True
    alert_at: tuple[float, ...] = (0.8, 1.0)
    """Shares of the limit at which an operator is told."""
    enabled: bool = True
    updated_at: float | None = None


class PresetRecord(msgspec.Struct, frozen=True):
    """One version of a preset. The newest is in force; an older one is never changed."""

    slug: str
    version: int
    document: Mapping[str, Any]
    """As `[presets.slug]` of the configuration file would say it."""
    created_at: float
    author: str = ""
    note: str = ""


class ConfigEntryRecord(msgspec.Struct, frozen=True):
    """A provider, model or alias that is managed while the gateway runs."""

    section: str
    """`providers`, `models` or `aliases`."""
    name: str
    document: Any
    """As the configuration file would say it, in JSON's values; never with a secret in it."""
    version: int
    created_at: float
    updated_at: float | None = None


class ProviderKeyRecord(msgspec.Struct, frozen=True):
    """A key of a provider that was given to the gateway while it runs."""

    id: str
    provider: str
    label: str
    """What may be shown of it: `…abcd`."""
    sealed: bytes
    created_at: float
    rpm: int | None = None
    tpm: int | None = None
    enabled: bool = True
    updated_at: float | None = None


class ByokKeyRecord(msgspec.Struct, frozen=True):
    """A caller's own key for a provider, kept for all requests of a gateway key."""

    id: str
    key_id: str
    """Of the gateway key."""
    provider: str
    label: str
    sealed: bytes
    created_at: float


class AuditRecord(msgspec.Struct, frozen=True):
    """Who changed what, and from what to what. Holds no secret and no digest."""

    id: str
    at: float
    actor: str
    """A user's name, `admin token`, `command line` or `gateway`."""
    role: str
    action: str
    """`create`, `update`, `delete`, `revoke`, `rotate` …"""
    kind: str
    """Of what: `key`, `user`, `budget`, `preset`, `provider`, `provider_key`, `model` …"""
    target: str
    """Its id or name."""
    before: Any = None
    """As the admin API shows it, in JSON's values; None: there was none."""
    after: Any = None
    address: str | None = None
    """From where the change was asked for."""


Managed = (
    GatewayKeyRecord
    | UserRecord
    | BudgetRecord
    | PresetRecord
    | ConfigEntryRecord
    | ProviderKeyRecord
    | ByokKeyRecord
)
"""The records that are changed one by one, under audit."""
