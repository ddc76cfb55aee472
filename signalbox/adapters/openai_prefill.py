"""Handing a provider of OpenAI's dialect the beginning of its own answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from signalbox.adapters.splice import prefill_text
from signalbox.types import CHARS_PER_TOKEN

_CEILINGS = ("max_tokens", "max_completion_tokens")


class PrefillStyle(msgspec.Struct, frozen=True):
    """How a provider is asked to go on from a last message of the assistant."""

    message: Mapping[str, Any] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    """Fields that this message needs."""
    body: Mapping[str, Any] = msgspec.field(default_factory=lambda: MappingProxyType({}))
    """Fields that the body needs."""
    echoes: bool = True
    """Its answer may repeat that message; False only where it is documented not to."""
    on_request: bool = False
    """Only for routes that say `prefill = true`: it needs what the gateway cannot see."""

    @property
    def fields(self) -> Iterable[tuple[str, Any]]:
        return (*self.message.items(), *self.body.items())


PLAIN = PrefillStyle()
"""The message alone says it."""


def begin_answer(body: dict[str, Any], prefill: str, style: PrefillStyle) -> None:
    """Changes `body`, a request's top level, so that the answer goes on from `prefill`.

    A last message of the assistant, which the client itself began the answer with, is gone on
    from. Of a prefill that is whitespace alone nothing is left: the answer starts anew.
    """
    begun = prefill_text(prefill)
    if not begun:
        return
    *before, last = body["messages"]
    if last["role"] == "assistant":
        message = {**last, "content": _appended(last.get("content"), begun)}
    else:
        before.append(last)
        message = {"role": "assistant", "content": begun}
    body["messages"] = [*before, {**message, **style.message}]
    body.update(style.body)
    delivered = -(-len(prefill) // CHARS_PER_TOKEN)
    for name in _CEILINGS:
        ceiling = body.get(name)
        if isinstance(ceiling, int):
            body[name] = max(1, ceiling - delivered)


def _appended(content: Any, text: str) -> Any:
    if not isinstance(content, list):
        return (content or "") + text
    if content and content[-1]["type"] == "text":
        # A part of its own is set off by a line break in some models' prompts.
        *before, last = content
        return [*before, {**last, "text": f"{last.get('text') or ''}{text}"}]
    return [*content, {"type": "text", "text": text}]
