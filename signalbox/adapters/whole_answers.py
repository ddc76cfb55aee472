"""What adapters have in common whose endpoints answer in one piece: vectors, counts."""

from __future__ import annotations

from typing import NoReturn

from signalbox.adapters.protocol import Delta
from signalbox.types import Request, Route


class WholeAnswers:
    """The part of an `Adapter` that is about streams: there are none."""

    def prefills(self, route: Route) -> bool:
        return False

    def echoes_prefill(self, route: Route) -> bool:
        return False

    def retold(self, delta: Delta, text: str) -> Delta:
        return delta

    def stream_decoder(self, request: Request) -> NoReturn:
        raise TypeError("this endpoint does not stream; its doors never ask for a stream")
