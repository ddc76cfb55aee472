"""What providers of OpenAI's embeddings endpoint take, and how much of it in one call.

By the provider's name in the configuration; one that is not here is taken to take everything.
Each entry says where it is known from.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from signalbox.adapters.embeddings_batches import NO_LIMITS, BatchLimits


class EmbeddingsDifferences(msgspec.Struct, frozen=True):
    limits: BatchLimits = NO_LIMITS
    token_ids: bool = True
    """It takes texts as token ids."""
    dimensions: str | None = "dimensions"
    """Its name for how long the vectors are to be; None: it does not let one choose."""
    encodings: frozenset[str] = frozenset({"float", "base64"})
    """Values of `encoding_format` that it takes. The field is left out with any other: what an
    answer holds is looked at, and the gateway turns it into what the client wants."""
    user: bool = True


_NO_DIFFERENCES = EmbeddingsDifferences()

_ENTRIES: Mapping[str, EmbeddingsDifferences] = MappingProxyType(
    {
        # API reference, `input`: 2,048 inputs, and 300,000 tokens summed over them.
        "openai": EmbeddingsDifferences(BatchLimits(2048, 300_000)),
        # "Azure OpenAI quotas and limits": array of up to 2,048 inputs.
        "azure": EmbeddingsDifferences(BatchLimits(2048, 300_000)),
        # API reference: input is text, the length of vectors `output_dimension`, no `user`.
        # Its 400s: "Too many tokens in batch. Max is 16384", and code 3210 above 512 inputs.
        "mistral": EmbeddingsDifferences(
            BatchLimits(512, 16_384), token_ids=False, dimensions="output_dimension", user=False
        ),
        # "Compatibility API": `input`, `model`, `encoding_format` are supported. Embed API: at
        # most 96 texts a call.
        "cohere": EmbeddingsDifferences(
            BatchLimits(96), token_ids=False, dimensions=None, user=False
        ),
        # "OpenAI compatibility". Its 400: "at most 100 requests can be in one batch".
        "google": EmbeddingsDifferences(BatchLimits(100), token_ids=False, user=False),
        # API reference: texts alone; neither `dimensions` nor `encoding_format` is a parameter.
        "together": EmbeddingsDifferences(
            token_ids=False, dimensions=None, encodings=frozenset(), user=False
        ),
        # API reference: an array of at most 2,048 inputs.
        "fireworks": EmbeddingsDifferences(BatchLimits(2048), encodings=frozenset()),
        # "OpenAI compatibility": arrays of tokens and `user` are not ticked.
        "ollama": EmbeddingsDifferences(token_ids=False, user=False),
        # API reference: at most 1,000 texts; `output_dimension`; `encoding_format` is null or
        # base64; 120,000 tokens at the largest models.
        "voyage": EmbeddingsDifferences(
            BatchLimits(1000, 120_000),
            token_ids=False,
            dimensions="output_dimension",
            encodings=frozenset({"base64"}),
            user=False,
        ),
        # Model Studio, "Text embedding": "batch size … should not be larger than 10".
        "dashscope": EmbeddingsDifferences(BatchLimits(10), token_ids=False, user=False),
        "qwen": EmbeddingsDifferences(BatchLimits(10), token_ids=False, user=False),
    }
)

WITHOUT_EMBEDDINGS = frozenset(
    {"groq", "deepseek", "xai", "cerebras", "anthropic", "moonshot", "moonshotai", "perplexity"}
)
"""Providers whose API reference has no embeddings endpoint in OpenAI's dialect."""


def embeddings_differences(api: str, provider: str) -> EmbeddingsDifferences:
    """`api` and `provider`: as the configuration has them."""
    return _ENTRIES.get(provider if api == "openai" else api, _NO_DIFFERENCES)


def has_embeddings(provider: str) -> bool:
    return provider not in WITHOUT_EMBEDDINGS
