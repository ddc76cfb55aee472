"""What a provider says that it serves: `GET {base_url}/models`, in its own dialect.

OpenAI's list (also Ollama's, vLLM's, LM Studio's), Anthropic's, Gemini's. Some add a length
of the context under a name of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from signalbox.adapters.protocol import WireRequest
from signalbox.errors import ProviderProtocolError
from signalbox.types import Secret

LARGEST_LIST = 16 * 1024 * 1024
"""Bytes. The longest in use, a reseller's of a thousand models, has about one million."""
MOST_MODELS = 10_000
LONGEST_ID = 256

_CONTEXT_FIELDS = ("context_length", "max_model_len", "context_window", "inputTokenLimit")
"""OpenRouter and Together; vLLM; Groq; Gemini."""
_OUTPUT_FIELDS = ("max_completion_tokens", "outputTokenLimit")
"""Groq; Gemini."""


class DiscoveredModel(msgspec.Struct, frozen=True):
    """A model as its provider lists it. None: the provider does not say."""

    id: str
    context_length: int | None = None
    max_output: int | None = None


def list_request(api: str, base_url: str, key: Secret | None) -> WireRequest:
    """The request for a provider's list of models."""
    headers = [("accept", "application/json"), ("accept-encoding", "identity")]
    if key is not None:
        headers.append(_credential(api, key))
    if api == "anthropic":
        headers.append(("anthropic-version", "2023-06-01"))
    query = {"anthropic": "?limit=1000", "gemini": "?pageSize=1000"}.get(api, "")
    return WireRequest("GET", f"{base_url.rstrip('/')}/models{query}", tuple(headers), b"")


def _credential(api: str, key: Secret) -> tuple[str, str]:
    if api == "anthropic":
        return "x-api-key", key.reveal()
    if api == "gemini":
        return "x-goog-api-key", key.reveal()
    return "authorization", f"Bearer {key.reveal()}"


def read_models(body: bytes) -> tuple[DiscoveredModel, ...]:
    """Raises `ProviderProtocolError` for what is no list of models."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProviderProtocolError(f"the list of models is not JSON: {error}") from error
    if isinstance(answer, dict):
        answer = answer.get("data", answer.get("models"))
    if not isinstance(answer, list):
        raise ProviderProtocolError("no list of models under `data` or `models`")
    models = (_model(entry) for entry in answer[:MOST_MODELS] if isinstance(entry, dict))
    return tuple(model for model in models if model is not None)


def _model(entry: Mapping[str, Any]) -> DiscoveredModel | None:
    """None for an entry that names none, or not as a model can be called."""
    model_id = entry.get("id") or entry.get("name")
    if not isinstance(model_id, str):
        return None
    model_id = model_id.removeprefix("models/")
    if not model_id.strip() or len(model_id) > LONGEST_ID or not model_id.isprintable():
        return None
    return DiscoveredModel(
        model_id, _tokens(entry, _CONTEXT_FIELDS), _tokens(entry, _OUTPUT_FIELDS)
    )


def _tokens(entry: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = entry.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
