"""Lists of models, as the API that a client speaks has them.

`GET /v1/models` has OpenAI's shape with OpenRouter's fields beside it; for clients of Anthropic's
API it has theirs, and so for Google's, whose path is `/v1beta/models` too (`model_pages.py`).
All of them show the same models: what the key may call and a configured provider key can serve.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from signalbox.actors.key_ring import GatewayKey
from signalbox.adapters.model_entries import ModelEntry
from signalbox.adapters.models import ModelTable, UnknownModel
from signalbox.config import Settings
from signalbox.config_access import PRESET_MARK
from signalbox.http.asgi import RequestError
from signalbox.http.model_access import may_call, unknown_model
from signalbox.http.model_endpoints import endpoints_answer, pricing, supported_parameters
from signalbox.http.model_pages import anthropic_model, anthropic_page, gemini_model, gemini_page
from signalbox.http.paths import Endpoint, Place
from signalbox.http.presets import model_of
from signalbox.types import Dialect, Flavour, Preset

_CLIENTS = {"anthropic-version": Dialect.MESSAGES, "x-goog-api-client": Dialect.GENERATE}
"""Headers that one vendor's clients send and no others: Anthropic's, and Google's SDKs, whose paths
for models begin with `/v1` too."""
_LISTS = (Endpoint.MODELS, Endpoint.MODEL)


def place_of_client(place: Place, headers: Mapping[str, str]) -> Place:
    """The place in the dialect of the client: lists of models have one path for all of them."""
    shared = place.dialect is Dialect.CHAT and place.flavour is Flavour.PLAIN
    if shared and place.endpoint in _LISTS:
        for header, dialect in _CLIENTS.items():
            if header in headers:
                return replace(place, dialect=dialect)
    return place


def models_reply(
    place: Place,
    query: Mapping[str, str],
    models: ModelTable,
    settings: Settings,
    key: GatewayKey,
    presets: Mapping[str, Preset],
) -> dict[str, Any]:
    """The body of an answer at one of the places for models. Raises `RequestError`.

    `query`: the parameters by name; `all=true` shows too what no configured key can serve, and in
    OpenAI's list the presets that have a model.
    """
    everything = query.get("all") == "true"
    if place.endpoint is Endpoint.MODELS:
        shown = allowed_entries(models, key, everything=everything)
        match place.dialect:
            case Dialect.MESSAGES:
                return anthropic_page(shown, query)
            case Dialect.GENERATE:
                return gemini_page(shown, query)
            case _:
                named = _preset_entries(presets, models, key) if everything else ()
                data = [openai_model(entry, settings) for entry in (*shown, *named)]
                return {"object": "list", "data": data}
    entry = allowed_entry(models, key, place.id, everything=everything)
    if place.endpoint is Endpoint.MODEL_ENDPOINTS:
        return endpoints_answer(openai_model(entry, settings), entry, models, settings)
    match place.dialect:
        case Dialect.MESSAGES:
            return anthropic_model(entry)
        case Dialect.GENERATE:
            return gemini_model(entry)
        case _:
            return openai_model(entry, settings)


def allowed_entries(
    models: ModelTable, key: GatewayKey, *, everything: bool = False
) -> list[ModelEntry]:
    """What this key may call; with `everything`, also what no configured key can serve."""
    return [
        entry
        for entry in models.listing(all=everything)
        # Resolving a name that nothing serves is slow: it looks for near ones.
        if (key.allows(entry.id) and not key.providers)
        or (entry.servable and may_call(models, key, entry.id))
    ]


def _preset_entries(
    presets: Mapping[str, Preset], models: ModelTable, key: GatewayKey
) -> Iterator[ModelEntry]:
    """Presets as the models that they can be called as."""
    for slug, preset in presets.items():
        model = model_of(preset)
        entry = models.entry(model) if model is not None and may_call(models, key, model) else None
        if entry is not None:
            yield replace(entry, id=f"{PRESET_MARK}{slug}")


def allowed_entry(
    models: ModelTable, key: GatewayKey, name: str, *, everything: bool = False
) -> ModelEntry:
    """One model. Raises `RequestError` (404), also for one that the list would not show."""
    entry = models.entry(name)
    listed = entry is not None and (everything or entry.servable)
    if entry is None or not listed or not may_call(models, key, name):
        plan = models.resolve(name)
        unknown = plan if isinstance(plan, UnknownModel) else UnknownModel(name, (), None)
        raise RequestError(unknown_model(unknown, "model"))
    return entry


def openai_model(entry: ModelEntry, settings: Settings) -> dict[str, Any]:
    """OpenAI's model with OpenRouter's fields; what is unknown is null, never zero."""
    return {
        "id": entry.id,
        "object": "model",
        "created": entry.created,
        "owned_by": entry.owned_by,
        "name": entry.id,
        "context_length": entry.context_length,
        "architecture": {
            "modality": _modality(entry),
            "input_modalities": _listed(entry.inputs),
            "output_modalities": _listed(entry.outputs),
        },
        "top_provider": {
            "context_length": entry.context_length,
            "max_completion_tokens": entry.max_output,
        },
        "pricing": pricing(entry.price),
        "supported_parameters": supported_parameters(entry.owned_by, entry.served_as, settings),
        "capabilities": _listed(entry.capabilities),
        "available": entry.servable,
    }


def _listed(words: tuple[str, ...] | None) -> list[str] | None:
    return None if words is None else list(words)


def _modality(entry: ModelEntry) -> str | None:
    """OpenRouter's `text+image->text`."""
    if entry.inputs is None or entry.outputs is None:
        return None
    return f"{'+'.join(entry.inputs)}->{'+'.join(entry.outputs)}"
