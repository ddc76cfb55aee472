"""What a configuration comes to. `config.py` is where other parts import these from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from signalbox.config_providers import SPOKEN_APIS
from signalbox.config_report import Origins
from signalbox.config_schema import Limits, Server, Traces
from signalbox.types import ModelPlan, RetryPolicy, Secret, Strategy, Timeouts

STRATEGY_SUFFIXES: Mapping[str, Strategy] = {
    "floor": Strategy.CHEAP,
    "nitro": Strategy.THROUGHPUT,
}
"""What `model:floor` and `model:nitro` ask for."""


@dataclass(frozen=True, slots=True)
class ProviderKeySettings:
    id: str
    """`openai/1`: the provider's name and the key's place in its list, from 1."""
    label: str
    """What may be shown of it: `…abcd`, or `no key`."""
    secret: Secret | None
    """None: the server needs no key."""
    rpm: int | None = None
    tpm: int | None = None


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    name: str
    api: str
    base_url: str
    """Without a slash at its end."""
    keys: tuple[ProviderKeySettings, ...]

    @property
    def usable(self) -> bool:
        """Whether this version speaks its wire format and there is a key (or none is needed)."""
        return self.api in SPOKEN_APIS and bool(self.keys)


@dataclass(frozen=True, slots=True)
class GatewayKeySettings:
    """A gateway key that the configuration declares."""

    name: str
    secret: Secret
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    models: tuple[str, ...] = ()
    """Model names and wildcards that the key may call; empty: all."""

    @property
    def id(self) -> str:
        return f"declared:{self.name}"


@dataclass(frozen=True, slots=True)
class StorageSettings:
    database: str
    redis: Secret | None
    """The URL of the Redis that the instances share, which may hold a password."""
    refuse_without_redis: bool


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    fallbacks: tuple[str, ...]
    """For every model, after its own."""
    strategy: Strategy
    affinity: bool
    """Whether a conversation prefers the route whose prompt cache it has filled."""


@dataclass(frozen=True, slots=True)
class FoundKey:
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
