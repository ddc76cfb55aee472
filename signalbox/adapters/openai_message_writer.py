"""Messages in the gateway's own model → those of a chat completion request.

What a conversation of another dialect holds and this one has no place for is put where it is
understood: pictures in a tool's result follow in a message of the user, plain-text documents
become text, texts of instructions and of the assistant become one. In a conversation of chat
completions everything is written as it was read.

Reasoning is written as `reasoning_content`, and as `reasoning_details` besides where a block has
more than text (signature, encryption, id, whose it is) or is a summary, or where there are several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.chat import (
    Citation,
    Json,
    Media,
    MediaKind,
    Message,
    Native,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from signalbox.adapters.data_urls import data_url, text_of
from signalbox.adapters.openai_message_reader import CALL, FIELD
from signalbox.adapters.openai_part_reader import AUDIO_TYPES, INNER
from signalbox.adapters.openai_thinking import reasoning_details, says_more_than_text
from signalbox.types import Dialect

_DEFAULT_TYPES = {
    MediaKind.IMAGE: "image/png",
    MediaKind.FILE: "application/pdf",
    MediaKind.AUDIO: "audio/wav",
    MediaKind.VIDEO: "video/mp4",
}
"""For content whose type nobody said."""
_FORMATS = {mime_type: format for format, mime_type in AUDIO_TYPES.items()}
_FORMATS |= {"audio/x-wav": "wav", "audio/wave": "wav"}
_INSTRUCTIONS = (Role.SYSTEM, Role.DEVELOPER)
_DEFAULT_NAME = "document.pdf"
_SEE_BELOW = "The result follows in the next message."


def write_messages(messages: Sequence[Message], dialect: Dialect) -> list[dict[str, Any]]:
    """`dialect`: the one that they were read from."""
    if dialect is Dialect.CHAT:
        return [written for message in messages for written in _as_read(message)]
    return list(_translated(messages))


def _as_read(message: Message) -> Iterator[dict[str, Any]]:
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    if message.role is Role.TOOL:
        for result in results:
            yield _result(result, [_part(part, own=True) for part in result.content])
        return
    yield _message(message, own=True)


def _translated(messages: Sequence[Message]) -> Iterator[dict[str, Any]]:
    shown: list[Part] = []
    """Media of the results so far: every call must have its result before anything else."""
    for message in messages:
        if message.role is Role.TOOL:
            for part in message.parts:
                if isinstance(part, ToolResult):
                    yield _result_in_text(part, shown)
            continue
        if shown and message.role is Role.USER:
            yield _message(replace(message, parts=(*shown, *message.parts)), own=False)
        else:
            if shown:
                yield _message(Message(Role.USER, tuple(shown)), own=False)
            yield _message(message, own=False)
        shown = []
    if shown:
        yield _message(Message(Role.USER, tuple(shown)), own=False)


# ── results ───────────────────────────────────────────────────────────────────────────────────


def _result(result: ToolResult, content: Sequence[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "tool", "tool_call_id": result.call_id}
    if result.name is not None:
        message["name"] = result.name
    message["content"] = _shortest(content)
    if result.cache is not None:
        message["cache_control"] = result.cache
    return message


def _result_in_text(result: ToolResult, shown: list[Part]) -> dict[str, Any]:
    """A tool's message holds text alone; its media go into `shown`."""
    plain = [_plain(part) for part in result.content]
    texts = [part.text for part in plain if isinstance(part, Text)]
    media = [part for part in plain if isinstance(part, Media)]
    if result.structured is not None and not "".join(texts):
        texts = [msgspec.json.encode(result.structured).decode()]
    if media:
        texts = texts or [_SEE_BELOW]
        shown += [Text(f"From the result of the tool call {result.call_id}:"), *media]
    text = "\n".join(texts)
    if result.is_error and not text.lower().startswith("error"):
        # The dialect has no field for it, and the model must not take it for a result.
        text = f"Error: {text}" if text else "Error"
    content = [{"type": "text", "text": text}] if text else []
    return _result(replace(result, name=None), content)


# ── other messages ────────────────────────────────────────────────────────────────────────────


def _message(message: Message, *, own: bool) -> dict[str, Any]:
    """`own`: the conversation is one of chat completions."""
    written: dict[str, Any] = {"role": message.role.value}
    if message.name is not None:
        written["name"] = message.name
    said = [part for part in message.parts if isinstance(part, Text | Media | Native)]
    assistant = message.role is Role.ASSISTANT
    if assistant:
        written |= _thoughts(message.parts)
        written |= _beside_content(said)
        said = [part for part in said if not _has_field(part)]
    if not own:
        said = _joined([_plain(part) for part in said], message.role)
    content = [_part(part, own=own) for part in said if own or not isinstance(part, Native)]
    written["content"] = _shortest([part for part in content if part])
    if assistant:
        written |= _acts(message.parts, own=own)
        if not content and written.keys() & {"tool_calls", "refusal", "audio"}:
            written["content"] = None
    if own:
        for part in said:
            if isinstance(part, Native) and part.name.startswith(FIELD):
                written |= part.value
    return written


def _thoughts(parts: Iterable[Part]) -> dict[str, Any]:
    blocks = [part for part in parts if isinstance(part, Reasoning)]
    written: dict[str, Any] = {}
    text = "".join(block.text for block in blocks)
    if text:
        written["reasoning_content"] = text
    if len(blocks) > 1 or any(map(says_more_than_text, blocks)):
        written["reasoning_details"] = reasoning_details(blocks)
    return written


def _has_field(part: Part) -> bool:
    """Whether an assistant's message has a field for it, and its content no place."""
    return isinstance(part, Media) and (
        part.kind is MediaKind.IMAGE or (part.kind is MediaKind.AUDIO and part.id is not None)
    )


