"""The configuration in force, and how another one takes its place while the gateway runs.

A new one is read and checked whole, and only then the parts that live as long as the process are
told of it, in one step of the loop. Requests that are under way go on with what they began with.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from signalbox.actors.credentials import RenewingCredentials
from signalbox.actors.directory import Directory
from signalbox.actors.discovery import Discoverable, Discovery
from signalbox.actors.key_pool import KeyPool, ProviderKey
from signalbox.actors.key_ring import GatewayKey, KeyRing
from signalbox.actors.ports import Workers
from signalbox.actors.provider_state import ProviderState
from signalbox.actors.rate_limiter import KeyLimits, RateLimiter
from signalbox.actors.services import Provider, RunnerServices
from signalbox.adapters.models import ModelTable
from signalbox.adapters.registry import adapters_of
from signalbox.config import GatewayKeySettings, Overlay, Settings
from signalbox.http.account_api import AccountApi
from signalbox.http.application import Application
from signalbox.http.model_doors import ModelDoors
from signalbox.persistence.gateway_keys import key_digest
from signalbox.persistence.overlay import Unseal, read_overlay
from signalbox.persistence.stores import ManagedStore

logger = logging.getLogger(__name__)

NEEDS_RESTART = ("host", "port", "workers", "certfile", "keyfile", "send_timeout", "drain_seconds")
"""Of `[server]`: what is fixed when the gateway begins to listen."""


class Configuration(msgspec.Struct, frozen=True):
    settings: Settings
    models: ModelTable
    overlay: Overlay
    """What the database had to say to it."""


Load = Callable[[Overlay], Configuration]
"""Reads the file and the environment under what the database says. Raises `ConfigError`."""


class Parts(msgspec.Struct, frozen=True):
    """What lives on when the configuration changes."""

    services: RunnerServices
    key_ring: KeyRing
    directory: Directory
    key_pool: KeyPool
    limiter: RateLimiter
    provider_state: ProviderState
    credentials: RenewingCredentials
    discovery: Discovery
    account: AccountApi
    application: Application


class LiveConfiguration:
    """Whoever wants to know the configuration in force asks for `current`."""

    def __init__(
        self,
        current: Configuration,
        load: Load,
        store: ManagedStore,
        workers: Workers,
        unseal: Unseal,
    ) -> None:
        self.current = current
        self._load = load
        self._store = store
        self._workers = workers
        self._unseal = unseal
        self._parts: Parts | None = None

    def begin(self, parts: Parts) -> None:
        """Tells `parts` from now on."""
        self._parts = parts

    async def follow(self) -> None:
        """Puts in force what the database says, where it says something else than before. Raises as
        `reload` does."""
        overlay = await self._overlay()
        if overlay != self.current.overlay:
            await self._put_in_force(overlay)

    async def reload(self) -> None:
        """Reads everything anew. Raises `ConfigError`, `StoreUnavailable`: nothing has changed."""
        await self._put_in_force(await self._overlay())

    async def check(self, change: Callable[[Overlay], Overlay]) -> Configuration:
        """What a change would come to, without making it. Raises `ConfigError`."""
        return await self._workers.run(self._load, change(await self._overlay()))

    async def _overlay(self) -> Overlay:
        return await self._workers.run(read_overlay, self._store, self._unseal)

    async def _put_in_force(self, overlay: Overlay) -> None:
        found = await self._workers.run(self._load, overlay)
        self._warn_of_restart(found.settings)
        for warning in found.settings.warnings:
            if warning not in self.current.settings.warnings:
                logger.warning("%s", warning)
        self.current = found
        if self._parts is not None:
            put_in_force(found, self._parts)

    def _warn_of_restart(self, settings: Settings) -> None:
        now, then = self.current.settings, settings
        changed = [
            f"server.{name}"
            for name in NEEDS_RESTART
            if getattr(now.server, name) != getattr(then.server, name)
        ]
        if now.storage != then.storage:
            changed.append("storage")
        if now.limits.connections_per_origin != then.limits.connections_per_origin:
            changed.append("limits.connections_per_origin")
        if changed:
            logger.warning("%s: changed, and takes effect with a restart", ", ".join(changed))


def put_in_force(configuration: Configuration, parts: Parts) -> None:
    """In one step: no request sees a half of it."""
    settings, models = configuration.settings, configuration.models
    keys = provider_keys(settings)
    parts.key_pool.configure(keys)
    parts.provider_state.configure(keys)
    parts.credentials.configure(keys)
    parts.limiter.configure(everyones_limits(settings))
    parts.key_ring.declare(declared_keys(settings))
    parts.directory.configure(settings)
    parts.discovery.configure(discoverable(settings), models.learn)
    services = replace(
        parts.services,
        providers=providers_of(settings),
        max_payload_bytes=settings.traces.max_payload_bytes,
    )
    parts.application.doors = ModelDoors(
        settings, models, parts.key_ring, services, parts.account, parts.directory
    )


def provider_keys(settings: Settings) -> list[ProviderKey]:
    return [
        ProviderKey(key.id, provider.name, key.label, key.secret, key.rpm, key.tpm, key.credential)
        for provider in settings.providers.values()
        for key in provider.keys
        if provider.usable
    ]


def providers_of(settings: Settings) -> dict[str, Provider]:
    return {
        provider.name: Provider(adapters_of(provider), provider.base_url)
        for provider in settings.providers.values()
        if provider.usable
    }


def declared_keys(settings: Settings) -> list[GatewayKey]:
    return [_declared(key) for key in settings.keys if key.enabled]


def _declared(key: GatewayKeySettings) -> GatewayKey:
    return GatewayKey(
        id=key.id,
        name=key.name,
        digest=key_digest(key.secret.reveal()),
        limits=KeyLimits(key.id, key.rpm, key.tpm, key.concurrency),
        models=key.models,
        expires_at=key.expires_at,
        account=key.owner or key.id,
        providers=key.providers,
        tags=key.tags,
        preset=key.preset,
        byok_fallback=key.byok_fallback,
    )


def everyones_limits(settings: Settings) -> KeyLimits:
    limits = settings.limits
    return KeyLimits("everyone", limits.rpm, limits.tpm, limits.concurrency, limits.burst)


def discoverable(settings: Settings) -> list[Discoverable]:
    """The providers that are asked for their models."""
    return [
        Discoverable(provider.name, provider.api, provider.base_url, provider.keys[0].secret)
        for provider in settings.providers.values()
        if provider.usable and provider.discover
    ]
