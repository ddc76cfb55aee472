"""The parts of OpenAI's chat completion format that the gateway reads, and what they count for.

Only what decides something is declared; everything else goes through as bytes. The fields of
OpenAI's API reference are joined by what other providers add to them: reasoning as
`reasoning_content` (DeepSeek, xAI, z.ai) or `reasoning` (Groq, OpenRouter), content as an array
of parts (Mistral), usage inside `x_groq` (Groq), pictures as `images` (OpenRouter).
"""

from __future__ import annotations

from typing import Any

import msgspec

from signalbox.types import Usage


class TextPart(msgspec.Struct, gc=False):
    text: str | None = None


class ContentPart(msgspec.Struct, gc=False):
    """One part of a content array. Mistral's `thinking` part holds text parts of its own."""

    text: str | None = None
    thinking: str | list[TextPart] | None = None
    refusal: str | None = None


class Function(msgspec.Struct, gc=False):
    """A function's name and arguments, or a custom tool's name and input."""

    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class ToolCall(msgspec.Struct, gc=False):
    function: Function | None = None
    custom: Function | None = None


class Audio(msgspec.Struct, gc=False):
    data: str | None = None
    transcript: str | None = None


class Message(msgspec.Struct, gc=False):
    """A whole message, or the delta of one."""

    content: str | list[ContentPart] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None
    audio: Audio | None = None
    images: list[Any] | None = None


class Choice(msgspec.Struct, gc=False):
    index: int | None = None
    delta: Message | None = None
    message: Message | None = None
    finish_reason: str | None = None
    error: Any = None


class GroqExtension(msgspec.Struct, gc=False):
    usage: Any = None
    error: Any = None


class Envelope(msgspec.Struct, gc=False):
    """A chunk or a completion, or an error in the place of one."""

    choices: list[Choice] | None = None
    usage: Any = None
    x_groq: GroqExtension | None = None
    error: Any = None
    message: Any = None
    detail: Any = None
    kind: Any = msgspec.field(default=None, name="object")

    @property
    def is_error(self) -> bool:
        """An error in any provider's style: under `error`, or flat (Mistral, Cerebras, vLLM)."""
        if self.error or self.kind == "error":
            return True
        if self.x_groq is not None and self.x_groq.error:
            return True
        if self.choices is None:
            return bool(self.message or self.detail)
        return any(choice.error or choice.finish_reason == "error" for choice in self.choices)

    @property
    def reported_usage(self) -> object:
        if self.usage is None and self.x_groq is not None:
            return self.x_groq.usage
        return self.usage


DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not JSON of the wanted shape or are nested too deep."""

_FINISH_REASONS = {"eos": "stop"}
"""Other providers' words for OpenAI's finish reasons: `eos` is Together's."""


def finish_reason(choice: Choice) -> str | None:
    """The choice's finish reason in OpenAI's words; None where it has none yet."""
    reason = choice.finish_reason
    if not reason:
        return None
    return _FINISH_REASONS.get(reason, reason)


def content_chars(message: Message) -> int:
    """Characters of content: text, reasoning, refusal, tool calls, the transcript of audio.

    Audio data and pictures count as one character each: they are content, but the length of
    their base64 says nothing of their tokens, which are estimated from these characters where
    the provider reports none.
    """
    content = message.content
    chars = 0
    if content:
        chars = len(content) if isinstance(content, str) else sum(map(_part_chars, content))
    if message.reasoning_content or message.reasoning:
        # Providers that send both send the same text twice.
        chars += len(message.reasoning_content or message.reasoning or "")
    if message.refusal:
        chars += len(message.refusal)
    if message.tool_calls:
        for call in message.tool_calls:
            chars += _function_chars(call.function) + _function_chars(call.custom)
    if message.function_call is not None:
        chars += _function_chars(message.function_call)
    if message.audio is not None:
        chars += len(message.audio.transcript or "") + bool(message.audio.data)
    if message.images:
        chars += len(message.images)
    return chars


def _part_chars(part: ContentPart) -> int:
    thinking = part.thinking or ""
    if not isinstance(thinking, str):
        thinking = "".join(inner.text or "" for inner in thinking)
    return len(part.text or "") + len(thinking) + len(part.refusal or "")


def _function_chars(function: Function | None) -> int:
    if function is None:
        return 0
    return len(function.name or "") + len(function.arguments or "") + len(function.input or "")


def read_usage(reported: object, *, reasoning_apart: bool) -> Usage | None:
    """`usage` as disjoint classes; None where it says nothing.

    `reasoning_apart`: the provider's `completion_tokens` leaves reasoning out. `total_tokens`
    decides where it settles the question. A detail that cannot be true (more cached tokens than
    prompt tokens) is not said. All zeros is not usage: providers send it after an error, and no
    real prompt has no tokens.
    """
    if not isinstance(reported, dict):
        return None
    prompt = _count(reported.get("prompt_tokens"))
    completion = _count(reported.get("completion_tokens"))
    if not prompt and not completion:
        return None
    cached, written = _cache_counts(reported)
    if prompt is not None and (cached or 0) + (written or 0) > prompt:
        cached = written = None
    reasoning = _count(_details(reported, "completion_tokens_details").get("reasoning_tokens"))
    if prompt is not None and completion is not None and reasoning:
        total = _count(reported.get("total_tokens"))
        if total == prompt + completion + reasoning:
            reasoning_apart = True
        elif total == prompt + completion:
            reasoning_apart = False
    if completion is not None and reasoning is not None and not reasoning_apart:
        if reasoning > completion:
            reasoning = None
        else:
            completion -= reasoning
    return Usage(
        prompt=None if prompt is None else prompt - (cached or 0) - (written or 0),
        cached_read=cached,
        cache_write=written,
        completion=completion,
        reasoning=reasoning,
    )


def _cache_counts(reported: dict[str, object]) -> tuple[int | None, int | None]:
    details = _details(reported, "prompt_tokens_details")
    cached = _count(details.get("cached_tokens"))
    if cached is None:
        cached = _count(reported.get("prompt_cache_hit_tokens"))  # DeepSeek's own field
    return cached, _count(details.get("cache_write_tokens"))


def _details(reported: dict[str, object], name: str) -> dict[str, object]:
    details = reported.get(name)
    return details if isinstance(details, dict) else {}


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return value
