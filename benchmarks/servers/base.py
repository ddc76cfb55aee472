"""What a run needs to know of a server."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks import wire
from benchmarks.bed import Bed

LANES = {
    "now": "/now/v1/chat/completions",
    "slow": "/slow/v1/chat/completions",
    "paced": "/paced/v1/chat/completions",
    "idle": "/idle/v1/chat/completions",
}
"""The upstream's paths for those who speak its dialect already. Beside them there are the lanes
`anthropic`, `anthropic-paced`, `gemini` and `gemini-paced`: another vendor's model, asked by
OpenAI's API."""


class NotServed(Exception):
    """This server has no such lane; the message says why, in words."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One kind of request."""

    lane: str
    prompt: str = wire.PROMPT

    @property
    def stream(self) -> bool:
        return self.lane.endswith("paced") or self.lane == "idle"


@dataclass(frozen=True, slots=True)
class Running:
    ports: list[int]
    pids: list[int]
    """Their trees are the server."""
    store: list[int]
    """Their trees are what it keeps state in, on the other core."""


def installed_version(environment: Path, package: str) -> str:
    """Of a package in a virtual environment."""
    found = next(environment.glob(f"lib/python*/site-packages/{package}-*.dist-info"))
    return found.name.removesuffix(".dist-info").partition("-")[2]


class Server(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def conditions(self) -> str:
        """How it is set up, in words for the report."""

    def install(self) -> None:
        """Raises `CannotRun`."""

    def version(self) -> str: ...

    def running(self, bed: Bed) -> AbstractContextManager[Running]:
        """From its first answer to its end. Raises `CannotRun`."""

    def requests(self, bed: Bed, ask: Ask) -> list[bytes]:
        """Whole requests, to be used in turn. Raises `NotServed`."""