def _beside_content(parts: Iterable[Part]) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for part in parts:
        if isinstance(part, Media) and _has_field(part):
            if part.kind is MediaKind.IMAGE:
                written.setdefault("images", []).append(media_part(part))
            else:
                written["audio"] = {"id": part.id}
        if isinstance(part, Text) and part.signature is not None:
            written["extra_content"] = {"google": {"thought_signature": part.signature}}
    return written


def _acts(parts: Iterable[Part], *, own: bool) -> dict[str, Any]:
    written: dict[str, Any] = {}
    refusal = "".join(part.text for part in parts if isinstance(part, Refusal))
    if refusal:
        written["refusal"] = refusal
    calls = [call for part in parts for call in _call(part, own=own)]
    if calls:
        written["tool_calls"] = calls
    if own:
        cited = [it for part in parts if isinstance(part, Text) for it in part.citations]
        if cited:
            written["annotations"] = [annotation(it) for it in cited]
    return written


def _call(part: Part, *, own: bool) -> Iterator[Json]:
    if isinstance(part, ToolCall):
        call = tool_call(part)
        if part.cache is not None:
            call["cache_control"] = part.cache
        yield call
    elif own and isinstance(part, Native) and part.name.startswith(CALL):
        yield part.value


def tool_call(call: ToolCall) -> dict[str, Any]:
    """A call as requests and answers have it."""
    written: dict[str, Any] = {"id": call.id, "type": "function"}
    if call.custom:
        written["type"] = "custom"
        written["custom"] = {"name": call.name, "input": call.arguments}
    else:
        written["function"] = {"name": call.name, "arguments": call.arguments}
    if call.signature is not None:
        written["extra_content"] = {"google": {"thought_signature": call.signature}}
    return written


def annotation(citation: Citation) -> Json:
    """One of a message's `annotations`: the provider's own, where it is of this dialect."""
    if citation.dialect is Dialect.CHAT and citation.native is not None:
        return citation.native
    told = {
        "start_index": citation.start,
        "end_index": citation.end,
        "url": citation.url,
        "title": citation.title,
        "content": citation.quote,
    }
    known = {name: value for name, value in told.items() if value is not None}
    return {"type": "url_citation", "url_citation": known}


# ── parts ─────────────────────────────────────────────────────────────────────────────────────


def _shortest(content: Sequence[dict[str, Any]]) -> Any:
    """A string where that says it all: many providers take nothing else in most roles."""
    if not content:
        return ""
    if len(content) == 1 and content[0].keys() == {"type", "text"}:
        return content[0]["text"]
    return list(content)


def _plain(part: Part) -> Part:
    """A document that is plain text as the text that it is."""
    if not isinstance(part, Media) or part.kind is not MediaKind.FILE:
        return part
    text = part.text
    if text is None and part.data is not None and (part.mime_type or "").startswith("text/"):
        text = text_of(part.data)
    if text is None:
        return part
    return Text(text if part.name is None else f"{part.name}:\n{text}", cache=part.cache)


def _joined(parts: Sequence[Part], role: Role) -> list[Any]:
    """One text instead of several, where no one's cache ends between them; the user's may stay
    apart everywhere."""
    texts = [part for part in parts if isinstance(part, Text) and part.cache is None]
    if role is Role.USER or len(texts) != len(parts):
        return list(parts)
    between = "\n\n" if role in _INSTRUCTIONS else ""
    text = between.join(part.text for part in texts)
    return [Text(text)] if text else []


def _part(part: Part, *, own: bool) -> dict[str, Any]:
    """Empty for what is no part of the content."""
    match part:
        case Text():
            if not part.text and part.cache is None:
                return {}  # it was there for its signature
            written: dict[str, Any] = {"type": "text", "text": part.text}
        case Media():
            written = media_part(part if own else _foreign(part))
        case Native() if not part.name.startswith((FIELD, CALL)):
            return dict(part.value)
        case _:
            return {}
    if part.cache is not None:
        written["cache_control"] = part.cache
    return written


def _foreign(media: Media) -> Media:
    """OpenAI wants a name for a document that is given as data."""
    unnamed = media.kind is MediaKind.FILE and media.name is None and media.file_id is None
    return replace(media, extra={}, name=_DEFAULT_NAME if unnamed else media.name)


def media_part(media: Media) -> dict[str, Any]:
    extra = dict(media.extra)
    inner = extra.pop(INNER, {})
    kind, told = _media(media)
    return {"type": kind, kind: {**told, **inner}, **extra}


def _media(media: Media) -> tuple[str, dict[str, Any]]:
    mime_type = media.mime_type or _DEFAULT_TYPES[media.kind]
    where = media.url or data_url(mime_type, media.data or "")
    if media.kind is MediaKind.IMAGE and media.file_id is None:
        told = {"url": where}
        if media.detail is not None:
            told["detail"] = media.detail
        return "image_url", _typed(told, media)
    if media.kind is MediaKind.VIDEO and media.file_id is None:
        return "video_url", _typed({"url": where}, media)
    if media.kind is MediaKind.AUDIO and media.file_id is None:
        if media.url is not None:
            return "audio_url", _typed({"url": media.url}, media)
        format = _FORMATS.get(mime_type, mime_type.removeprefix("audio/"))
        return "input_audio", {"data": media.data or "", "format": format}
    named = {} if media.name is None else {"filename": media.name}
    if media.file_id is not None:
        return "file", _typed({"file_id": media.file_id, **named}, media)
    return "file", _typed({"file_data": where, **named}, media)


def _typed(told: dict[str, Any], media: Media) -> dict[str, Any]:
    """With the type of what a URL leads to, where it is known (LiteLLM's `format`)."""
    if media.data is None and media.mime_type is not None:
        told["format"] = media.mime_type
    return told
