"""What providers that speak OpenAI's dialect are known to do otherwise, and models of theirs.

Each entry says where it is known from: the vendor's own pages, or what was recorded.
"""

from __future__ import annotations

from typing import Any

from signalbox.adapters import tool_ids
from signalbox.adapters.openai_parameters import MEDIA, Differences
from signalbox.adapters.openai_prefill import PLAIN, PrefillStyle
from signalbox.adapters.openai_reasoning import ANY_WAY, ReasoningStyle
from signalbox.adapters.provider_entries import (
    AS_CONTENT,
    CUSTOM,
    FOREIGN,
    NO_BACK,
    NO_DEVELOPER,
    OLD_CEILING,
    PENALTIES,
    SCHEMA,
    USUAL_EFFORTS,
    ProviderEntry,
    efforts,
    fields_of,
    rule,
)

_SWITCH: dict[str, Any] = {
    "on": fields_of(thinking={"type": "enabled"}),
    "off": fields_of(thinking={"type": "disabled"}),
}
_PARTIAL = PrefillStyle(message=fields_of(partial=True), echoes=False)

# "OpenAI Compatibility", unsupported: each of the first three is a 400. "Assistant Message
# Prefilling": a last message of the assistant is gone on from. "Reasoning": which models take
# which `reasoning_effort`, and what hides the thinking; others refuse both. "Structured Outputs":
# `json_schema` at the models listed there.
GROQ = ProviderEntry(
    Differences(
        lacks=frozenset({"logit_bias", "logprobs", "n", CUSTOM, SCHEMA, *FOREIGN}),
        roles=NO_DEVELOPER,
        reasoning=None,
        reasoning_back=frozenset({"reasoning"}),
        prefill=PLAIN,
    ),
    (
        rule(
            r"gpt-oss",
            reasoning=efforts(*USUAL_EFFORTS, hidden=fields_of(include_reasoning=False)),
        ),
        rule(
            r"qwen3",
            reasoning=efforts(
                on=fields_of(reasoning_effort="default"),
                off=fields_of(reasoning_effort="none"),
                hidden=fields_of(reasoning_format="hidden"),
            ),
        ),
        rule(r"gpt-oss|llama-4|kimi-k2", takes=(SCHEMA,)),
    ),
)

# API reference: any field outside of its schema is a 422 `extra_forbidden`; it has `random_seed`
# and `max_tokens` for two of OpenAI's, temperatures to 1.5, roles without `developer`, and always
# streams usage. `prefix` of an assistant message: there too; answers were seen to repeat that
# message, and without it the last message must be a user's or a tool's. `reasoning_effort`:
# "Reasoning", `high` and `none` at adjustable models; recorded.
MISTRAL = ProviderEntry(
    Differences(
        lacks=frozenset(
            {
                "user",
                "safety_identifier",
                "store",
                "service_tier",
                "prompt_cache_key",
                "verbosity",
                "logit_bias",
                "logprobs",
                "modalities",
                CUSTOM,
                *FOREIGN,
            }
        ),
        renames=fields_of(seed="random_seed", max_completion_tokens="max_tokens"),
        max_temperature=1.5,
        roles=NO_DEVELOPER,
        reasoning=None,
        reasoning_back=NO_BACK,
        tool_ids=tool_ids.MISTRAL,
        functions=False,
        refuses_begun=True,
        refuses_empty=True,
        streams_usage_unasked=True,
        prefill=PrefillStyle(message=fields_of(prefix=True)),
    ),
    (rule(r"mistral-(small|medium)", reasoning=efforts("none", "high")),),
)

# "OpenAI Compatibility", unsupported: each of the first six is a 400; "our implementation does not
# expose developer". "Reasoning": efforts of gpt-oss, and `none` at z.ai's models.
CEREBRAS = ProviderEntry(
    Differences(
        lacks=frozenset(
            {
                *PENALTIES,
                "logit_bias",
                "service_tier",
                "parallel_tool_calls: true",
                "parallel_tool_calls: false",
                CUSTOM,
            }
        ),
        max_temperature=1.5,
        roles=NO_DEVELOPER,
        functions=False,
    ),
    (
        rule(r"gpt-oss", reasoning=efforts(*USUAL_EFFORTS)),
        rule(r"zai-glm", reasoning=efforts(off=fields_of(reasoning_effort="none"))),
        rule(r"llama|qwen-3-(coder|235b-a22b-instruct)", reasoning=None),
    ),
)

# API reference: content is text, `n` is no parameter, the formats are text and `json_object`, roles
# are without `developer`; "Thinking Mode": the switch is `thinking`, efforts of OpenAI's are
# understood, `none` is not, and sampling has no effect while it thinks. "Chat Prefix Completion
# (Beta)": only under the base URL that ends in /beta.
DEEPSEEK = ProviderEntry(
    Differences(
        lacks=frozenset({"n", SCHEMA, CUSTOM, "prediction", *MEDIA}),
        lacks_thinking=frozenset({"temperature", *PENALTIES}),
        renames=OLD_CEILING,
        roles=NO_DEVELOPER,
        reasoning=ReasoningStyle(**_SWITCH),
        reasoning_back=AS_CONTENT,
        functions=False,
        prefill=PrefillStyle(message=fields_of(prefix=True), on_request=True),
    ),
    (
        rule(r"deepseek-chat", thinks_unasked=False),
        rule(r"deepseek-reasoner", reasoning=None),
    ),
)

