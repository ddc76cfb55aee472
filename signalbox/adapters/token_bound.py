"""The most tokens that a request's input can come to: what hard ceilings go by.

Tokenizers read bytes, and no token of text is less than one. So text counts by its bytes, and with
it all of the body's JSON, which is more than the marks that a provider puts around messages and
tools. What is not text counts by the most that providers document for a picture, a page, a second.

Not bounded by that is what is not in the request: files and earlier answers that it refers to, and
what tools that the provider itself runs add to it. There the model's context is the only bound.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from signalbox.adapters.chat import (
    ChatRequest,
    Media,
    MediaKind,
    Native,
    Part,
    ToolResult,
)
from signalbox.adapters.forms import chat_form
from signalbox.types import Dialect, InputBound, Request

REQUEST_TOKENS = 64
"""What a provider puts before any request: marks, the date, a line about the model."""
TOOLS_TOKENS = 1000
"""Anthropic's "Pricing", tool use: a system prompt of at most 530 tokens for tools in general, 735
for its own tools that the client runs."""
PAGE_TOKENS = 4600
"""Anthropic's "PDF support": at most 3,000 of a page's text, and the page as a picture."""
BYTES_PER_PAGE = 2000
"""At least, of a page that holds as much text."""
BYTES_PER_AUDIO_TOKEN = 20
"""At least. Gemini's "Audio understanding": 32 tokens a second; no codec in use takes less than 5
kbit for one."""
BYTES_PER_VIDEO_TOKEN = 20
"""At least. Gemini's "Video understanding": about 300 tokens a second, here of 48 kbit."""
IMAGE_TOKENS = 10_000
"""OpenAI's "Images and vision": at most 10,000 patches, in full detail. Gemini has fewer tiles."""
_IMAGE_TOKENS_OF = (
    # The same page: 2,833 and 5,667 for each of at most eight tiles.
    ("gpt-4o-mini", 48_169),
    # Anthropic's "Vision": 4,784 where the model takes pictures in full resolution.
    ("claude", 4_800),
)
_RUN_BY_CLIENTS = ("bash", "text_editor", "computer", "memory", "local_shell", "apply_patch")
"""Tools that a provider defines and a client runs: they add nothing by themselves."""
_REFERENCES = frozenset(
    {
        *("previous_response_id", "conversation", "cachedContent", "mcp_servers", "container"),
        *("plugins", "web_search_options", "search_parameters"),
    }
)
"""Fields that bring something into the input which is not in the request."""
_REFERRING_PARTS = frozenset({"item_reference", "container_upload"})


def image_tokens(model: str) -> int:
    """The most for one picture, by the provider's own name for the model."""
    name = model.lower()
    return next((most for part, most in _IMAGE_TOKENS_OF if part in name), IMAGE_TOKENS)


def input_bound(request: Request) -> InputBound:
    """Of the whole request, as it is now. Costs as much as encoding its body."""
    body = msgspec.json.encode(request.body)
    text = REQUEST_TOKENS + len(body)
    if request.defaults:
        text += len(msgspec.json.encode(request.defaults))
    if request.door in (Dialect.EMBEDDINGS, Dialect.EMBED):
        return InputBound(text)
    form = chat_form(request)
    found = _Media()
    for message in form.messages:
        found.add(message.parts)
    if form.tools:
        text += TOOLS_TOKENS
    predicted = 0 if form.prediction is None else len(msgspec.json.encode(form.prediction))
    return InputBound(
        text=text - found.encoded,
        images=found.images,
        documents=found.documents,
        audio=found.audio,
        prediction=predicted,
        long_cache=b'"cache_control"' in body and b'"1h"' in body,
        open_end=found.elsewhere or _open_end(form),
    )


def answers_charged(request: Request) -> int:
    """How many alternatives are paid for: also those that only the provider sees (`best_of`)."""
    if request.door is not Dialect.COMPLETIONS:
        return request.choices
    asked = request.body.get("n") or 1
    return request.choices * max(1, -(-(request.body.get("best_of") or 1) // asked))


class _Media:
    """What of the parts is not text."""

    def __init__(self) -> None:
        self.encoded = 0
        """Bytes of base64 in the body."""
        self.images = 0
        self.documents = 0
        self.audio = 0
        self.elsewhere = ""

    def add(self, parts: Iterable[Part]) -> None:
        for part in parts:
            if isinstance(part, ToolResult):
                self.add(part.content)
            elif isinstance(part, Native) and part.name in _REFERRING_PARTS:
                self.elsewhere = part.name
            elif isinstance(part, Media) and part.text is None:
                self._add(part)

    def _add(self, media: Media) -> None:
        if media.data is not None:
            self.encoded += len(media.data)
        if media.kind is MediaKind.IMAGE:
            self.images += 1
        elif media.data is None:
            self.elsewhere = f"a {media.kind} that is not in the request"
        else:
            self._add_length(media, len(media.data) * 3 // 4)

    def _add_length(self, media: Media, size: int) -> None:
        match media.kind:
            case MediaKind.AUDIO:
                self.audio += -(-size // BYTES_PER_AUDIO_TOKEN)
            case MediaKind.VIDEO:
                self.documents += -(-size // BYTES_PER_VIDEO_TOKEN)
            case _ if (media.mime_type or "").startswith("text/"):
                self.documents += size
            case _:
                self.documents += PAGE_TOKENS * max(1, -(-size // BYTES_PER_PAGE))


def _open_end(form: ChatRequest) -> str:
    stored = "prompt" if form.dialect is Dialect.RESPONSES else ""
    names = [*(field.name for field in form.native), *form.unknown]
    for name in names:
        if name in _REFERENCES or name == stored:
            return name
    for tool in form.tools:
        if isinstance(tool, Native) and not tool.name.startswith(_RUN_BY_CLIENTS):
            return f"the tool {tool.name}, which the provider runs"
    return ""
