"""The gateway's own model of embeddings: what every dialect is read into and written from."""

from __future__ import annotations

import msgspec

from signalbox.adapters.chat import Json, Native
from signalbox.types import Dialect, Usage


class EmbeddingsRequest(msgspec.Struct, frozen=True, kw_only=True):
    dialect: Dialect
    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    """Texts, or texts as token ids."""
    single: bool = False
    """The client gave one input outside of a list."""
    dimensions: int | None = None
    base64: bool = False
    """The client wants each vector as base64 of little-endian 32-bit floats."""
    task: str | None = None
    """Gemini's `taskType`."""
    title: str | None = None
    user: str | None = None
    unknown: Json = msgspec.field(default_factory=dict)
    native: tuple[Native, ...] = ()


class EmbeddingsAnswer(msgspec.Struct, frozen=True):
    """One vector an input, in their order: floats, or base64 as the provider sent it."""

    vectors: tuple[tuple[float, ...] | str, ...]
    usage: Usage | None = None
    id: str | None = None
    model: str | None = None