# Recorded: total = prompt + completion + reasoning. API reference: `logit_bias` is unsupported, and
# "Reasoning": penalties and `stop` are refused by models that think, `reasoning_effort` by those
# that always think alike.
XAI = ProviderEntry(
    Differences(lacks=frozenset({"logit_bias", CUSTOM}), functions=False, reasoning_apart=True),
    (
        rule(r"grok-(2|3(?!-mini)|.*non-reasoning)", reasoning=None),
        rule(r"grok-(3-mini|4|code)(?!.*non-reasoning)", *PENALTIES, "stop"),
        rule(r"grok-3-mini", reasoning=efforts("low", "high")),
        rule(r"grok-(4(?!\.[3-9])|code)", reasoning=None),
        rule(r"grok-4\.3", reasoning=efforts("none", *USUAL_EFFORTS)),
        rule(r"grok-4\.5", reasoning=efforts(*USUAL_EFFORTS)),
    ),
)

# API reference: without tools, `stop` and the like; `json_schema` alone is a format; efforts of
# sonar-deep-research and the reasoning models.
PERPLEXITY = ProviderEntry(
    Differences(
        lacks=frozenset(
            {
                "tools",
                "tool_choice",
                "response_format: json_object",
                "n",
                "logprobs",
                "logit_bias",
                "seed",
                "stop",
                "service_tier",
            }
        ),
        renames=OLD_CEILING,
        roles=NO_DEVELOPER,
        reasoning=None,
        reasoning_back=NO_BACK,
        functions=False,
    ),
    (rule(r"sonar-(reasoning|deep)", reasoning=efforts("minimal", *USUAL_EFFORTS)),),
)

# "OpenAI compatibility", supported request fields: the first four are not among them,
# `reasoning_effort` and `reasoning.effort` are.
OLLAMA = ProviderEntry(
    Differences(
        lacks=frozenset({"logit_bias", "user", "n", "tool_choice", CUSTOM}),
        renames=OLD_CEILING,
        roles=NO_DEVELOPER,
        functions=False,
    )
)

# Chat completion reference: `max_tokens`, temperatures to 1, the formats text and `json_object`,
# `tool_choice` auto alone, no penalties. "Thinking Mode": the switch, and thinking is to be given
# back in `reasoning_content`.
ZAI = ProviderEntry(
    Differences(
        lacks=frozenset(
            {*PENALTIES, "logit_bias", "logprobs", "n", "tool_choice", SCHEMA, CUSTOM}
            | {"strict tools"}
        ),
        max_temperature=1.0,
        renames=OLD_CEILING,
        roles=NO_DEVELOPER,
        reasoning=efforts(**_SWITCH),
        reasoning_back=AS_CONTENT,
        functions=False,
    ),
    (
        rule(r"glm-5\.2", reasoning=ReasoningStyle(**_SWITCH)),
        rule(r"glm-5\.3", reasoning=efforts("low", "high", "max")),
    ),
)

# "Partial Mode": the answer leaves the begun message out. Chat reference: temperatures to 1, and
# thinking is given back in `reasoning_content`.
MOONSHOT = ProviderEntry(
    Differences(
        lacks=frozenset({CUSTOM}),
        max_temperature=1.0,
        roles=NO_DEVELOPER,
        reasoning=efforts(**_SWITCH),
        reasoning_back=AS_CONTENT,
        functions=False,
        prefill=_PARTIAL,
    )
)

# Model Studio, "OpenAI compatible": `enable_thinking` and `thinking_budget`; "Partial mode": as
# Moonshot's, for models that do not think.
QWEN = ProviderEntry(
    Differences(
        lacks=frozenset({"logit_bias", CUSTOM}),
        renames=OLD_CEILING,
        roles=NO_DEVELOPER,
        reasoning=efforts(
            on=fields_of(enable_thinking=True),
            off=fields_of(enable_thinking=False),
            budget="thinking_budget",
        ),
        functions=False,
        prefill=_PARTIAL,
    )
)

# Chat completion reference: `max_tokens` alone.
TOGETHER = ProviderEntry(
    Differences(lacks=frozenset({CUSTOM}), renames=OLD_CEILING, roles=NO_DEVELOPER, functions=False)
)
# "Reasoning": `reasoning_effort` with `none`; earlier thinking in `reasoning_content`.
FIREWORKS = ProviderEntry(
    Differences(
        lacks=frozenset({CUSTOM}),
        renames=OLD_CEILING,
        roles=NO_DEVELOPER,
        reasoning_back=AS_CONTENT,
        functions=False,
    )
)

# "API Overview" and "Reasoning Tokens": it takes every form and translates for its own providers;
# assistant prefill: a last message of the assistant is gone on from.
OPENROUTER = ProviderEntry(
    Differences(
        takes=frozenset({"transforms", "plugins"}),
        reasoning=ANY_WAY,
        routes_itself=True,
        prefill=PLAIN,
    )
)

# "OpenAI-Compatible Server", extra parameters; `echo`, off unless asked for, repeats. "Reasoning
# Outputs": `chat_template_kwargs` switches thinking, `include_reasoning` hides it.
VLLM = ProviderEntry(
    Differences(
        lacks=frozenset({CUSTOM}),
        roles=NO_DEVELOPER,
        reasoning=ReasoningStyle(
            off=fields_of(chat_template_kwargs={"enable_thinking": False}),
            hidden=fields_of(include_reasoning=False),
        ),
        functions=False,
        prefill=PrefillStyle(
            body=fields_of(continue_final_message=True, add_generation_prompt=False), echoes=False
        ),
    )
)
