"""What a client has been sent of a streamed answer, as far as another attempt needs to know it."""

from __future__ import annotations

from signalbox.adapters.protocol import Delta
from signalbox.machines.facts import Delivered

LONGEST_RESUMED = 1_000_000
"""Characters of text. Far above the longest answers that models give; past it the text is let go,
and a break is told to the client."""


class Transcript:
    """The answer so far, by all attempts together."""

    def __init__(self, *, kept: bool) -> None:
        """`kept`: whether a break may be mended, so that the text is worth its memory."""
        self._parts: list[str] = []
        self._text_chars = 0
        self._reasoning_chars = 0
        self._resumable = kept

    def add(self, delta: Delta) -> None:
        """`delta` is about to go to the client."""
        self._text_chars += len(delta.text)
        self._reasoning_chars += delta.reasoning_chars
        if delta.opaque or self._text_chars > LONGEST_RESUMED:
            self._resumable = False
            self._parts.clear()
        elif self._resumable and delta.text:
            self._parts.append(delta.text)

    @property
    def text(self) -> str:
        """All of the text; empty where it was not kept."""
        return "".join(self._parts)

    @property
    def delivered(self) -> Delivered:
        return Delivered(self._text_chars, self._reasoning_chars, self._resumable)
