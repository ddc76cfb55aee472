"""How much a model is to think, in the words of providers that speak OpenAI's dialect.

A client says it as OpenAI does (`reasoning_effort`) or as OpenRouter does (`reasoning: {effort,
max_tokens, enabled, exclude}` and the older `include_reasoning`). Providers understand one of
these, or a field of their own. Sources: OpenAI's "Reasoning models" guide, OpenRouter's "Reasoning
Tokens"; the providers' own pages are named in `openai_differences.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

Body = Mapping[str, Any]

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""All that any provider knows, in their order."""
USUAL_EFFORT = "medium"
"""What `enabled: true` alone means (OpenRouter)."""
_SHARES = (("minimal", 0.1), ("low", 0.2), ("medium", 0.5), ("high", 0.8), ("xhigh", 0.95))
"""The share of the answer's ceiling that an effort thinks with (OpenRouter)."""
_BUDGETS = (("low", 2_048), ("medium", 8_192))
"""The most tokens of thinking that an effort stands for where the answer has no ceiling; more is
`high`. Google's page on OpenAI compatibility has near values (1,024, 8,192, 24,576)."""
WISH_FIELDS = ("reasoning_effort", "reasoning", "include_reasoning")
"""The fields of a chat body that say it."""
_KNOWN = frozenset({"effort", "max_tokens", "enabled", "exclude"})

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class ReasoningStyle(msgspec.Struct, frozen=True):
    """How a model is told."""

    whole: bool = False
    """It takes `reasoning`, `reasoning_effort` and `include_reasoning` as they are, or its adapter
    translates them itself."""
    efforts: tuple[str, ...] | None = None
    """The values of `reasoning_effort` that it knows; None: any; empty: the field is not known."""
    on: Mapping[str, Any] = msgspec.field(default_factory=lambda: _NOTHING)
    """Fields that make it think."""
    off: Mapping[str, Any] = msgspec.field(default_factory=lambda: _NOTHING)
    """Fields that keep it from thinking, where no effort does."""
    budget: str | None = None
    """Its field for the most tokens to think with."""
    hidden: Mapping[str, Any] = msgspec.field(default_factory=lambda: _NOTHING)
    """Fields by which the thinking is not shown."""
    summaries: bool = False
    """It takes `reasoning.summary`, and shows no thinking without."""


EFFORT = ReasoningStyle()
"""OpenAI's own word, with any value."""
ANY_WAY = ReasoningStyle(whole=True)


class _Wish(msgspec.Struct, frozen=True):
    effort: str | None = None
    max_tokens: int | None = None
    enabled: bool | None = None
    exclude: bool = False
    exclude_told: bool = False
    """`reasoning.exclude` says so, not `include_reasoning`."""
    unknown: tuple[str, ...] = ()

    @property
    def says_anything(self) -> bool:
        return bool(self.effort or self.max_tokens) or self.enabled is not None


def wishes_thinking(body: Body) -> bool | None:
    """Whether the body wants the model to think; None: it does not say."""
    wish = _read(body)
    if wish.enabled is False or wish.effort == "none":
        return False
    return True if wish.says_anything else None


def reasoning_fields(
    body: Body, style: ReasoningStyle | None
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The fields that say to a provider what the body's `WISH_FIELDS` say, and the paths of what
    they cannot say. `style` None: the model does not think."""
    given = tuple(name for name in WISH_FIELDS if body.get(name) is not None)
    if not given:
        return _NOTHING, ()
    if style is None:
        return _NOTHING, given
    if style.whole:
        return {name: body[name] for name in given}, ()
    wish = _read(body)
    fields, lost = _degree(wish, style, body, given)
    if wish.exclude:
        fields = {**fields, **style.hidden}
        if not style.hidden and not style.summaries:
            lost += ("reasoning.exclude" if wish.exclude_told else "include_reasoning",)
    unknown = [name for name in wish.unknown if not (style.summaries and name == "summary")]
    return fields, (*lost, *(f"reasoning.{name}" for name in unknown))


def _degree(
    wish: _Wish, style: ReasoningStyle, body: Body, given: tuple[str, ...]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """How much it is to think."""
    if not wish.says_anything:
        return {}, ()
    lost = tuple(name for name in given if name != "include_reasoning")
    if wish.enabled is False or wish.effort == "none":
        if style.off:
            return dict(style.off), ()
        if style.efforts is None or "none" in style.efforts:
            return {"reasoning_effort": "none"}, ()
        nearest = _nearest("none", style.efforts)
        return ({"reasoning_effort": nearest}, ()) if nearest else ({}, lost)
    fields = dict(style.on)
    if style.budget is not None and wish.max_tokens is not None:
        fields[style.budget] = wish.max_tokens
        return fields, ()
    effort = wish.effort
    if effort is None and wish.max_tokens is not None:
        effort = effort_of(wish.max_tokens, _ceiling(body))
    if style.efforts is None:
        return {**fields, "reasoning_effort": effort or USUAL_EFFORT}, ()
    nearest = _nearest(effort or USUAL_EFFORT, style.efforts)
    if nearest is not None:
        fields["reasoning_effort"] = nearest
    return fields, () if fields else lost


def effort_of(tokens: int, ceiling: int | None) -> str:
    """The effort that thinks with about so many tokens. `ceiling`: the whole answer's."""
    if ceiling:
        share = tokens / ceiling
        return min(_SHARES, key=lambda known: abs(known[1] - share))[0]
    return next((effort for effort, most in _BUDGETS if tokens <= most), "high")


def _ceiling(body: Body) -> int | None:
    ceiling = body.get("max_completion_tokens") or body.get("max_tokens")
    return ceiling if isinstance(ceiling, int) and not isinstance(ceiling, bool) else None


def _nearest(effort: str, known: tuple[str, ...]) -> str | None:
    """The known effort nearest to the wanted one, of two the higher; a word that nobody knows is
    left to the provider to judge."""
    if not known:
        return None
    if effort in known or effort not in EFFORTS:
        return effort
    place = EFFORTS.index(effort)
    return min(known, key=lambda it: (abs(EFFORTS.index(it) - place), -EFFORTS.index(it)))


def _read(body: Body) -> _Wish:
    """What the body says. Values of a wrong type say nothing."""
    told = body.get("reasoning")
    told = told if isinstance(told, dict) else {}
    effort = told.get("effort") or body.get("reasoning_effort")
    tokens, enabled = told.get("max_tokens"), told.get("enabled")
    is_count = isinstance(tokens, int) and not isinstance(tokens, bool) and tokens > 0
    exclude = told.get("exclude")
    if exclude is None:
        exclude = body.get("include_reasoning") is False
    return _Wish(
        effort=effort if isinstance(effort, str) else None,
        max_tokens=tokens if is_count else None,
        enabled=enabled if isinstance(enabled, bool) else None,
        exclude=exclude is True,
        exclude_told=told.get("exclude") is True,
        unknown=tuple(n for n, value in told.items() if n not in _KNOWN and value is not None),
    )
