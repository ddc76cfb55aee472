"""What an entry of differences is made of, and what several entries share."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from signalbox.adapters.openai_parameters import Differences
from signalbox.adapters.openai_reasoning import ReasoningStyle


class ModelRule(msgspec.Struct, frozen=True):
    """What models of a provider do otherwise than its others."""

    pattern: str
    """A regular expression."""
    lacks: frozenset[str] = frozenset()
    """Rows besides those of the provider."""
    takes: frozenset[str] = frozenset()
    """Rows that the provider's others lack."""
    changes: Mapping[str, Any] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    """Fields of `Differences` that are otherwise."""


class ProviderEntry(msgspec.Struct, frozen=True):
    provider: Differences
    models: tuple[ModelRule, ...] = ()


def rule(pattern: str, *lacks: str, takes: tuple[str, ...] = (), **changes: Any) -> ModelRule:
    return ModelRule(pattern, frozenset(lacks), frozenset(takes), MappingProxyType(changes))


def fields_of(**fields: Any) -> Mapping[str, Any]:
    return MappingProxyType(fields)


def efforts(*efforts: str, **style: Any) -> ReasoningStyle:
    return ReasoningStyle(efforts=efforts, **style)


OLD_CEILING = fields_of(max_completion_tokens="max_tokens")
NEW_CEILING = fields_of(max_tokens="max_completion_tokens")
NO_DEVELOPER = fields_of(developer="system")
NO_BACK: frozenset[str] = frozenset()
AS_CONTENT = frozenset({"reasoning_content"})
PENALTIES = ("presence_penalty", "frequency_penalty")
SAMPLING = frozenset({"temperature", "top_p", *PENALTIES, "logprobs", "logit_bias"})
FOREIGN = frozenset({"top_k", "min_p", "top_a", "repetition_penalty"})
"""Sampling parameters that OpenAI's reference does not have."""
USUAL_EFFORTS = ("low", "medium", "high")
SCHEMA = "response_format: json_schema"
CUSTOM = "custom tools"
"""Names of rows."""
