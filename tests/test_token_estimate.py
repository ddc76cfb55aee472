"""Estimates of how many tokens a request has."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from signalbox.adapters import token_estimate as estimate
from signalbox.adapters.chat import (
    ChatRequest,
    JsonSchema,
    Media,
    MediaKind,
    Message,
    Native,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from signalbox.types import Dialect

PLAIN = ChatRequest(
    dialect=Dialect.MESSAGES, model="m", messages=(Message(Role.USER, (Text("x" * 400),)),)
)


def with_part(part: Any) -> int:
    [message] = PLAIN.messages
    more = replace(message, parts=(*message.parts, part))
    return estimate.estimated_tokens(replace(PLAIN, messages=(more,)))


def test_text_by_its_characters() -> None:
    assert estimate.estimated_tokens(PLAIN) == 100 + estimate.MESSAGE_TOKENS
    assert with_part(Text("y" * 40)) == 110 + estimate.MESSAGE_TOKENS
    assert with_part(ToolCall("c", "name", "{" * 36)) == 110 + estimate.MESSAGE_TOKENS
    assert with_part(ToolResult("c", (Text("y" * 40),))) == 110 + estimate.MESSAGE_TOKENS
    assert with_part(Native(Dialect.MESSAGES, "y" * 38)) == 110 + estimate.MESSAGE_TOKENS


@pytest.mark.parametrize(
    ("media", "tokens"),
    [
        (Media(MediaKind.IMAGE, url="https://a.test"), estimate.IMAGE_TOKENS),
        (Media(MediaKind.FILE, "application/pdf", data="QQ=="), estimate.PAGE_TOKENS),
        (
            Media(MediaKind.FILE, "application/pdf", data="A" * 100_000),
            2 * estimate.PAGE_TOKENS,
        ),
        (Media(MediaKind.FILE, text="y" * 40), 10),
        (Media(MediaKind.FILE, "text/plain", data="A" * 40), 8),
        (Media(MediaKind.FILE, file_id="f"), estimate.MEDIA_TOKENS),
        (Media(MediaKind.AUDIO, "audio/mp3", data="A" * 8000), 12),
        (Media(MediaKind.VIDEO, "video/mp4", data="A" * 8000), 6),
    ],
)
def test_other_content_by_its_kind_and_size(media: Media, tokens: int) -> None:
    assert with_part(media) == 100 + estimate.MESSAGE_TOKENS + tokens


def test_tools_and_the_answer_s_form_are_part_of_the_prompt() -> None:
    schema = {"type": "object", "description": "y" * 100}
    plain = estimate.estimated_tokens(PLAIN)
    for more in (
        {"tools": (Tool("f", "d", schema),)},
        {"tools": (Native(Dialect.MESSAGES, schema),)},
        {"response_format": JsonSchema(schema)},
    ):
        changed: dict[str, Any] = dict(more)
        assert 30 < estimate.estimated_tokens(replace(PLAIN, **changed)) - plain < 40
