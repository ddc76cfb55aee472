"""A gateway and its providers as processes of their own, for tests that look from outside.

    with simulated_provider() as provider, gateway(config_for(provider)) as running:
        running.client().chat.completions.create(...)

Everything listens on free ports of the loopback interface and ends with its block.
"""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai

from signalbox.simulator import Rule, Scenario, Step
from tests.simulator_client import simulator_process

KEY = "test-gateway-key-0123456789"
ADMIN_TOKEN = "test-admin-token-0123456789"
START_SECONDS = 60.0
"""Generous: a start takes about two seconds, more when both cores are busy."""
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody. All is plain HTTP here, and httpx would load the machine's certificates anew for
every call, which takes 35 ms."""


@dataclass
class Provider:
    """A simulator process. `url` ends in `/v1`."""

    url: str
    name: str = "primary"

    @property
    def _control(self) -> str:
        return self.url.removesuffix("/v1") + "/_simulator"

    def plays(self, *steps: Step, then: str = "ok") -> None:
        """Forgets what it received and answers by these steps, then as `then` says."""
        rules = (Rule(steps=steps, then=then),) if steps else ()  # type: ignore[arg-type]  # a word of the Literal
        self.plays_scenario(Scenario(rules=rules))

    def plays_scenario(self, scenario: Scenario) -> None:
        answer = httpx.post(f"{self._control}/scenario", content=scenario.to_json(), verify=NO_TLS)
        answer.raise_for_status()
        httpx.delete(f"{self._control}/requests", verify=NO_TLS).raise_for_status()

    def received(self) -> list[dict[str, Any]]:
        """The requests for answers, oldest first; fields as in `simulator/journal.py`."""
        answer = httpx.get(f"{self._control}/requests", verify=NO_TLS).raise_for_status().json()
        return [r for r in answer["requests"] if r["path"].endswith("/chat/completions")]

    def received_when_ended(self) -> list[dict[str, Any]]:
        """As `received`, once the last exchange has ended."""
        ended: list[dict[str, Any]] = eventually(
            self.received, lambda found: bool(found) and all(r["ended"] for r in found)
        )
        return ended


@contextmanager
def simulated_provider(name: str = "primary") -> Iterator[Provider]:
    with simulator_process() as url:
        yield Provider(url, name)


def eventually(look: Any, enough: Any, seconds: float = 20.0) -> Any:
    """What `look()` gives once `enough` accepts it: for what another process does in its time."""
    give_up = time.monotonic() + seconds  # noqa: TID251 - a bound in real time, on a real process
    while not enough(found := look()):
        assert time.monotonic() < give_up, f"still not there after {seconds} s: {found!r}"  # noqa: TID251 - as above
        time.sleep(0.01)  # noqa: TID251 - polls another process
    return found


@dataclass
class Gateway:
    """A running gateway process."""

    url: str
    process: subprocess.Popen[bytes]
    data_dir: Path
    log: Path

    @property
    def output(self) -> str:
        """All that it has printed, standard error too."""
        return self.log.read_text()

    def client(self, **options: Any) -> openai.OpenAI:
        """The official SDK; without retries of its own unless asked for."""
        usual: dict[str, Any] = {"max_retries": 0, "api_key": KEY, "timeout": 60.0}
        return openai.OpenAI(base_url=f"{self.url}/v1", **(usual | options))

    def post(self, body: Mapping[str, Any], **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named = {"authorization": f"Bearer {KEY}"} | named
        return httpx.post(
            f"{self.url}/v1/chat/completions",
            json=body,
            headers=named,
            timeout=60.0,
            verify=NO_TLS,
        )

    def admin(self, path: str) -> httpx.Response:
        return httpx.get(
            f"{self.url}{path}",
            headers={"authorization": f"Bearer {ADMIN_TOKEN}"},
            timeout=60.0,
            verify=NO_TLS,
        )

    def trace(self, trace_id: str) -> dict[str, Any]:
        """The saved trace, once it is saved."""

        def look() -> httpx.Response:
            return self.admin(f"/traces/{trace_id}")

        found = eventually(
            look, lambda answer: answer.status_code == 200 and "events" in answer.json()
        )
        return dict(found.json())

    def events(self, trace_id: str) -> list[str]:
        """The lifecycle events of a saved trace, in order."""
        trace = self.trace(trace_id)
        return [event["name"] for event in trace["events"] if event["kind"] == "event"]

    def stop(self) -> int:
        """Asks it to stop and gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=START_SECONDS)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=START_SECONDS)


@contextmanager
def gateway(
    config: str,
    *,
    data_dir: Path | None = None,
    arguments: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Iterator[Gateway]:
    """A gateway with this configuration (TOML) until the block ends; its exit code must be 0
    unless the block has ended it."""
    with tempfile.TemporaryDirectory(prefix="signalbox-") as folder:
        place = Path(folder)
        (place / "signalbox.toml").write_text(config, encoding="utf-8")
        running = start_gateway(place, data_dir or place / "data", arguments, environ or {})
        try:
            yield running
        except BaseException:
            running.kill()
            sys.stderr.write(running.output)
            raise
        if running.process.returncode is None:
            code = running.stop()
            assert code == 0, f"exit code {code}: {running.output}"


def start_gateway(
    place: Path, data_dir: Path, arguments: Sequence[str], environ: Mapping[str, str]
) -> Gateway:
    """Starts `signalbox serve` in `place` on a free port and waits until it listens."""
    command = [sys.executable, "-m", "signalbox", "serve", "--port", "0"]
    log = place / "output.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--data-dir", str(data_dir), *arguments],
            cwd=place,
            env=clean_environ() | {"SIGNALBOX_ADMIN_TOKEN": ADMIN_TOKEN} | dict(environ),
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def look() -> re.Match[str] | None:
        assert process.poll() is None, f"the gateway did not start: {log.read_text()}"
        return re.search(r"listens on (https?://\S+)\n", log.read_text())

    try:
        listening = eventually(look, lambda found: found, START_SECONDS)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return Gateway(listening[1], process, data_dir, log)


def clean_environ() -> dict[str, str]:
    """The environment without provider keys or settings of the machine's own."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.endswith("_API_KEY") and not name.startswith("SIGNALBOX_")
    }


def config_for(*providers: Provider, more: str = "") -> str:
    """A configuration: model `m` with one route a provider in order, key `KEY`, quick retries."""
    tables = "".join(
        f'[providers.{p.name}]\napi = "openai"\nbase_url = "{p.url}"\n'
        f'keys = [{{ value = "sk-{p.name}-1" }}]\n'
        for p in providers
    )
    routes = ", ".join(
        f'{{ provider = "{p.name}", model = "m", input = 1.0, output = 2.0, order = {place} }}'
        for place, p in enumerate(providers)
    )
    return f"""
[retry]
attempts = 1
base_delay_ms = 10
max_delay_ms = 20
{tables}
[models.m]
routes = [{routes}]
[keys.test]
key = {{ value = "{KEY}" }}
{more}
"""
