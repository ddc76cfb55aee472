"""Where a run happens: the cores, a folder that goes away, and processes that end by themselves.

A server has `SERVER_CORE` to itself; the upstream, the load generator and a store share
`LOAD_CORE`. Everything listens on loopback, and is ended by its process id.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import msgspec

from benchmarks import process_tree
from benchmarks.plan import Plan, Report

ROOT = Path(__file__).parents[1]
SERVER_CORE, LOAD_CORE = 0, 1
START_SECONDS = 120.0
"""Several times what the slowest takes on two cores; it only ends a hang."""
STOP_SECONDS = 15.0
PLAN_SECONDS = 420.0
"""Longer than any plan by its own limits."""
LAST_WORDS = 1500


class CannotRun(Exception):
    """A server cannot be installed, started or asked; the message says why, in words."""


@dataclass
class Process:
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def last_words(self) -> str:
        return self.log.read_text("utf-8", "replace")[-LAST_WORDS:].strip()


@dataclass
class Bed:
    folder: Path
    """For what servers write; it goes away."""
    upstream_port: int
    environ: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def process(
        self,
        command: Sequence[str | Path],
        *,
        core: int = SERVER_CORE,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Iterator[Process]:
        """A process on one core, with its descendants; all of them end with the block."""
        number, name = tempfile.mkstemp(prefix="log-", dir=self.folder)
        with os.fdopen(number, "wb") as log:
            popen = subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *map(str, command)],
                cwd=cwd or self.folder,
                env={**self.environ, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        process = Process(popen, Path(name))
        try:
            yield process
        finally:
            _end(popen)

    def wait_for(self, process: Process, url: str, seconds: float = START_SECONDS) -> None:
        """Until it answers 200 there. Raises `CannotRun` with its last words."""
        end = time.monotonic() + seconds
        while True:
            with suppress(httpx.TransportError):
                if httpx.get(url, trust_env=False, timeout=5.0).status_code == 200:
                    return
            if process.popen.poll() is not None:
                raise CannotRun(f"it ended at its start: {process.last_words()}")
            if time.monotonic() > end:
                raise CannotRun(f"it did not answer in {seconds:.0f} s")
            time.sleep(0.05)

    def upstream(self, behaviour: str) -> str:
        """The address of the provider that behaves so (see `upstream.py`)."""
        return f"http://127.0.0.1:{self.upstream_port}/{behaviour}"

    def upstream_counts(self) -> dict[str, int]:
        answer = httpx.get(f"http://127.0.0.1:{self.upstream_port}/counts", trust_env=False)
        return msgspec.json.decode(answer.content, type=dict[str, int])

    def load(self, plan: Plan) -> Report:
        """Runs the load generator. Raises `CannotRun` where it does not come to an end."""
        command = ["taskset", "--cpu-list", str(LOAD_CORE), sys.executable, "-m", "benchmarks.load"]
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=self.environ,
                input=msgspec.json.encode(plan),
                capture_output=True,
                timeout=PLAN_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CannotRun(f"the load did not end in {PLAN_SECONDS:.0f} s") from None
        if done.returncode:
            raise CannotRun(f"the load failed: {done.stderr.decode()[-LAST_WORDS:]}")
        return msgspec.json.decode(done.stdout, type=Report)


@contextmanager
def bed() -> Iterator[Bed]:
    """A bed with its upstream."""
    raise_file_limit()
    with tempfile.TemporaryDirectory(prefix="signalbox-bench-") as name:
        folder = Path(name)
        # No proxies, no keys, no settings of whoever runs this.
        environ = {"PATH": os.environ.get("PATH", ""), "HOME": name, "LANG": "C.UTF-8"}
        made = Bed(folder, 0, environ)
        command = [sys.executable, "-m", "benchmarks.upstream"]
        with made.process(command, core=LOAD_CORE, cwd=ROOT) as process:
            made.upstream_port = _number_printed(process)
            yield made


def _number_printed(process: Process) -> int:
    end = time.monotonic() + START_SECONDS
    while not (text := process.log.read_text()).endswith("\n"):
        if process.popen.poll() is not None or time.monotonic() > end:
            raise CannotRun(f"the upstream did not start: {process.last_words()}")
        time.sleep(0.01)
    return int(text)


def raise_file_limit() -> int:
    """As many open files as the system lets us have; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise CannotRun(f"{name} is not installed")
    return path


def install(name: str) -> None:
    """Raises `CannotRun` with what the installer said last."""
    done = subprocess.run(
        [ROOT / "tools/bench-install.sh", name], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CannotRun(f"it could not be installed: {(done.stdout + done.stderr)[-500:].strip()}")


def _end(popen: subprocess.Popen[bytes]) -> None:
    """Ends a process, and those of its descendants that outlive it."""
    family = {pid: _started(pid) for pid in process_tree.tree([popen.pid])}
    popen.send_signal(signal.SIGTERM)
    try:
        popen.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()
    for pid, started in family.items():
        if pid != popen.pid and started is not None and _started(pid) == started:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _started(pid: int) -> str | None:
    """When a process began, in clock ticks: its number may be another's by now."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()[19]
