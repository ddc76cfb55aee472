"""What the documentation and the start itself tell a newcomer to paste, pasted."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from signalbox.config import load_settings
from signalbox.http.preset_checks import check_presets
from tests.gateway import (
    KEY,
    NO_TLS,
    START_SECONDS,
    Gateway,
    clean_environ,
    eventually,
    gateway,
    start_gateway,
)
from tests.node_env import NODE_PROJECT, node_binary
from tests.snippets import Snippet, snippets

PAGES = ("README.md", "docs/clients.md", "docs/presets.md", "docs/admin-api.md")
SNIPPETS = [snippet for page in PAGES for snippet in snippets(page)]
ADDRESS = "http://127.0.0.1:8080"
"""Where the pages say that the gateway listens; the tests' listens on a free port."""
OWN_ADMIN_TOKEN = {"SIGNALBOX_ADMIN_TOKEN": ""}
"""The gateway makes its own token, as on a newcomer's machine."""


def run(command: Sequence[str | Path], folder: Path, environ: Mapping[str, str]) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env=clean_environ() | {"PATH": path} | dict(environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def paste(language: str, code: str, folder: Path, environ: Mapping[str, str] | None = None) -> str:
    """What the program prints; it must end well."""
    program = folder / {"bash": "program.sh", "js": "program.mjs", "python": "program.py"}[language]
    program.write_text(code, encoding="utf-8")
    interpreter: Sequence[str | Path] = {
        "bash": ("bash", "-eu"),
        "js": (node_binary(),),
        "python": (sys.executable,),
    }[language]
    return run([*interpreter, program], folder, environ or {})


# ── the pages ─────────────────────────────────────────────────────────────────────────────────


def snippet_cases(*languages: str) -> list[Snippet]:
    return [snippet for snippet in SNIPPETS if snippet.language in languages]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """`signalbox serve --demo` without any configuration; Node finds its packages beside it."""
    place = tmp_path_factory.mktemp("demo")
    (place / "node_modules").symlink_to(NODE_PROJECT / "node_modules")
    running = start_gateway(place, place / "data", ["--demo"], OWN_ADMIN_TOKEN)
    yield running
    assert running.stop() == 0


def check_paste(snippet: Snippet, demo: Gateway) -> None:
    assert ADDRESS in snippet.code
    code = snippet.code.replace(ADDRESS, demo.url)
    printed = paste(snippet.language, code, demo.data_dir.parent)
    assert printed.strip()
    assert '"error":{' not in printed
    tag = re.search(r"tags\"?: \[\"([^\"]+)\"\]", code)
    if tag is not None:
        eventually(lambda: tags_of_traces(demo), lambda tags: tag[1] in tags)


def tags_of_traces(demo: Gateway) -> set[str]:
    token = (demo.data_dir / "admin-token").read_text().strip()
    headers = {"authorization": f"Bearer {token}"}
    answer = httpx.get(f"{demo.url}/traces", headers=headers, verify=NO_TLS)
    return {tag for trace in answer.raise_for_status().json()["traces"] for tag in trace["tags"]}


@pytest.mark.parametrize("snippet", snippet_cases("bash", "python"), ids=str)
def test_a_program_of_the_documentation_runs(snippet: Snippet, demo: Gateway) -> None:
    check_paste(snippet, demo)


@pytest.mark.npm
@pytest.mark.parametrize("snippet", snippet_cases("js"), ids=str)
def test_a_node_program_of_the_documentation_runs(snippet: Snippet, demo: Gateway) -> None:
    check_paste(snippet, demo)


@pytest.mark.parametrize("snippet", snippet_cases("toml"), ids=str)
def test_a_configuration_of_the_documentation_is_accepted(snippet: Snippet, tmp_path: Path) -> None:
    (tmp_path / "signalbox.toml").write_text(snippet.code, encoding="utf-8")
    named = re.findall(r'env = "(\w+)"', snippet.code)
    settings = load_settings(
        None, {name: f"secret-of-{name}-0123456789" for name in named}, tmp_path
    )
    assert settings.warnings == ()
    assert check_presets(settings) == ()


def test_every_page_has_programs() -> None:
    assert {snippet.language for snippet in snippets("README.md")} == {"bash", "python", "toml"}
    assert {snippet.language for snippet in snippets("docs/clients.md")} == {
        "bash",
        "js",
        "python",
        "toml",
    }
    assert {snippet.language for snippet in snippets("docs/admin-api.md")} == {"bash"}


# ── what a start prints ───────────────────────────────────────────────────────────────────────


CURL = re.compile(r"^curl .*?(?=\n\n)", re.DOTALL | re.MULTILINE)
PYTHON = re.compile(r"^(?:import|from) .*?^print\(.*?\)$", re.DOTALL | re.MULTILINE)


def paste_banner(banner: str, folder: Path, environ: Mapping[str, str] | None = None) -> None:
    """Runs the curl line and the Python program as they were printed, in another folder."""
    folder.mkdir(exist_ok=True)
    for language, printed in (("bash", CURL), ("python", PYTHON)):
        found = printed.search(banner)
        assert found is not None, banner
        assert "simulated answer" in paste(language, found[0], folder, environ)


@contextmanager
def on_a_terminal(place: Path) -> Iterator[str]:
    """What `signalbox serve --demo` prints on a terminal, while it runs."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "signalbox", "serve", "--demo", "--port", "0"]
    process = subprocess.Popen(command, cwd=place, env=clean_environ(), stdout=slave)
    os.close(slave)
    try:
        printed = b""
        while b"message.content)" not in printed:
            readable, _, _ = select.select([master], [], [], START_SECONDS)
            assert readable, printed
            printed += os.read(master, 4096)
        yield printed.decode().replace("\r\n", "\n")
    finally:
        process.terminate()
        code = process.wait(timeout=60)
        os.close(master)
    assert code == 0


def test_what_a_first_and_a_later_start_print_can_be_pasted(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    with on_a_terminal(tmp_path) as banner:
        key = (tmp_path / "data" / "gateway-key").read_text().strip()
        assert banner.count(key) == 3  # said once, and in both programs
        paste_banner(banner, elsewhere)
    later = start_gateway(tmp_path, tmp_path / "data", ["--demo"], OWN_ADMIN_TOKEN)
    try:
        assert key not in later.output
        paste_banner(later.output, elsewhere)
    finally:
        assert later.stop() == 0


def test_what_a_start_with_a_declared_key_prints_can_be_pasted(tmp_path: Path) -> None:
    declared = '[keys.mine]\nkey = { env = "GATEWAY_KEY" }\n'
    environ = {"GATEWAY_KEY": KEY}
    with gateway(declared, arguments=["--demo"], environ=environ) as running:
        paste_banner(running.output, tmp_path / "elsewhere", environ)
