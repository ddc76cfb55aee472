"""What messages have besides what they say, and not every dialect has a place for.

A wire names what it leaves out, as it names a parameter that its provider does not take.
"""

from __future__ import annotations

from collections.abc import Iterator

from signalbox.adapters.chat import ChatRequest, Media, Part, Role, Text, ToolResult
from signalbox.adapters.openai_part_reader import INNER
from signalbox.types import Dialect

NAME = "messages.name"
"""The participant's."""
DETAIL = "messages.detail"
"""How closely to look at a picture."""
ANNOTATIONS = "messages.annotations"
"""What an earlier answer cited."""
DESCRIPTION = "response_format.description"
USUAL_DETAIL = "auto"


def hints_left_out(form: ChatRequest, wire: Dialect, *taken: str) -> dict[str, None]:
    """The names of what `wire` has no place for, but for those that it takes.

    Not named are what means nothing elsewhere (Gemini's signatures) and a file's name where its
    type is told.
    """
    # Between OpenAI's two dialects parts are written anew.
    own = form.dialect.family == wire.family != Dialect.CHAT.family
    found: dict[str, None] = {}
    for message in form.messages:
        if message.name is not None and message.role is not Role.TOOL:
            found[NAME] = None
        for part in message.parts:
            found |= dict.fromkeys(_hints(part, own=own))
    if getattr(form.response_format, "description", None):
        found[DESCRIPTION] = None
    return {name: None for name in found if name not in taken}


def _hints(part: Part, *, own: bool) -> Iterator[str]:
    match part:
        case ToolResult():
            for inner in part.content:
                yield from _hints(inner, own=own)
        case Text() if any(not own or it.native is None for it in part.citations):
            yield ANNOTATIONS
        case Media():
            if part.detail not in (None, USUAL_DETAIL):
                yield DETAIL
            if not own:
                yield from (f"messages.{name}" for name in _extra(part))


def _extra(media: Media) -> Iterator[str]:
    for name, value in media.extra.items():
        if name == INNER:
            yield from value
        elif value:
            yield name
