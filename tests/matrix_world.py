"""A gateway before a simulator that speaks every wire format of the matrix."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.gateway import KEY, NO_TLS, Gateway, Provider, gateway, simulated_provider
from tests.matrix import CASES, HOME, SCENARIO, WIRES, Cell, Place
from tests.matrix_doors import Driver, drivers


def config(root: str) -> str:
    """A provider for each wire; a model for each wire, also under a name with a vendor as some
    clients want it, and one for its embeddings."""
    tables = {wire.provider: wire.config.replace("{root}", root) for wire in WIRES.values()}
    lines = [
        f'[providers.{name}]\n{table}\nkeys = [{{ value = "sk-{name}" }}]\n'
        for name, table in tables.items()
    ]
    for name, wire in WIRES.items():
        route = f'{{ provider = "{wire.provider}", model = "{wire.model}" }}'
        lines.append(f"[models.to-{name}]\nroutes = [{route}]\n")
        lines.append(f'[models."tested/to-{name}"]\nroutes = [{route}]\n')
        if wire.embeds is not None:  # Google's SDK puts all texts into one for a name with "gemini"
            route = f'{{ provider = "{wire.provider}", model = "{wire.embedder}" }}'
            lines.append(f"[models.embed-{wire.provider}]\nroutes = [{route}]\n")
    lines.append(f'[keys.test]\nkey = {{ value = "{KEY}" }}\n')
    return "\n".join(lines)


class World:
    def __init__(self, running: Gateway, provider: Provider) -> None:
        self.gateway = running
        self.provider = provider
        self.drivers: dict[str, Driver] = drivers(running.url)

    def run(self, place: Place) -> None:
        """Raises Broken, or what the SDK raised."""
        door, name, case = place
        wire = WIRES[name]
        model, path = f"to-{name}", HOME.get((door, name), wire.path)
        if case == "embeddings":
            model, path = f"embed-{wire.provider}", wire.embeds or ""
        self._forget()
        cell = Cell(self.drivers[door], model, wire, path, self.received)
        CASES[case](cell)

    def _forget(self) -> None:
        root = self.provider.url.removesuffix("/v1")
        httpx.delete(f"{root}/_simulator/requests", verify=NO_TLS).raise_for_status()

    def received(self) -> list[dict[str, object]]:
        root = self.provider.url.removesuffix("/v1")
        listed = httpx.get(f"{root}/_simulator/requests", verify=NO_TLS).json()["requests"]
        return [one for one in listed if one["method"] == "POST"]


@contextmanager
def matrix_world() -> Iterator[World]:
    with simulated_provider() as provider:
        provider.plays_scenario(SCENARIO)
        with gateway(config(provider.url.removesuffix("/v1"))) as running:
            yield World(running, provider)
