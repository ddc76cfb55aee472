"""Which adapter speaks to a provider: by the `api` that its configuration names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.protocol import Adapter

ADAPTERS: Mapping[str, Callable[[str], Adapter]] = MappingProxyType({"openai": OpenAIAdapter})
"""`api` in the configuration → a function from the provider's name to its adapter."""


def adapter_for(api: str, provider_name: str) -> Adapter:
    """The adapter of a provider. Raises `ValueError` for an `api` that there is none for."""
    make = ADAPTERS.get(api)
    if make is None:
        raise ValueError(f"api = {api!r}: expected one of {', '.join(sorted(ADAPTERS))}")
    return make(provider_name)
