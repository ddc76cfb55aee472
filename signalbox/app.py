"""The composition root: the only file that names concrete stores and actors.

`run_gateway` opens the store, makes the actors in the order in which they depend on each other,
serves, and takes everything down again in reverse.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

import msgspec
import trio

from signalbox.actors.affinity import Affinity
from signalbox.actors.alarms import Alarms
from signalbox.actors.changes import Changes
from signalbox.actors.credentials import RenewingCredentials
from signalbox.actors.directory import Directory
from signalbox.actors.discovery import Discovery
from signalbox.actors.health import Health
from signalbox.actors.key_pool import KeyPool
from signalbox.actors.key_ring import KeyRing
from signalbox.actors.ledger import Ledger
from signalbox.actors.ledger_sums import LedgerSums
from signalbox.actors.money import Money
from signalbox.actors.provider_state import ProviderState
from signalbox.actors.rate_limiter import RateLimiter
from signalbox.actors.readiness import Readiness
from signalbox.actors.services import RunnerServices, Surveyor
from signalbox.actors.shared_access import Debt
from signalbox.actors.shared_state import SharedState
from signalbox.actors.store_access import COUNT_KEYS, COUNT_SCOPES, InProcess, StoreAccess
from signalbox.actors.stored_keys import StoredKeys
from signalbox.actors.supervisor import ChildSpec, Supervisor, SupervisorGaveUp
from signalbox.actors.trace_hub import TraceHub
from signalbox.actors.trace_writer import TraceWriter
from signalbox.app_live import (
    Configuration,
    LiveConfiguration,
    Load,
    Parts,
    declared_keys,
    discoverable,
    everyones_limits,
    provider_keys,
    providers_of,
)
from signalbox.config import ConfigError, Settings
from signalbox.errors import StoreUnavailable
from signalbox.http.account_api import AccountApi
from signalbox.http.admin.access import AdminAccess
from signalbox.http.application import Application
from signalbox.http.asgi import App
from signalbox.http.health_api import HealthApi
from signalbox.http.model_doors import ModelDoors
from signalbox.http.server import ServerSettings, serve
from signalbox.http.upstream import UpstreamClient
from signalbox.http.upstream_proxies import BadProxySettings, ProxySettings
from signalbox.ids import RandomBits, Uuid7Generator
from signalbox.persistence.health_memory import MemoryHealthStore
from signalbox.persistence.health_stores import HealthStore
from signalbox.persistence.lease_stores import LeaseStore, LimitStore
from signalbox.persistence.leases_memory import MemoryLeaseStore
from signalbox.persistence.limits_memory import MemoryLimitStore
from signalbox.persistence.money_memory import MemoryMoneyStore
from signalbox.persistence.money_stores import MoneyStore
from signalbox.persistence.sealed_records import secret_of
from signalbox.persistence.spool import ChargeSpool
from signalbox.persistence.stores import Store
from signalbox.persistence.threads import (
    WorkerThreads,
    ledger_threads,
    reader_threads,
    waiting_threads,
    writer_threads,
)
from signalbox.persistence.vault import Vault
from signalbox.types import Secret

logger = logging.getLogger(__name__)
alerts = logging.getLogger("signalbox.alerts")

LEAVE_SECONDS = 2.0
"""How long the server may take to end once its requests are cancelled. Each of them charges what it
delivered, which takes milliseconds; what takes longer is a client that does not read."""


class Gateway(msgspec.Struct, frozen=True):
    """The parts of a running gateway, wired and not yet running."""

    supervisor: Supervisor
    shared: SharedState | None
    """None: this instance shares nothing with others."""
    changes: Changes
    live: LiveConfiguration
    upstream: UpstreamClient
    application: Application
    access: AdminAccess
    draining: trio.Event


class Started(msgspec.Struct, frozen=True):
    """What may be told once the gateway listens."""

    port: int
    login_code: str
    reload: Callable[[], Awaitable[None]]
    """Puts in force what the configuration says now. Raises `ConfigError`, `StoreUnavailable`:
    nothing has changed then."""


async def run_gateway(
    configuration: Configuration,
    store: Store,
    data_dir: Path,
    admin_token: Secret,
    *,
    load: Load,
    vault: Vault,
    stop: Callable[[], Awaitable[None]],
    leave: Callable[[SupervisorGaveUp | None], NoReturn],
    task_status: trio.TaskStatus[Started] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until `stop` returns; requests under way then have `server.drain_seconds`.

    The caller opens and closes the store. Raises `StoreUnavailable`, `CannotListen`,
    `SupervisorGaveUp`, `ConfigError`, in a group where more than one thing went wrong.

    `load` reads the configuration anew, `vault` opens the secrets of the database.

    `leave` ends the process, with what took it down where something did. It is called after the
    same orderly stop, in place of a return, where something still holds the server up after the
    drain: the last resort.
    """
    settings = configuration.settings
    gateway = build(configuration, store, data_dir, admin_token, load, vault)
    await gateway.changes.refresh()
    if gateway.shared is not None:
        await _connect(gateway.shared, settings)
    try:
        await _Lifetime(gateway, settings, leave).run(stop, task_status)
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            await gateway.upstream.aclose()


