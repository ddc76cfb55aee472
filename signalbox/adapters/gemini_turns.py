"""The messages of a chat as Gemini's `systemInstruction` and `contents`.

Sources: Gemini API reference, `Content` and `Part`; guides "Function calling", "Thought
signatures", "File input methods". What is left out and what makes the route impossible is named as
chat completions names it, whatever the door.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from signalbox.adapters.chat import (
    ChatRequest,
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
from signalbox.adapters.gemini_models import ModelTraits
from signalbox.adapters.told_arguments import arguments_object
from signalbox.types import Dialect

FAMILY = Dialect.GENERATE.family
NO_SIGNATURE = "skip_thought_signature_validator"
""""Thought signatures", FAQ: what stands for the signature of a call that another model made."""
FILES = "https://generativelanguage.googleapis.com/"
"""Where the addresses of files begin that were uploaded to Gemini."""

_FETCHED_ANYWAY = re.compile(
    rf"gs://|{re.escape(FILES)}|https?://(www\.|m\.)?(youtube\.com|youtu\.be)/"
)
_FETCHED_FROM_ANYWHERE = frozenset({MediaKind.IMAGE, MediaKind.FILE})
""""File input methods", external URLs: pictures, PDF and text."""
_USUAL_TYPES = {
    MediaKind.IMAGE: "image/jpeg",
    MediaKind.FILE: "application/pdf",
    MediaKind.AUDIO: "audio/wav",
    MediaKind.VIDEO: "video/mp4",
}
_TYPES_OF_ENDINGS = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "heic": "image/heic",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "pdf": "application/pdf",
    "json": "application/json",
    "txt": "text/plain",
    "md": "text/plain",
    "html": "text/html",
    "csv": "text/csv",
    "xml": "text/xml",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "mov": "video/mov",
}

Json = dict[str, Any]


@dataclass(slots=True)
class Turns:
    system: list[Json] = field(default_factory=list)
    contents: list[Json] = field(default_factory=list)
    dropped: dict[str, None] = field(default_factory=dict)
    unsupported: dict[str, None] = field(default_factory=dict)


def write_turns(form: ChatRequest, traits: ModelTraits) -> Turns:
    """Instructions come first, wherever they stood; neighbours of one role become one turn."""
    writer = _Writer(form, traits)
    for message in form.messages:
        writer.add(message)
    return writer.finish()


class _Writer:
    def __init__(self, form: ChatRequest, traits: ModelTraits) -> None:
        self._native = form.dialect.family == FAMILY
        self._traits = traits
        self._names = dict(_calls(form.messages))
        self._turns = Turns()
        self._order: dict[str, int] = {}
        """The calls of the last turn of the model, in their order."""
        self._results: list[tuple[int, list[Json], list[Json]]] = []
        """Results that are still to be put into that order, and pictures that follow them."""

    def add(self, message: Message) -> None:
        if message.role is Role.TOOL:
            for part in message.parts:
                if isinstance(part, ToolResult):
                    self._add_result(part)
            return
        self._flush_results()
        parts = [written for part in message.parts for written in self._written(part)]
        if message.role in (Role.SYSTEM, Role.DEVELOPER):
            self._turns.system += parts
        elif message.role is Role.USER:
            self._append("user", parts)
        else:
            self._with_loose_signatures(message, parts)
            self._append("model", parts)
            calls = [part.id for part in message.parts if isinstance(part, ToolCall)]
            self._order = {call: place for place, call in enumerate(calls)} or self._order

    def finish(self) -> Turns:
        self._flush_results()
        turns = self._turns
        if turns.system and (not turns.contents or not self._traits.instructed):
            instructions, turns.system = turns.system, []
            if turns.contents and turns.contents[0]["role"] == "user":
                turns.contents[0]["parts"] = [*instructions, *turns.contents[0]["parts"]]
            else:
                turns.contents.insert(0, {"role": "user", "parts": instructions})
        if self._traits.newest:
            for turn in turns.contents:
                _with_placeholder(turn)
        if not turns.contents:
            turns.contents.append({"role": "user", "parts": [{"text": ""}]})
        return turns

    def _append(self, role: str, parts: list[Json]) -> None:
        contents = self._turns.contents
        if not parts:
            return
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})

    def _written(self, part: Part) -> list[Json]:
        """The part as Gemini's; nothing where it is left out."""
        match part:
            case Text():
                self._cache_hint(part.cache)
                return _signed({"text": part.text}, part.signature) if _says(part) else []
            case Refusal():
                return [{"text": part.text}] if part.text else []
            case Media():
                self._cache_hint(part.cache)
                return [self._media(part)]
            case ToolCall():
                self._cache_hint(part.cache)
                return _signed({"functionCall": self._call(part)}, part.signature)
            case Reasoning():
                return self._thought(part)
            case ToolResult():
                return [self._response(part, [])]
            case Native():
                return self._of_dialect(part)

    def _cache_hint(self, cache: object) -> None:
        if cache is not None:
            self._turns.dropped["cache_control"] = None

    def _of_dialect(self, part: Native) -> list[Json]:
        if part.dialect.family == FAMILY and isinstance(part.value, dict):
            return [dict(part.value)]
        if part.meaning:
            self._turns.unsupported["messages"] = None
        else:
            self._turns.dropped[part.name or "messages"] = None
        return []

    def _thought(self, part: Reasoning) -> list[Json]:
        """Its own goes back; what another model thought, Gemini has no place for."""
        if part.format is not ReasoningFormat.GEMINI:
            self._turns.dropped["messages.reasoning"] = None
            return []
        if not part.text:
            return []
        return _signed({"text": part.text, "thought": True}, part.signature)

    def _with_loose_signatures(self, message: Message, parts: list[Json]) -> None:
        """Signatures that came as reasoning of their own, as OpenRouter tells them: each belongs to
        the call whose id it has, or to the first call, or to the end of the text."""
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        written = [part for part in parts if "functionCall" in part]
        for part in message.parts:
            if not isinstance(part, Reasoning) or part.format is not ReasoningFormat.GEMINI:
                continue
            signature = part.encrypted or (None if part.text else part.signature)
            if signature is None:
                continue
            own = next((i for i, call in enumerate(calls) if call.id == part.id), 0)
            if own < len(written):
                written[own].setdefault("thoughtSignature", signature)
            else:
                parts.append({"text": "", "thoughtSignature": signature})

    def _call(self, call: ToolCall) -> Json:
        written: Json = {"name": call.name, "args": arguments_object(call.arguments)}
        return {"id": call.id, **written} if self._traits.newest else written

    # ── results ───────────────────────────────────────────────────────────────────────────────

    def _add_result(self, result: ToolResult) -> None:
        self._cache_hint(result.cache)
        media = [self._media(part) for part in result.content if isinstance(part, Media)]
        inside = media if self._traits.newest else []
        place = self._order.get(result.call_id, len(self._order))
        self._results.append((place, [self._response(result, inside)], [] if inside else media))

    def _response(self, result: ToolResult, media: list[Json]) -> Json:
        if result.structured is not None:
            response = dict(result.structured)
        else:
            text = "\n".join(part.text for part in result.content if isinstance(part, Text))
            response = {"error" if result.is_error else "output": text}
        name = result.name or self._names.get(result.call_id) or result.call_id
        written: Json = {"name": name, "response": response}
        if self._traits.newest:
            written = {"id": result.call_id, **written}
        if media:
            written["parts"] = media
        return {"functionResponse": written}

    def _flush_results(self) -> None:
        """As many results in one turn as there were calls, in their order."""
        ordered = sorted(self._results, key=lambda result: result[0])
        self._results = []
        self._append("user", [part for _, responses, _ in ordered for part in responses])
        self._append("user", [part for _, _, media in ordered for part in media])

    # ── media ─────────────────────────────────────────────────────────────────────────────────

    def _media(self, media: Media) -> Json:
        extra = dict(media.extra) if self._native else {}
        if media.text is not None:
            return {**extra, "text": media.text}
        if media.data is not None:
            blob = {"mimeType": _mime_type(media), "data": media.data}
            return {**extra, "inlineData": blob}
        address = media.url or _file_address(media.file_id or "")
        if not self._takes(address, media.kind):
            self._turns.unsupported["messages"] = None
        file = {"mimeType": _mime_type(media), "fileUri": address}
        return {**extra, "fileData": file}

    def _takes(self, address: str, kind: MediaKind) -> bool:
        if _FETCHED_ANYWAY.match(address):
            return True
        fetched = self._traits.fetches and kind in _FETCHED_FROM_ANYWHERE
        return fetched and address.startswith("https://")


def _calls(messages: Iterable[Message]) -> Iterable[tuple[str, str]]:
    for message in messages:
        for part in message.parts:
            if isinstance(part, ToolCall):
                yield part.id, part.name


def _says(part: Text) -> bool:
    """An empty text alone is refused; with a signature it is one of Gemini's own."""
    return bool(part.text or part.signature)


def _signed(part: Json, signature: str | None) -> list[Json]:
    return [part if signature is None else {**part, "thoughtSignature": signature}]


def _with_placeholder(turn: Json) -> None:
    """The first call of a step must have a signature; the others have none, even Gemini's own."""
    if turn["role"] == "model":
        call = next((part for part in turn["parts"] if "functionCall" in part), None)
        if call is not None:
            call.setdefault("thoughtSignature", NO_SIGNATURE)


def _file_address(file_id: str) -> str:
    return f"{FILES}v1beta/{file_id}" if file_id.startswith("files/") else file_id


def _mime_type(media: Media) -> str:
    if media.mime_type:
        return media.mime_type
    name = media.name or (media.url or "").partition("?")[0]
    return _TYPES_OF_ENDINGS.get(name.rpartition(".")[2].lower()) or _USUAL_TYPES[media.kind]
