"""Chunks of `streamGenerateContent` rewritten in place: what is not changed keeps its own bytes.

Used by the adapter of Gemini's providers and by the door of Gemini's clients. What these functions
are given has passed a decoder of this dialect or was written by its event writer.
Source: Gemini API reference, "Generating content", `GenerateContentResponse`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.protocol import Delta

Fields = dict[str, msgspec.Raw]
"""A JSON object whose values are not decoded."""

NULL = msgspec.Raw(b"null")

_fields_decoder = msgspec.json.Decoder(Fields)
_objects_decoder = msgspec.json.Decoder(list[Fields])


def read_fields(data: bytes | msgspec.Raw) -> Fields:
    """A JSON object's fields, each with its own bytes."""
    return _fields_decoder.decode(data)


def read_objects(data: bytes | msgspec.Raw) -> list[Fields]:
    """The same of a list of objects."""
    return _objects_decoder.decode(data)


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def field_of(fields: Fields, *names: str) -> msgspec.Raw:
    """The first of the fields that is there and not null; `NULL` where none is. Google's JSON
    allows both `finishReason` and `finish_reason`."""
    return next((fields[n] for n in names if fields.get(n, NULL) != NULL), NULL)


def retold(delta: Delta, text: str) -> Delta:
    """See `Adapter.retold`: the first candidate's text parts become one, and its thoughts go.

    A chunk without candidates has no place for `text` and stays as it is. Signatures of text and
    of thoughts go with them: they belong to what the model itself said.
    """
    if not delta.has_choices:
        return delta
    return replace(
        delta,
        raw=_with_parts(delta.raw, lambda parts: _retold_parts(parts, text)),
        content_chars=delta.content_chars - delta.reasoning_chars - len(delta.text) + len(text),
        text=text,
        reasoning_chars=0,
    )


def _retold_parts(parts: list[Fields], text: str) -> list[Fields]:
    """`text` in the place of the first part of text, or before all others."""
    kept: list[Fields] = []
    place = None
    for part in parts:
        if is_thought(part):
            continue
        if field_of(part, "text") == NULL:
            kept.append(part)
        elif place is None:
            place = len(kept)
    if text:
        kept.insert(place or 0, {"text": raw(text)})
    return kept


def is_thought(part: Fields) -> bool:
    return bytes(part.get("thought", NULL)) == b"true"


def _with_parts(data: bytes, change: Callable[[list[Fields]], list[Fields]]) -> bytes:
    """The chunk, the parts of its first candidate's content changed."""
    fields = read_fields(data)
    candidates = read_objects(fields["candidates"])
    first = next((each for each in candidates if index_of(each) == 0), None)
    if first is None:
        return data
    content = read_fields(field_of(first, "content")) if field_of(first, "content") != NULL else {}
    parts = field_of(content, "parts")
    changed = change([] if parts == NULL else read_objects(parts))
    content["parts"] = raw(changed)
    content.setdefault("role", raw("model"))
    first["content"] = raw(content)
    return msgspec.json.encode({**fields, "candidates": candidates})


def index_of(candidate: Fields) -> int:
    """The candidate's index; it may be left out, which means 0."""
    index: Any = msgspec.json.decode(candidate.get("index", NULL))
    return index if isinstance(index, int) and not isinstance(index, bool) else 0
