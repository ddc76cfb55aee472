"""Which adapter speaks to a provider: by the `api` that its configuration names, by the door that
the request came through, and by the model.

A family imports its adapters when a provider of it is configured: most gateways have one or two,
and all others would make a tenth of what a start imports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from signalbox.adapters.completions import CompletionsAdapter
from signalbox.adapters.completions_providers import completions_endpoint, serves, serves_only
from signalbox.adapters.doors import door_of
from signalbox.adapters.embeddings import EmbeddingsAdapter
from signalbox.adapters.embeddings_differences import has_embeddings
from signalbox.adapters.openai import OpenAIAdapter
from signalbox.adapters.protocol import Adapter
from signalbox.adapters.responses import ResponsesAdapter
from signalbox.adapters.responses_providers import answers_only_there, serves_responses
from signalbox.adapters.translated import TranslatedAdapter
from signalbox.config import ProviderSettings
from signalbox.types import Dialect

CHATS = frozenset(
    {
        Dialect.CHAT,
        Dialect.RESPONSES,
        Dialect.COMPLETIONS,
        Dialect.MESSAGES,
        Dialect.GENERATE,
        Dialect.CONVERSE,
        Dialect.COHERE_CHAT,
    }
)
"""Dialects that can be translated into each other by `chat.ChatRequest` and `ChatAnswer`."""
EMBEDDINGS = frozenset({Dialect.EMBEDDINGS, Dialect.EMBED, Dialect.COHERE_EMBED})
"""And those by `embeddings_form.EmbeddingsRequest` and `EmbeddingsAnswer`."""

Spoken = Callable[[str], tuple[Adapter, ...]]
"""A provider's own name for a model → the adapters of the endpoints that serve it there. The first
of a kind is the one that requests of other dialects are translated for."""


def _openai(provider: ProviderSettings) -> Spoken:
    spoken = _by_model(provider, OpenAIAdapter(provider.kind), ResponsesAdapter(provider.kind))
    return _with_others(provider, spoken, lambda adapter: adapter)


def _by_model(provider: ProviderSettings, chat: Adapter, responses: Adapter) -> Spoken:
    """Chat completions, and the Responses API where the provider has it; some models have no other
    endpoint than that."""
    serves = provider.responses
    if serves is None:
        serves = serves_responses(provider.kind, provider.api)
    usual = (chat, responses) if serves else (chat,)

    def spoken(model: str) -> tuple[Adapter, ...]:
        if serves and answers_only_there(provider.kind, provider.api, model):
            return (responses,)
        return usual

    return spoken


def _azure(provider: ProviderSettings) -> Spoken:
    from signalbox.adapters.azure import AzureAdapter  # noqa: PLC0415 - see above

    chat, responses = (
        AzureAdapter(inner, provider.api_version)
        for inner in (
            OpenAIAdapter(provider.kind, provider.api),
            ResponsesAdapter(provider.kind, provider.api),
        )
    )
    spoken = _by_model(provider, chat, responses)
    return _with_others(provider, spoken, lambda inner: AzureAdapter(inner, provider.api_version))


def _with_others(
    provider: ProviderSettings, chats: Spoken, made: Callable[[Adapter], Adapter]
) -> Spoken:
    """Completions and embeddings besides, where the provider has them; `made` makes its adapter of
    OpenAI's. Some models have no other endpoint than that of completions."""
    name, api = provider.kind, provider.api
    embeddings = (made(EmbeddingsAdapter(name, api)),) if has_embeddings(name) else ()
    endpoint = completions_endpoint(api, name, provider.base_url, declared=provider.completions)
    if endpoint is None:
        return lambda model: (*chats(model), *embeddings)
    completions = made(CompletionsAdapter(name, endpoint, api))

    def spoken(model: str) -> tuple[Adapter, ...]:
        if serves_only(endpoint, model):
            return (completions,)
        if not serves(endpoint, model):
            return (*chats(model), *embeddings)
        return (*chats(model), completions, *embeddings)

    return spoken


def _anthropic(provider: ProviderSettings) -> Spoken:
    from signalbox.adapters.anthropic import AnthropicAdapter  # noqa: PLC0415 - see above
    from signalbox.adapters.anthropic_count import AnthropicCountAdapter  # noqa: PLC0415 - see above

    adapters = (AnthropicAdapter(provider.name), AnthropicCountAdapter(provider.name))
    return lambda model: adapters


def _gemini(provider: ProviderSettings) -> Spoken:
    from signalbox.adapters.gemini import GeminiAdapter  # noqa: PLC0415 - see above
    from signalbox.adapters.gemini_count import GeminiCountAdapter  # noqa: PLC0415 - see above
    from signalbox.adapters.gemini_embeddings import GeminiEmbeddingsAdapter  # noqa: PLC0415 - see above

    adapters = (
        GeminiAdapter(provider.name),
        GeminiCountAdapter(provider.name),
        GeminiEmbeddingsAdapter(provider.name),
    )
    return lambda model: adapters


