"""What Cohere's chat says in each of its forms, read without trust: v2 API reference, "Chat".

Usage has two counts. `tokens` are those that the model read and wrote, with what Cohere itself adds
to a prompt; `billed_units` are those that are paid for. The gateway charges, so it counts these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from signalbox.adapters.chat import Citation
from signalbox.adapters.json_objects import MOST_TOKENS, object_at, objects_at, text_at
from signalbox.types import Dialect, Usage

_FINISH = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "ERROR_LIMIT": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR_TOXIC": "content_filter",
}
FAILED = frozenset({"ERROR", "TIMEOUT", "USER_CANCEL"})
"""Finish reasons of answers that broke off: what was made so far is no whole answer."""


def finish_of(reason: str) -> str:
    """In OpenAI's words; one that is new is an end like any other."""
    return _FINISH.get(reason, "stop")


def read_usage(reported: object) -> Usage | None:
    """`usage` in disjoint classes; None where it says nothing. What is billed has none within; of
    all tokens, cached ones are among those of the input, thinking among those of the output."""
    billed = object_at(reported, "billed_units")
    if billed:
        prompt, completion = _count(billed, "input_tokens"), _count(billed, "output_tokens")
        return Usage(prompt=prompt, completion=completion) if prompt or completion else None
    tokens = object_at(reported, "tokens")
    prompt, completion = _count(tokens, "input_tokens"), _count(tokens, "output_tokens")
    if not prompt and not completion:
        return None
    cached, reasoning = _count(reported, "cached_tokens"), _count(tokens, "reasoning_tokens")
    if prompt is not None and cached is not None:
        cached = min(cached, prompt)
        prompt -= cached
    if completion is not None and reasoning is not None:
        reasoning = min(reasoning, completion)
        completion -= reasoning
    return Usage(prompt=prompt, cached_read=cached, completion=completion, reasoning=reasoning)


def _count(value: object, name: str) -> int | None:
    found = value.get(name) if isinstance(value, dict) else None
    if isinstance(found, float) and found.is_integer():
        found = int(found)  # the reference's type is a double
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= MOST_TOKENS:
        return None
    return found


def citations_of(message: Mapping[str, Any]) -> list[Citation]:
    """Those of the answer's text; a plan and thinking have some too, which belong to no text."""
    return [
        _citation(native)
        for native in objects_at(message, "citations")
        if native.get("type") in (None, "TEXT_CONTENT")
    ]


def _citation(native: dict[str, Any]) -> Citation:
    sources = objects_at(native, "sources")
    document = object_at(sources[0], "document") if sources else {}
    start, end = native.get("start"), native.get("end")
    placed = _is_place(start) and _is_place(end)
    return Citation(
        url=text_at(document, "url") or None,
        title=text_at(document, "title") or None,
        start=start if placed else None,
        end=end if placed else None,
        dialect=Dialect.COHERE_CHAT,
        native=native,
    )


def _is_place(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
