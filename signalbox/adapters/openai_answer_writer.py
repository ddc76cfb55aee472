"""Answers in the gateway's own model → chat completions and their chunks.

Reasoning leaves as `reasoning_content`, `reasoning` and `reasoning_details`; citations as
`annotations`; pictures as `images` (OpenRouter's form); Gemini's thought signatures and what else a
provider says of a choice as `extra_content` (Google's form, "Thought signatures").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    CitationPiece,
    FinishPiece,
    Media,
    MediaKind,
    MediaPiece,
    NativePiece,
    Part,
    Piece,
    Reasoning,
    ReasoningPiece,
    Refusal,
    RefusalPiece,
    Text,
    TextPiece,
    ToolCall,
    ToolCallPiece,
)
from signalbox.adapters.openai_door import usage_object
from signalbox.adapters.openai_message_writer import annotation, media_part, tool_call
from signalbox.adapters.openai_thinking import details_of, reasoning_details
from signalbox.adapters.protocol import Delta
from signalbox.types import Flavour, Request

_encoder = msgspec.json.Encoder()


def chat_completion(answer: ChatAnswer, request: Request) -> dict[str, object]:
    """The answer's JSON."""
    completion: dict[str, object] = {
        "id": _own_id(request),
        "object": "chat.completion",
        "created": int(request.received_at),
        "model": answer.model or request.model,
        "choices": [_choice(choice, place) for place, choice in enumerate(answer.choices)],
    }
    if answer.service_tier is not None:
        completion["service_tier"] = answer.service_tier
    if answer.usage is not None:
        completion["usage"] = usage_object(answer.usage)
    return completion


def _own_id(request: Request) -> str:
    head = "gen-" if request.flavour is Flavour.OPENROUTER else "chatcmpl-"
    return f"{head}{request.id}"


def _choice(choice: AnswerChoice, place: int) -> dict[str, Any]:
    return {
        "index": place,
        "message": _message(choice),
        "logprobs": None
        if choice.logprobs is None
        else {"content": choice.logprobs, "refusal": None},
        "finish_reason": choice.finish,
    }


def _message(choice: AnswerChoice) -> dict[str, Any]:
    parts = choice.parts
    texts = [part for part in parts if isinstance(part, Text)]
    calls = [tool_call(part) for part in parts if isinstance(part, ToolCall)]
    refusal = "".join(part.text for part in parts if isinstance(part, Refusal))
    text = "".join(part.text for part in texts)
    message: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not (calls or refusal) else None,
        "refusal": refusal or None,
    }
    message |= _thoughts(parts)
    if calls:
        message["tool_calls"] = calls
    cited = [annotation(it) for part in texts for it in part.citations]
    if cited:
        message["annotations"] = cited
    for part in parts:
        if isinstance(part, Media):
            _add_media(message, part)
    signed = [part.signature for part in texts if part.signature is not None]
    extra = _extra_content(choice.extra, signed[-1] if signed else None)
    if extra:
        message["extra_content"] = extra
    return message


def _thoughts(parts: tuple[Part, ...]) -> dict[str, Any]:
    blocks = [part for part in parts if isinstance(part, Reasoning)]
    if not blocks:
        return {}
    text = "".join(block.text for block in blocks)
    told = {"reasoning_content": text, "reasoning": text} if text else {}
    return {**told, "reasoning_details": reasoning_details(blocks)}


def _extra_content(extra: Mapping[str, Any], signature: str | None) -> dict[str, Any]:
    if signature is None:
        return dict(extra)
    google = extra.get("google")
    signed = {"thought_signature": signature}
    return {**extra, "google": {**google, **signed} if isinstance(google, dict) else signed}


def _add_media(message: dict[str, Any], media: Media) -> None:
    """Pictures by a list, audio by its field. Nothing else is known in an answer."""
    media = replace(media, extra={})
    if media.kind is MediaKind.IMAGE:
        images = message.setdefault("images", [])
        images.append({**media_part(media), "index": len(images)})
    elif media.kind is MediaKind.AUDIO:
        audio = message.setdefault("audio", {})
        if media.id is not None:
            audio["id"] = media.id
        for name, more in (("data", media.data), ("transcript", media.transcript)):
            if more is not None:
                audio[name] = audio.get(name, "") + more


# ── chunks ────────────────────────────────────────────────────────────────────────────────────


class ChunkWriter:
    """`EventWriter` of chat completion chunks: one for each delta.

    A call that ends without arguments is given `{}`, which its count of characters leaves out.
    """

    def __init__(self, request: Request) -> None:
        self._envelope: dict[str, object] = {
            "id": _own_id(request),
            "object": "chat.completion.chunk",
            "created": int(request.received_at),
            "model": request.model,
        }
        self._choices: dict[int, _ChoiceWriter] = {}

    def write(self, delta: Delta) -> list[Delta]:
        if delta.model is not None:
            self._envelope["model"] = delta.model
        touched: dict[int, dict[str, Any]] = {}
        for piece in delta.pieces:
            if isinstance(piece, NativePiece):
                continue
            writer = self._choices.setdefault(piece.choice, _ChoiceWriter(piece.choice))
            if piece.choice not in touched:
                touched[piece.choice] = writer.begun()
            writer.add(piece, touched[piece.choice])
        chunk = {**self._envelope, "choices": [_settled(it) for it in touched.values()]}
        if delta.usage is not None:
            chunk["usage"] = usage_object(delta.usage)
        raw = _encoder.encode(chunk)
        return [replace(delta, raw=raw, event="", has_choices=bool(touched))]


