"""`GET /v1/models/{id}/endpoints`: a model's routes, in OpenRouter's shape.

Source: OpenRouter's API reference, "List endpoints for a model".
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache
from typing import Any

from signalbox.adapters.model_entries import ModelEntry
from signalbox.adapters.models import ModelTable
from signalbox.adapters.openai_differences import differences_for
from signalbox.adapters.openai_parameters import PARAMETERS
from signalbox.config import Settings
from signalbox.config_providers import KNOWN_PROVIDERS
from signalbox.types import ModelPlan, Price, Route

_ALWAYS = ("max_tokens",)
_THINKING = ("include_reasoning", "reasoning", "reasoning_effort")


def endpoints_answer(
    shown: dict[str, Any], entry: ModelEntry, models: ModelTable, settings: Settings
) -> dict[str, Any]:
    """`shown`: the model as the list has it. No routes where no configured key serves it."""
    plan = models.resolve(entry.id)
    routes = plan.routes if isinstance(plan, ModelPlan) else ()
    return {
        "data": {
            "id": shown["id"],
            "name": shown["name"],
            "created": shown["created"],
            "description": "",
            "architecture": {**shown["architecture"], "tokenizer": None, "instruct_type": None},
            "endpoints": [_endpoint(route, settings) for route in routes],
        }
    }


def _endpoint(route: Route, settings: Settings) -> dict[str, Any]:
    return {
        "name": f"{route.provider} | {route.model}",
        "model_name": route.model,
        "provider_name": route.provider,
        "tag": route.provider,
        "context_length": route.context_length,
        "max_completion_tokens": route.max_output,
        "max_prompt_tokens": None,
        "pricing": pricing(route.price),
        "quantization": route.quantization,
        "supported_parameters": supported_parameters(route.provider, route.model, settings),
        "status": 0,
        "uptime_last_30m": None,
    }


def pricing(price: Price) -> dict[str, str | None]:
    """US dollars per token, in plain decimals, by OpenRouter's names; None: unknown.

    Its `image` is a price per picture, which nobody here has; `image_token` is the one per token.
    """
    return {
        "prompt": _per_token(price.input),
        "completion": _per_token(price.output),
        "input_cache_read": _per_token(price.cached_read),
        "input_cache_write": _per_token(price.cache_write),
        "input_cache_write_1h": _per_token(price.cache_write_1h),
        "internal_reasoning": _per_token(price.reasoning),
        "image": None,
        "image_token": _per_token(price.image_input),
        "image_output": _per_token(price.image_output),
        "audio": _per_token(price.audio_input),
        "audio_output": _per_token(price.audio_output),
    }


def supported_parameters(provider: str, model: str, settings: Settings) -> list[str]:
    """The fields of a chat completion that a provider's model is not known to lack. A provider that
    is not configured is a known one."""
    configured = settings.providers.get(provider)
    if configured is not None:
        return list(_supported(configured.api, configured.kind, model))
    return list(_supported(KNOWN_PROVIDERS[provider].api, provider, model))


@lru_cache(maxsize=4096)  # lists have about a thousand models and are asked for again and again
def _supported(api: str, provider: str, model: str) -> tuple[str, ...]:
    known = differences_for(api, provider, model)
    names = {
        parameter.field
        for parameter in PARAMETERS
        if parameter.field == parameter.name
        and (parameter.name in known.takes if parameter.rare else parameter.name not in known.lacks)
    }
    thinking = _THINKING if known.reasoning is not None else ()
    return tuple(sorted({*names, *_ALWAYS, *thinking}))


def _per_token(per_million: Decimal | None) -> str | None:
    return None if per_million is None else f"{(per_million / 1_000_000).normalize():f}"