class _Lifetime:
    """A gateway from the start of its first actor to the end of its last."""

    def __init__(
        self,
        gateway: Gateway,
        settings: Settings,
        leave: Callable[[SupervisorGaveUp | None], NoReturn],
    ) -> None:
        self._gateway = gateway
        self._settings = settings.server
        self._leave = leave
        self._serving = trio.CancelScope()
        self._actors_ended = trio.Event()
        self._gave_up: SupervisorGaveUp | None = None

    async def run(
        self, stop: Callable[[], Awaitable[None]], task_status: trio.TaskStatus[Started]
    ) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._run_actors)
            nursery.start_soon(self._leave_when_held_up)
            with self._serving:
                await self._serve(stop, task_status)
            self._gateway.supervisor.stop()
            await self._actors_ended.wait()
            nursery.cancel_scope.cancel()
        if self._gave_up is not None:
            raise self._gave_up

    async def _run_actors(self, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            await self._gateway.supervisor.run(task_status=task_status)
        except SupervisorGaveUp as error:
            # Without actors nothing can be charged: requests under way are cut, not drained.
            self._gave_up = error
            self._gateway.draining.set()
            self._serving.cancel()
        finally:
            self._actors_ended.set()

    async def _serve(
        self, stop: Callable[[], Awaitable[None]], task_status: trio.TaskStatus[Started]
    ) -> None:
        async def stop_and_drain() -> None:
            await stop()
            self._gateway.draining.set()

        settings = self._settings
        server = ServerSettings(
            settings.host,
            settings.port,
            settings.drain_seconds,
            settings.send_timeout,
            None if settings.certfile is None else Path(settings.certfile),
            None if settings.keyfile is None else Path(settings.keyfile),
        )
        async with trio.open_nursery() as nursery:
            port = await nursery.start(
                partial(serve, self._gateway.application, server, stop=stop_and_drain)
            )
            gateway = self._gateway
            task_status.started(Started(port, gateway.access.make_login(), gateway.live.reload))

    async def _leave_when_held_up(self) -> None:
        """Ends the process when the server has not ended by itself some time after the drain."""
        await self._gateway.draining.wait()
        with trio.move_on_after(self._settings.drain_seconds):
            await self._actors_ended.wait()
        await trio.sleep(LEAVE_SECONDS)
        self._gateway.supervisor.stop()
        await self._actors_ended.wait()
        logger.warning("leaving without those clients that have stopped reading")
        self._leave(self._gave_up)


def build(
    configuration: Configuration,
    store: Store,
    data_dir: Path,
    admin_token: Secret,
    load: Load,
    vault: Vault,
) -> Gateway:
    """Makes every part. Actors are started in this order and stopped in reverse, so that whoever
    is asked is still there when the one that asks is stopped."""
    settings, models = configuration.settings, configuration.models
    now = time.time  # noqa: TID251 (edge)
    # As `trio.current_time`, which looks first for the loop that it runs in.
    clock = trio.lowlevel.current_clock().current_time
    supervisor = Supervisor()
    alarms = Alarms(supervisor, clock)
    readers, writers = reader_threads(), writer_threads()
    ledger = Ledger(supervisor, store, ChargeSpool(data_dir / "charges.spool"), ledger_threads())
    writer = TraceWriter(
        supervisor,
        store,
        writers,
        retention_days=settings.traces.retention_days,
        payload_retention_days=settings.traces.payload_retention_days,
        now=now,
    )
    key_ring = KeyRing(store, readers, declared_keys(settings), now)
    directory = Directory(store, readers, settings)
    live = LiveConfiguration(configuration, load, store, readers, partial(secret_of, vault))
    changes = Changes(supervisor, store, readers, waiting_threads())
    changes.add("gateway keys", key_ring.load)
    changes.add("presets, budgets and users", directory.load)
    changes.add("the configuration", live.follow)
    stored_keys = StoredKeys(store, readers, partial(secret_of, vault))
    changes.add("callers' stored keys", stored_keys.load)
    stores = _stores(supervisor, settings)
    keys = provider_keys(settings)
    provider_state = ProviderState(
        supervisor, store, keys, readers=readers, writers=writers, now=now
    )
    key_pool = KeyPool(keys, stores.leases, clock, alert=alerts.error)
    supervisor.add(_sweeper("key_pool", key_pool.run))
    limiter = _supervised_limiter(supervisor, settings, stores.limits, clock)
    health = Health(stores.health, clock)
    hub = TraceHub()
    upstream = UpstreamClient(
        connections_per_origin=settings.limits.connections_per_origin, proxies=_proxies()
    )
    credentials = RenewingCredentials(supervisor, upstream, keys, now)
    money = Money(
        supervisor,
        stores.money,
        LedgerSums(ledger, store, readers).spent,
        wall_clock=now,
        alert=alerts.error,
        clock=clock,
    )
    services = RunnerServices(
        providers=providers_of(settings),
        key_pool=key_pool,
        limiter=limiter,
        ledger=ledger,
        health=health,
        affinity=Affinity(),
        alarms=alarms,
        provider_state=provider_state,
        hub=hub,
        writer=writer,
        upstream=upstream,
        rng=random.Random(secrets.randbits(64)),
        wall_clock=now,
        new_id=Uuid7Generator(now, RandomBits(os.urandom)),
        alert=alerts.error,
        max_payload_bytes=settings.traces.max_payload_bytes,
        stored_keys=stored_keys.of,
        credentials=credentials,
        clock=clock,
        money=money,
        budgets_of=directory,
    )
    discovery = Discovery(supervisor, upstream, discoverable(settings), models.learn)
    draining = trio.Event()
    access = AdminAccess(admin_token, store, readers, now)
    readiness = Readiness(supervisor, store, readers, draining, stores.shared)

    def make_pages() -> App:
        # Imported here: no start pays for Quart, and no gateway whose pages nobody looks at.
        from signalbox.http.admin.desk import Desk  # noqa: PLC0415 - as said above
        from signalbox.http.metrics import MetricsSources  # noqa: PLC0415 - as said above
        from signalbox.http.pages import make_pages  # noqa: PLC0415 - as said above

        desk = Desk(
            store=store,
            readers=readers,
            writers=writers,
            settings=lambda: live.current.settings,
            refresh=changes.refresh,
            now=now,
            new_id=services.new_id,
            check=live.check,
            vault=vault,
            turn=trio.Lock(),
        )
        return make_pages(
            access=access,
            desk=desk,
            hub=hub,
            draining=draining,
            metrics=MetricsSources(supervisor, key_pool, limiter, health, stores.shared),
        )

    account = AccountApi(store, readers, now, money, directory)
    doors = ModelDoors(settings, models, key_ring, services, account, directory)
    # In a thread: the import would hold up the requests that are under way.
    application = Application(doors, HealthApi(readiness), partial(readers.run, make_pages))
    live.begin(
        Parts(
            services=services,
            key_ring=key_ring,
            directory=directory,
            key_pool=key_pool,
            limiter=limiter,
            provider_state=provider_state,
            credentials=credentials,
            discovery=discovery,
            account=account,
            application=application,
        )
    )
    return Gateway(
        supervisor=supervisor,
        shared=stores.shared,
        changes=changes,
        live=live,
        upstream=upstream,
        application=application,
        access=access,
        draining=draining,
    )


def _proxies() -> ProxySettings:
    """Those that the environment names. Raises `ConfigError`."""
    try:
        return ProxySettings.from_environment(os.environ)
    except BadProxySettings as error:
        raise ConfigError(str(error)) from None


def surveyor_at_rest(settings: Settings) -> Surveyor:
    """What a gateway that has just started and was called by nobody knows of its routes."""
    return Surveyor(
        providers=providers_of(settings),
        key_pool=KeyPool(provider_keys(settings), InProcess(MemoryLeaseStore())),
        health=Health(InProcess(MemoryHealthStore())),
        affinity=Affinity(),
    )


class _Stores(msgspec.Struct, frozen=True):
    """Where leases, limits and health are kept."""

    leases: StoreAccess[LeaseStore]
    limits: StoreAccess[LimitStore]
    health: StoreAccess[HealthStore]
    money: StoreAccess[MoneyStore]
    shared: SharedState | None


def _stores(supervisor: Supervisor, settings: Settings) -> _Stores:
    leases, limits, health = MemoryLeaseStore(), MemoryLimitStore(), MemoryHealthStore()
    if settings.storage.redis is None:
        money = InProcess[MoneyStore](MemoryMoneyStore())
        return _Stores(InProcess(leases), InProcess(limits), InProcess(health), money, None)
    # Imported here: a gateway that keeps all of this in process does without the client.
    from signalbox.persistence.health_redis import RedisHealthStore  # noqa: PLC0415
    from signalbox.persistence.instances_redis import RedisInstances, open_redis  # noqa: PLC0415
    from signalbox.persistence.leases_redis import RedisLeaseStore  # noqa: PLC0415
    from signalbox.persistence.limits_redis import RedisLimitStore  # noqa: PLC0415
    from signalbox.persistence.money_redis import RedisMoneyStore  # noqa: PLC0415

    client, instance = open_redis(settings.storage.redis.reveal()), secrets.token_hex(8)
    instances = RedisInstances(client, instance)
    threads = WorkerThreads("shared-state", 4)  # leases, limits, health, money
    shared = SharedState(supervisor, instances, threads, alert=alerts.error)
    return _Stores(
        shared.access(RedisLeaseStore(client), leases, debt=Debt(leases.hand_over, COUNT_KEYS)),
        shared.access(
            RedisLimitStore(client),
            limits,
            debt=Debt(limits.hand_over, COUNT_SCOPES),
            stand_in=not settings.storage.refuse_without_redis,
        ),
        shared.access(RedisHealthStore(client), health),
        # None in the place of Redis: what hard budgets have left nobody else can know.
        shared.access(RedisMoneyStore(client, instance), None),
        shared,
    )


async def _connect(shared: SharedState, settings: Settings) -> None:
    """The first look at Redis: one that is away does not hold up the start, a wrong one does."""
    from signalbox.persistence.instances_redis import RedisUnusable  # noqa: PLC0415 - as above

    try:
        await shared.connect()
    except RedisUnusable as error:
        place = settings.origins.describe(("storage", "redis"))
        raise ConfigError(f"{place}: {error}") from error
    except StoreUnavailable:
        pass  # The alert has said what that means.


def _supervised_limiter(
    supervisor: Supervisor,
    settings: Settings,
    stores: StoreAccess[LimitStore],
    clock: Callable[[], float],
) -> RateLimiter:
    limiter = RateLimiter(stores, everyones_limits(settings), clock)
    supervisor.add(_sweeper("rate_limiter", limiter.run))
    return limiter


def _sweeper(name: str, run: Callable[..., Awaitable[None]]) -> ChildSpec[None, None]:
    return ChildSpec(
        name, run, capacity=1, capacity_reason="told nothing; its mailbox only says when to stop"
    )
