"""What every wire makes of a door's body: what is sent, what is named as dropped or refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from signalbox.adapters.anthropic import AnthropicAdapter
from signalbox.adapters.cohere import CohereAdapter
from signalbox.adapters.cohere_embeddings import CohereEmbeddingsAdapter
from signalbox.adapters.converse import ConverseAdapter
from signalbox.adapters.door import NO_TARGET, BadRequest, Target
from signalbox.adapters.doors import door_of
from signalbox.adapters.embeddings import EmbeddingsAdapter
from signalbox.adapters.gemini import GeminiAdapter
from signalbox.adapters.gemini_embeddings import GeminiEmbeddingsAdapter
from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.protocol import Adapter
from signalbox.adapters.registry import EMBEDDINGS
from signalbox.adapters.responses import ResponsesAdapter
from signalbox.errors import UnsupportedParameter
from signalbox.types import Dialect, Request, Route, Secret
from tests.chat_pieces import request_of
from tests.hostile_bodies import encoded

CHAT_WIRES: Mapping[str, tuple[Adapter, str]] = {
    "compatible": (OpenAIAdapter("compatible"), "m"),
    "chat": (OpenAIAdapter("openai"), "gpt-5-mini"),
    "responses": (ResponsesAdapter("openai"), "gpt-5"),
    "anthropic": (AnthropicAdapter("anthropic"), "claude-sonnet-4-5"),
    "gemini": (GeminiAdapter("gemini"), "gemini-2.5-flash"),
    "gemini 3": (GeminiAdapter("gemini"), "gemini-3-pro-preview"),
    "cohere": (CohereAdapter("cohere"), "command-a"),
    "converse": (ConverseAdapter("bedrock"), "anthropic.claude-sonnet-4-5"),
}
EMBEDDING_WIRES: Mapping[str, tuple[Adapter, str]] = {
    "openai": (EmbeddingsAdapter("openai", "openai"), "text-embedding-3-small"),
    "gemini": (GeminiEmbeddingsAdapter("gemini"), "gemini-embedding-001"),
    "cohere": (CohereEmbeddingsAdapter("cohere"), "embed-v4"),
}


@dataclass(frozen=True)
class Made:
    """`body` is None where the route was refused."""

    body: bytes | None
    more: tuple[bytes, ...]
    dropped: tuple[str, ...]
    unsupported: tuple[str, ...]


def wires_of(door: Dialect) -> Mapping[str, tuple[Adapter, str]]:
    return EMBEDDING_WIRES if door in EMBEDDINGS else CHAT_WIRES


def foreign_wires(door: Dialect) -> Iterator[str]:
    for name, (adapter, _) in wires_of(door).items():
        if adapter.dialect is not door:
            yield name


def target_of(door: Dialect) -> Target:
    if door is Dialect.EMBED:
        return Target(model="m", stream=False, many=True)
    return Target(model="m", stream=False) if door is Dialect.GENERATE else NO_TARGET


def taken(door: Dialect, data: bytes) -> Request | None:
    """The request of a body; None where the door refuses it."""
    try:
        body = door_of(door).read_body(data, target_of(door))
    except BadRequest:
        return None
    outline = door_of(door).outline(body, target_of(door))
    return request_of(door, body, stream=False, choices=outline.choices, begun=outline.begun)


def made(request: Request, wire: str) -> Made:
    adapter, model = wires_of(request.door)[wire]
    route = Route(wire, model)
    unsupported = adapter.unsupported(request, route)
    dropped = adapter.dropped(request, route)
    try:
        sent = adapter.build(request, route, "http://provider.test", Secret("k"))
    except UnsupportedParameter:
        assert unsupported, "refused without a name"
        return Made(None, (), dropped, unsupported)
    assert not unsupported, "built in spite of it"
    assert sent.dropped == dropped
    return Made(sent.body, sent.more, dropped, ())


def made_of(door: Dialect, body: dict[str, Any], wire: str) -> Made | None:
    request = taken(door, encoded(body))
    return None if request is None else made(request, wire)
