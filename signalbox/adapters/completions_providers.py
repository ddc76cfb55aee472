"""Which models of which providers have a completions endpoint, and what it does not take there.

By the provider's name in the configuration (the `api`, where that is not `openai`). A provider that
is not here has none that is known; `completions = true` in its configuration says that it has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

PROMPT_LIST = "prompt: list"
PROMPT_TOKENS = "prompt: tokens"
"""Uses of `prompt`; what else is lacked is named for its field."""


class CompletionsEndpoint(msgspec.Struct, frozen=True):
    """What is known of a provider's endpoint."""

    models: str = ""
    """A regular expression that the names of its models begin with."""
    only: str | None = None
    """And those of models that have no other endpoint."""
    lacks: frozenset[str] = frozenset()
    """Uses with meaning that it does not take."""
    base_url: str = ""
    """How the address must end."""
    raw: bool = True
    """The prompt reaches the model as it is, so that an answer is gone on from by a longer one."""


_OPENAI = r"(ft:)?(gpt-3\.5-turbo-instruct|davinci-002|babbage-002)"
_NO_ARRAYS = frozenset({PROMPT_LIST, PROMPT_TOKENS})

_ENTRIES: Mapping[str, CompletionsEndpoint] = MappingProxyType(
    {
        # "Models": these alone are for the completions endpoint, and have no other.
        "openai": CompletionsEndpoint(_OPENAI, only=_OPENAI),
        # The same models; deployments are often named for them.
        "azure": CompletionsEndpoint(
            r"gpt-35-turbo-instruct|gpt-3\.5-turbo-instruct|davinci-002|babbage-002",
            only=r"davinci-002|babbage-002",
        ),
        # "OpenAI-Compatible Server", Completions API: "suffix parameter is not supported".
        "vllm": CompletionsEndpoint(lacks=frozenset({"suffix"})),
        # API reference, "Create completion": `prompt` is a string; no `suffix`, no `best_of`.
        "together": CompletionsEndpoint(lacks=_NO_ARRAYS | {"suffix", "best_of"}),
        # API reference, "Create Completion": no `suffix`, no `best_of`.
        "fireworks": CompletionsEndpoint(lacks=frozenset({"suffix", "best_of"})),
        # "FIM Completion (Beta)": under the base URL that ends in /beta; one prompt, one choice.
        "deepseek": CompletionsEndpoint(
            r"deepseek-(chat|v)", lacks=_NO_ARRAYS | {"n", "best_of"}, base_url="/beta"
        ),
        # API reference, "Completion": one prompt, which the router makes a chat of for most models.
        "openrouter": CompletionsEndpoint(
            lacks=_NO_ARRAYS | {"suffix", "echo", "best_of", "logprobs", "n"}, raw=False
        ),
        # "OpenAI compatibility": `prompt` is a string, put into the model's template; `best_of`,
        # `echo` and `n` are not ticked.
        "ollama": CompletionsEndpoint(lacks=_NO_ARRAYS | {"echo", "best_of", "n"}, raw=False),
        # API reference, "Completions": no `suffix`, `n` or `best_of`.
        "cerebras": CompletionsEndpoint(lacks=frozenset({"suffix", "n", "best_of"})),
    }
)
_SWITCHED_ON = CompletionsEndpoint()


def completions_endpoint(
    api: str, provider: str, base_url: str, *, declared: bool | None = None
) -> CompletionsEndpoint | None:
    """The endpoint, if there is one; `declared`: what the configuration says of that."""
    if declared is False:
        return None
    entry = _ENTRIES.get(provider if api == "openai" else api)
    if entry is not None and not base_url.rstrip("/").endswith(entry.base_url):
        entry = None
    return _SWITCHED_ON if entry is None and declared else entry


def serves(endpoint: CompletionsEndpoint, model: str) -> bool:
    return _begins(endpoint.models, model)


def serves_only(endpoint: CompletionsEndpoint, model: str) -> bool:
    """Whether the model has no endpoint but this one."""
    return endpoint.only is not None and _begins(endpoint.only, model)


def _begins(pattern: str, model: str) -> bool:
    return re.match(pattern, model.lower().rpartition("/")[2]) is not None
