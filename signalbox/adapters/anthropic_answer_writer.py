"""Answers of other dialects in the words of Anthropic's Messages API.

Format: Anthropic API reference, "Create a Message" (the answer). It has one choice, of blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    Citation,
    Media,
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

STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
OWN_REASONING = (ReasoningFormat.ANTHROPIC, None)
"""Whose signatures and encrypted thinking this dialect has a place for."""


def message(told: ChatAnswer, request: Request, content_chars: int) -> Fields:
    """The answer's first choice as a message; tokens that nobody counted are estimated."""
    choice = told.choices[0] if told.choices else AnswerChoice((), None)
    usage = told.usage or _estimate(request, content_chars)
    return {
        "id": message_id(request),
        "type": "message",
        "role": "assistant",
        "model": told.model or request.model,
        "content": list(_blocks(choice.parts)),
        "stop_reason": stop_reason(
            choice.finish,
            choice.stop_sequence,
            refused=any(isinstance(part, Refusal) for part in choice.parts),
        ),
        "stop_sequence": choice.stop_sequence,
        "usage": usage_fields(usage),
    }


def begun_message(id: str, model: str) -> Fields:
    """What `message_start` tells: no content yet, and no tokens that anybody has counted."""
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def message_id(request: Request) -> str:
    return f"msg_{request.id}"


def stop_reason(finish: str | None, stop_sequence: str | None, *, refused: bool) -> str:
    """The reason in Anthropic's words, of one in OpenAI's."""
    if refused:
        return "refusal"
    if finish == "stop" and stop_sequence is not None:
        return "stop_sequence"
    return STOP_REASONS.get(finish or "stop", "end_turn")


def usage_fields(usage: Usage) -> Fields:
    """`usage`. Cached tokens are no part of `input_tokens`, reasoning is one of `output_tokens`;
    both must be there, and are 0 where nobody knows them."""
    fresh = (usage.prompt, usage.audio_input, usage.image_input)
    fields: Fields = {
        "input_tokens": sum(count or 0 for count in fresh),
        "output_tokens": usage.output_total or 0,
    }
    if usage.cache_write is not None:
        fields["cache_creation_input_tokens"] = usage.cache_write
        if usage.cache_write_1h is not None:
            fields["cache_creation"] = {
                "ephemeral_1h_input_tokens": usage.cache_write_1h,
                "ephemeral_5m_input_tokens": usage.cache_write - usage.cache_write_1h,
            }
    if usage.cached_read is not None:
        fields["cache_read_input_tokens"] = usage.cached_read
    if usage.reasoning is not None:
        fields["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return fields


def _estimate(request: Request, content_chars: int) -> Usage:
    completion = -(-content_chars // CHARS_PER_TOKEN)
    return Usage(prompt=request.prompt_tokens, completion=completion, estimated=True)


def _blocks(parts: Iterable[Part]) -> Iterator[Fields]:
    for part in parts:
        match part:
            case Text():
                if part.text:
                    yield text_block(part.text, part.citations)
            case Refusal():
                yield text_block(part.text)
            case Reasoning():
                yield from reasoning_blocks(part)
            case ToolCall():
                yield {**tool_use(part.id, part.name), "input": arguments_object(part.arguments)}
            case Media():
                shown = media_text(part)
                if shown:
                    yield text_block(shown)
            case Native(dialect=Dialect.MESSAGES):
                yield part.value


def text_block(text: str, citations: Iterable[Citation] = ()) -> Fields:
    told = [each for each in map(citation_fields, citations) if each is not None]
    block: Fields = {"type": "text", "text": text}
    return {**block, "citations": told} if told else block


def tool_use(id: str, name: str) -> Fields:
    return {"type": "tool_use", "id": id, "name": name, "input": {}}


def reasoning_blocks(part: Reasoning) -> Iterator[Fields]:
    """Thinking, signed or not, and what is encrypted. What another dialect encrypted has no place:
    its provider would not be given it back in a form that it takes."""
    own = part.format in OWN_REASONING
    if part.text:
        signature = part.signature if own else None
        yield {"type": "thinking", "thinking": part.text, "signature": signature or ""}
    if part.encrypted and own:
        yield {"type": "redacted_thinking", "data": part.encrypted}
    elif part.signature and own and not part.text:
        yield {"type": "thinking", "thinking": "", "signature": part.signature}


def citation_fields(citation: Citation) -> Fields | None:
    """A source on the web is told as one that a search has found; others have no form here."""
    if citation.dialect is Dialect.MESSAGES and citation.native is not None:
        return dict(citation.native)
    if citation.url is None:
        return None
    return {
        "type": "web_search_result_location",
        "url": citation.url,
        "title": citation.title,
        "cited_text": citation.quote or "",
        "encrypted_index": "",
    }


def media_text(media: Media) -> str:
    """A picture as Markdown, the words of spoken audio: a message holds neither."""
    if media.transcript:
        return media.transcript
    url = media.url or (f"data:{media.mime_type or 'image/png'};base64,{media.data}")
    named = media.url or media.data
    return f"![{media.kind.value}]({url})" if named and media.kind.value == "image" else ""
