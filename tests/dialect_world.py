"""A gateway for the SDKs of other vendors: the models of `sdk_cases`, whose providers speak chat
completions alone, and one model each of a provider that speaks the vendor's own dialect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.gateway import NO_TLS, gateway, simulated_provider
from tests.sdk_cases import World, config


def _natives(url: str) -> str:
    root = url.removesuffix("/v1")
    bases = {"anthropic": f"{root}/v1", "gemini": f"{root}/v1beta"}
    return "".join(
        f"""
[providers.own-{api}]
api = "{api}"
base_url = "{base}"
keys = [{{ value = "sk-own-{api}" }}]
[models.own-{api}]
routes = [{{ provider = "own-{api}", model = "own-{api}", input = 1.0, output = 2.0 }}]
"""
        for api, base in bases.items()
    )


@contextmanager
def dialect_world() -> Iterator[World]:
    with (
        simulated_provider() as provider,
        gateway(config(provider.url) + _natives(provider.url)) as running,
    ):
        yield World(running, provider)


def everything_received(world: World) -> list[dict[str, Any]]:
    """All requests of the provider, oldest first, whatever their path."""
    url = world.provider.url.removesuffix("/v1") + "/_simulator/requests"
    answer = httpx.get(url, verify=NO_TLS).raise_for_status()
    return list(answer.json()["requests"])
