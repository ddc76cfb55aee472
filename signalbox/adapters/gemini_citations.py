"""The sources that Gemini names for its text, as citations.

Two kinds: `citationMetadata`, what the text repeats, and `groundingMetadata`, what a search found.
Both count in bytes of the text's UTF-8 (API reference, `CitationSource` and `Segment`), citations
here in characters.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from signalbox.adapters.chat import Citation
from signalbox.types import Dialect

Json = Mapping[str, Any]


def citations_of(told: Sequence[Json], text: Sequence[str]) -> Iterator[Citation]:
    """`told`: fields of a candidate, chunk by chunk; `text`: all of its text, in pieces."""
    if not told:
        return
    places = _Places("".join(text))
    for fields in told:
        repeated = fields.get("citationMetadata")
        for source in (*_list(repeated, "citations"), *_list(repeated, "citationSources")):
            if isinstance(source, dict):
                yield _citation(source, source, places)
        grounding = fields.get("groundingMetadata")
        chunks = _list(grounding, "groundingChunks")
        for support in _list(grounding, "groundingSupports"):
            yield from _grounded(support, chunks, places)


def _grounded(support: object, chunks: list[Any], places: _Places) -> Iterator[Citation]:
    segment = support.get("segment") if isinstance(support, dict) else None
    if not isinstance(segment, dict):
        return
    for index in _list(support, "groundingChunkIndices"):
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(chunks):
            continue
        chunk = chunks[index]
        source = next(
            (
                chunk[kind]
                for kind in ("web", "retrievedContext", "maps")
                if isinstance(chunk, dict) and isinstance(chunk.get(kind), dict)
            ),
            None,
        )
        if source is not None:
            yield _citation(source, segment, places)


def _citation(source: Json, span: Json, places: _Places) -> Citation:
    end = places.character(span.get("endIndex"))
    # A start of zero may be left out.
    start = places.character(span.get("startIndex", 0)) if end is not None else None
    return Citation(
        url=_text(source.get("uri")),
        title=_text(source.get("title")),
        start=start,
        end=end if start is not None else None,
        dialect=Dialect.GENERATE,
    )


class _Places:
    """Characters by the bytes before them."""

    def __init__(self, text: str) -> None:
        self._ends = list(
            accumulate(len(letter.encode("utf-8", "surrogatepass")) for letter in text)
        )

    def character(self, byte: object) -> int | None:
        """How many whole characters stand before the byte; None where the text is shorter."""
        if isinstance(byte, bool) or not isinstance(byte, int) or byte < 0:
            return None
        if byte > (self._ends[-1] if self._ends else 0):
            return None
        return bisect_right(self._ends, byte)


def _list(holder: object, name: str) -> list[Any]:
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