def _bedrock(provider: ProviderSettings) -> Spoken:
    from signalbox.adapters.converse import ConverseAdapter  # noqa: PLC0415 - see above

    adapters = (ConverseAdapter(provider.name),)
    return lambda model: adapters


def _cohere(provider: ProviderSettings) -> Spoken:
    from signalbox.adapters.cohere import CohereAdapter  # noqa: PLC0415 - see above
    from signalbox.adapters.cohere_embeddings import CohereEmbeddingsAdapter  # noqa: PLC0415 - see above

    adapters = (CohereAdapter(provider.name), CohereEmbeddingsAdapter(provider.name))
    return lambda model: adapters


def _vertex(provider: ProviderSettings) -> Spoken:
    """Google's models and Anthropic's, told apart by their names."""
    from signalbox.adapters.anthropic import AnthropicAdapter  # noqa: PLC0415 - see above
    from signalbox.adapters.anthropic_count import AnthropicCountAdapter  # noqa: PLC0415 - see above
    from signalbox.adapters.gemini import GeminiAdapter  # noqa: PLC0415 - see above
    from signalbox.adapters.gemini_count import GeminiCountAdapter  # noqa: PLC0415 - see above
    from signalbox.adapters.vertex import VertexClaude, VertexGemini, is_claude  # noqa: PLC0415 - see above

    name, project, location = provider.name, provider.project, provider.location
    googles: tuple[Adapter, ...] = tuple(
        VertexGemini(inner, project, location)
        for inner in (GeminiAdapter(name), GeminiCountAdapter(name))
    )
    claudes: tuple[Adapter, ...] = tuple(
        VertexClaude(inner, project, location)
        for inner in (AnthropicAdapter(name), AnthropicCountAdapter(name))
    )
    return lambda model: claudes if is_claude(model) else googles


FAMILIES: Mapping[str, Callable[[ProviderSettings], Spoken]] = MappingProxyType(
    {
        "anthropic": _anthropic,
        "azure": _azure,
        "bedrock": _bedrock,
        "cohere": _cohere,
        "gemini": _gemini,
        "openai": _openai,
        "vertex": _vertex,
    }
)
"""`api` in the configuration → what a provider of it speaks."""


MAX_REMEMBERED = 4096
"""Models by door whose adapter is remembered. Wildcards let clients name any number of them."""


@dataclass(frozen=True, slots=True)
class ProviderAdapters:
    """The adapters of one provider."""

    spoken: Spoken
    _made: dict[tuple[Dialect, Adapter], Adapter] = field(default_factory=dict, init=False)
    """Translating ones: a few for each provider, made once."""
    _found: dict[tuple[Dialect, str], Adapter | None] = field(default_factory=dict, init=False)
    """What was asked for before; a request asks several times."""

    def for_door(self, door: Dialect, model: str) -> Adapter | None:
        """The adapter for a request of a door; None where the provider has nothing like it.

        `model` is the route's name for it. The endpoint of the door's own dialect goes first.
        """
        asked = (door, model)
        if asked in self._found:
            return self._found[asked]
        if len(self._found) >= MAX_REMEMBERED:
            self._found.clear()
        found = self._found[asked] = self._find(door, model)
        return found

    def _find(self, door: Dialect, model: str) -> Adapter | None:
        endpoints = self.spoken(model)
        for adapter in endpoints:
            if adapter.dialect is door:
                return adapter
        for kind in (CHATS, EMBEDDINGS):
            if door in kind:
                for adapter in endpoints:
                    if adapter.dialect in kind and adapter.dialect is not Dialect.COMPLETIONS:
                        return self._translated(door, adapter)
        return None

    def native(self, dialect: Dialect, model: str) -> Adapter | None:
        """The adapter of the endpoint that speaks this dialect itself, if there is one."""
        return next((a for a in self.spoken(model) if a.dialect is dialect), None)

    def _translated(self, door: Dialect, adapter: Adapter) -> Adapter:
        key = (door, adapter)
        if key not in self._made:
            self._made[key] = TranslatedAdapter(adapter, door_of(door))
        return self._made[key]


def adapters_of(provider: ProviderSettings) -> ProviderAdapters:
    """The provider's adapters. Raises `ValueError` for an `api` that there are none for."""
    family = FAMILIES.get(provider.api)
    if family is None:
        raise ValueError(f"api = {provider.api!r}: expected one of {', '.join(sorted(FAMILIES))}")
    return ProviderAdapters(family(provider))
