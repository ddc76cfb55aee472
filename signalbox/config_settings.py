"""What a configuration comes to. `config.py` is where other parts import these from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from signalbox.config_credentials import Credential
from signalbox.config_report import Origins
from signalbox.config_schema import Limits, Server, Traces
from signalbox.types import ModelPlan, NanoUSD, Preset, RetryPolicy, Secret, Strategy, Timeouts

STRATEGY_SUFFIXES: Mapping[str, Strategy] = {
    "floor": Strategy.CHEAP,
    "nitro": Strategy.THROUGHPUT,
}
"""What `model:floor` and `model:nitro` ask for."""


def declared_id(name: str) -> str:
    """The id of a gateway key that the configuration declares."""
    return f"declared:{name}"


class ProviderKeySettings(msgspec.Struct, frozen=True):
    id: str
    """`openai/1`: the provider's name and the key's place in its list, from 1."""
    label: str
    """What may be shown of it: `…abcd`, or `no key`."""
    secret: Secret | None
    """None: the server needs no key, or there is a `credential`."""
    rpm: int | None = None
    tpm: int | None = None
    credential: Credential | None = None
    """What its tokens are asked for with."""

    @property
    def needed(self) -> bool:
        return self.secret is not None or self.credential is not None


class ProviderSettings(msgspec.Struct, frozen=True):
    name: str
    api: str
    base_url: str
    """Without a slash at its end."""
    keys: tuple[ProviderKeySettings, ...]
    api_version: str | None = None
    """Azure's `api-version`; None: its API without versions."""
    discover: bool = False
    """Whether it is asked which models it serves."""
    responses: bool | None = None
    """Whether it serves the Responses API; None: as is known of it."""
    completions: bool | None = None
    """Whether it serves the legacy completions endpoint; None: as is known of it."""
    project: str = ""
    """Vertex AI's, as `location`."""
    location: str = ""
    like: str | None = None
    """The known provider that it is another account or server of."""

    @property
    def kind(self) -> str:
        """Under which name its ways are known."""
        return self.like or self.name

    @property
    def usable(self) -> bool:
        """Whether there is a key, or none is needed."""
        return bool(self.keys)


class GatewayKeySettings(msgspec.Struct, frozen=True):
    """A gateway key that the configuration declares."""

    name: str
    secret: Secret
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    models: tuple[str, ...] = ()
    """Model names and wildcards that the key may call; empty: all."""
    owner: str | None = None
    """The name of the user whose credits pay for it; None: the key is an account of its own."""
    expires_at: float | None = None
    """Unix time in seconds."""
    enabled: bool = True
    providers: tuple[str, ...] = ()
    """Providers that may serve it; empty: all."""
    tags: tuple[str, ...] = ()
    """Put on each of its requests."""
    preset: str | None = None
    """The preset that its requests have where they name none."""
    byok_fallback: bool = False
    """Whether the gateway's keys stand in for a caller's own key that fails."""

    @property
    def id(self) -> str:
        return declared_id(self.name)


class BudgetSettings(msgspec.Struct, frozen=True):
    """A ceiling on what is spent that the configuration declares."""

    id: str
    name: str
    scope: str
    """`global`, `key`, `user` (the end user that requests name), `tag` or `account`."""
    subject: str | None
    """A key's id (of a key of the database also its name), an end user, a tag, an account (of a
    user also the name); None: everybody's together for `global`, each one's own for the others."""
    limit: NanoUSD
    period: str
    """`hour`, `day`, `week`, `month` or `total`."""
    hard: bool
    alert_at: tuple[float, ...]
    """Shares of the limit at which an operator is told, in order."""


class StorageSettings(msgspec.Struct, frozen=True):
    database: Secret
    """A URL; that of a server may hold a password."""
    redis: Secret | None
    """The URL of the Redis that the instances share, which may hold a password."""
    refuse_without_redis: bool


class RoutingSettings(msgspec.Struct, frozen=True):
    fallbacks: tuple[str, ...]
    """For every model, after its own."""
    strategy: Strategy
    affinity: bool
    """Whether a conversation prefers the route whose prompt cache it has filled."""


class FoundKey(msgspec.Struct, frozen=True):
    """The usual key variable of a known provider, and what came of it."""

    provider: str
    variable: str
    found: bool
    usable: bool
    """Whether the provider's models can be called now."""
    would_enable: bool
    """Whether setting the variable would make them so."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration, validated. Its `repr` holds no secret."""

    server: Server
    storage: StorageSettings
    limits: Limits
    retry: RetryPolicy
    timeouts: Timeouts
    traces: Traces
    routing: RoutingSettings
    providers: Mapping[str, ProviderSettings]
    models: Mapping[str, ModelPlan]
    """As declared: names and routes' models may hold a `*`, prices may be unknown."""
    aliases: Mapping[str, str]
    keys: tuple[GatewayKeySettings, ...]
    budgets: tuple[BudgetSettings, ...]
    """Those of the keys are among them."""
    presets: Mapping[str, Preset]
    """By slug."""
    found_keys: tuple[FoundKey, ...]
    warnings: tuple[str, ...]
    """What was given and has no effect, or should not stay; one line each, with its place."""
    file: Path | None = None
    """The file that was read; None: there is none."""
    origins: Origins = field(default_factory=Origins, repr=False, compare=False)
    """Where each key of the configuration stands, for messages about it."""

    @property
    def version(self) -> str:
        """Twelve hexadecimal digits that change when a setting does (secrets do not count)."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]
