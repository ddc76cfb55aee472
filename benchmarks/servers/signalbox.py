"""This gateway, with everything on: keys and their limits, the ledger, traces with full bodies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import signalbox
from benchmarks import wire
from benchmarks.bed import LOAD_CORE, ROOT, Bed, free_port, install, program
from benchmarks.servers.base import Ask, NotServed, Running

ADMIN_TOKEN = "benchmark-admin-token-0123456789"
PLENTY = 100_000_000
"""Of requests or tokens a minute: limits that are counted and never met."""

PROVIDERS = {
    # lane: the upstream's behaviour, the wire format, what comes after it in the address
    "now": ("now", "openai", "/v1"),
    "slow": ("slow", "openai", "/v1"),
    "paced": ("paced", "openai", "/v1"),
    "idle": ("idle", "openai", "/v1"),
    "broken": ("fail", "openai", "/v1"),
    "anthropic": ("now", "anthropic", "/v1"),
    "anthropic-paced": ("paced", "anthropic", "/v1"),
    "gemini": ("now", "gemini", "/v1beta"),
    "gemini-paced": ("paced", "gemini", "/v1beta"),
}
MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-0", "gemini": "gemini-2.5-flash"}


@dataclass(frozen=True, slots=True)
class Signalbox:
    """One way to set it up. `name` is that of the setup."""

    name: str = "signalbox"
    keys: int = 1
    models: int = 1
    payloads: str = "full"
    redis: bool = False
    instances: int = 1
    failing: bool = False
    """The first route of each model answers 503 at once."""

    @property
    def conditions(self) -> str:
        return (
            "one process, SQLite in the data directory; limits declared for all, for each gateway "
            "key and for each provider key; up to 20,000 connections to a provider; prices on "
            "every route; traces with full bodies"
        )

    def install(self) -> None:
        if self.redis:
            install("redis")

    def version(self) -> str:
        return signalbox.__version__

    @contextmanager
    def running(self, bed: Bed) -> Iterator[Running]:
        with ExitStack() as stack:
            folder = bed.folder / f"{self.name}-{free_port()}"
            folder.mkdir()
            store: list[int] = []
            address = None
            if self.redis:
                address = folder / "redis.sock"
                serve: list[str | Path] = [program("redis-server"), "--port", "0"]
                serve += ["--unixsocket", address, "--save", "", "--appendonly", "no"]
                store.append(stack.enter_context(bed.process(serve, core=LOAD_CORE)).pid)
            config = folder / "signalbox.toml"
            config.write_text(self.configuration(bed, address))
            ports, pids = [], []
            for number in range(self.instances):
                port = free_port()
                command: list[str | Path] = [sys.executable, "-m", "signalbox", "serve"]
                command += ["--config", config, "--data-dir", folder / f"data-{number}"]
                # The gateway of this checkout, whatever is installed.
                environ = {"PYTHONPATH": str(ROOT), "SIGNALBOX_ADMIN_TOKEN": ADMIN_TOKEN}
                process = stack.enter_context(
                    bed.process([*command, "--port", str(port)], environ=environ)
                )
                bed.wait_for(process, f"http://127.0.0.1:{port}/readyz")
                ports.append(port)
                pids.append(process.pid)
            yield Running(ports, pids, store)

    def requests(self, bed: Bed, ask: Ask) -> list[bytes]:
        if ask.lane not in PROVIDERS:
            raise NotServed(f"no lane {ask.lane}")
        many = max(self.keys, self.models)
        return [
            wire.http_request(
                "/v1/chat/completions",
                wire.chat_body(
                    self._model(ask.lane, number % self.models),
                    stream=ask.stream,
                    prompt=ask.prompt,
                ),
                {"authorization": f"Bearer {gateway_key(number % self.keys)}"},
            )
            for number in range(many)
        ]

    def _model(self, lane: str, number: int) -> str:
        return f"bench-{lane}" if self.models == 1 else f"bench-{lane}-{number}"

    def configuration(self, bed: Bed, redis: Path | None) -> str:
        limits = f"rpm = {PLENTY}, tpm = {PLENTY * 100}"
        lines = [
            "[limits]",
            f"rpm = {PLENTY}",
            f"tpm = {PLENTY * 100}",
            "concurrency = 20000",
            # All lanes are one address, and idle streams keep theirs.
            "connections_per_origin = 20000",
            "[traces]",
            f'payloads = "{self.payloads}"',
        ]
        if redis is not None:
            lines += ["[storage]", f'redis = "unix://{redis}?db=0"']
        for lane, (behaviour, api, path) in PROVIDERS.items():
            key = f'{{ value = "benchmark-provider-key-{lane}", {limits} }}'
            lines += [
                f'[providers."{lane}"]',
                f'api = "{api}"',
                f'base_url = "{bed.upstream(behaviour)}{path}"',
                f"keys = [{key}]",
                "discover = false",
            ]
        for lane, (_, api, _) in PROVIDERS.items():
            for number in range(self.models):
                name = self._model(lane, number)
                routes = [self._route(lane, MODELS[api], number)]
                if self.failing:
                    routes.insert(0, self._route("broken", MODELS[api], number))
                numbered = [f"{{ {route}, order = {at} }}" for at, route in enumerate(routes, 1)]
                lines += [f'[models."{name}"]', f"routes = [{', '.join(numbered)}]"]
                if self.failing:
                    lines.append("retry = 0")
            if self.models > 1:
                break  # the first lane is the one that these setups are asked for
        for number in range(self.keys):
            lines += [
                f"[keys.bench-{number}]",
                f'key = {{ value = "{gateway_key(number)}" }}',
                limits.replace(", ", "\n"),
                "concurrency = 20000",
            ]
        return "\n".join([*lines, ""])

    def _route(self, provider: str, model: str, number: int) -> str:
        # A breaker is kept for each provider and model, so each model here has its own.
        name = model if self.models == 1 else f"{model}-{number}"
        return f'provider = "{provider}", model = "{name}", input = 0.15, output = 0.60'


def gateway_key(number: int) -> str:
    return f"benchmark-gateway-key-{number:06d}"
