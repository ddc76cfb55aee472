"""Chunks of a stream rewritten in place: what is not changed keeps its own bytes.

What these functions are given has passed `OpenAIAdapter.decode_chunk`.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import msgspec
from msgspec.structs import replace

from signalbox.adapters.protocol import Delta

Fields = dict[str, msgspec.Raw]
"""A JSON object whose values are not decoded."""

NULL = msgspec.Raw(b"null")
_NOTHING = frozenset({b"null", b'""'})
_REASONING = ("reasoning_content", "reasoning", "reasoning_details")

_fields_decoder = msgspec.json.Decoder(Fields)
_objects_decoder = msgspec.json.Decoder(list[Fields])


def read_fields(data: bytes | msgspec.Raw) -> Fields:
    return _fields_decoder.decode(data)


def without_finish_reasons(choices: msgspec.Raw, indexes: AbstractSet[int]) -> msgspec.Raw:
    """The choices, those with these indexes without a finish reason."""
    rewritten = _objects_decoder.decode(choices)
    for choice in rewritten:
        if _index(choice) in indexes:
            choice["finish_reason"] = NULL
    return _raw(rewritten)


def with_native_finish_reasons(data: bytes, native: Mapping[int, str]) -> bytes:
    """The chunk whose choices tell `native_finish_reason` beside their finish reason: the one in
    `native`, by the choice's index, or the finish reason itself."""
    fields = read_fields(data)
    choices = _objects_decoder.decode(fields["choices"])
    for choice in choices:
        if _given(choice, "finish_reason") and not _given(choice, "native_finish_reason"):
            told = native.get(_index(choice))
            choice["native_finish_reason"] = choice["finish_reason"] if told is None else _raw(told)
    return msgspec.json.encode({**fields, "choices": choices})


def without_roles(choices: msgspec.Raw) -> msgspec.Raw:
    rewritten = _objects_decoder.decode(choices)
    for choice in rewritten:
        delta = _delta(choice)
        if delta.pop("role", None) is not None:
            choice["delta"] = _raw(delta)
    return _raw(rewritten)


def with_text(data: bytes, text: str) -> bytes:
    """The chunk with `text` for the first choice's text, in the shape that it had, and without
    that choice's reasoning."""
    fields = read_fields(data)
    choices = _objects_decoder.decode(fields["choices"])
    for choice in choices:
        if _index(choice) == 0:
            delta = _delta(choice)
            for name in _REASONING:
                delta.pop(name, None)
            delta["content"] = _content(delta.get("content", NULL), text)
            choice["delta"] = _raw(delta)
            text = ""
    return msgspec.json.encode({**fields, "choices": choices})


def _content(content: msgspec.Raw, text: str) -> msgspec.Raw:
    if not bytes(content).startswith(b"["):
        return _raw(text)
    parts: list[object] = [{"type": "text", "text": text}] if text else []
    for part in _objects_decoder.decode(content):
        # Mistral's parts are text or thinking; any other part stays.
        if _says(part, "refusal") or not (_given(part, "text") or _given(part, "thinking")):
            parts.append({name: part[name] for name in part if name not in ("text", "thinking")})
    return _raw(parts)


def _index(choice: Fields) -> int:
    return msgspec.json.decode(choice.get("index", NULL), type=int | None) or 0


def _delta(choice: Fields) -> Fields:
    delta = choice.get("delta", NULL)
    return {} if delta == NULL else read_fields(delta)


def _given(fields: Fields, name: str) -> bool:
    return fields.get(name, NULL) != NULL


def _says(fields: Fields, name: str) -> bool:
    return bytes(fields.get(name, NULL)) not in _NOTHING


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def retold(delta: Delta, text: str) -> Delta:
    """See `Adapter.retold`. A chunk without choices has no place for `text` and stays."""
    if not delta.has_choices:
        return delta
    return replace(
        delta,
        raw=with_text(delta.raw, text),
        content_chars=delta.content_chars - delta.reasoning_chars - len(delta.text) + len(text),
        text=text,
        reasoning_chars=0,
    )
