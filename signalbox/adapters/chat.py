"""The gateway's own model of a chat: what every dialect is read into and written from.

A door reads its client's body into a `ChatRequest`; an adapter of another dialect writes its
provider's body from it. Back the same way: an adapter reads an answer into a `ChatAnswer`, or the
events of a stream into pieces, and the door writes them down in its own words. Where door and
provider speak one dialect nothing of this is needed: the body goes through.

What a dialect alone understands is carried as `Native`, under its name, and is written back only to
that dialect. None always means: not said.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

import msgspec

from signalbox.types import Dialect, Usage

Json = Mapping[str, Any]


class Role(StrEnum):
    SYSTEM = "system"
    DEVELOPER = "developer"
    """OpenAI's newer word for instructions; most dialects know one kind only."""
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"
    """Its parts are `ToolResult` alone."""


class Citation(msgspec.Struct, frozen=True):
    """What a span of text rests on. `native` is the dialect's own object, whole."""

    url: str | None = None
    title: str | None = None
    quote: str | None = None
    """The cited words of the source."""
    start: int | None = None
    end: int | None = None
    """The span of the answer's text, in characters, end exclusive."""
    dialect: Dialect | None = None
    native: Json | None = None


class Text(msgspec.Struct, frozen=True):
    text: str
    citations: tuple[Citation, ...] = ()
    cache: Json | None = None
    """Anthropic's `cache_control`, as OpenRouter's chat takes it too: the prompt up to here is to
    be cached."""
    signature: str | None = None
    """Gemini's thought signature, where it came with text."""


class MediaKind(StrEnum):
    IMAGE = "image"
    FILE = "file"
    """A document: PDF, plain text."""
    AUDIO = "audio"
    VIDEO = "video"


class Media(msgspec.Struct, frozen=True):
    """Exactly one of `data`, `url`, `text` and `file_id` says where the content is."""

    kind: MediaKind
    mime_type: str | None = None
    data: str | None = None
    """Base64, without a `data:` head."""
    url: str | None = None
    """`http(s):` and the like; a `data:` URL is read into `data` and `mime_type`."""
    text: str | None = None
    """A document that is given as plain text."""
    file_id: str | None = None
    """A file at the provider: it means something there alone."""
    name: str | None = None
    detail: str | None = None
    """OpenAI's `low`, `high`, `auto`, `original`."""
    transcript: str | None = None
    """Of audio in an answer."""
    id: str | None = None
    """Of audio in an answer: later turns refer to it."""
    cache: Json | None = None
    extra: Json = msgspec.field(default_factory=dict)
    """Further fields of the part, in the dialect it came in (`title`, `context`, `citations`,
    `videoMetadata`, …); written back to that dialect only."""


class ReasoningFormat(StrEnum):
    """Whose reasoning it is, in OpenRouter's words (`reasoning_details[].format`)."""

    ANTHROPIC = "anthropic-claude-v1"
    GEMINI = "google-gemini-v1"
    OPENAI = "openai-responses-v1"
    XAI = "xai-responses-v1"


class Reasoning(msgspec.Struct, frozen=True):
    """Thinking, a summary of it, or something encrypted that the provider wants back."""

    text: str = ""
    summary: bool = False
    """The text is a summary (OpenAI's `reasoning.summary`)."""
    signature: str | None = None
    """Proves to the provider that the text is its own (Anthropic)."""
    encrypted: str | None = None
    """Anthropic's redacted thinking, OpenAI's `encrypted_content`."""
    id: str | None = None
    format: ReasoningFormat | None = None


class ToolCall(msgspec.Struct, frozen=True):
    id: str
    name: str
    arguments: str
    """The JSON as text, `{}` for none; the free input of a `custom` tool."""
    custom: bool = False
    signature: str | None = None
    """Gemini's thought signature: without it the next step of the loop is refused."""
    cache: Json | None = None


class ToolResult(msgspec.Struct, frozen=True):
    call_id: str
    content: tuple[Text | Media, ...] = ()
    name: str | None = None
    """The tool's name, where the dialect says it; `with_tool_names` fills it in."""
    is_error: bool | None = None
    custom: bool = False
    structured: Json | None = None
    """Gemini's `functionResponse.response`, where it is more than a text."""
    cache: Json | None = None


class Refusal(msgspec.Struct, frozen=True):
    text: str


class Native(msgspec.Struct, frozen=True):
    """A part, a tool or an item that only `dialect` understands, as it came."""

    dialect: Dialect
    value: Any
    meaning: bool = True
    """Whether the request means something else without it, so that another dialect's route cannot
    carry it. False: it may be left out, and is named."""
    name: str = ""
    """As a client is told of it: `web_search_20250305`."""


Part = Text | Media | Reasoning | ToolCall | ToolResult | Refusal | Native


class Message(msgspec.Struct, frozen=True):
    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    """The participant's, as OpenAI has it."""


class Tool(msgspec.Struct, frozen=True):
    """A function that the client offers."""

    name: str
    description: str | None = None
    parameters: Json | None = None
    """JSON Schema; None: no arguments."""
    strict: bool | None = None
    custom: Json | None = None
    """OpenAI's custom tool: free input, `{}` or a `format`."""
    cache: Json | None = None


ToolChoiceMode = Literal["auto", "none", "required"]


