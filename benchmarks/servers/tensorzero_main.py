"""Starts the HTTP gateway that TensorZero's wheel holds. Runs in its own environment.

    python tensorzero_main.py CONFIG      (prints where it listens, runs until SIGTERM)

The wheel has no program that serves; its `patch_openai_client` starts this same gateway for a
client in the same process.
"""

import signal
import sys

from tensorzero import (  # type: ignore[import-not-found]  # of its own environment
    _start_http_gateway,
)

gateway = _start_http_gateway(
    config_file=sys.argv[1],
    clickhouse_url=None,
    postgres_url=None,
    valkey_url=None,
    async_setup=False,
)
sys.stdout.write(f"listens on {gateway.base_url}\n")
sys.stdout.flush()
signal.sigwait([signal.SIGTERM])
