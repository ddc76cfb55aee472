"""What doors that never stream have in the place of a stream's parts."""

from __future__ import annotations

from typing import NoReturn

import msgspec

from signalbox.adapters.protocol import Delta, Seam
from signalbox.errors import ApiError
from signalbox.types import Usage


class NeverStreams(msgspec.Struct, frozen=True):
    """The part of `DoorEncoder` and `EventWriter` that nobody comes to: a request of such a door
    is answered whole, or by an error in the answer's place."""

    what: str
    """Of which dialect."""

    def delta(self, delta: Delta) -> bytes:
        self._refuse()

    def resumed(self, seam: Seam) -> bytes:
        self._refuse()

    def cut(self, choices: int) -> bytes:
        self._refuse()

    def finish(self, provider: str, cost: str | None, usage: Usage | None) -> bytes:
        self._refuse()

    def error(self, error: ApiError) -> bytes:
        self._refuse()

    def write(self, delta: Delta) -> list[Delta]:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise TypeError(f"{self.what} are not streamed")
