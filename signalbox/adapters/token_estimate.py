"""How many tokens a request has, roughly, where nobody counts them.

Text by its characters; what is not text by what providers publish of their own counting, each
number rounded up to what one of them needs most. Good to a fifth for English prose, worse for code
and for other scripts.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from signalbox.adapters.chat import (
    ChatRequest,
    JsonSchema,
    Media,
    MediaKind,
    Native,
    Part,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from signalbox.types import CHARS_PER_TOKEN

IMAGE_TOKENS = 1600
"""Anthropic's "Vision": pictures are made smaller until they have about that many. Gemini counts
258 for each tile of one."""
PAGE_TOKENS = 2250
"""Anthropic's "PDF support": 1,500 to 3,000 a page."""
BYTES_PER_PAGE = 50_000
"""Of a PDF that is mostly text."""
BYTES_PER_AUDIO_TOKEN = 500
"""Gemini's "Audio understanding": 32 tokens a second, here of 128 kbit."""
BYTES_PER_VIDEO_TOKEN = 1000
"""Gemini's "Video understanding": about 300 tokens a second, here of 2.4 Mbit."""
MEDIA_TOKENS = 10_000
"""Sound, film or a document that stands elsewhere: minutes, or a few pages."""
MESSAGE_TOKENS = 4
"""What marks a message's beginning, role and end."""


def estimated_tokens(form: ChatRequest) -> int:
    """The prompt's tokens: messages, tools, and the form that the answer is to have."""
    chars = sum(map(_tool_chars, form.tools))
    if isinstance(form.response_format, JsonSchema):
        chars += _json_chars(form.response_format.schema)
    tokens = MESSAGE_TOKENS * len(form.messages)
    for message in form.messages:
        more_chars, more_tokens = _size(message.parts)
        chars += more_chars
        tokens += more_tokens
    return tokens + -(-chars // CHARS_PER_TOKEN)


def _size(parts: Iterable[Part]) -> tuple[int, int]:
    """Characters of text, and tokens of what is none."""
    chars = tokens = 0
    for part in parts:
        match part:
            case Text() | Reasoning() | Refusal():
                chars += len(part.text)
            case ToolCall():
                chars += len(part.name) + len(part.arguments)
            case ToolResult():
                more_chars, more_tokens = _size(part.content)
                chars, tokens = chars + more_chars, tokens + more_tokens
            case Media(text=None):
                tokens += _media_tokens(part)
            case Media():
                chars += len(part.text or "")
            case Native():
                chars += _json_chars(part.value)
    return chars, tokens


def _media_tokens(media: Media) -> int:
    if media.kind is MediaKind.IMAGE:
        return IMAGE_TOKENS
    if media.data is None:
        return MEDIA_TOKENS
    size = len(media.data) * 3 // 4
    match media.kind:
        case MediaKind.AUDIO:
            return -(-size // BYTES_PER_AUDIO_TOKEN)
        case MediaKind.VIDEO:
            return -(-size // BYTES_PER_VIDEO_TOKEN)
        case MediaKind.FILE if (media.mime_type or "").startswith("text/"):
            return -(-size // CHARS_PER_TOKEN)
    return PAGE_TOKENS * max(1, -(-size // BYTES_PER_PAGE))


def _tool_chars(tool: Tool | Native) -> int:
    if isinstance(tool, Native):
        return _json_chars(tool.value)
    described = len(tool.name) + len(tool.description or "")
    return described + _json_chars(tool.parameters or {})


def _json_chars(value: object) -> int:
    return len(msgspec.json.encode(value))
