"""The providers that need no more than a key: their addresses, wire formats and usual variables."""

from __future__ import annotations

import msgspec


class KnownProvider(msgspec.Struct, frozen=True):
    name: str
    base_url: str
    variable: str | None = None
    """The environment variable that usually holds its key; None: it needs no key."""
    api: str = "openai"


_ALL = (
    KnownProvider("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    KnownProvider("anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", "anthropic"),
    KnownProvider(
        "google",
        "https://generativelanguage.googleapis.com/v1beta",
        "GEMINI_API_KEY",
        "gemini",
    ),
    KnownProvider("cohere", "https://api.cohere.com/v2", "COHERE_API_KEY", "cohere"),
    KnownProvider(
        "bedrock",
        "https://bedrock-runtime.us-east-1.amazonaws.com",
        "AWS_BEARER_TOKEN_BEDROCK",
        "bedrock",
    ),
    KnownProvider("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    KnownProvider("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    KnownProvider("xai", "https://api.x.ai/v1", "XAI_API_KEY"),
    KnownProvider("perplexity", "https://api.perplexity.ai", "PERPLEXITY_API_KEY"),
    KnownProvider("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    KnownProvider("cerebras", "https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    KnownProvider("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    KnownProvider("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    KnownProvider("openrouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    KnownProvider("ollama", "http://127.0.0.1:11434/v1"),
    KnownProvider("vllm", "http://127.0.0.1:8000/v1"),
)

KNOWN_PROVIDERS = {provider.name: provider for provider in _ALL}
"""By name. Makers of models come before resellers: the order of hints for an unknown model."""

_OTHER_NAMES = {"x-ai": "xai", "mistralai": "mistral", "gemini": "google", "moonshot": "moonshotai"}


def provider_name_of(vendor: str) -> str:
    """The provider's name for a vendor as catalogues and model ids spell it (`x-ai`: `xai`)."""
    return _OTHER_NAMES.get(vendor, vendor)
