"""What Cohere's API does otherwise than OpenAI's dialect has it. Its wire is another one:
`cohere_request_writer.py` writes it.
"""

from __future__ import annotations

from signalbox.adapters.openai_parameters import Differences
from signalbox.adapters.openai_reasoning import ANY_WAY
from signalbox.adapters.provider_entries import (
    AS_CONTENT,
    CUSTOM,
    FOREIGN,
    NO_DEVELOPER,
    ProviderEntry,
    rule,
)

# v2 API reference, "Chat": the parameters that it has; temperatures to 1; content of users is text
# and images. `tool_choice`: "only compatible with models Command-r7b and newer". "Image Inputs":
# of those models that see. "Reasoning Capabilities": which models think.
COHERE = ProviderEntry(
    Differences(
        lacks=frozenset(
            {
                *FOREIGN - {"top_k"},
                CUSTOM,
                "user",
                "safety_identifier",
                "metadata",
                "store",
                "service_tier",
                "prompt_cache_key",
                "prediction",
                "verbosity",
                "logit_bias",
                "logprobs",
                "n",
                "modalities",
                "parallel_tool_calls: false",
                "files in messages",
                "audio in messages",
                "video in messages",
            }
        ),
        max_temperature=1.0,
        roles=NO_DEVELOPER,
        reasoning=ANY_WAY,
        reasoning_back=AS_CONTENT,
        functions=False,
        refuses_begun=True,
        refuses_empty=True,
    ),
    (
        rule(r"command(?!-a)|command-a-(\d|vision|translate)|c4ai|aya|tiny-aya", reasoning=None),
        rule(
            r"command(?!-a)|command-a-(\d|reasoning|translate)|c4ai-aya-expanse|tiny-aya",
            "images in messages",
        ),
        rule(r"command(?!-a|-r7b)", "tool_choice"),
    ),
)
