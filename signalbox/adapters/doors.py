"""The doors, by the dialect that they speak."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from signalbox.adapters.anthropic_door import MessagesCountDoor, MessagesDoor
from signalbox.adapters.completions_door import CompletionsDoor
from signalbox.adapters.door import Door
from signalbox.adapters.embeddings_door import EmbeddingsDoor
from signalbox.adapters.gemini_door import GenerateCountDoor, GenerateDoor
from signalbox.adapters.gemini_embed_door import GeminiEmbedDoor
from signalbox.adapters.openai_chat_door import ChatDoor
from signalbox.adapters.openrouter_door import OpenRouterChatDoor
from signalbox.adapters.responses_door import ResponsesDoor
from signalbox.types import Dialect, Flavour

_ALL: tuple[Door, ...] = (
    ChatDoor(),
    ResponsesDoor(),
    MessagesDoor(),
    MessagesCountDoor(),
    GenerateDoor(),
    GenerateCountDoor(),
    CompletionsDoor(),
    EmbeddingsDoor(),
    GeminiEmbedDoor(),
)

DOORS: Mapping[Dialect, Door] = MappingProxyType({door.dialect: door for door in _ALL})


_ERRORS_OF = {
    Dialect.MESSAGES_COUNT: Dialect.MESSAGES,
    Dialect.GENERATE_COUNT: Dialect.GENERATE,
    Dialect.EMBED: Dialect.GENERATE,
}


_OPENROUTER = OpenRouterChatDoor()


def door_of(dialect: Dialect, flavour: Flavour = Flavour.PLAIN) -> Door:
    if dialect is Dialect.CHAT and flavour is Flavour.OPENROUTER:
        return _OPENROUTER
    return DOORS[dialect]


def error_door(dialect: Dialect, flavour: Flavour = Flavour.PLAIN) -> Door:
    """The door whose words an error is told in, also for paths that take no requests to models."""
    if flavour is Flavour.OPENROUTER and dialect.family == Dialect.CHAT.family:
        return _OPENROUTER
    return DOORS[_ERRORS_OF.get(dialect, dialect)]
