"""The events of a provider's stream of the Responses API.

Format: OpenAI API reference, "Streaming events". A stream ends with the event that holds the whole
response; there is no end mark (OpenRouter sends one all the same). Events and items that nobody
here knows go through as they came.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from signalbox.adapters.chat import (
    CitationPiece,
    FinishPiece,
    Media,
    MediaPiece,
    Native,
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
from signalbox.adapters.openai_wire import DECODE_ERRORS
from signalbox.adapters.protocol import Delta, StreamError, StreamEvent
from signalbox.adapters.provider_state import made
from signalbox.adapters.responses_answer_reader import (
    CALLS,
    chars_of,
    dicts,
    failure_of_error,
    failure_of_response,
    finish_of,
    not_json,
    parts_of,
    text_of,
    usage_of,
)
from signalbox.adapters.responses_assembler import (
    REASONING_DELTA,
    REFUSAL_DELTA,
    SUMMARY_DELTA,
    TERMINAL,
    TEXT_DELTA,
    is_opaque,
)
from signalbox.adapters.responses_request_reader import citation
from signalbox.errors import FailureKind, ProviderProtocolError
from signalbox.types import Dialect

_ARGUMENTS = {
    "response.function_call_arguments": False,
    "response.custom_tool_call_input": True,
}
_OTHER_DELTAS = (
    "response.mcp_call_arguments.delta",
    "response.code_interpreter_call_code.delta",
    "response.shell_call_command.delta",
    "response.audio.transcript.delta",
)
"""Text of a provider's own tools; counted, and carried by no other dialect."""
_PICTURES = "response.image_generation_call.partial_image"
_TEXT_ITEMS = ("message", "reasoning")


class Event(msgspec.Struct, gc=False):
    """What is read of an event; fields that a type does not have are None."""

    type: str = ""
    delta: Any = None
    output_index: int | None = None
    summary_index: int | None = None
    item: Any = None
    response: Any = None
    annotation: Any = None
    logprobs: Any = None
    error: Any = None


_event_decoder = msgspec.json.Decoder(Event)


