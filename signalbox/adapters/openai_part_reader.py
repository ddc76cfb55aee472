"""Content parts of chat completions → parts of the gateway's own model.

Besides OpenAI's parts (`text`, `image_url`, `file`, `input_audio`, `refusal`) those that its
compatible providers document: `video_url` (OpenRouter, vLLM), `input_video` (OpenRouter),
`audio_url` (vLLM), `document_url` (Mistral), `thinking` (Mistral; Anthropic's through LiteLLM),
and `cache_control` on any of them. What has another shape than its type promises is `Native`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.chat import Media, MediaKind, Native, Part, Refusal, Text
from signalbox.adapters.data_urls import split_data_url
from signalbox.adapters.openai_thinking import THINKING_PARTS, thinking_part
from signalbox.types import Dialect

Json = Mapping[str, Any]

AUDIO_TYPES = {"mp3": "audio/mpeg"}
"""`format` → MIME type, where it is not `audio/` and the same word."""
_URL_PARTS = {
    "image_url": MediaKind.IMAGE,
    "video_url": MediaKind.VIDEO,
    "input_video": MediaKind.VIDEO,
    "audio_url": MediaKind.AUDIO,
    "document_url": MediaKind.FILE,
}


def read_part(part: Json) -> Part | None:
    """None for one that says nothing: an empty text."""
    kind = part["type"]
    text = part.get(kind) if kind in ("text", "refusal") else None
    cache = part.get("cache_control")
    cache = cache if isinstance(cache, dict) else None
    if kind == "text" and isinstance(text, str):
        return Text(text, cache=cache) if text or cache else None
    if kind == "refusal" and isinstance(text, str):
        return Refusal(text) if text else None
    if kind in THINKING_PARTS:
        return thinking_part(part)
    media = read_media(part)
    if media is not None:
        return replace(media, cache=cache)
    return Native(Dialect.CHAT, part, name=kind)


def read_media(part: Json) -> Media | None:
    """A picture, document, sound or video; None where the part is no such, or not as documented."""
    kind = part["type"]
    inner = part.get(kind)
    if kind in _URL_PARTS:
        media = _of_url(inner, _URL_PARTS[kind])
    elif kind == "file":
        media = _file(inner if isinstance(inner, dict) else part)
    elif kind == "input_audio":
        media = _audio(inner)
    else:
        return None
    if media is None:
        return None
    outer = {n: it for n, it in part.items() if n not in ("type", kind, "cache_control")}
    if kind == "document_url" and isinstance(outer.get("document_name"), str):
        media = replace(media, name=outer.pop("document_name"))
    if kind == "file" and not isinstance(inner, dict):
        outer.pop("file_id", None)
    return replace(media, extra={**outer, **media.extra}) if outer else media


def located(kind: MediaKind, where: str, mime_type: str | None = None) -> Media:
    """Media at a URL, or in a `data:` URL."""
    split = split_data_url(where)
    if split is None:
        return Media(kind, mime_type, url=where)
    told, data = split
    return Media(kind, told or mime_type, data=data)


def result_part(part: Json) -> Text | Media | None:
    """A part of a tool's result; what is neither text nor media is told as its JSON."""
    read = read_part(part)
    if read is None or isinstance(read, Text | Media):
        return read
    return Text(msgspec.json.encode(part).decode())


def _of_url(inner: Any, kind: MediaKind) -> Media | None:
    if isinstance(inner, str):
        return located(kind, inner) if inner else None
    if not isinstance(inner, dict) or not isinstance(inner.get("url"), str) or not inner["url"]:
        return None
    media = located(kind, inner["url"])
    known = {"url"}
    if isinstance(inner.get("detail"), str):
        media = replace(media, detail=inner["detail"])
        known.add("detail")
    if media.mime_type is None and _is_type(inner.get("format")):
        # LiteLLM's way to name the type of what a URL leads to.
        media = replace(media, mime_type=inner["format"])
        known.add("format")
    return _with_rest(media, inner, known)


def _file(inner: Json) -> Media | None:
    data, id, name = inner.get("file_data"), inner.get("file_id"), inner.get("filename")
    known = {"filename"} if isinstance(name, str) else set()
    mime_type = inner["format"] if _is_type(inner.get("format")) else None
    if mime_type is not None:
        known.add("format")
    if isinstance(data, str) and data:
        media = located(MediaKind.FILE, data, mime_type)
        if media.url is not None and not _is_url(data):
            media = Media(MediaKind.FILE, mime_type, data=data)
        known.add("file_data")
    elif isinstance(id, str) and id:
        # LiteLLM takes a URL there too.
        media = located(MediaKind.FILE, id, mime_type)
        if media.url is not None and not _is_url(id):
            media = Media(MediaKind.FILE, mime_type, file_id=id)
        known.add("file_id")
    else:
        return None
    return _with_rest(replace(media, name=name if isinstance(name, str) else None), inner, known)


def _audio(inner: Any) -> Media | None:
    if isinstance(inner, str):  # Mistral
        media = located(MediaKind.AUDIO, inner) if inner else None
        if media is not None and media.url is not None and not _is_url(inner):
            return Media(MediaKind.AUDIO, data=inner)
        return media
    if not isinstance(inner, dict) or not isinstance(inner.get("data"), str) or not inner["data"]:
        return None
    format = inner.get("format")
    known, mime_type = {"data"}, None
    if isinstance(format, str) and format:
        known.add("format")
        mime_type = format if "/" in format else AUDIO_TYPES.get(format, f"audio/{format}")
    media = located(MediaKind.AUDIO, inner["data"], mime_type)
    if media.url is not None and not _is_url(inner["data"]):
        media = Media(MediaKind.AUDIO, mime_type, data=inner["data"])
    return _with_rest(media, inner, known)


def _with_rest(media: Media, inner: Json, known: set[str]) -> Media:
    """With the fields of the part's inner object that are not read, under its own name."""
    rest = {name: it for name, it in inner.items() if name not in known and name != "type"}
    rest.pop("cache_control", None)
    return replace(media, extra={INNER: rest}) if rest else media


INNER = "inner"
"""The name in `Media.extra` for what else the part's inner object holds."""


def _is_url(text: str) -> bool:
    return "://" in text[:32]


def _is_type(value: object) -> bool:
    return isinstance(value, str) and "/" in value
