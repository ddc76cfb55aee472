"""What Google's models differ in, by their names: how they are told to think, what they take.

Sources: Gemini API guides "Thinking", "Thought signatures", "Function calling", "Structured
outputs", "File input methods"; the levels of each model: "Gemini Enterprise Agent Platform",
"Thinking", table of `thinking_level`. A model that no rule names is taken for one of the newest.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec

from signalbox.adapters.chat import ReasoningWish
from signalbox.adapters.openai_reasoning import EFFORTS, USUAL_EFFORT, effort_of

_EFFORT_BUDGETS = {"minimal": 1_024, "low": 1_024, "medium": 8_192, "high": 24_576}
"""Google, "OpenAI compatibility", thinking: the budget that `reasoning_effort` stands for."""
_DYNAMIC = -1
"""The model decides how much it thinks."""


class Budget(msgspec.Struct, frozen=True):
    """It is told the most tokens to think with (Gemini 2.5)."""

    least: int
    most: int
    can_rest: bool = True
    """A budget of 0 keeps it from thinking."""

    def config(self, wish: ReasoningWish, ceiling: int | None) -> dict[str, Any]:
        if rests(wish):
            return {"thinkingBudget": 0 if self.can_rest else self.least}
        tokens = wish.max_tokens
        if tokens is None and wish.effort is None:
            return {"thinkingBudget": _DYNAMIC}
        if tokens is None:
            tokens = _EFFORT_BUDGETS.get(wish.effort or "", self.most)
        return {"thinkingBudget": min(max(tokens, self.least), self.most)}


class Levels(msgspec.Struct, frozen=True):
    """It is told one of these words, in the order of `EFFORTS` (Gemini 3). It always thinks."""

    known: tuple[str, ...]

    def config(self, wish: ReasoningWish, ceiling: int | None) -> dict[str, Any]:
        if rests(wish):
            return {"thinkingLevel": self.known[0]}
        effort = wish.effort
        if effort is None and wish.max_tokens is not None:
            effort = effort_of(wish.max_tokens, ceiling)
        if effort is None:
            return {}
        return {"thinkingLevel": self._nearest(effort)}

    def _nearest(self, effort: str) -> str:
        """Of two the higher one."""
        place = EFFORTS.index(effort if effort in EFFORTS else USUAL_EFFORT)
        return min(self.known, key=lambda it: (abs(EFFORTS.index(it) - place), -EFFORTS.index(it)))


def rests(wish: ReasoningWish) -> bool:
    """Whether the model is not to think at all."""
    return wish.enabled is False or wish.effort == "none"


class ModelTraits(msgspec.Struct, frozen=True, kw_only=True):
    thinking: Budget | Levels | None = Levels(("low", "medium", "high"))
    """None: it does not think, and refuses `thinkingConfig`."""
    newest: bool = True
    """Gemini 3 and later: ids of calls, pictures inside of a tool's result, structured answers
    beside tools; and calls in the history without a thought signature are refused."""
    fetches: bool = True
    """It fetches `https` addresses by itself."""
    instructed: bool = True
    """It takes a `systemInstruction`."""
    samples: bool = False
    """It takes penalties and gives log probabilities: others answer "Penalty is not enabled for"
    and "Logprobs is not enabled for" with 400."""
    draws: bool = False
    speaks: bool = False


_ALL_LEVELS = Levels(("minimal", "low", "medium", "high"))
_OLD: dict[str, Any] = {"newest": False, "thinking": None}
_RULES: tuple[tuple[str, dict[str, Any]], ...] = (
    (r"gemini-3-pro", {"thinking": Levels(("low", "high"))}),
    (r"gemini-3(\.[1-6])?-flash", {"thinking": _ALL_LEVELS}),
    (r"gemini-3.*-pro-image", {"thinking": None}),
    (r"gemini-3.*-flash.*-image", {"thinking": Levels(("minimal", "high"))}),
    (
        r"gemini-2\.5-pro",
        {"newest": False, "thinking": Budget(128, 32_768, can_rest=False)},
    ),
    (r"gemini-2\.5-flash", {"newest": False, "thinking": Budget(1, 24_576)}),
    (r"gemini-2\.5-flash-lite", {"newest": False, "thinking": Budget(512, 24_576)}),
    (r"gemini-2\.5-.*(image|tts)", {"thinking": None}),
    (r"gemini-(1|2\.0|exp)", {**_OLD, "fetches": False}),
    (r"gemini-(1\.5|2\.0)", {"samples": True}),
    (r"gemma", {**_OLD, "fetches": False}),
    (r"gemma-(2|3)", {"instructed": False}),
    (r".*-image", {"draws": True}),
    (r".*-tts", {"speaks": True, "thinking": None}),
)
"""Each on top of what came before."""


@lru_cache(maxsize=1024)
def traits_of(model: str) -> ModelTraits:
    """`model`: the provider's own name for it, with or without `models/`."""
    name = model.lower().rpartition("/")[2]
    traits: dict[str, Any] = {}
    for pattern, changes in _RULES:
        if re.match(pattern, name):
            traits |= changes
    return ModelTraits(**traits)


def thinking_config(
    wish: ReasoningWish | None, model: str, ceiling: int | None
) -> dict[str, Any] | None:
    """`thinkingConfig`; None where nothing is wished, or the model does not think.

    `ceiling`: the most tokens of the whole answer. Thoughts are shown unless the wish says
    otherwise; they are summaries, and cost nothing.
    """
    thinking = traits_of(model).thinking
    if wish is None or wish == ReasoningWish() or thinking is None:
        return None
    config = thinking.config(wish, ceiling)
    if not rests(wish) and not wish.exclude:
        config["includeThoughts"] = True
    return config