class EventReader:
    """Reads the events of one stream. Raises only `ProviderProtocolError`."""

    def __init__(
        self, format: ReasoningFormat, *, told: bool, reasoning_apart: bool = False
    ) -> None:
        self._format = format
        self._told = told
        self._apart = reasoning_apart
        self._said: set[int] = set()
        """Items (by `output_index`) of which something was told piece by piece."""
        self._calls: dict[int, int] = {}
        """Tool calls: `output_index` → the place among the calls."""
        self._model: str | None = None

    def read(self, data: bytes) -> StreamEvent:
        try:
            event = _event_decoder.decode(data)
            if not data.isascii():
                data.decode()  # fields that are not read may hold anything, and go to the client
        except DECODE_ERRORS as error:
            raise not_json(data, error) from error
        kind = event.type
        if kind == TEXT_DELTA and isinstance(event.delta, str):
            return self._said_text(data, event)
        if kind == "error" or (not kind and event.error):
            return _stream_error(data)
        if not kind:
            raise ProviderProtocolError("an event without a type")
        if isinstance(event.response, dict):
            return self._response(data, event)
        if isinstance(event.item, dict):
            return self._item(data, event)
        return self._other(data, event)

    def _said_text(self, data: bytes, event: Event) -> Delta:
        self._said.add(event.output_index or 0)
        pieces: tuple[Piece, ...] = ()
        if self._told:
            logprobs = tuple(dicts(event.logprobs)) or None
            pieces = (TextPiece(event.delta, logprobs=logprobs),)
        return self._delta(
            data, event, pieces, text=event.delta, content_chars=len(event.delta), opaque=False
        )

    def _response(self, data: bytes, event: Event) -> StreamEvent:
        response = event.response
        self._model = text_of(response.get("model")) or self._model
        failure = None
        if event.type == "response.failed" or response.get("status") in ("failed", "cancelled"):
            failure = failure_of_response({"status": "failed", **response})
        if failure is not None:
            return StreamError(failure)
        if event.type not in TERMINAL:
            return self._delta(data, event, (), id=text_of(response.get("id")), opaque=False)
        status = event.type.rpartition(".")[2]
        reason = finish_of({**response, "status": status})
        return self._delta(
            data,
            event,
            (FinishPiece(reason, native_finish=status),),
            finish_reasons=((0, reason),),
            usage=usage_of(response, reasoning_apart=self._apart),
            id=text_of(response.get("id")),
            made=made(response, Dialect.RESPONSES),
            opaque=False,
        )

    def _item(self, data: bytes, event: Event) -> Delta:
        item, place = event.item, event.output_index or 0
        kind = text_of(item.get("type"))
        opaque = is_opaque(event.type, kind)
        ends = event.type == "response.output_item.done"
        given = made({"output": [item]}, Dialect.RESPONSES)
        if not ends:
            return self._begun(data, event, given, opaque=opaque)
        said = place in self._said
        known = place in self._calls
        parts = [] if said and kind != "reasoning" else list(parts_of(item, self._format))
        pieces: list[Piece] = []
        for part in parts:
            pieces += self._whole(part, place, said=said)
        # A provider that told nothing piece by piece tells it now.
        chars = 0 if said else chars_of(item)
        if chars and known:
            chars -= len(text_of(item.get("name")) or "")
        texts = [part.text for part in parts if isinstance(part, Text)]
        self._said.add(place)
        return self._delta(
            data,
            event,
            tuple(pieces),
            content_chars=chars,
            text="".join(texts),
            reasoning_chars=chars if kind == "reasoning" else 0,
            made=given,
            opaque=opaque,
        )

    def _begun(self, data: bytes, event: Event, given: tuple[str, ...], *, opaque: bool) -> Delta:
        """An item begins. A call has its name by now; a provider's own tool is at work."""
        item, place = event.item, event.output_index or 0
        kind = text_of(item.get("type"))
        if kind in _TEXT_ITEMS or event.type != "response.output_item.added":
            return self._delta(data, event, (), made=given, opaque=opaque)
        pieces: tuple[Piece, ...] = ()
        chars = 1
        if kind in CALLS:
            name = text_of(item.get("name")) or ""
            chars = max(1, len(name))
            index = self._calls.setdefault(place, len(self._calls))
            id = text_of(item.get("call_id")) or text_of(item.get("id")) or f"call_{index}"
            custom = kind == "custom_tool_call"
            pieces = (ToolCallPiece(index, id=id, name=name, custom=custom),)
        else:
            self._said.add(place)
        return self._delta(data, event, pieces, content_chars=chars, made=given, opaque=opaque)

    def _whole(self, part: Part, place: int, *, said: bool) -> Iterable[Piece]:
        match part:
            case Text():
                yield TextPiece(part.text)
                for each in part.citations:
                    yield CitationPiece(each)
            case Refusal():
                yield RefusalPiece(part.text)
            case Reasoning():
                yield ReasoningPiece(
                    "" if said else part.text,
                    summary=part.summary,
                    encrypted=part.encrypted,
                    id=part.id,
                    format=part.format,
                    closes=True,
                )
            case ToolCall():
                known = place in self._calls
                index = self._calls.setdefault(place, len(self._calls))
                id, name = (None, None) if known else (part.id, part.name)
                yield ToolCallPiece(index, part.arguments, id=id, name=name, custom=part.custom)
            case Media():
                yield MediaPiece(part)
            case Native():
                yield NativePiece(part)

    def _other(self, data: bytes, event: Event) -> Delta:
        kind, place = event.type, event.output_index or 0
        said = event.delta if isinstance(event.delta, str) else ""
        opaque = is_opaque(kind)
        if kind in (SUMMARY_DELTA, REASONING_DELTA):
            self._said.add(place)
            pieces: tuple[Piece, ...] = (
                ReasoningPiece(said, summary=kind == SUMMARY_DELTA, format=self._format),
            )
            return self._delta(
                data,
                event,
                pieces,
                content_chars=len(said),
                reasoning_chars=len(said),
                opaque=False,
            )
        if kind == "response.reasoning_summary_part.added" and event.summary_index:
            pieces = (ReasoningPiece("\n\n", summary=True, format=self._format),)
            return self._delta(data, event, pieces, opaque=False)
        if kind == REFUSAL_DELTA:
            self._said.add(place)
            return self._delta(
                data, event, (RefusalPiece(said),), content_chars=len(said), opaque=True
            )
        if isinstance(event.annotation, dict):
            given = made({"output": [{"content": [{"annotations": [event.annotation]}]}]}, _HERE)
            cited = (CitationPiece(citation(event.annotation)),)
            return self._delta(data, event, cited, made=given, opaque=False)
        call, _, what = kind.rpartition(".")
        if call in _ARGUMENTS and what == "delta":
            self._said.add(place)
            index = self._calls.setdefault(place, len(self._calls))
            piece = ToolCallPiece(index, said, custom=_ARGUMENTS[call])
            return self._delta(data, event, (piece,), content_chars=len(said), opaque=True)
        chars = len(said) if kind in _OTHER_DELTAS else int(kind == _PICTURES)
        return self._delta(data, event, (), content_chars=chars, opaque=opaque)

    def _delta(self, data: bytes, event: Event, pieces: tuple[Piece, ...], **counts: Any) -> Delta:
        return Delta(
            raw=data,
            event=event.type,
            model=self._model,
            pieces=pieces if self._told else (),
            **counts,
        )


_HERE = Dialect.RESPONSES


def _stream_error(data: bytes) -> StreamError:
    """`{type: error, code, message, param}`, as documented, or with all of it under `error`."""
    try:
        body = msgspec.json.decode(data)
    except DECODE_ERRORS:
        body = {}
    body = body if isinstance(body, dict) else {}
    error = body.get("error")
    if not isinstance(error, dict):
        error = {name: value for name, value in body.items() if name != "type"}
    return StreamError(failure_of_error(error, FailureKind.STREAM_ERROR))
