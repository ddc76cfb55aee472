"""What OpenAI's own models do otherwise than its dialect has it, by model."""

from __future__ import annotations

from typing import Any

from signalbox.adapters import tool_ids
from signalbox.adapters.openai_parameters import Differences
from signalbox.adapters.provider_entries import (
    FOREIGN,
    NEW_CEILING,
    NO_BACK,
    SAMPLING,
    USUAL_EFFORTS,
    ProviderEntry,
    efforts,
    fields_of,
    rule,
)

# Guide "Reasoning models", and the 400s that it spares a client: `max_tokens` ("Use
# 'max_completion_tokens' instead"), sampling ("Only the default (1) value is supported"). The
# efforts are those that the pages of the models list.
_THINKING: dict[str, Any] = {
    "renames": NEW_CEILING,
    "one_instruction_role": True,
    "lacks_thinking": SAMPLING,
}
_OPENAI_MODELS = (
    # API reference, `reasoning_effort`: for reasoning models.
    rule(r"(gpt-3\.5|gpt-4|chatgpt-4o|gpt-5(\.\d+)?-(search-api))", reasoning=None),
    rule(r"gpt-5-chat", reasoning=None, renames=NEW_CEILING),
    # o1-preview and o1-mini have no instructions, tools or formats.
    rule(
        r"o1-(preview|mini)",
        "tools",
        "tool_choice",
        "response_format",
        "parallel_tool_calls: true",
        "parallel_tool_calls: false",
        *SAMPLING,
        renames=NEW_CEILING,
        reasoning=None,
        roles=fields_of(system="user", developer="user"),
    ),
    rule(r"o1(?!-preview|-mini)|o3|o4", reasoning=efforts(*USUAL_EFFORTS), **_THINKING),
    # API reference, `stop`: not with o3 and o4-mini.
    rule(r"o3|o4-mini", "stop"),
    rule(r"gpt-5(?!-chat|-search|\.)", reasoning=efforts("minimal", *USUAL_EFFORTS), **_THINKING),
    rule(r"gpt-5-codex", reasoning=efforts(*USUAL_EFFORTS)),
    rule(r"gpt-5-pro", reasoning=efforts("high")),
    # Their efforts are not known here, so that any goes through.
    rule(r"gpt-(5\.\d+|[6-9])", **_THINKING),
    # Guides "Using GPT-5.1" and "Using GPT-5.2": they think when they are told to, and take
    # sampling parameters while they do not.
    rule(r"gpt-5\.1(?!-c)", reasoning=efforts("none", *USUAL_EFFORTS), thinks_unasked=False),
    rule(
        r"gpt-5\.2(?!-c|-pro)",
        reasoning=efforts("none", *USUAL_EFFORTS, "xhigh"),
        thinks_unasked=False,
    ),
    rule(r"gpt-5\.1-codex", reasoning=efforts(*USUAL_EFFORTS)),
    rule(r"gpt-5\.(1-codex-max|2-codex)", reasoning=efforts(*USUAL_EFFORTS, "xhigh")),
    rule(r"gpt-5\.2-pro", reasoning=efforts("medium", "high", "xhigh")),
    rule(r"gpt-5\.\d+-chat", reasoning=efforts("medium")),
)
# API reference: unknown parameters are a 400, and so are ids of tool calls over 40 characters.
OPENAI = ProviderEntry(
    Differences(
        lacks=FOREIGN,
        reasoning_back=NO_BACK,
        tool_ids=tool_ids.OPENAI,
    ),
    _OPENAI_MODELS,
)
