"""Answers in the gateway's own model → responses and their events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.chat import (
    AnswerChoice,
    ChatAnswer,
    Citation,
    CitationPiece,
    FinishPiece,
    Media,
    MediaKind,
    MediaPiece,
    NativePiece,
    Part,
    Piece,
    Reasoning,
    ReasoningFormat,
    ReasoningPiece,
    Refusal,
    RefusalPiece,
    Text,
    TextPiece,
    ToolCall,
    ToolCallPiece,
)
from signalbox.adapters.protocol import Delta
from signalbox.adapters.responses_assembler import (
    TEXT_DELTA,
    Event,
    ResponseAssembler,
    is_opaque,
)
from signalbox.adapters.responses_reasoning import packed
from signalbox.types import Dialect, Flavour, Request, Usage

_NOTHING = Delta(raw=b"")
"""No event: it only carries what is counted."""
_TOLD_BACK = (
    "instructions",
    "max_output_tokens",
    "metadata",
    "reasoning",
    "temperature",
    "text",
    "top_logprobs",
    "top_p",
    "user",
)
"""Fields of a request that its response repeats, null where they were not given."""


def response_head(request: Request, model: str | None) -> dict[str, Any]:
    """A response of the gateway's own as it begins; it says whether the gateway keeps it."""
    body = request.body
    return {
        "id": response_id(request),
        "object": "response",
        "created_at": int(request.received_at),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        **{name: body.get(name) for name in _TOLD_BACK},
        "metadata": body.get("metadata") or {},
        "text": body.get("text") or {"format": {"type": "text"}},
        "model": model or request.model,
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": request.continues,
        "store": request.remembered,
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "truncation": "disabled",
        "usage": None,
    }


def response_id(request: Request) -> str:
    if request.flavour is Flavour.OPENROUTER:
        return f"gen-{request.id}"
    return f"resp_{own_id(request)}"


def own_id(request: Request) -> str:
    """The trace id in the letters that the ids of this dialect have."""
    return request.id.replace("-", "")


def response_usage(usage: Usage) -> dict[str, Any] | None:
    """`usage` as OpenAI writes it; its clients read the details without looking."""
    prompt, completion = usage.input_total, usage.output_total
    if prompt is None or completion is None:
        return None
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": usage.cached_read or 0,
            "cache_write_tokens": usage.cache_write or 0,
        },
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": prompt + completion,
    }


def response_object(answer: ChatAnswer, request: Request) -> tuple[dict[str, Any], dict[str, str]]:
    """The whole response, and what reasoning of other dialects is called in it.

    The dialect has one alternative; others are left out.
    """
    writer = PieceWriter(request)
    [first, *_] = answer.choices or (AnswerChoice((), None),)
    events = writer.begin(answer.model)
    for piece in _pieces(first):
        events += [event for event, _ in writer.events(piece)]
    response: dict[str, Any] = events[-1]["response"]
    response["usage"] = None if answer.usage is None else response_usage(answer.usage)
    if answer.service_tier is not None:
        response["service_tier"] = answer.service_tier
    return response, writer.renamed


def _pieces(choice: AnswerChoice) -> Iterable[Piece]:
    calls = 0
    for part in choice.parts:
        yield from _pieces_of(part, calls, choice)
        calls += isinstance(part, ToolCall)
    yield FinishPiece(choice.finish or "stop")


def _pieces_of(part: Part, calls: int, choice: AnswerChoice) -> Iterable[Piece]:
    match part:
        case Text():
            yield TextPiece(part.text, logprobs=choice.logprobs)
            for citation in part.citations:
                yield CitationPiece(citation)
        case Reasoning():
            yield ReasoningPiece(
                part.text,
                signature=part.signature,
                encrypted=part.encrypted,
                id=part.id,
                format=part.format,
                closes=True,
            )
        case ToolCall():
            yield ToolCallPiece(
                calls, part.arguments, id=part.id, name=part.name, custom=part.custom
            )
        case Refusal():
            yield RefusalPiece(part.text)
        case Media():
            yield MediaPiece(part)
        case _:
            return


