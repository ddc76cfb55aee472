"""Other clients that people use, each in an environment of its own, against a running gateway.

Not part of the suite: `make clients` makes the environments and runs this file. Each client sends a
text, a stream, and a question that needs a tool, whose result it sends back by itself or by the few
lines that its documentation shows. Behind the gateway is a simulated provider, of each wire format
in turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import client_table
from tests.client_table import WIRES
from tests.gateway import KEY
from tests.matrix_world import World, matrix_world
from tests.node_env import node_binary

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[1] / ".venv-clients"
PROGRAMS = {
    "langchain-openai": ("langchain", "langchain_clients.py"),
    "langchain-openai, responses": ("langchain", "langchain_clients.py"),
    "langchain-openrouter": ("langchain", "langchain_clients.py"),
    "pydantic-ai, chat": ("pydantic-ai", "pydantic_ai_clients.py"),
    "pydantic-ai, responses": ("pydantic-ai", "pydantic_ai_clients.py"),
    "pydantic-ai, openrouter": ("pydantic-ai", "pydantic_ai_clients.py"),
    "pydantic-ai, anthropic": ("pydantic-ai", "pydantic_ai_clients.py"),
    "pydantic-ai, google": ("pydantic-ai", "pydantic_ai_clients.py"),
    "litellm, openai": ("litellm", "litellm_client.py"),
    "litellm, anthropic": ("litellm", "litellm_client.py"),
    "llm": ("llm", "llm_client.py"),
    "@ai-sdk/openai": ("node", "clients.mjs"),
    "@ai-sdk/openai, chat": ("node", "clients.mjs"),
    "@ai-sdk/openai-compatible": ("node", "clients.mjs"),
    "@openrouter/ai-sdk-provider": ("node", "clients.mjs"),
}
"""Client → its environment, and the program that drives it."""


def drive(client: str, url: str, model: str) -> dict[str, Any]:
    """What the program of a client tells of its three requests."""
    environment, program = PROGRAMS[client]
    if environment == "node":
        command, folder = [str(node_binary()), program], HERE / "node"
    else:
        python = ENVIRONMENTS / environment / "bin" / "python"
        command, folder = [str(python), program], HERE
    given = {"client": client, "url": url, "key": KEY, "model": model}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])  # LiteLLM says more before it
    return told


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with matrix_world() as world:
        yield world


@pytest.fixture(scope="module")
def table() -> Iterator[dict[tuple[str, str], str]]:
    """What came of each client and wire; printed at the end."""
    results: dict[tuple[str, str], str] = {}
    yield results
    sys.stdout.write("\n" + client_table.table(results))


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("client", PROGRAMS)
def test_client(world: World, table: dict[tuple[str, str], str], client: str, wire: str) -> None:
    table[client, wire] = "failed"
    vendor = "tested/" if "openrouter" in client else ""
    told = drive(client, world.gateway.url, f"{vendor}to-{wire}")
    assert "“hello”" in told["text"]
    assert "“hello”" in "".join(told["stream"])
    assert len(told["stream"]) > 1 or client == "llm"
    assert "The tool returned" in told["tools"]
    assert "rain in " in told["tools"]
    assert told.get("tokens", 1) > 0
    table[client, wire] = "yes"
