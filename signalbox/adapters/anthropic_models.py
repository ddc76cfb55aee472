"""What each of Anthropic's models takes: sampling, prefill, thinking, effort, structured outputs.

Sources: Anthropic's documentation, "Migration guide" of each model, "Extended thinking", "Adaptive
thinking", "Effort", "Structured outputs", "Prefill Claude's response". A Claude that is newer than
this table is taken to be like the newest in it; a model of another name, behind an endpoint that
speaks this dialect, to take what all of them took at first.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec
from msgspec.structs import replace

_NAME = re.compile(
    r"claude-(?P<family>opus|sonnet|haiku|fable|mythos)-(?P<major>\d{1,2})"
    r"(?:[-.](?P<minor>\d{1,2}))?(?!\d)"
)
_OLD_NAME = re.compile(r"claude-(?P<major>[1-3])(?:[-.](?P<minor>\d))?(?!\d)")

LOW_TO_HIGH = ("low", "medium", "high")


class Traits(msgspec.Struct, frozen=True):
    """What a model takes."""

    thinking: frozenset[str]
    """Values of `thinking.type`."""
    known: bool = True
    """One of Anthropic's own, whose rules are documented."""
    thinks_unasked: bool = False
    """It thinks where the request has no `thinking`."""
    hides_thinking: bool = False
    """`thinking.display` is `omitted` where the request does not say."""
    takes_display: bool = True
    efforts: tuple[str, ...] = ()
    """Levels of `output_config.effort`, the least first."""
    sampling: bool = True
    """`temperature`, `top_p`, `top_k`."""
    one_sampler: bool = True
    """`temperature` and `top_p` exclude each other."""
    prefill: bool = False
    """It goes on from a last message of the assistant."""
    forced_tools: bool = True
    """`tool_choice` of `any` and `tool`."""
    structured: bool = True
    """`output_config.format` and `strict` tools."""
    max_tokens: int = 8192
    """What is asked for where neither the client nor the route says: the field is required. Every
    model but the oldest gives that much."""


_BUDGET = frozenset({"enabled", "disabled"})
_EITHER = frozenset({"enabled", "adaptive", "disabled"})
_ADAPTIVE = frozenset({"adaptive", "disabled"})
_ALWAYS = frozenset({"adaptive"})
_ALL_EFFORTS = (*LOW_TO_HIGH, "xhigh", "max")

_OTHER = Traits(_BUDGET, known=False, takes_display=False, one_sampler=False, structured=False)
_CLAUDE_3 = replace(_OTHER, known=True, thinking=frozenset({"disabled"}), prefill=True)
_CLAUDE_3_FIRST = replace(_CLAUDE_3, max_tokens=4096)
_CLAUDE_3_7 = replace(_CLAUDE_3, thinking=_BUDGET)
_CLAUDE_4_1 = replace(_CLAUDE_3_7, one_sampler=True)
_CLAUDE_4_5 = Traits(_BUDGET, prefill=True)
_OPUS_4_5 = replace(_CLAUDE_4_5, efforts=LOW_TO_HIGH)
_CLAUDE_4_6 = Traits(_EITHER, efforts=(*LOW_TO_HIGH, "max"))
_CLAUDE_4_7 = Traits(_ADAPTIVE, hides_thinking=True, efforts=_ALL_EFFORTS, sampling=False)
_CLAUDE_5 = replace(_CLAUDE_4_7, thinks_unasked=True)
_ALWAYS_THINKING = replace(_CLAUDE_5, thinking=_ALWAYS)
_NEWEST = replace(_ALWAYS_THINKING, forced_tools=False)
_SONNET_5_5 = replace(_NEWEST, thinking=frozenset({"adaptive", "between_tools"}))


@lru_cache(maxsize=512)
def traits_of(model: str) -> Traits:
    """Of a provider's own name for a model: Anthropic's, Bedrock's (`anthropic.claude-…-v1:0`),
    Vertex AI's (`claude-…@20251001`)."""
    name = model.lower()
    found = _NAME.search(name)
    if found is not None:
        version = int(found["major"]), int(found["minor"] or 0)
        return _by_version(found["family"], version)
    old = _OLD_NAME.search(name)
    if old is not None:
        return _of_claude_3(int(old["major"]), int(old["minor"] or 0))
    return _NEWEST if "claude-" in name else _OTHER


def _of_claude_3(major: int, minor: int) -> Traits:
    if (major, minor) >= (3, 7):
        return _CLAUDE_3_7
    return _CLAUDE_3 if (major, minor) >= (3, 5) else _CLAUDE_3_FIRST


def _by_version(family: str, version: tuple[int, int]) -> Traits:
    if family in ("fable", "mythos"):
        return _ALWAYS_THINKING if version < (5, 1) else _NEWEST
    if version >= (5, 5):
        return {"sonnet": _SONNET_5_5, "haiku": _CLAUDE_5}.get(family, _NEWEST)
    if version >= (5, 0):
        return _CLAUDE_5
    if version >= (4, 7):
        return _CLAUDE_4_7
    if version >= (4, 6):
        return _CLAUDE_4_6
    if version >= (4, 5):
        return _OPUS_4_5 if family == "opus" else _CLAUDE_4_5
    return _CLAUDE_4_1 if version >= (4, 1) else _CLAUDE_3_7
