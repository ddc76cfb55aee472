"""A start imports what it needs: what it can do without would make it three times as long."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from tests.gateway import ADMIN_TOKEN, NO_TLS, Gateway, config_for, gateway, simulated_provider
from tests.simulator_client import chat

LATER = {
    "alembic": "an older database is upgraded",
    "sqlalchemy": "an older database is upgraded",
    "genai_prices": "another version of it is installed than prices.json was made of",
    "pydantic": "genai_prices is imported",
    "quart": "a page is asked for",
    "quart_trio": "a page is asked for",
    "flask": "a page is asked for",
    "werkzeug": "a page is asked for",
    "jinja2": "a page is asked for",
    "prometheus_client": "a page is asked for",
    "redis": "storage.redis is set",
    "psycopg": "storage.database is on a PostgreSQL server",
    "cryptography": "a key of Google's signs for a token",
    "signalbox.adapters.anthropic": "a provider speaks Anthropic's dialect",
    "signalbox.adapters.azure": "a provider is Azure",
    "signalbox.adapters.cohere": "a provider is Cohere",
    "signalbox.adapters.converse": "a provider is Bedrock",
    "signalbox.adapters.gemini": "a provider speaks Gemini's dialect",
    "signalbox.adapters.vertex": "a provider is Vertex",
    "signalbox.simulator": "the simulator runs",
}
"""Module → when it is imported."""

IN_COMMANDS = {"signalbox.app", "trio", "msgspec", "httpx", *LATER}
"""What neither the version nor the help needs."""

IMPORTED = re.compile(r"^import time: +\d+ \| +\d+ \| +(\S+)$", re.MULTILINE)
TELLING = {"PYTHONPROFILEIMPORTTIME": "1"}
"""Python says then on stderr what it imports."""


def imported(running: Gateway) -> set[str]:
    return set(IMPORTED.findall(running.output))


def test_the_modules_are_spelled_as_they_are_called() -> None:
    assert [name for name in IN_COMMANDS if find_spec(name) is None] == []


@pytest.mark.parametrize("start", ["the first", "a later one"])
def test_what_is_not_needed_is_not_imported(tmp_path: Path, start: str) -> None:
    with simulated_provider("one") as provider:
        config = config_for(provider)
        if start == "a later one":
            with gateway(config, data_dir=tmp_path):
                pass
        with gateway(config, data_dir=tmp_path, environ=TELLING) as running:
            for path in ("/healthz", "/readyz"):
                assert httpx.get(running.url + path, verify=NO_TLS).status_code == 200
            assert running.post(chat()).status_code == 200
            assert "signalbox.app" in imported(running)
            assert sorted(imported(running) & set(LATER)) == []

            headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
            pages = httpx.get(f"{running.url}/traces", headers=headers, verify=NO_TLS)
            assert pages.status_code == 200
            assert {"quart", "prometheus_client"} <= imported(running)


@pytest.mark.parametrize("asked", ["--version", "--help"])
def test_the_version_and_the_help_import_no_command(asked: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "signalbox", asked]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    names = set(IMPORTED.findall(told.stderr))
    assert "click" in names
    assert sorted(names & IN_COMMANDS) == []
