"""What Bedrock's Converse does otherwise than OpenAI's dialect has it. Its wire is another one:
`converse_request_writer.py` writes it.
"""

from __future__ import annotations

from signalbox.adapters import tool_ids
from signalbox.adapters.openai_parameters import Differences
from signalbox.adapters.openai_reasoning import ANY_WAY
from signalbox.adapters.provider_entries import (
    CUSTOM,
    FOREIGN,
    NO_DEVELOPER,
    PENALTIES,
    SCHEMA,
    ProviderEntry,
    rule,
)

# Bedrock API reference, "Converse", `InferenceConfiguration`; user guide, "Inference parameters":
# temperatures to 1; "Structured outputs": which models; "Supported models and model features".
BEDROCK = ProviderEntry(
    Differences(
        lacks=frozenset(
            {
                *PENALTIES,
                *FOREIGN,
                CUSTOM,
                "user",
                "safety_identifier",
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
                "parallel_tool_calls: false",
                "response_format: json_object",
                "audio in messages",
            }
        ),
        max_temperature=1.0,
        roles=NO_DEVELOPER,
        reasoning=ANY_WAY,
        tool_ids=tool_ids.ANTHROPIC,
        functions=False,
        refuses_empty=True,
    ),
    (
        rule(r".*claude", "video in messages", takes=("top_k",)),
        rule(r".*(claude-[123v]|nova|titan|llama|cohere|ai21|jamba)", SCHEMA, "strict tools"),
        rule(r".*(titan|llama|cohere|ai21|jamba|mistral-(7b|large-2402)|mixtral)", reasoning=None),
    ),
)
