"""How much a model of Anthropic's is to think, in its own words.

Sources: Anthropic's documentation, "Extended thinking" (a budget of at least 1024 tokens, below
`max_tokens`; no forced tools, no other sampling, no prefill), "Adaptive thinking" and "Effort".
The share of the answer that an effort may spend on thinking is OpenRouter's ("Reasoning Tokens").
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from signalbox.adapters.anthropic_models import Traits
from signalbox.adapters.chat import ReasoningWish

LEAST_BUDGET = 1024
MOST_BUDGET = 32_000
"""What an effort comes to at most; above it Anthropic asks for batches. A budget that a client
names is not cut."""

_SHARES: Mapping[str, float] = MappingProxyType(
    {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.95, "max": 0.95}
)
_EFFORTS = ("minimal", "low", "medium", "high", "xhigh", "max")
_BUDGETS = ((2_048, "low"), (8_192, "medium"))


class ThinkingPlan(msgspec.Struct, frozen=True):
    """The fields that say it. `active`: the model thinks, so that its rules hold."""

    thinking: Mapping[str, Any] | None = None
    effort: str | None = None
    max_tokens: int = 0
    active: bool = False
    dropped: tuple[str, ...] = ()


class Circumstances(msgspec.Struct, frozen=True):
    """What else of the request decides."""

    max_tokens: int
    limit: int | None
    """The most that the route gives; None: not known."""
    forced_tool: bool
    begun: bool
    """It ends in the assistant's words, or a prefill is to be added."""
    unsigned_loop: bool
    """The turn that called the tools, whose results are last, has no thinking that is signed."""


def wants_thinking(wish: ReasoningWish | None) -> bool | None:
    """None: not said."""
    if wish is None:
        return None
    if wish.enabled is False or wish.effort == "none":
        return False
    if wish.enabled or wish.effort is not None or wish.max_tokens is not None:
        return wish.max_tokens != 0
    return None


def plan_thinking(wish: ReasoningWish | None, traits: Traits, at: Circumstances) -> ThinkingPlan:
    wanted = wants_thinking(wish)
    name = "reasoning_effort" if wish is not None and wish.effort else "reasoning"
    forbidden = at.forced_tool or at.begun
    if wanted and not forbidden:
        assert wish is not None
        return _on(wish, traits, at, name)
    dropped = (name,) if wanted else ()
    if not traits.thinks_unasked or (wanted is None and not forbidden):
        return ThinkingPlan(max_tokens=at.max_tokens, active=traits.thinks_unasked, dropped=dropped)
    for kind in ("disabled", "between_tools"):
        if kind in traits.thinking:
            return ThinkingPlan({"type": kind}, None, at.max_tokens, False, dropped)
    return ThinkingPlan(None, traits.efforts[0], at.max_tokens, True, (name,))


def _on(wish: ReasoningWish, traits: Traits, at: Circumstances, name: str) -> ThinkingPlan:
    budgeted = wish.max_tokens is not None and wish.effort is None
    if "adaptive" in traits.thinking and not (budgeted and "enabled" in traits.thinking):
        effort = wish.effort or (_effort_of(wish.max_tokens) if wish.max_tokens else None)
        dropped = ("reasoning.max_tokens",) if wish.max_tokens is not None else ()
        adaptive = {"type": "adaptive", **_display(wish, traits)}
        return ThinkingPlan(adaptive, nearest_effort(effort, traits), at.max_tokens, True, dropped)
    if "enabled" not in traits.thinking or at.unsigned_loop:
        return ThinkingPlan(max_tokens=at.max_tokens, dropped=(name,))
    budget = _budget(wish, at)
    max_tokens = at.max_tokens
    if budget >= max_tokens:
        max_tokens += budget
        if at.limit is not None and max_tokens > at.limit > LEAST_BUDGET:
            max_tokens = at.limit
            budget = max(LEAST_BUDGET, min(budget, max_tokens - at.max_tokens, max_tokens - 1))
    thinking: dict[str, Any] = {
        "type": "enabled",
        "budget_tokens": budget,
        **_display(wish, traits),
    }
    return ThinkingPlan(thinking, nearest_effort(wish.effort, traits), max_tokens, True)


def _budget(wish: ReasoningWish, at: Circumstances) -> int:
    if wish.max_tokens is not None:
        return max(LEAST_BUDGET, wish.max_tokens)
    share = _SHARES.get(wish.effort or "medium", _SHARES["medium"])
    return max(LEAST_BUDGET, min(MOST_BUDGET, int(at.max_tokens * share)))


def _display(wish: ReasoningWish, traits: Traits) -> dict[str, str]:
    if wish.exclude and traits.takes_display:
        return {"display": "omitted"}
    return {"display": "summarized"} if traits.hides_thinking else {}


def _effort_of(tokens: int) -> str:
    return next((effort for most, effort in _BUDGETS if tokens <= most), "high")


def nearest_effort(effort: str | None, traits: Traits) -> str | None:
    """The level itself, else the next lower one, else the least."""
    if effort is None or not traits.efforts or effort not in _EFFORTS:
        return None
    place = _EFFORTS.index(effort)
    known = [it for it in traits.efforts if _EFFORTS.index(it) <= place]
    return known[-1] if known else traits.efforts[0]
