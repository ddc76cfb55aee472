"""The client's ceiling for the answer, in every dialect, and a lower one in its place.

A request is given its ceiling in the words of its own door, before anything is translated: so it
reaches every provider the way in which a client's own does.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from signalbox.adapters.anthropic_thinking import LEAST_BUDGET
from signalbox.adapters.forms import chat_form
from signalbox.adapters.gemini_fields import given, spelled
from signalbox.types import Dialect, Request, Route

CEILINGS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens")
"""What it is called, in one dialect or another."""
LEAST_THINKING = 2 * LEAST_BUDGET
"""Anthropic refuses a ceiling that has no room for the least budget of thinking, and an answer."""
UNASKED_COMPLETION = 16
"""OpenAI's reference: what a completion (legacy) has at most where the client does not say."""

_FIELDS: Mapping[Dialect, tuple[str, ...]] = MappingProxyType(
    {
        # The old name first: whoever knows the new one alone has it renamed.
        Dialect.CHAT: ("max_tokens", "max_completion_tokens"),
        Dialect.COMPLETIONS: ("max_tokens",),
        Dialect.RESPONSES: ("max_output_tokens",),
        Dialect.MESSAGES: ("max_tokens",),
    }
)


def has_ceiling(door: Dialect) -> bool:
    """Whether answers of this kind have a length that can be bounded."""
    return door in _FIELDS or door is Dialect.GENERATE


def ceiling_of(request: Request) -> int | None:
    """The client's, or that of the model's `default_params`; thinking is in it.

    Of two in one body the higher: which of them counts is the provider's to say."""
    if request.door is Dialect.CHAT:
        return max(_said(request.body), default=None)
    return chat_form(request).max_tokens


def _said(body: Mapping[str, Any]) -> list[int]:
    return [body[name] for name in _FIELDS[Dialect.CHAT] if isinstance(body.get(name), int)]


def thinks(request: Request) -> bool:
    """Whether the client says how much the model is to think."""
    return chat_form(request).reasoning is not None


def with_ceiling(
    request: Request, route: Route, most: int, *, translated: bool
) -> tuple[Request, Route]:
    """Both with `most` for the ceiling, unless they have a lower one. Nothing else is changed, but
    for a budget of thinking that would not fit under it.

    `translated`: the route's endpoint speaks another dialect than the request's door.
    """
    if request.door is Dialect.COMPLETIONS and not translated and ceiling_of(request) is None:
        most = min(most, UNASKED_COMPLETION)
    body = _lowered(request, most)
    params = {name: value for name, value in route.params.items() if name not in CEILINGS}
    limit = most if route.max_output is None else min(most, route.max_output)
    limited = replace(route, params=params, max_output=limit)
    return (request if body is None else replace(request, body=body)), limited


def _lowered(request: Request, most: int) -> Mapping[str, Any] | None:
    """The body with the ceiling; None: it has one that is no higher."""
    ceiling = ceiling_of(request)
    if ceiling is not None and ceiling <= most:
        return None
    body = request.body
    if request.door is Dialect.GENERATE:
        name = spelled(body, "generationConfig")
        config = given(body, "generationConfig") or {}
        field = spelled(config, "maxOutputTokens")
        return {**body, name: {**config, field: most}}
    names = _FIELDS[request.door]
    said = [name for name in names if body.get(name) is not None] or names[:1]
    lowered = {**body, **{name: min(body.get(name) or most, most) for name in said}}
    thinking = body.get("thinking")
    if isinstance(thinking, dict) and isinstance(thinking.get("budget_tokens"), int):
        budget = min(thinking["budget_tokens"], max(LEAST_BUDGET, most - LEAST_BUDGET))
        lowered["thinking"] = {**thinking, "budget_tokens": budget}
    return lowered
