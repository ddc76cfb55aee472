"""The messages of a chat completion request → the gateway's own model.

Parts come in this order: reasoning, content, refusal, tool calls. An empty string is no part. The
deprecated `function_call` and the role `function` become a tool call and its result, with ids by
their places. Fields of a message that are not known are hints to `Dialect.CHAT` alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.chat import (
    Citation,
    Media,
    MediaKind,
    Message,
    Native,
    Part,
    Reasoning,
    ReasoningFormat,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from signalbox.adapters.openai_part_reader import read_media, read_part, result_part
from signalbox.adapters.openai_thinking import read_reasoning
from signalbox.types import Dialect

Json = Mapping[str, Any]

FIELD = "messages[]."
"""How the name of a message's own `Native` field begins."""
CALL = "messages[].tool_calls[]."
"""How the name of a `Native` tool call begins."""

_READ = frozenset(
    {
        "role",
        "content",
        "name",
        "cache_control",
        "refusal",
        "tool_calls",
        "function_call",
        "audio",
        "images",
        "annotations",
        "extra_content",
        "reasoning_content",
        "reasoning",
        "reasoning_details",
        "thinking_blocks",
    }
)


def read_messages(messages: Sequence[Json]) -> tuple[Message, ...]:
    last: dict[str, str] = {}
    return tuple(_message(message, place, last) for place, message in enumerate(messages))


def _message(message: Json, place: int, last: dict[str, str]) -> Message:
    """`last`: the id of the last call of each function."""
    role = message["role"]
    if role in ("tool", "function"):
        return Message(Role.TOOL, (_result(message, place, last),))
    parts = list(_content(message.get("content")))
    cache = message.get("cache_control")
    if isinstance(cache, dict):
        parts = _cached(parts, cache)
    if role == "assistant":
        parts = _assistant(message, parts, place, last)
    parts += _unknown(message)
    return Message(Role(role), tuple(parts), name=_text(message, "name"))


def _content(content: Any) -> Iterator[Part]:
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    for part in content or ():
        read = read_part(part)
        if read is not None:
            yield read


def _cached(parts: list[Part], cache: Json) -> list[Part]:
    """LiteLLM's `cache_control` of a message is that of its last part."""
    if parts and isinstance(parts[-1], Text | Media) and parts[-1].cache is None:
        parts[-1] = replace(parts[-1], cache=cache)
    return parts


def _unknown(message: Json) -> Iterator[Native]:
    for name, value in message.items():
        if name not in _READ and value not in (None, [], {}):
            yield Native(Dialect.CHAT, {name: value}, meaning=False, name=f"{FIELD}{name}")


# ── the assistant's ───────────────────────────────────────────────────────────────────────────


def _assistant(message: Json, content: list[Part], place: int, last: dict[str, str]) -> list[Part]:
    thoughts: list[Part] = [part for part in content if isinstance(part, Reasoning)]
    refused = [part for part in content if isinstance(part, Refusal)]
    said: list[Part] = [part for part in content if not isinstance(part, Reasoning | Refusal)]
    calls = list(_calls(message, place))
    if not thoughts:
        blocks, signatures = _signatures_apart(read_reasoning(message), calls)
        thoughts = list(blocks)
        calls = [
            replace(call, signature=call.signature or signatures.get(call.id))
            if isinstance(call, ToolCall)
            else call
            for call in calls
        ]
    for call in calls:
        if isinstance(call, ToolCall):
            last[call.name] = call.id
    said = _signed(said, thought_signature(message)) + list(_media(message))
    said = _cited(said, message.get("annotations"))
    refusal = _text(message, "refusal")
    if refusal and not refused:
        refused = [Refusal(refusal)]
    return [*thoughts, *said, *refused, *calls]


def _signatures_apart(
    blocks: Sequence[Reasoning], calls: Sequence[Part]
) -> tuple[tuple[Reasoning, ...], dict[str, str]]:
    """OpenRouter tells Gemini's signature of a tool call as a block with the call's id."""
    ids = {call.id for call in calls if isinstance(call, ToolCall)}
    kept, signatures = [], {}
    for block in blocks:
        if block.format is ReasoningFormat.GEMINI and block.id in ids and block.encrypted:
            signatures[block.id or ""] = block.encrypted
            if block.text:
                kept.append(replace(block, encrypted=None, id=None))
        else:
            kept.append(block)
    return tuple(kept), signatures