class PieceWriter:
    """Pieces → events, each with whether it holds what the piece says."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._response: ResponseAssembler | None = None
        self._secret: tuple[str | None, str | None, ReasoningFormat | None] = (None, None, None)
        """Signature, encrypted reasoning and format of the reasoning that is open."""
        self._over = False
        self.renamed: dict[str, str] = {}
        """What a provider's signature is called in this dialect: what clients send back."""

    def begin(self, model: str | None) -> list[Event]:
        """The events that open the response, the first time."""
        if self._response is not None:
            return []
        head = response_head(self._request, model)
        self._response = ResponseAssembler(head, own_id(self._request))
        return self._response.begin()

    def events(self, piece: Piece) -> list[tuple[Event, bool]]:
        """Nothing for other alternatives than the first, and after the end."""
        assert self._response is not None, "a response begins before it says anything"
        if piece.choice or self._over:
            return []
        told = self._of(piece, self._response)
        says = {"delta", "arguments", "input"}
        return [(event, not says.isdisjoint(event)) for event in told]

    def _of(self, piece: Piece, response: ResponseAssembler) -> list[Event]:
        match piece:
            case ReasoningPiece():
                return self._reasoning(piece, response)
            case FinishPiece():
                self._over = True
                return [*self._close_thought(response), *response.end(piece.finish)]
            case CitationPiece():
                return response.citation(_annotation(piece.citation, response.text_chars))
        closed = self._close_thought(response)
        match piece:
            case TextPiece():
                if not piece.text:
                    return closed
                return [*closed, *response.text(piece.text, _logprobs(piece.logprobs))]
            case RefusalPiece():
                return [*closed, *(response.refusal(piece.text) if piece.text else ())]
            case ToolCallPiece():
                begun = response.call(piece.index, piece.id, piece.name, custom=piece.custom)
                said = response.arguments(piece.index, piece.arguments) if piece.arguments else []
                return [*closed, *begun, *said]
            case MediaPiece():
                return [*closed, *_picture(piece.media, response)]
            case NativePiece() if piece.native.dialect is Dialect.RESPONSES:
                value = piece.native.value
                return [*closed, *response.item("item", value)] if "type" in value else closed
        return closed

    def _reasoning(self, piece: ReasoningPiece, response: ResponseAssembler) -> list[Event]:
        signature, encrypted, format = self._secret
        self._secret = (
            piece.signature or signature,
            piece.encrypted or encrypted,
            piece.format or format,
        )
        events: list[Event] = []
        if piece.text:
            events += response.reasoning(piece.text)
        elif any(self._secret[:2]):
            events += response.open_thought()
        return [*events, *self._close_thought(response)] if piece.closes else events

    def _close_thought(self, response: ResponseAssembler) -> list[Event]:
        signature, encrypted, format = self._secret
        self._secret = (None, None, None)
        content = packed(signature, encrypted, format)
        for provider_s in (signature, encrypted):
            if content is not None and provider_s is not None:
                self.renamed[provider_s] = content
        return response.close_thought(content)


class ResponseEventWriter:
    """`EventWriter` of the Responses API."""

    def __init__(self, request: Request) -> None:
        self._pieces = PieceWriter(request)

    def write(self, delta: Delta) -> list[Delta]:
        """See `EventWriter.write`. Text stands in events of its own; what is told of the delta as a
        whole stands in the first one (the end: in the last one)."""
        written = [_delta(event) for event in self._pieces.begin(delta.model)]
        thoughts: dict[str, None] = {}
        reasoning = delta.reasoning_chars
        for piece in delta.pieces:
            for event, says in self._pieces.events(piece):
                told = _delta(event)
                if says and isinstance(piece, TextPiece) and event["type"] == TEXT_DELTA:
                    told = replace(told, text=piece.text, content_chars=len(piece.text))
                elif says and isinstance(piece, ReasoningPiece) and reasoning:
                    told = replace(told, reasoning_chars=reasoning, content_chars=reasoning)
                    reasoning = 0
                written.append(told)
                if event["type"] == "response.output_item.added" and _is_thought(event["item"]):
                    thoughts[event["item"]["id"]] = None
        return _with_the_rest(written or [_NOTHING], delta, self._made(delta, thoughts))

    def _made(self, delta: Delta, thoughts: Iterable[str]) -> tuple[str, ...]:
        """As the client will give it back: also by the ids of the items that hold reasoning."""
        renamed = self._pieces.renamed
        made = [renamed.get(value, value) for value in delta.made]
        return tuple(dict.fromkeys([*delta.made, *made, *thoughts]))


def _is_thought(item: Mapping[str, Any]) -> bool:
    return bool(item["type"] == "reasoning")


def _delta(event: Event) -> Delta:
    item = event.get("item")
    opaque = is_opaque(event["type"], item["type"] if isinstance(item, dict) else None)
    return Delta(raw=msgspec.json.encode(event), event=event["type"], opaque=opaque)


def _with_the_rest(written: list[Delta], delta: Delta, made: tuple[str, ...]) -> list[Delta]:
    left = delta.content_chars - sum(each.content_chars for each in written)
    told_text = "".join(each.text for each in written)
    first = written[0]
    written[0] = replace(
        first,
        content_chars=first.content_chars + max(0, left),
        text=first.text if told_text else first.text + delta.text,
        opaque=first.opaque or delta.opaque,
        id=delta.id,
        made=made,
        model=delta.model,
    )
    written[-1] = replace(written[-1], finish_reasons=delta.finish_reasons, usage=delta.usage)
    return written


def _annotation(citation: Citation, text_chars: int) -> dict[str, Any]:
    if citation.dialect is Dialect.RESPONSES and citation.native is not None:
        return dict(citation.native)
    return {
        "type": "url_citation",
        "url": citation.url or "",
        "title": citation.title or citation.url or "",
        # Where the provider names no span, the text so far rests on it.
        "start_index": 0 if citation.start is None else citation.start,
        "end_index": text_chars if citation.end is None else citation.end,
    }


def _logprobs(logprobs: tuple[Mapping[str, Any], ...] | None) -> list[Mapping[str, Any]]:
    return list(logprobs or ())


def _picture(media: Media, response: ResponseAssembler) -> list[Event]:
    """Audio has no place in a response."""
    if media.kind is not MediaKind.IMAGE or media.data is None:
        return []
    return response.item("ig", {"type": "image_generation_call", "result": media.data})
