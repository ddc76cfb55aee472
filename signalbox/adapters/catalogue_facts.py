"""What the price catalogue does not know of models: maximum output, modalities, capabilities.

Data of our own, from the vendors' model pages (OpenAI "Models", Anthropic "Models overview", Google
"Gemini models", Mistral "Models", DeepSeek "Models & Pricing", xAI "Models"). The first rule of a
vendor that matches a model's own name says what is known of it; whatever no rule says is unknown.
A resold model is looked up under the vendor that its name begins with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec

TEXT, IMAGE, FILE, AUDIO, VIDEO, EMBEDDING = (
    "text",
    "image",
    "file",
    "audio",
    "video",
    "embeddings",
)
MODALITIES = (TEXT, IMAGE, FILE, AUDIO, VIDEO, EMBEDDING)
TOOLS, REASONING, STRUCTURED = "tools", "reasoning", "structured_outputs"


class ModelFacts(msgspec.Struct, frozen=True):
    """None: unknown."""

    max_output: int | None = None
    """Tokens, reasoning included."""
    inputs: frozenset[str] | None = None
    outputs: frozenset[str] | None = None
    capabilities: frozenset[str] | None = None


UNKNOWN = ModelFacts()


def _facts(
    max_output: int | None, inputs: str, capabilities: str = "", outputs: str = TEXT
) -> ModelFacts:
    return ModelFacts(
        max_output,
        frozenset(inputs.split()),
        frozenset(outputs.split()),
        frozenset(capabilities.split()),
    )


_SEES = f"{TEXT} {IMAGE}"
_READS = f"{_SEES} {FILE}"
_HEARS = f"{_READS} {AUDIO} {VIDEO}"
_THINKS = f"{TOOLS} {REASONING} {STRUCTURED}"
_ABLE = f"{TOOLS} {STRUCTURED}"

_RULES: Mapping[str, tuple[tuple[str, ModelFacts], ...]] = {
    "openai": (
        (r"text-embedding-", _facts(None, TEXT, outputs=EMBEDDING)),
        (r"gpt-4o(-mini)?-audio|gpt-audio", _facts(16_384, f"{TEXT} {AUDIO}", TOOLS, "text audio")),
        (r"gpt-4o(-mini)?-search", _facts(16_384, TEXT, STRUCTURED)),
        (r"gpt-4o-2024-05-13", _facts(4_096, _SEES, TOOLS)),
        (r"(chatgpt-|gpt-)4o(-mini)?(-latest|-2024-\d\d-\d\d)?$", _facts(16_384, _READS, _ABLE)),
        (r"gpt-4\.1", _facts(32_768, _READS, _ABLE)),
        (r"gpt-4-turbo", _facts(4_096, _SEES, TOOLS)),
        (r"gpt-4(-0613|-0314)?$", _facts(8_192, TEXT, TOOLS)),
        (r"gpt-3\.5-turbo-instruct", _facts(4_096, TEXT)),
        (r"gpt-3\.5-turbo", _facts(4_096, TEXT, TOOLS)),
        (r"gpt-5-pro", _facts(272_000, _READS, _THINKS)),
        (r"gpt-5(\.\d)?-chat", _facts(16_384, _READS, _ABLE)),
        (r"gpt-5(\.[12])?(-mini|-nano|-codex)?(-20\d\d.*)?$", _facts(128_000, _READS, _THINKS)),
        (r"gpt-5(\.\d)?-(codex|pro)", _facts(128_000, _READS, _THINKS)),
        (r"o1-mini", _facts(65_536, TEXT, REASONING)),
        (r"o1-preview", _facts(32_768, TEXT, REASONING)),
        (r"o3-mini", _facts(100_000, TEXT, _THINKS)),
        (r"o[134](-mini|-pro)?(-20\d\d.*)?$", _facts(100_000, _READS, _THINKS)),
        (r"gpt-oss-", _facts(131_072, TEXT, _THINKS)),
    ),
    "anthropic": (
        (r"claude-3-(haiku|opus|sonnet)", _facts(4_096, _SEES, TOOLS)),
        (r"claude-3-5-", _facts(8_192, _READS, TOOLS)),
        (r"claude-3-7-", _facts(64_000, _READS, f"{TOOLS} {REASONING}")),
        (r"claude-opus-4(-[01]|-20\d+)?(-20\d+)?$", _facts(32_000, _READS, _THINKS)),
        (r"claude-opus-4-6", _facts(128_000, _READS, _THINKS)),
        (r"claude-(opus|sonnet|haiku)-4", _facts(64_000, _READS, _THINKS)),
        (r"claude-", _facts(None, _READS, TOOLS)),
    ),
    "google": (
        (r"gemini-embedding-|text-embedding-", _facts(None, TEXT, outputs=EMBEDDING)),
        (r"gemini-2\.5-flash-image", _facts(32_768, _SEES, "", "text image")),
        (r"gemini-[\d.]+-(pro|flash|flash-lite)(-preview)?-tts", _facts(None, TEXT, "", AUDIO)),
        (r"gemini-2\.5-", _facts(65_536, _HEARS, _THINKS)),
        (r"gemini-2\.0-flash", _facts(8_192, _HEARS, _ABLE)),
        (r"gemini-1\.5-", _facts(8_192, _HEARS, _ABLE)),
        (r"gemini-3-(pro|flash)-preview$", _facts(65_536, _HEARS, _THINKS)),
    ),
    "mistral": (
        (r"mistral-embed|codestral-embed", _facts(None, TEXT, outputs=EMBEDDING)),
        (r"pixtral-|mistral-medium|mistral-small", _facts(None, _SEES, _ABLE)),
        (r"magistral-", _facts(None, _SEES, f"{TOOLS} {REASONING}")),
        (r"codestral-|ministral-|open-mi[sx]tral-|mistral-tiny", _facts(None, TEXT, _ABLE)),
    ),
    "deepseek": (
        (r"deepseek-chat", _facts(8_192, TEXT, TOOLS)),
        (r"deepseek-reasoner", _facts(65_536, TEXT, f"{TOOLS} {REASONING}")),
    ),
    "x-ai": (
        (r"grok-2-vision", _facts(None, _SEES, _ABLE)),
        (r"grok-[23](-mini)?", _facts(None, TEXT, _ABLE)),
        (r"grok-4", _facts(None, _SEES, _THINKS)),
    ),
}
_COMPILED = {
    vendor: tuple((re.compile(pattern), facts) for pattern, facts in rules)
    for vendor, rules in _RULES.items()
}


@lru_cache(4096)  # As many names as the catalogue remembers.
def facts_of(vendor: str, model_id: str) -> ModelFacts:
    """What is known of a vendor's model, or of one that the vendor resells as `maker/model`."""
    maker, _, name = model_id.lower().rpartition("/")
    rules = _COMPILED.get(maker.rpartition("/")[2] or vendor, ())
    for pattern, facts in rules:
        if pattern.match(name):
            return facts
    return UNKNOWN
