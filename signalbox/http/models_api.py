"""`GET /v1/models`: OpenAI's list shape with OpenRouter's fields beside it."""

from __future__ import annotations

from typing import Any

from signalbox.actors.key_ring import GatewayKey
from signalbox.adapters.models import ModelEntry, ModelTable
from signalbox.http.asgi import RequestError
from signalbox.types import ApiError


def models_answer(models: ModelTable, key: GatewayKey, *, everything: bool) -> dict[str, Any]:
    """What this key may call; with `everything`, also what no configured key can serve."""
    entries = models.listing(all=everything)
    return {
        "object": "list",
        "data": [_shown(entry) for entry in entries if key.allows(entry.id)],
    }


def model_answer(models: ModelTable, key: GatewayKey, name: str) -> dict[str, Any]:
    """One model. Raises `RequestError` (404), also for one that the key may not call."""
    entry = models.entry(name)
    if entry is None or not key.allows(name):
        raise RequestError(
            ApiError(
                status=404,
                type="invalid_request_error",
                code="model_not_found",
                message=f"The model {name!r} does not exist here.",
                param="model",
                should_retry=False,
            )
        )
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
