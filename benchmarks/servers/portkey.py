"""Portkey's gateway on Node, without its console and log page, in production mode."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import wire
from benchmarks.bed import ROOT, Bed, free_port, install
from benchmarks.servers.base import Ask, NotServed, Running
from tests.node_env import node_binary

NODE = ROOT / "benchmarks/node"
PACKAGE = NODE / "node_modules/@portkey-ai/gateway"

LANES = {
    "now": ("openai", "gpt-4o-mini", "now", "/v1"),
    "slow": ("openai", "gpt-4o-mini", "slow", "/v1"),
    "paced": ("openai", "gpt-4o-mini", "paced", "/v1"),
    "anthropic": ("anthropic", "claude-sonnet-4-20250514", "now", "/v1"),
    "anthropic-paced": ("anthropic", "claude-sonnet-4-20250514", "paced", "/v1"),
    "gemini": ("google", "gemini-2.5-flash", "now", "/v1beta"),
    "gemini-paced": ("google", "gemini-2.5-flash", "paced", "/v1beta"),
}


class Portkey:
    name = "portkey"
    conditions = (
        "one process, `--headless`, `NODE_ENV=production`, with `@hono/node-server` 1.14.1 and "
        "`hono` 4.9.7, without which its streams fail; the provider and its key come with each "
        "request; no keys, limits or log of its own"
    )

    def install(self) -> None:
        install(self.name)

    def version(self) -> str:
        package = json.loads((PACKAGE / "package.json").read_text())
        return f"{package['version']} on Node {node_version()}"

    @contextmanager
    def running(self, bed: Bed) -> Iterator[Running]:
        port = free_port()
        command: list[str | Path] = [node_binary(), "--import", NODE / "loopback.mjs"]
        command += [PACKAGE / "build/start-server.js", f"--port={port}", "--headless"]
        with bed.process(command, environ={"NODE_ENV": "production"}) as process:
            bed.wait_for(process, f"http://127.0.0.1:{port}/")
            yield Running([port], [process.pid], [])

    def requests(self, bed: Bed, ask: Ask) -> list[bytes]:
        if ask.lane not in LANES:
            raise NotServed("not set up for it")
        provider, model, behaviour, path = LANES[ask.lane]
        headers = {
            "authorization": "Bearer sk-benchmark-provider",
            "x-portkey-provider": provider,
            "x-portkey-custom-host": bed.upstream(behaviour) + path,
        }
        body = wire.chat_body(model, stream=ask.stream, prompt=ask.prompt)
        return [wire.http_request("/v1/chat/completions", body, headers)]


def node_version() -> str:
    done = subprocess.run([node_binary(), "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip().removeprefix("v")
