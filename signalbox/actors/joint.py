"""Where a resumed answer is joined on: what of an attempt's deltas is new to the client."""

from __future__ import annotations

from signalbox.adapters.protocol import Adapter, Delta
from signalbox.adapters.splice import Splice, SpliceMismatch
from signalbox.machines.commands import Resume
from signalbox.types import Route


class Joint:
    """Lets through what the client was not sent yet. After text, reasoning is not shown again.

    Raises `SpliceMismatch` where an answer from the start departs from what was sent.
    """

    def __init__(self, adapter: Adapter, route: Route, how: Resume, sent: str) -> None:
        self._adapter = adapter
        self._from_start = how is Resume.SPLICE
        echoes = adapter.echoes_prefill(route)
        self._splice = Splice(sent, strict=self._from_start, echoes=echoes)

    def admit(self, delta: Delta) -> Delta:
        """The delta with what of it is new."""
        if self._from_start and delta.opaque and not self._splice.joined:
            raise SpliceMismatch("a tool call, a refusal or audio came in place of the text")
        text = self._splice.admit(delta.text)
        if delta.finish_reasons or delta.opaque:
            text += self._splice.rest()
        if text == delta.text and not delta.reasoning_chars:
            return delta
        return self._adapter.retold(delta, text)
