"""The parts of OpenAI's chat completion format that the gateway reads, and what they count for.

Only what decides something is declared; everything else goes through as bytes. The fields of
OpenAI's API reference are joined by what other providers add to them: reasoning as
`reasoning_content` (DeepSeek, xAI, z.ai) or `reasoning` (Groq, OpenRouter), content as an array
of parts (Mistral), usage inside `x_groq` (Groq), pictures as `images` (OpenRouter), and what
`provider_state.py` names as state that an answer gives out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from signalbox.types import Usage


class TextPart(msgspec.Struct, gc=False):
    text: str | None = None


class ContentPart(msgspec.Struct, gc=False):
    """One part of a content array. Mistral's `thinking` part holds text parts of its own."""

    text: str | None = None
    thinking: str | list[TextPart] | None = None
    refusal: str | None = None
    signature: Any = None
    data: Any = None
    file_id: Any = None
    file: Any = None

    @property
    def gives_out_state(self) -> bool:
        return bool(self.signature or self.data or self.file_id or self.file)


class Function(msgspec.Struct, gc=False):
    """A function's name and arguments, or a custom tool's name and input."""

    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class ToolCall(msgspec.Struct, gc=False):
    function: Function | None = None
    custom: Function | None = None
    extra_content: Any = None


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
    reasoning_details: Any = None
    reasoning_opaque: Any = None
    thinking_blocks: Any = None
    extra_content: Any = None

    @property
    def is_plain(self) -> bool:
        """There is text, or nothing: as in nearly every chunk of a stream."""
        return (
            (self.content is None or type(self.content) is str)
            and self.tool_calls is None
            and self.reasoning_content is None
            and self.reasoning is None
            and self.refusal is None
            and self.function_call is None
            and self.audio is None
            and self.images is None
            and self.reasoning_details is None
            and self.reasoning_opaque is None
            and self.thinking_blocks is None
            and self.extra_content is None
        )

    @property
    def may_give_out_state(self) -> bool:
        return bool(
            self.audio
            or self.reasoning_details
            or self.reasoning_opaque
            or self.thinking_blocks
            or self.extra_content
            or (self.tool_calls and any(call.extra_content for call in self.tool_calls))
            or (isinstance(self.content, list) and any(p.gives_out_state for p in self.content))
        )


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

    id: Any = None
    choices: list[Choice] | None = None
    container: Any = None
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
        for choice in self.choices:  # noqa: SIM110 (this is asked for each chunk of each stream)
            if choice.error or choice.finish_reason == "error":
                return True
        return False

    @property
    def reported_usage(self) -> object:
        if self.usage is None and self.x_groq is not None:
            return self.x_groq.usage
        return self.usage


DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not JSON of the wanted shape or are nested too deep."""

MOST_TOKENS = 1_000_000_000
"""A hundred times the longest context there is. A larger count is an error of the provider's, which
must not empty a budget or block a limit for years."""

_FINISH_REASONS = {"eos": "stop"}
"""Other providers' words for OpenAI's finish reasons: `eos` is Together's."""


def finish_reason(choice: Choice) -> str | None:
    """The choice's finish reason in OpenAI's words; None where it has none yet."""
    reason = choice.finish_reason
    if not reason:
        return None
    return _FINISH_REASONS.get(reason, reason)


class Content(NamedTuple):
    """What a message, or the delta of one, holds. Counts are characters."""

    text: str = ""
    reasoning_chars: int = 0
    other_chars: int = 0
    """Refusal, tool calls, the transcript of audio. Audio data and pictures count as one each:
    they are content, but the length of their base64 says nothing of their tokens, which are
    estimated from these characters where the provider reports none."""
    opaque: bool = False
    """There is more than text and reasoning."""

    @property
    def chars(self) -> int:
        return len(self.text) + self.reasoning_chars + self.other_chars


def read_content(message: Message) -> Content:
    """What the message says; unknown kinds of content parts are opaque and count for nothing."""
    content = message.content
    text, reasoning, other, opaque = "", 0, 0, False
    if isinstance(content, str):
        text = content
    elif content:
        text, reasoning, other, opaque = _read_parts(content)
    if message.reasoning_content or message.reasoning:
        # Providers that send both send the same text twice.
        reasoning += len(message.reasoning_content or message.reasoning or "")
    if (
        message.tool_calls
        or message.function_call
        or message.refusal
        or message.audio
        or message.images
    ):
        other += _other_chars(message)
        opaque = True
    return Content(text, reasoning, other, opaque)


