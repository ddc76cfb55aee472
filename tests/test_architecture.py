"""The imports keep the direction of the package's shape, and importing does nothing else."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FOUNDATION = frozenset({"types", "prices", "errors", "ids", "config"})
MAY_IMPORT = {
    "prices": frozenset[str](),
    "types": frozenset({"prices"}),
    "errors": frozenset[str](),
    "ids": frozenset({"types", "errors"}),
    "config": frozenset({"types", "prices", "errors", "ids"}),
    "machines": FOUNDATION,
    "adapters": FOUNDATION,
    "persistence": FOUNDATION | {"machines", "adapters"},
    "actors": FOUNDATION | {"machines", "adapters", "persistence"},
    "http": FOUNDATION | {"machines", "adapters", "persistence", "actors"},
    "app": FOUNDATION | {"machines", "adapters", "persistence", "actors", "http"},
    "cli": FOUNDATION
    | {"machines", "adapters", "persistence", "actors", "http", "app", "simulator"},
    "simulator": frozenset({"types", "errors"}),
    "__main__": frozenset({"cli"}),
}
"""Part → the parts on its left. A part may also import itself and `signalbox` (the version)."""

PURE_PARTS = {"machines", "adapters"}
PURE_STDLIB_NAMES = """
    __future__ abc array base64 binascii bisect codecs collections copy dataclasses datetime decimal
    email.utils enum fractions functools hashlib heapq hmac html http.HTTPStatus itertools json
    math operator re string struct sys.byteorder textwrap types typing urllib.parse
    xml.etree.ElementTree xml.sax.saxutils zlib
"""
PURE_STDLIB = frozenset(PURE_STDLIB_NAMES.split())
"""What reaches neither the outside nor a clock nor chance. (`datetime` reads a clock when asked;
the linter bans asking.)"""
PURE_LIBRARIES = {
    "signalbox.machines": {"statemachine", "msgspec"},
    "signalbox.adapters": {"msgspec"},
    "signalbox.adapters.catalogue": {"genai_prices"},
    "signalbox.adapters.catalogue_prices": {"genai_prices"},
    "signalbox.adapters.rs256": {"cryptography"},
}

CONCRETE_STORES = (
    "sqlite",
    "postgres",
    "leases_",
    "limits_",
    "health_memory",
    "health_redis",
    "instances_redis",
    "money_memory",
    "money_redis",
    "migrations",
    "tables",
    "columns",
    "rows",
)
"""Beginnings of the module names that only `persistence` itself and `app` may name."""
CONCRETE_ACTORS = {
    path.stem.title().replace("_", "") for path in (ROOT / "signalbox/actors").glob("[a-z]*.py")
}
"""Classes named for their module (`trace_hub` → `TraceHub`): others hold them, `app` makes them."""


def part_of(module: str) -> str:
    """`signalbox.config_lines` → `config`, `signalbox.actors.runner` → `actors`."""
    name = module.split(".")[1]
    return next((part for part in ("config", "app") if name.startswith(f"{part}_")), name)


def is_under(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def imported_names(source: str) -> Iterator[str]:
    """The full dotted name of everything that the source imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are banned by the linter"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def called_names(source: str) -> set[str]:
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)}


def violations(module: str, source: str) -> list[str]:
    """What is wrong with the imports of one module of the package."""
    part = part_of(module)
    if part not in MAY_IMPORT:
        return [f"{module}: `{part}` is no part of the package; give it its place in MAY_IMPORT"]
    found = []
    for target in imported_names(source):
        if is_under(target, "signalbox"):
            found += wrong_direction(module, target)
        elif part in PURE_PARTS and not is_pure(module, target):
            found.append(f"{module} imports {target}, but {part} is pure")
    if part not in ("actors", "app", "simulator"):
        made = CONCRETE_ACTORS & called_names(source)
        found += [f"{module} makes a {name}; only app does" for name in sorted(made)]
    return found


def wrong_direction(module: str, target: str) -> list[str]:
    part = part_of(module)
    if target in ("signalbox", "signalbox.__version__"):
        return []
    wanted = part_of(target)
    if wanted == part:
        return []
    if wanted not in MAY_IMPORT[part]:
        return [f"{module} imports {target}, but {wanted} may not be used in {part}"]
    if wanted == "persistence" and part != "app" and names_concrete_store(target):
        return [f"{module} names the concrete store {target}; only app does"]
    return []


def names_concrete_store(module: str) -> bool:
    return module.removeprefix("signalbox.persistence.").startswith(CONCRETE_STORES)


def is_pure(module: str, target: str) -> bool:
    libraries = {
        library
        for place, allowed in PURE_LIBRARIES.items()
        if is_under(module, place)
        for library in allowed
    }
    return any(is_under(target, allowed) for allowed in PURE_STDLIB | libraries)


def package_modules() -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / "signalbox").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if module != "signalbox":
            yield module, path


def test_every_import_keeps_the_direction() -> None:
    found = [
        violation
        for module, path in package_modules()
        for violation in violations(module, path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("signalbox.types", "from signalbox.config import Settings"),
        ("signalbox.machines.request", "from signalbox.adapters.protocol import Delta"),
        ("signalbox.machines.request", "import time"),
        ("signalbox.machines.request", "import random"),
        ("signalbox.machines.request", "import genai_prices"),
        ("signalbox.adapters.openai", "import httpx"),
        ("signalbox.adapters.openai", "import genai_prices"),
        ("signalbox.adapters.openai", "from urllib import request"),
        ("signalbox.persistence.sqlite", "from signalbox.actors import ledger"),
        ("signalbox.actors.runner", "from signalbox.http.upstream import HttpUpstream"),
        ("signalbox.http.live", "from signalbox.persistence import sqlite"),
        ("signalbox.http.server", "hub = TraceHub()"),
        ("signalbox.actors.ledger", "def late():\n    import signalbox.persistence.sqlite"),
        ("signalbox.http.live", "from signalbox import app"),
        ("signalbox.app", "from signalbox.simulator import server"),
        ("signalbox.simulator.player", "from signalbox.adapters import sse"),
        ("signalbox.helpers", ""),
    ],
)
def test_an_import_against_the_direction_is_found(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("signalbox.config", "from signalbox.config_lines import Lines"),
        ("signalbox.machines.lifecycle", "from statemachine import StateChart"),
        ("signalbox.adapters.catalogue", "import genai_prices"),
        ("signalbox.actors.runner", "from signalbox.machines.request import decide"),
        ("signalbox.app", "from signalbox.persistence.sqlite import SqliteStore"),
        ("signalbox.cli", "from signalbox import __version__, app, simulator"),
    ],
)
def test_an_import_along_the_direction_passes(module: str, source: str) -> None:
    assert violations(module, source) == []


IMPORT_ALL = """
import importlib, json, sys, threading
import trio  # asks ldconfig for the name of a library; not the package's doing

done = []
LOUD = {"socket.bind", "socket.connect", "sqlite3.connect", "subprocess.Popen", "os.mkdir"}

def listen(event, arguments):
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
    if writes or event in LOUD:
        done.append(f"{event}{arguments}")

sys.addaudithook(listen)
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
done += [str(thread) for thread in threading.enumerate()[1:]]
print(json.dumps(done))
"""


def test_importing_opens_connects_and_starts_nothing() -> None:
    # Alembic and Python run these; nobody imports them.
    run_only = {"migrations", "__main__"}
    modules = [name for name, _ in package_modules() if not run_only & set(name.split("."))]
    command = [sys.executable, "-B", "-c", IMPORT_ALL, json.dumps(modules)]
    result = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == []
