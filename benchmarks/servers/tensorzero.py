"""TensorZero's gateway in Rust, out of its wheel for Python (see `tensorzero_main.py`)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import wire
from benchmarks.bed import ROOT, START_SECONDS, Bed, CannotRun, Process, install
from benchmarks.servers.base import Ask, NotServed, Running, installed_version

PROGRAM = Path(__file__).with_name("tensorzero_main.py")
HOME = ROOT / ".venv-bench-tensorzero"
LISTENS = re.compile(r"listens on http://127\.0\.0\.1:(\d+)/openai/v1")

MODELS = {
    "now": ("openai", "gpt-4o-mini", "now"),
    "slow": ("openai", "gpt-4o-mini", "slow"),
    "paced": ("openai", "gpt-4o-mini", "paced"),
    "anthropic": ("anthropic", "claude-sonnet-4-20250514", "now"),
    "anthropic-paced": ("anthropic", "claude-sonnet-4-20250514", "paced"),
}


class TensorZero:
    name = "tensorzero"
    conditions = (
        "the gateway that its wheel starts inside a Python process, all of it on one core; "
        "observability off, because it needs ClickHouse: nothing is kept of a request; no keys and "
        "no limits, because they need PostgreSQL"
    )

    def install(self) -> None:
        install(self.name)

    def version(self) -> str:
        return installed_version(HOME, "tensorzero")

    @contextmanager
    def running(self, bed: Bed) -> Iterator[Running]:
        config = bed.folder / "tensorzero.toml"
        config.write_text(self._configuration(bed))
        environ = {"BENCHMARK_PROVIDER_KEY": "sk-benchmark-provider"}
        # -P: beside the program lies a module with the package's name.
        command: list[str | Path] = [HOME / "bin/python", "-P", PROGRAM, config]
        with bed.process(command, environ=environ) as process:
            port = _port(process)
            yield Running([port], [process.pid], [])

    def _configuration(self, bed: Bed) -> str:
        lines = ["[gateway]", "observability.enabled = false"]
        for lane, (kind, model, behaviour) in MODELS.items():
            lines += [
                f"[models.{lane}]",
                'routing = ["upstream"]',
                f"[models.{lane}.providers.upstream]",
                f'type = "{kind}"',
                f'model_name = "{model}"',
                f'api_base = "{bed.upstream(behaviour)}/v1/"',
                'api_key_location = "env::BENCHMARK_PROVIDER_KEY"',
            ]
        return "\n".join([*lines, ""])

    def requests(self, bed: Bed, ask: Ask) -> list[bytes]:
        if ask.lane.startswith("gemini"):
            raise NotServed("its provider for Gemini takes no other address than Google's")
        if ask.lane not in MODELS:
            raise NotServed("not set up for it")
        model = f"tensorzero::model_name::{ask.lane}"
        body = wire.chat_body(model, stream=ask.stream, prompt=ask.prompt)
        return [wire.http_request("/openai/v1/chat/completions", body, {})]


def _port(process: Process) -> int:
    end = time.monotonic() + START_SECONDS
    while (found := LISTENS.search(process.log.read_text("utf-8", "replace"))) is None:
        if process.popen.poll() is not None or time.monotonic() > end:
            raise CannotRun(f"it did not start: {process.last_words()}")
        time.sleep(0.05)
    return int(found[1])
