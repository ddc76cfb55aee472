"""`signalbox serve`: the gateway as a process."""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NoReturn

import click
import msgspec
import trio

from signalbox.actors.supervisor import SupervisorGaveUp
from signalbox.app import Started, run_gateway
from signalbox.app_live import Configuration
from signalbox.cli.admin_token import ADMIN_TOKEN_FILE, given_admin_token
from signalbox.cli.banner import Banner, nothing_to_call
from signalbox.cli.common import (
    FAILED,
    MISUSED,
    fail,
    is_missing,
    load_models,
    located,
    make_private,
    named_database,
    new_id,
    opened_store,
    read_settings,
    the_vault,
    unix_now,
)
from signalbox.config import ConfigError, Overlay, Settings, add_demo, load_settings
from signalbox.config_overlay import PLACE
from signalbox.errors import StoreUnavailable
from signalbox.http.server import CannotListen, PortTaken
from signalbox.persistence.auditing import GATEWAY, audit_of
from signalbox.persistence.gateway_keys import (
    BadTokenFile,
    admin_token,
    key_digest,
    new_gateway_key,
    read_token,
    write_token,
)
from signalbox.persistence.overlay import read_overlay
from signalbox.persistence.record_store import Insert
from signalbox.persistence.records import GatewayKeyRecord
from signalbox.persistence.sealed_records import secret_of
from signalbox.persistence.stores import Store
from signalbox.persistence.vault import Vault
from signalbox.types import Secret

logger = logging.getLogger(__name__)

GATEWAY_KEY_FILE = "gateway-key"
FIRST_KEY_NAME = "first"
YOUNG_OBJECTS = 20_000
"""Made and not freed between two collections: some megabytes. Python's own 700 is one request."""
DEMO_TOKENS_PER_SECOND = 60.0
"""About the speed of a good provider, so that streaming can be seen."""


