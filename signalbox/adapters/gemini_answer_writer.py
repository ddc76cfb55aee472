"""Answers of other dialects in the words of Gemini's API, whole and streamed.

Format: Google, Gemini API reference, "Generating content: GenerateContentResponse". A stream is a
row of such objects, each with what is new; a function call in it is whole.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    Citation,
    Json,
    Media,
    MediaKind,
    Native,
    Part,
    Reasoning,
    ReasoningFormat,
    Refusal,
    Text,
    ToolCall,
)
from signalbox.adapters.told_arguments import arguments_object
from signalbox.types import CHARS_PER_TOKEN, Dialect, Request, Usage

Fields = dict[str, Any]

FINISH_REASONS = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "function_call": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}
_MIME_TYPES = {
    MediaKind.IMAGE: "image/png",
    MediaKind.AUDIO: "audio/wav",
    MediaKind.VIDEO: "video/mp4",
    MediaKind.FILE: "application/octet-stream",
}
"""Where the provider says none."""


def generated(told: ChatAnswer, request: Request, content_chars: int, *, thoughts: bool) -> Fields:
    """The answer; tokens that nobody counted are estimated. `thoughts`: they are to be shown."""
    usage = told.usage or Usage(
        prompt=request.prompt_tokens,
        completion=-(-content_chars // CHARS_PER_TOKEN),
        estimated=True,
    )
    candidates = [
        _candidate(index, choice, thoughts=thoughts) for index, choice in enumerate(told.choices)
    ]
    return {
        "candidates": candidates,
        "usageMetadata": usage_fields(usage),
        **envelope(told.model or request.model, request.id),
    }


def envelope(model: str, trace_id: str) -> Fields:
    return {"modelVersion": model, "responseId": trace_id}


def usage_fields(usage: Usage) -> Fields:
    """`usageMetadata`. Cached tokens are in the prompt, thoughts are not in the candidates.
    What is not known is left out."""
    prompt, completion = usage.input_total, usage.output_total
    answer = None if completion is None else completion - (usage.reasoning or 0)
    total = None if prompt is None or completion is None else prompt + completion
    fields = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": answer,
        "totalTokenCount": total,
        "cachedContentTokenCount": usage.cached_read,
        "thoughtsTokenCount": usage.reasoning,
    }
    return {name: count for name, count in fields.items() if count is not None}


def finish_reason(finish: str | None, *, refused: bool = False) -> str:
    if refused:
        return "SAFETY"
    return FINISH_REASONS.get(finish or "", "OTHER")


def candidate(index: int, parts: Sequence[Json]) -> Fields:
    return {"content": {"parts": list(parts), "role": "model"}, "index": index}


def _candidate(index: int, choice: AnswerChoice, *, thoughts: bool) -> Fields:
    parts = choice.parts
    refused = any(isinstance(part, Refusal) for part in parts)
    told = candidate(index, list(_parts(parts, thoughts=thoughts)))
    told["finishReason"] = finish_reason(choice.finish, refused=refused)
    sources = [
        source
        for part in parts
        if isinstance(part, Text)
        for source in map(citation_source, part.citations)
        if source is not None
    ]
    if sources:
        told["citationMetadata"] = {"citationSources": sources}
    if choice.logprobs is not None:
        told["logprobsResult"] = logprobs_result(choice.logprobs)
    return told


def _parts(parts: Iterable[Part], *, thoughts: bool) -> Iterator[Json]:
    for part in parts:
        match part:
            case Text():
                if part.text or part.signature:
                    yield signed({"text": part.text}, part.signature)
            case Refusal():
                yield {"text": part.text}
            case Reasoning():
                if thoughts and part.text:
                    own = part.signature if part.format is ReasoningFormat.GEMINI else None
                    yield signed({"text": part.text, "thought": True}, own)
            case ToolCall():
                yield function_call(part.id, part.name, part.arguments, part.signature)
            case Media():
                yield from media_parts(part)
            case Native(dialect=Dialect.GENERATE):
                yield part.value


def function_call(id: str, name: str, arguments: str, signature: str | None) -> Fields:
    call = {"id": id, "name": name, "args": arguments_object(arguments)}
    return signed({"functionCall": call}, signature)


def signed(part: Fields, signature: str | None) -> Fields:
    """The part with Gemini's signature of it. Clients decode it: what is no base64 is left out."""
    if signature is None or not _is_base64(signature):
        return part
    return {**part, "thoughtSignature": signature}


def _is_base64(text: str) -> bool:
    standard = text.replace("-", "+").replace("_", "/")
    try:
        base64.b64decode(standard, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def media_parts(media: Media) -> Iterator[Json]:
    """A picture or a sound, and its words, where it has any."""
    if media.transcript:
        yield {"text": media.transcript}
    mime_type = media.mime_type or _MIME_TYPES[media.kind]
    if media.data:
        yield {"inlineData": {"mimeType": mime_type, "data": media.data}}
    elif media.url:
        yield {"fileData": {"mimeType": mime_type, "fileUri": media.url}}


def citation_source(citation: Citation) -> Fields | None:
    if citation.url is None:
        return None
    fields = {
        "startIndex": citation.start,
        "endIndex": citation.end,
        "uri": citation.url,
        "title": citation.title,
    }
    return {name: value for name, value in fields.items() if value is not None}


def logprobs_result(logprobs: Sequence[Json]) -> Fields:
    return {
        "chosenCandidates": [_likely(token) for token in logprobs],
        "topCandidates": [
            {"candidates": [_likely(other) for other in token.get("top_logprobs") or ()]}
            for token in logprobs
        ],
    }


def _likely(token: Json) -> Fields:
    return {"token": token.get("token"), "logProbability": token.get("logprob")}
