"""The parts of Gemini's answers that the gateway reads, and what they count for.

Source: Gemini API reference, "Generating content", `GenerateContentResponse`; what is said of usage
and of the ends of answers is from there and from what was recorded. Fields that are zero may be
left out, as everywhere in Google's JSON.
"""

from __future__ import annotations

from typing import Any

import msgspec

from signalbox.adapters.openai_wire import MOST_TOKENS
from signalbox.types import Usage


class FunctionCall(msgspec.Struct, rename="camel", gc=False):
    name: str | None = None
    args: dict[str, Any] | None = None
    id: str | None = None


class Blob(msgspec.Struct, rename="camel", gc=False):
    mime_type: str | None = None
    data: str | None = None


class FileData(msgspec.Struct, rename="camel", gc=False):
    mime_type: str | None = None
    file_uri: str | None = None


class Part(msgspec.Struct, rename="camel", gc=False):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: FunctionCall | None = None
    inline_data: Blob | None = None
    file_data: FileData | None = None


class Content(msgspec.Struct, rename="camel", gc=False):
    parts: list[Part] | None = None


class Candidate(msgspec.Struct, rename="camel", gc=False):
    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = None


class PromptFeedback(msgspec.Struct, rename="camel", gc=False):
    block_reason: str | None = None


class Response(msgspec.Struct, rename="camel", gc=False):
    """A whole answer, or a chunk of one."""

    candidates: list[Candidate] | None = None
    prompt_feedback: PromptFeedback | None = None
    usage_metadata: Any = None
    response_id: str | None = None
    model_version: str | None = None

    @property
    def block_reason(self) -> str | None:
        """Why the prompt was refused."""
        return self.prompt_feedback.block_reason if self.prompt_feedback else None


FINISH = {
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
"""`FinishReason` → OpenAI's word. Any other ends the answer like `STOP`: without content, that is
an answer that is tried again."""
BROKEN = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MISSING_THOUGHT_SIGNATURE",
    }
)
"""The model's own mistakes: another try may do well."""


def finish_word(native: str, *, calls: bool) -> str:
    """The finish reason in OpenAI's words; `calls`: the candidate has called functions."""
    return FINISH.get(native) or ("tool_calls" if calls else "stop")


# ── usage ─────────────────────────────────────────────────────────────────────────────────────


def read_usage(reported: object) -> Usage | None:
    """`usageMetadata` as disjoint classes; None where it says nothing.

    `promptTokenCount` holds what was cached, and leaves out what tools gave the model
    (`toolUsePromptTokenCount`); `candidatesTokenCount` leaves thoughts out. `totalTokenCount` is
    the sum of the four: where one of them does not fit or is missing, it decides.
    """
    if not isinstance(reported, dict):
        return None
    prompt = _count(reported.get("promptTokenCount"))
    candidates = _count(reported.get("candidatesTokenCount"))
    thoughts = _count(reported.get("thoughtsTokenCount"))
    total = _count(reported.get("totalTokenCount"))
    if not (prompt or candidates or thoughts or total):
        return None
    tools = _count(reported.get("toolUsePromptTokenCount")) or 0
    known = (prompt or 0) + (candidates or 0) + (thoughts or 0)
    if total is not None and total == known and tools:
        tools = 0  # they were in `promptTokenCount` already
    if total is not None and total > known + tools:
        prompt, candidates, thoughts = _filled(prompt, candidates, thoughts, total - known - tools)
    elif total is not None and thoughts and total == known + tools - thoughts:
        candidates = max(0, (candidates or 0) - thoughts)  # they were in it
    elif total is not None:
        prompt, candidates = prompt or 0, candidates or 0  # a zero that was left out
    return _classes(reported, None if prompt is None else prompt + tools, candidates, thoughts)


def _filled(
    prompt: int | None, candidates: int | None, thoughts: int | None, rest: int
) -> tuple[int, int, int | None]:
    """What nobody told of is put where nothing was told."""
    if prompt is None:
        return rest, candidates or 0, thoughts
    if candidates is None:
        return prompt, rest, thoughts
    return prompt, candidates, (thoughts or 0) + rest


def _classes(
    reported: dict[str, object], prompt: int | None, candidates: int | None, thoughts: int | None
) -> Usage:
    cached = _count(reported.get("cachedContentTokenCount"))
    if prompt is not None and cached is not None and cached > prompt:
        cached = None
    of_prompt = _by_modality(reported, "promptTokensDetails", "toolUsePromptTokensDetails")
    of_cache = _by_modality(reported, "cacheTokensDetails")
    of_output = _by_modality(reported, "candidatesTokensDetails")
    audio = _less(of_prompt.get("AUDIO"), of_cache.get("AUDIO"))
    image = _less(of_prompt.get("IMAGE"), of_cache.get("IMAGE"))
    audio_out, image_out = of_output.get("AUDIO"), of_output.get("IMAGE")
    if prompt is not None:
        prompt -= cached or 0
        if (audio or 0) + (image or 0) > prompt:
            audio = image = None
        prompt -= (audio or 0) + (image or 0)
    if candidates is not None:
        if (audio_out or 0) + (image_out or 0) > candidates:
            audio_out = image_out = None
        candidates -= (audio_out or 0) + (image_out or 0)
    return Usage(
        prompt=prompt,
        cached_read=cached,
        completion=candidates,
        reasoning=thoughts,
        audio_input=audio,
        image_input=image,
        audio_output=audio_out,
        image_output=image_out,
    )


def _by_modality(reported: dict[str, object], *names: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        details = reported.get(name)
        for detail in details if isinstance(details, list) else ():
            if not isinstance(detail, dict):
                continue
            modality, count = detail.get("modality"), _count(detail.get("tokenCount"))
            if isinstance(modality, str) and count is not None:
                counts[modality] = counts.get(modality, 0) + count
    return counts


def _less(all_: int | None, cached: int | None) -> int | None:
    """None where nothing of it was not cached."""
    return None if all_ is None else max(0, all_ - (cached or 0)) or None


def _count(value: object) -> int | None:
    """A number of tokens; None where it is none that can be believed."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        return None
    return value