class ToolChoice(msgspec.Struct, frozen=True):
    mode: ToolChoiceMode
    name: str | None = None
    """With `required`: the one tool that must be called."""
    allowed: tuple[str, ...] | None = None
    """The tools that may be called; None: all."""


class JsonObject(msgspec.Struct, frozen=True):
    """Any JSON object."""


class JsonSchema(msgspec.Struct, frozen=True):
    schema: Json
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class ReasoningWish(msgspec.Struct, frozen=True):
    """How much the model is to think. `effort` and `max_tokens` may both be there."""

    effort: str | None = None
    """`none`, `minimal`, `low`, `medium`, `high`, `xhigh`, `max`."""
    max_tokens: int | None = None
    """The budget of tokens."""
    enabled: bool | None = None
    exclude: bool | None = None
    """The thinking is not to be shown."""
    summary: str | None = None
    """OpenAI's `auto`, `concise`, `detailed`."""


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request of any chat door. Counts and ranges are the client's: nothing is clamped here."""

    dialect: Dialect
    """The one that it was read from."""
    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    max_tokens: int | None = None
    """Of the answer, thinking included."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    stop: tuple[str, ...] = ()
    n: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Json | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: tuple[Tool | Native, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: JsonObject | JsonSchema | None = None
    reasoning: ReasoningWish | None = None
    modalities: tuple[str, ...] = ()
    audio: Json | None = None
    """OpenAI's `{voice, format}` for spoken answers."""
    user: str | None = None
    metadata: Json | None = None
    store: bool | None = None
    service_tier: str | None = None
    verbosity: str | None = None
    prediction: Json | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    cache: Json | None = None
    """A `cache_control` for the whole request (Anthropic, OpenRouter)."""
    unknown: Json = msgspec.field(default_factory=dict)
    """Top-level fields that the gateway does not know; they go back to `dialect` only, and are
    named where they are left out."""
    native: tuple[Native, ...] = ()
    """Known top-level fields that change the meaning and that only `dialect` has (`mcp_servers`,
    `cachedContent`, `previous_response_id`, `plugins`, …); `name` is the field's, `value` its
    value."""


# ── answers ───────────────────────────────────────────────────────────────────────────────────


class AnswerChoice(msgspec.Struct, frozen=True):
    """One of an answer's alternatives. `finish` is in OpenAI's words: `stop`, `length`,
    `tool_calls`, `content_filter`; None: the provider did not say."""

    parts: tuple[Part, ...]
    finish: str | None
    native_finish: str | None = None
    """The provider's own word for it."""
    stop_sequence: str | None = None
    """Which of the client's stop sequences ended it."""
    logprobs: tuple[Json, ...] | None = None
    """In OpenAI's form: `{token, logprob, bytes, top_logprobs}` for each token of the text."""
    extra: Json = msgspec.field(default_factory=dict)
    """What else the provider says of this choice, in its own dialect (`groundingMetadata`,
    `safetyRatings`, …); the chat door tells it under `extra_content`."""


class ChatAnswer(msgspec.Struct, frozen=True):
    choices: tuple[AnswerChoice, ...]
    usage: Usage | None = None
    id: str | None = None
    """The provider's."""
    model: str | None = None
    created: int | None = None
    """Unix time."""
    service_tier: str | None = None


# ── the pieces of a stream ────────────────────────────────────────────────────────────────────


class TextPiece(msgspec.Struct, frozen=True):
    text: str
    choice: int = 0
    logprobs: tuple[Json, ...] | None = None
    signature: str | None = None
    """Gemini's thought signature, where it came with text."""


class CitationPiece(msgspec.Struct, frozen=True):
    """Belongs to the text so far."""

    citation: Citation
    choice: int = 0


class ReasoningPiece(msgspec.Struct, frozen=True):
    """More reasoning. `signature`, `encrypted` and `id` come whole; `closes` ends a block."""

    text: str = ""
    choice: int = 0
    summary: bool = False
    signature: str | None = None
    encrypted: str | None = None
    id: str | None = None
    format: ReasoningFormat | None = None
    closes: bool = False


class ToolCallPiece(msgspec.Struct, frozen=True):
    """More of a tool call. The first piece of a call has `id` and `name`, both whole."""

    index: int
    """The call's place among the choice's calls, from 0 without gaps."""
    arguments: str = ""
    choice: int = 0
    id: str | None = None
    name: str | None = None
    custom: bool = False
    signature: str | None = None


class RefusalPiece(msgspec.Struct, frozen=True):
    text: str
    choice: int = 0


class MediaPiece(msgspec.Struct, frozen=True):
    """A picture, whole, or more of the answer's audio: base64, and its transcript."""

    media: Media
    choice: int = 0


class NativePiece(msgspec.Struct, frozen=True):
    """A part that only its dialect understands (a server tool's result): others leave it out."""

    native: Native
    choice: int = 0


class FinishPiece(msgspec.Struct, frozen=True):
    """The choice ends. See `AnswerChoice`."""

    finish: str
    choice: int = 0
    native_finish: str | None = None
    stop_sequence: str | None = None
    extra: Json = msgspec.field(default_factory=dict)


Piece = (
    TextPiece
    | CitationPiece
    | ReasoningPiece
    | ToolCallPiece
    | RefusalPiece
    | MediaPiece
    | NativePiece
    | FinishPiece
)
