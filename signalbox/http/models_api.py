"""`GET /v1/models`: OpenAI's list shape with OpenRouter's fields beside it."""

from __future__ import annotations

from typing import Any

from signalbox.actors.key_ring import GatewayKey
from signalbox.adapters.models import ModelEntry, ModelTable, UnknownModel
from signalbox.http.asgi import RequestError
from signalbox.http.intake import may_call, unknown_model


def models_answer(models: ModelTable, key: GatewayKey, *, everything: bool) -> dict[str, Any]:
    """What this key may call; with `everything`, also what no configured key can serve."""
    allowed = [
        entry
        for entry in models.listing(all=everything)
        # Resolving a name that nothing serves is slow: it looks for near ones.
        if key.allows(entry.id) or (entry.servable and may_call(models, key, entry.id))
    ]
    return {"object": "list", "data": [_shown(entry) for entry in allowed]}


def model_answer(
    models: ModelTable, key: GatewayKey, name: str, *, everything: bool
) -> dict[str, Any]:
    """One model. Raises `RequestError` (404), also for one that the list would not show."""
    entry = models.entry(name)
    listed = entry is not None and (everything or entry.servable)
    if entry is None or not listed or not may_call(models, key, name):
        plan = models.resolve(name)
        unknown = plan if isinstance(plan, UnknownModel) else UnknownModel(name, (), None)
        raise RequestError(unknown_model(unknown, "model"))
    return _shown(entry)


def _shown(entry: ModelEntry) -> dict[str, Any]:
    """Prices are US dollars per token as strings; what is unknown is null, never zero."""
    return {
        "id": entry.id,
        "object": "model",
        "created": entry.created,
        "owned_by": entry.owned_by,
        "name": entry.id,
        "context_length": entry.context_length,
        "top_provider": {
            "context_length": entry.context_length,
            "max_completion_tokens": entry.max_output,
        },
        "pricing": {
            "prompt": entry.prompt,
            "completion": entry.completion,
            "input_cache_read": entry.cache_read,
            "input_cache_write": entry.cache_write,
        },
        "available": entry.servable,
    }