def _signed(parts: list[Part], signature: str | None) -> list[Part]:
    if signature is None:
        return parts
    for place in reversed(range(len(parts))):
        part = parts[place]
        if isinstance(part, Text):
            return [*parts[:place], replace(part, signature=signature), *parts[place + 1 :]]
    return [*parts, Text("", signature=signature)]


def thought_signature(holder: Json) -> str | None:
    """Of a message or a tool call. Google, "Thought signatures": OpenAI compatibility."""
    extra = holder.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) and signature else None


def _media(message: Json) -> Iterator[Media]:
    """What an earlier answer held: pictures (OpenRouter), and audio by its id."""
    images = message.get("images")
    for image in images if isinstance(images, list) else ():
        if isinstance(image, dict) and image.get("type", "image_url") == "image_url":
            media = read_media({**image, "type": "image_url"})
            if media is not None:
                # `index` counts the pictures of one answer.
                yield replace(media, extra={n: v for n, v in media.extra.items() if n != "index"})
    audio = message.get("audio")
    if isinstance(audio, dict):
        id, data = _text(audio, "id"), _text(audio, "data")
        transcript = _text(audio, "transcript")
        if id or data or transcript:
            yield Media(MediaKind.AUDIO, data=data or None, id=id or None, transcript=transcript)


def _cited(parts: list[Part], annotations: Any) -> list[Part]:
    citations = tuple(read_citations(annotations))
    if not citations:
        return parts
    for place in reversed(range(len(parts))):
        part = parts[place]
        if isinstance(part, Text):
            return [*parts[:place], replace(part, citations=citations), *parts[place + 1 :]]
    return parts


def read_citations(annotations: Any) -> Iterator[Citation]:
    """`annotations` of a message. The fields of a `url_citation` are flat at some providers."""
    for annotation in annotations if isinstance(annotations, list) else ():
        if not isinstance(annotation, dict):
            continue
        told = annotation.get("url_citation")
        told = told if isinstance(told, dict) else annotation
        url = _text(told, "url")
        if url:
            start, end = told.get("start_index"), told.get("end_index")
            yield Citation(
                url=url,
                title=_text(told, "title"),
                quote=_text(told, "content"),
                start=start if _is_place(start) else None,
                end=end if _is_place(end) else None,
                dialect=Dialect.CHAT,
                native=annotation,
            )


def _calls(message: Json, place: int) -> Iterator[ToolCall | Native]:
    for number, call in enumerate(message.get("tool_calls") or ()):
        id = _text(call, "id") or f"call_{place}_{number}"
        yield read_call(call, id) or Native(
            Dialect.CHAT, call, name=f"{CALL}{_text(call, 'type') or 'type'}"
        )
    function = message.get("function_call")
    if isinstance(function, dict) and _text(function, "name"):
        yield ToolCall(f"call_{place}", function["name"], arguments_of(function.get("arguments")))


def read_call(call: Json, id: str) -> ToolCall | None:
    """A tool call of a message; None for one of a kind that is not known."""
    cache = call.get("cache_control")
    shared: dict[str, Any] = {
        "signature": thought_signature(call),
        "cache": cache if isinstance(cache, dict) else None,
    }
    function, custom = call.get("function"), call.get("custom")
    if isinstance(function, dict) and isinstance(function.get("name"), str):
        return ToolCall(id, function["name"], arguments_of(function.get("arguments")), **shared)
    if isinstance(custom, dict) and isinstance(custom.get("name"), str):
        return ToolCall(id, custom["name"], _text(custom, "input") or "", custom=True, **shared)
    return None


def arguments_of(arguments: Any) -> str:
    """As JSON text; some clients send the object itself."""
    if isinstance(arguments, str):
        return arguments or "{}"
    return "{}" if arguments is None else msgspec.json.encode(arguments).decode()


# ── results ───────────────────────────────────────────────────────────────────────────────────


def _result(message: Json, place: int, last: Mapping[str, str]) -> ToolResult:
    name = _text(message, "name") or None
    id = _text(message, "tool_call_id")
    if not id:
        id = last.get(name or "") or f"call_{name or place}"
    cache = message.get("cache_control")
    return ToolResult(
        call_id=id,
        content=tuple(_result_content(message.get("content"))),
        name=name,
        cache=cache if isinstance(cache, dict) else None,
    )


def _result_content(content: Any) -> Iterator[Text | Media]:
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    for part in content or ():
        read = result_part(part)
        if read is not None:
            yield read


def _text(holder: Json, name: str) -> str | None:
    value = holder.get(name)
    return value if isinstance(value, str) else None


def _is_place(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