@click.command()
@click.option("--host", help="Where to listen; otherwise server.host, 127.0.0.1.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="Where to listen; otherwise server.port, 8080. 0: any free port.",
)
@click.option(
    "--demo",
    type=click.Choice(["always", "auto", "never"]),
    is_flag=False,
    flag_value="always",
    default="never",
    help="Start the simulator and route the model `demo` to it; auto: only where no "
    "provider can be called.",
)
@click.option(
    "--log-level",
    default="warning",
    show_default=True,
    type=click.Choice(["debug", "info", "warning", "error"]),
)
@located
def serve(
    host: str | None,
    port: int | None,
    demo: str,
    log_level: str,
    config: Path | None,
    data_dir: Path,
) -> None:
    """Runs the gateway until SIGINT or SIGTERM; a second signal ends it at once."""
    logging.basicConfig(
        level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    settings = read_settings(config)
    if (
        demo == "never"
        and not _callable(settings)
        and is_missing(named_database(settings, data_dir))
    ):
        fail(nothing_to_call(settings), MISUSED)
    with opened_store(settings, data_dir) as store:
        loader = Loader(config, host, port)
        vault = the_vault(data_dir)
        configuration = _first(loader, store, vault)
        for warning in configuration.settings.warnings:
            click.echo(f"warning: {warning}", err=True)
        with _demo(configuration.settings, demo) as loader.simulator:
            mistake = _mistake_of(lambda: _serve(loader, store, data_dir, vault))
    if mistake is not None:
        fail(*mistake)


class Loader:
    """`app_live.Load`: the configuration as the command line has it."""

    def __init__(self, config: Path | None, host: str | None, port: int | None) -> None:
        self._config = config
        self._host = host
        self._port = port
        self.simulator: str | None = None
        """The address of the demo's provider, where there is a demo."""

    def __call__(self, overlay: Overlay) -> Configuration:
        settings = load_settings(self._config, os.environ, Path.cwd(), overlay)
        settings = _listening(settings, self._host, self._port)
        if self.simulator is not None:
            settings = add_demo(settings, self.simulator)
        return Configuration(settings, load_models(settings), overlay)


def _first(loader: Loader, store: Store, vault: Vault) -> Configuration:
    """The configuration of the start; a mistake in it ends the command."""
    try:
        return loader(read_overlay(store, partial(secret_of, vault)))
    except ConfigError as error:
        hint = ""
        if f"{PLACE}: " in str(error):
            hint = "\n`signalbox config remove SECTION NAME` takes an entry out of the database"
        fail(f"{error}{hint}", MISUSED)


def _mistake_of(run: Callable[[], None]) -> tuple[str, int] | None:
    """What ended the gateway that a person can act on, in words, and the exit code; None: nothing.

    It is returned, because what is raised out of an `except*` comes as a group with a traceback.
    """
    told: tuple[str, int] | None = None
    try:
        run()
    except* (ConfigError, BadTokenFile) as wrong:
        told = _words(wrong), MISUSED
    except* PortTaken as taken:
        told = f"{_words(taken)}; --port PORT chooses another one, --port 0 any free one", FAILED
    except* CannotListen as cannot:
        told = f"{_words(cannot)}; --host and --port choose where to listen", FAILED
    except* SupervisorGaveUp as gave_up:
        told = f"stopped because {_words(gave_up)}", FAILED
    except* (StoreUnavailable, OSError) as trouble:
        told = _words(trouble), FAILED
    return told


def _listening(settings: Settings, host: str | None, port: int | None) -> Settings:
    server = msgspec.structs.replace(
        settings.server,
        host=settings.server.host if host is None else host,
        port=settings.server.port if port is None else port,
    )
    return replace(settings, server=server)


def _words(group: BaseExceptionGroup[BaseException]) -> str:
    """The messages of all that went wrong, from however deep they came."""
    words: list[str] = []
    for error in group.exceptions:
        words.append(_words(error) if isinstance(error, BaseExceptionGroup) else str(error))
    return "; ".join(words)


def _serve(loader: Loader, store: Store, data_dir: Path, vault: Vault) -> None:
    configuration = loader(read_overlay(store, partial(secret_of, vault)))
    token, token_file = _admin_token(data_dir)
    key, key_file = _first_key(configuration.settings, store, data_dir)

    def tell(started: Started) -> None:
        banner = Banner(
            configuration.settings,
            configuration.models,
            started.port,
            started.login_code,
            key.reveal() if key is not None and sys.stdout.isatty() else None,
            key_file,
            token_file,
        )
        click.echo("\n".join(banner.lines()))

    async def run() -> None:
        stopping = trio.Event()
        # Hangups are heard from the first moment on: unheard, one would end the process.
        with trio.open_signal_receiver(signal.SIGHUP) as hangups:
            await serve_until(stopping, hangups)

    async def serve_until(stopping: trio.Event, hangups: AsyncIterator[int]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, stopping)

            async def gateway(*, task_status: trio.TaskStatus[Started]) -> None:
                await run_gateway(
                    configuration,
                    store,
                    data_dir,
                    token,
                    load=loader,
                    vault=vault,
                    stop=stopping.wait,
                    leave=partial(_leave, store),
                    task_status=task_status,
                )
                nursery.cancel_scope.cancel()

            started = await nursery.start(gateway)
            nursery.start_soon(_reload_on_hangup, hangups, started.reload)
            _spare_collections()
            tell(started)

    trio.run(run)


def _spare_collections() -> None:
    """What a start has made stays, so the garbage collector need not look at it with every request;
    and a request makes some hundreds of objects and no cycle that is worth looking for so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 50)


def _leave(store: Store, gave_up: SupervisorGaveUp | None) -> NoReturn:
    """Ends the process at once, after what `finally` would have done."""
    store.close()
    if gave_up is not None:
        click.echo(f"signalbox: stopped because {gave_up}", err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if gave_up is None else FAILED)


async def _stop_on_signal(stopping: trio.Event) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if stopping.is_set():
                # Whoever asks twice wants it now; what is durable is durable.
                os._exit(FAILED)
            stopping.set()


async def _reload_on_hangup(
    hangups: AsyncIterator[int], reload: Callable[[], Awaitable[None]]
) -> None:
    async for _ in hangups:
        try:
            await reload()
        except (ConfigError, StoreUnavailable) as error:
            logger.error("the configuration is as it was: %s", error)
        else:
            logger.warning("the configuration was read anew")


def _admin_token(data_dir: Path) -> tuple[Secret, Path | None]:
    """The token, and the file that holds it where it is not the environment's."""
    given = given_admin_token()
    if given is not None:
        return given, None
    path = data_dir / ADMIN_TOKEN_FILE
    return admin_token(path), path


def _first_key(
    settings: Settings, store: Store, data_dir: Path
) -> tuple[Secret | None, Path | None]:
    """A key that is made where there is none at all, and the file of one that still works."""
    path = data_dir / GATEWAY_KEY_FILE
    records = store.records(GatewayKeyRecord)
    if not settings.keys and not records:
        make_private(data_dir)
        secret, record = new_gateway_key(FIRST_KEY_NAME, key_id=new_id(), created_at=unix_now())
        write_token(path, secret)
        audit = audit_of(
            GATEWAY, "create", "key", record.id, id=new_id(), at=unix_now(), after=record
        )
        store.change([Insert(record)], audit)
        return secret, path
    kept = read_token(path)
    working = {record.digest for record in records if record.revoked_at is None}
    if kept is None or key_digest(kept.reveal()) not in working:
        return None, None
    return None, path


def _callable(settings: Settings) -> bool:
    return any(provider.usable for provider in settings.providers.values())


@contextmanager
def _demo(settings: Settings, mode: str) -> Iterator[str | None]:
    """The address of a simulator that runs, where `mode` asks for it."""
    if mode == "auto" and _callable(settings):
        mode = "never"
    if mode == "never":
        if not _callable(settings):
            fail(nothing_to_call(settings), MISUSED)
        yield None
        return
    command = [
        sys.executable,
        "-m",
        "signalbox",
        "simulate",
        "--port",
        "0",
        "--until-stdin-closes",
        "--tokens-per-second",
        str(DEMO_TOKENS_PER_SECOND),
    ]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C in the terminal is for the gateway alone: its requests still need the simulator.
        start_new_session=True,
    ) as simulator:
        assert simulator.stdin is not None
        assert simulator.stdout is not None
        line = simulator.stdout.readline().split()
        if not line:
            fail("the simulator did not start")
        try:
            yield line[-1]
        finally:
            simulator.stdin.close()
