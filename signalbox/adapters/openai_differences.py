"""What providers, and models of theirs, are known to do otherwise than OpenAI's dialect has it.

One entry a provider, by its name in the configuration; `differences_for` says who is asked by its
`api` instead. A provider that is not here is taken to take everything. Each entry says where it is
known from: the vendor's own page, or what was recorded. Rules for models are applied in their
order, each on top of what came before; the first words of a rule are its pattern, which must match
at the beginning of the provider's own name for the model, in lower case and without a vendor's
prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from msgspec.structs import replace

from signalbox.adapters import tool_ids
from signalbox.adapters.differences_bedrock import BEDROCK
from signalbox.adapters.differences_cohere import COHERE
from signalbox.adapters.differences_compatible import (
    CEREBRAS,
    DEEPSEEK,
    FIREWORKS,
    GROQ,
    MISTRAL,
    MOONSHOT,
    OLLAMA,
    OPENROUTER,
    PERPLEXITY,
    QWEN,
    TOGETHER,
    VLLM,
    XAI,
    ZAI,
)
from signalbox.adapters.differences_openai import OPENAI
from signalbox.adapters.openai_parameters import Differences
from signalbox.adapters.openai_reasoning import ANY_WAY
from signalbox.adapters.provider_entries import (
    CUSTOM,
    FOREIGN,
    PENALTIES,
    SCHEMA,
    ProviderEntry,
    rule,
)

# "Create a Message", "Extended thinking", "Structured outputs", "Migration guide". Its wire is
# another one: `anthropic_request_writer.py` writes it, by model (`anthropic_models.py`).
_ANTHROPIC = ProviderEntry(
    Differences(
        lacks=frozenset(
            {
                *PENALTIES,
                *FOREIGN - {"top_k"},
                CUSTOM,
                "metadata",
                "store",
                "seed",
                "prompt_cache_key",
                "prediction",
                "verbosity",
                "logit_bias",
                "logprobs",
                "n",
                "modalities",
                "response_format: json_object",
                "audio in messages",
                "video in messages",
            }
        ),
        thinks_unasked=False,
        max_temperature=1.0,
        reasoning=ANY_WAY,
        tool_ids=tool_ids.ANTHROPIC,
        refuses_empty=True,
    ),
    (
        rule(r"claude-3-(?!7)|claude-[12]\b", SCHEMA, "strict tools", reasoning=None),
        rule(
            r"(?!claude-3-(?!7)|claude-[12]\b)", lacks_thinking=frozenset({"temperature", "top_k"})
        ),
        rule(r"claude-3-7|claude-(?:opus|sonnet)-4(?!-[5-9]\b)", SCHEMA, "strict tools"),
        rule(
            r"claude-opus-4-[78]|claude-(?:opus|sonnet|haiku|fable|mythos)-[5-9]",
            "temperature",
            "top_p",
            "top_k",
        ),
        rule(r"claude-(?:opus|sonnet)-5-5|claude-(?:fable|mythos)-5-[1-9]", "tool_choice"),
    ),
)

# "GenerationConfig", "Function calling", "Structured outputs". Its wire is another one:
# `gemini_request_writer.py` writes it, by model (`gemini_models.py`).
_GEMINI = ProviderEntry(
    Differences(
        lacks=frozenset(
            {
                *PENALTIES,
                *FOREIGN - {"top_k"},
                CUSTOM,
                "user",
                "safety_identifier",
                "metadata",
                "store",
                "prompt_cache_key",
                "prediction",
                "verbosity",
                "logit_bias",
                "logprobs",
                "strict tools",
                "parallel_tool_calls: false",
                "modalities",
            }
        ),
        reasoning=ANY_WAY,
    ),
    (
        rule(r"gemini-(1\.5|2\.0)", takes=(*PENALTIES, "logprobs")),
        rule(r".*-(image|tts)", takes=("modalities",)),
    ),
)

ENTRIES: Mapping[str, ProviderEntry] = MappingProxyType(
    {
        "openai": OPENAI,
        # "Azure OpenAI reasoning models": as OpenAI's; deployments are often named for the model.
        "azure": OPENAI,
        "groq": GROQ,
        "mistral": MISTRAL,
        "cerebras": CEREBRAS,
        "deepseek": DEEPSEEK,
        "xai": XAI,
        "perplexity": PERPLEXITY,
        "ollama": OLLAMA,
        "zai": ZAI,
        "moonshot": MOONSHOT,
        "moonshotai": MOONSHOT,
        "dashscope": QWEN,
        "qwen": QWEN,
        "together": TOGETHER,
        "fireworks": FIREWORKS,
        "openrouter": OPENROUTER,
        "vllm": VLLM,
        "anthropic": _ANTHROPIC,
        "gemini": _GEMINI,
        "cohere": COHERE,
        "bedrock": BEDROCK,
    }
)
"""By the provider's name, or by the `api` of those that do not speak OpenAI's dialect."""

DIFFERENCES: Mapping[str, Differences] = MappingProxyType(
    {name: entry.provider for name, entry in ENTRIES.items()}
)
"""Of the providers themselves, whatever the model."""

BY_NAME = frozenset({"openai"})
"""The `api`s whose providers are told apart by their names: many speak OpenAI's. Of every other
`api` there is one entry, whatever the provider is called."""
_NONE = ProviderEntry(Differences())


@lru_cache(maxsize=4096)
def differences_for(api: str, provider: str, model: str | None = None) -> Differences:
    """What is known of a provider's model, by the provider's own name for it; None: of all of its
    models. `api` and `provider`: as the configuration has them."""
    entry = ENTRIES.get(provider if api in BY_NAME else api, _NONE)
    differences = entry.provider
    if model is None:
        return differences
    name = model.lower().rpartition("/")[2]
    for found in entry.models:
        if re.match(found.pattern, name):
            lacks = (differences.lacks | found.lacks) - found.takes
            differences = replace(differences, lacks=lacks, **found.changes)
    return differences
