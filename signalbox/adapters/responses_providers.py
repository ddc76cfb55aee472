"""Who serves the Responses API, and what of a request it has no field for."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec
from msgspec.structs import replace

from signalbox.adapters.chat import ReasoningFormat
from signalbox.adapters.openai_differences import differences_for
from signalbox.adapters.openai_parameters import Differences
from signalbox.adapters.openai_reasoning import ReasoningStyle


class ResponsesProvider(msgspec.Struct, frozen=True):
    """One provider's Responses API."""

    stores: bool = True
    """It keeps answers, so that later requests may refer to them."""
    format: ReasoningFormat = ReasoningFormat.OPENAI
    summaries: bool = True
    """It shows what was thought only in a summary that is asked for; otherwise always, as it is."""


PROVIDERS = {
    "openai": ResponsesProvider(),
    # "Azure OpenAI Responses API", under /openai/v1.
    "azure": ResponsesProvider(),
    # "Generate Text": stored for 30 days, reasoning encrypted on demand.
    "xai": ResponsesProvider(format=ReasoningFormat.XAI),
    # "Responses API Beta": stateless, each request with the whole conversation.
    "openrouter": ResponsesProvider(stores=False),
    # "Responses API": previous_response_id, store and conversations are not supported.
    "groq": ResponsesProvider(stores=False, summaries=False),
    # "OpenAI compatibility": /v1/responses, without stateful requests.
    "ollama": ResponsesProvider(stores=False, summaries=False),
    # "OpenAI-Compatible Server": answers are kept only with an environment variable of its own.
    "vllm": ResponsesProvider(stores=False, summaries=False),
}
"""By name in the configuration; the vendors' own pages say so. Others: `responses = true`."""
UNKNOWN = ResponsesProvider()

LACKS = frozenset(
    {
        "stop",
        "n",
        "modalities",
        "seed",
        "prediction",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "top_k",
        "min_p",
        "top_a",
        "repetition_penalty",
        "audio in messages",
        "video in messages",
    }
)
"""Rows of `openai_parameters.PARAMETERS` that the API has no field for: its API reference. (Audio
is in its list of parts, and refused by its models.)"""
_ONLY_HERE = re.compile(
    r"o\d+-pro|gpt-[\d.]+-pro|gpt-[\d.]+-codex|codex-|computer-use|o\d+(?:-mini)?-deep-research"
)
_AZURE = "azure"
STATE = ("previous_response_id", "conversation", "background")
"""Fields that need a provider which keeps answers."""


def provider_of(name: str, api: str = "openai") -> ResponsesProvider:
    return PROVIDERS.get(api if api == _AZURE else name, UNKNOWN)


def serves_responses(name: str, api: str = "openai") -> bool:
    return (api if api == _AZURE else name) in PROVIDERS


def answers_only_there(name: str, api: str, model: str) -> bool:
    """Whether the model has no other endpoint than this: OpenAI's pages of its models say so. (Of a
    deployment its name may.)"""
    makers = name == "openai" or api == _AZURE
    return makers and _ONLY_HERE.match(model) is not None


@lru_cache(maxsize=1024)
def responses_differences(provider: str, api: str, model: str) -> Differences:
    """What the endpoint does not take of a chat completion's body."""
    known = differences_for(api, provider, model)
    style = known.reasoning
    if style is not None:
        summaries = provider_of(provider, api).summaries
        style = ReasoningStyle(efforts=style.efforts, summaries=summaries)
    return replace(
        known,
        lacks=known.lacks | LACKS,
        reasoning=style,
        reasoning_back=None,
    )