def _read_parts(parts: list[ContentPart]) -> Content:
    refusals = "".join(part.refusal or "" for part in parts)
    return Content(
        text="".join(part.text or "" for part in parts),
        reasoning_chars=sum(map(_thinking_chars, parts)),
        other_chars=len(refusals),
        opaque=bool(refusals) or any(p.text is None and p.thinking is None for p in parts),
    )


def _thinking_chars(part: ContentPart) -> int:
    thinking = part.thinking or ""
    if isinstance(thinking, str):
        return len(thinking)
    return sum(len(inner.text or "") for inner in thinking)


def _other_chars(message: Message) -> int:
    chars = len(message.refusal or "") + len(message.images or ())
    for call in message.tool_calls or ():
        chars += _function_chars(call.function) + _function_chars(call.custom)
    chars += _function_chars(message.function_call)
    if message.audio is not None:
        chars += len(message.audio.transcript or "") + bool(message.audio.data)
    return chars


def _function_chars(function: Function | None) -> int:
    if function is None:
        return 0
    return len(function.name or "") + len(function.arguments or "") + len(function.input or "")


def read_usage(reported: object, *, reasoning_apart: bool) -> Usage | None:
    """`usage` as disjoint classes; None where it says nothing.

    `reasoning_apart`: the provider's `completion_tokens` leaves reasoning out. `total_tokens`
    decides where it settles the question. A detail that cannot be true (more cached tokens than
    prompt tokens) is not said. All zeros is not usage: providers send it after an error, and no
    real prompt has no tokens. Tokens of a prediction, accepted or not, are `completion`.
    """
    if not isinstance(reported, dict):
        return None
    prompt = _count(reported.get("prompt_tokens"))
    completion = _count(reported.get("completion_tokens"))
    if not prompt and not completion:
        return None
    inputs = _input_classes(reported, prompt)
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
    outputs = _media_counts(reported, "completion_tokens_details", completion)
    tier = reported.get("service_tier")
    return Usage(
        prompt=_less(prompt, inputs.values()),
        completion=_less(completion, outputs.values()),
        reasoning=reasoning,
        audio_output=outputs.get("audio_tokens"),
        image_output=outputs.get("image_tokens"),
        service_tier=tier if isinstance(tier, str) else None,
        cached_read=inputs.get("cached_read"),
        cache_write=inputs.get("cache_write"),
        audio_input=inputs.get("audio_input"),
        image_input=inputs.get("image_input"),
    )


def _input_classes(reported: dict[str, object], prompt: int | None) -> dict[str, int]:
    """The classes of the input that are said, besides what is left for `prompt`.

    How much of the audio was cached is not said: where both would be more than the prompt, the
    cached tokens count, for their price is another's.
    """
    cached, written = _cache_counts(reported)
    if prompt is not None and (cached or 0) + (written or 0) > prompt:
        cached = written = None
    cache = {"cached_read": cached, "cache_write": written}
    known = {name: count for name, count in cache.items() if count is not None}
    media = _media_counts(reported, "prompt_tokens_details", _less(prompt, known.values()))
    names = {"audio_tokens": "audio_input", "image_tokens": "image_input"}
    return known | {names[name]: count for name, count in media.items()}


def _media_counts(reported: dict[str, object], details: str, within: int | None) -> dict[str, int]:
    """The tokens of audio and of pictures, where they are said: none that are more than `within`
    together."""
    told = _details(reported, details)
    counts = {name: _count(told.get(name)) for name in ("audio_tokens", "image_tokens")}
    known = {name: count for name, count in counts.items() if count is not None}
    if within is not None and sum(known.values()) > within:
        return {}
    return known


def _less(total: int | None, parts: Iterable[int]) -> int | None:
    return None if total is None else total - sum(parts)


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
    """A number of tokens; None where it is none that can be believed."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        return None
    return value
