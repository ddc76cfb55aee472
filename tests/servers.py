"""Servers of the tests' own, on sockets in temporary folders (marker `system`).

A server that runs on the machine already is never touched. `tools/system-packages.sh` installs
the programs.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60
"""Many times what a start takes on a slow machine: it only ends a hang."""
STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class PrivateServer:
    process: subprocess.Popen[str]
    address: Path
    """Redis: its socket. PostgreSQL: the folder of its socket, as clients take it for a host."""


@contextmanager
def private_postgres() -> Iterator[PrivateServer]:
    """A fresh PostgreSQL whose superuser `postgres` may connect without a password."""
    with tempfile.TemporaryDirectory(prefix="signalbox-pg-") as name:
        folder = Path(name)
        make_postgres_data(folder)
        with postgres_in(folder) as server:
            yield server


def make_postgres_data(folder: Path) -> None:
    """The files of a server with nothing in it."""
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    initdb = [f"{postgres_programs()}/initdb", f"--pgdata={folder}/data", "--username=postgres"]
    initdb += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
    subprocess.run([*_as_postgres(), *initdb], check=True, cwd=folder, capture_output=True)


@contextmanager
def postgres_in(folder: Path, *options: str) -> Iterator[PrivateServer]:
    """As `private_postgres`, on files that are there: another one may follow it there.

    A stop ends what is under way, as a restart by an operator does.
    """
    serve = [f"{postgres_programs()}/postgres", "-D", f"{folder}/data", "-k", str(folder)]
    serve += ["-c", "listen_addresses=", "-c", "fsync=off", *options]
    with _running([*_as_postgres(), *serve], folder, signal.SIGINT) as process:
        yield PrivateServer(process, folder)


def _as_postgres() -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]


@contextmanager
def private_redis() -> Iterator[PrivateServer]:
    """A fresh Redis that keeps nothing on disk."""
    with tempfile.TemporaryDirectory(prefix="signalbox-redis-") as name, redis_in(Path(name)) as it:
        yield it


@contextmanager
def redis_in(folder: Path) -> Iterator[PrivateServer]:
    """As `private_redis`, with its socket in `folder`: another one may follow it there."""
    socket = folder / "redis.sock"
    serve = [_program("redis-server"), "--port", "0", "--unixsocket", str(socket)]
    serve += ["--save", "", "--appendonly", "no"]
    with _running(serve, folder, signal.SIGTERM) as process:
        yield PrivateServer(process, socket)


def chromium_path() -> str:
    return _program("chromium")


def postgres_programs() -> Path:
    """The folder of `postgres`, `initdb` and `psql`."""
    # Debian keeps every version in a folder of its own, off the path.
    found = list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return max(found, key=lambda initdb: float(initdb.parts[-3])).parent
    return Path(_program("initdb")).parent


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"{name} is not installed; tools/system-packages.sh does that")
    return path


@contextmanager
def _running(
    command: Sequence[str], folder: Path, stop_signal: signal.Signals
) -> Iterator[subprocess.Popen[str]]:
    """Runs a server from its word that it is ready to its end."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    last_words: deque[str] = deque(maxlen=20)
    ready_or_ended = threading.Event()
    ready = False

    def read_log() -> None:
        nonlocal ready
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                last_words.append(line)
                if "ready to accept connections" in line.lower():
                    ready = True
                    ready_or_ended.set()
        ready_or_ended.set()

    # Read to its end, because a full pipe stops the server.
    reader = threading.Thread(target=read_log)  # noqa: TID251 - joined below
    reader.start()
    try:
        ready_or_ended.wait(START_SECONDS)
        if not ready:
            raise RuntimeError(f"{command[0]} did not start:\n{''.join(last_words)}")
        yield process
    finally:
        process.send_signal(stop_signal)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()