def _settled(choice: dict[str, Any]) -> dict[str, Any]:
    """The chunk's choice with a list of the calls that were merged by their index."""
    calls = choice["delta"].get("tool_calls")
    if calls is not None:
        choice["delta"]["tool_calls"] = list(calls.values())
    return choice


@dataclass(slots=True)
class _ChoiceWriter:
    """One choice: what its next chunk has to say depends on what was said."""

    index: int
    role_told: bool = False
    images: int = 0
    block: int = 0
    """The index of the block of reasoning that is open."""
    thought: ReasoningPiece | None = None
    """The last piece of that block."""
    empty_calls: dict[int, bool] = field(default_factory=dict)
    """Index → whether it is custom, for calls without arguments so far."""

    def begun(self) -> dict[str, Any]:
        """The choice of a chunk that is to be filled."""
        delta: dict[str, Any] = {}
        if not self.role_told:
            self.role_told = True
            delta = {"role": "assistant", "content": ""}
        return {"index": self.index, "delta": delta, "logprobs": None, "finish_reason": None}

    def add(self, piece: Piece, choice: dict[str, Any]) -> None:
        delta = choice["delta"]
        match piece:
            case TextPiece():
                self._text(piece, choice, delta)
            case ReasoningPiece():
                self._reasoning(piece, delta)
            case ToolCallPiece():
                self._call(piece, delta)
            case RefusalPiece():
                delta["refusal"] = delta.get("refusal", "") + piece.text
            case CitationPiece():
                delta.setdefault("annotations", []).append(annotation(piece.citation))
            case MediaPiece():
                self._media(piece.media, delta)
            case FinishPiece():
                self._finish(piece, choice, delta)
            case NativePiece():
                pass

    def _text(self, piece: TextPiece, choice: dict[str, Any], delta: dict[str, Any]) -> None:
        delta["content"] = (delta.get("content") or "") + piece.text
        if piece.logprobs is not None:
            known = choice["logprobs"] or {"content": [], "refusal": None}
            choice["logprobs"] = {**known, "content": [*known["content"], *piece.logprobs]}
        if piece.signature is not None:
            delta["extra_content"] = _extra_content(delta.get("extra_content", {}), piece.signature)

    def _reasoning(self, piece: ReasoningPiece, delta: dict[str, Any]) -> None:
        if self.thought is not None and _is_another(self.thought, piece):
            self.block += 1
        if piece.text or piece.signature or piece.encrypted:
            for name in ("reasoning_content", "reasoning"):
                if piece.text:
                    delta[name] = delta.get(name, "") + piece.text
            block = Reasoning(
                piece.text,
                summary=piece.summary,
                signature=piece.signature,
                encrypted=piece.encrypted,
                id=piece.id,
                format=piece.format,
            )
            delta.setdefault("reasoning_details", []).extend(details_of(block, self.block))
        self.thought = piece

    def _call(self, piece: ToolCallPiece, delta: dict[str, Any]) -> None:
        calls = delta.setdefault("tool_calls", {})
        kind, text = ("custom", "input") if piece.custom else ("function", "arguments")
        call = calls.setdefault(piece.index, {"index": piece.index})
        if piece.id is not None:
            call |= {"id": piece.id, "type": kind}
            self.empty_calls[piece.index] = piece.custom
        told = call.setdefault(kind, {})
        if piece.name is not None:
            told["name"] = piece.name
        told[text] = told.get(text, "") + piece.arguments
        if piece.arguments:
            self.empty_calls.pop(piece.index, None)
        if piece.signature is not None:
            call["extra_content"] = _extra_content({}, piece.signature)

    def _media(self, media: Media, delta: dict[str, Any]) -> None:
        if media.kind is MediaKind.IMAGE:
            part = {**media_part(replace(media, extra={})), "index": self.images}
            self.images += 1
            delta.setdefault("images", []).append(part)
        else:
            _add_media(delta, media)

    def _finish(self, piece: FinishPiece, choice: dict[str, Any], delta: dict[str, Any]) -> None:
        for index, custom in self.empty_calls.items():
            if not custom:
                nothing = ToolCallPiece(index, "{}", self.index)
                calls = delta.setdefault("tool_calls", {})
                told = calls.setdefault(index, {"index": index}).setdefault("function", {})
                told["arguments"] = told.get("arguments", "") + nothing.arguments
        self.empty_calls.clear()
        choice["finish_reason"] = piece.finish
        if piece.extra:
            delta["extra_content"] = {**piece.extra, **delta.get("extra_content", {})}


def _is_another(last: ReasoningPiece, piece: ReasoningPiece) -> bool:
    """Whether the piece begins another block."""
    return (
        last.closes
        or last.summary != piece.summary
        or (last.id is not None and piece.id is not None and last.id != piece.id)
        or (last.encrypted is not None and bool(piece.text or piece.encrypted))
    )
