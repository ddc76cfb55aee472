"""Streams of OpenAI's dialect, event by event: chat completions and legacy completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
from msgspec.structs import replace

from signalbox.adapters.event_decoder import SseDecoder
from signalbox.adapters.openai_answer_reader import PieceReader, model_of
from signalbox.adapters.openai_errors import clean, decode_body_error
from signalbox.adapters.openai_functions import chunk_with_functions
from signalbox.adapters.openai_wire import DECODE_ERRORS
from signalbox.adapters.protocol import (
    Answer,
    Delta,
    StreamDecoder,
    StreamError,
    StreamEvent,
    StreamFinished,
)
from signalbox.adapters.sse import ServerSentEvent
from signalbox.errors import Failure, FailureKind, ProviderProtocolError
from signalbox.types import Request

_EXCERPT_CHARS = 200
_FUNCTIONS = {"tool_calls": "function_call"}


class ChunkReader(Protocol):
    """Reads what a stream of this dialect holds: its events, or a document in its place."""

    def decode_chunk(self, data: bytes) -> StreamEvent: ...

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure: ...

    def writes_functions(self, request: Request) -> bool:
        """Whether calls of tools are to be told as those of functions."""
        ...


def chunk_decoder(adapter: ChunkReader, request: Request) -> SseDecoder:
    """Usage is told as often as the provider sends it (Groq thrice, Perplexity in every chunk,
    cumulative): the last one counts, they are never added."""
    writes_functions = adapter.writes_functions(request)

    def read_event(event: ServerSentEvent) -> Sequence[StreamEvent]:
        if event.data.startswith(b"[DONE]"):
            return [StreamFinished()]
        if event.name == b"error":  # Groq
            return [stream_error(event.data)]
        told = adapter.decode_chunk(event.data)
        return [_with_functions(told) if writes_functions else told]

    def failure_in(body: bytes) -> Failure | None:
        answer = adapter.decode_answer(body, request)
        return answer if isinstance(answer, Failure) else None

    return SseDecoder(read_event, failure_in)


def _with_functions(told: StreamEvent) -> StreamEvent:
    if not isinstance(told, Delta):
        return told
    return replace(
        told,
        raw=chunk_with_functions(told.raw),
        finish_reasons=tuple((i, _FUNCTIONS.get(r, r)) for i, r in told.finish_reasons),
    )


class TellingDecoder:
    """See `StreamDecoder`: for doors of other dialects."""

    def __init__(self, decoder: StreamDecoder, request: Request) -> None:
        self._decoder = decoder
        self._reader = PieceReader(request.id)

    def feed(self, data: bytes) -> list[StreamEvent]:
        return list(map(self._told, self._decoder.feed(data)))

    def end(self) -> list[StreamEvent]:
        return list(map(self._told, self._decoder.end()))

    def _told(self, event: StreamEvent) -> StreamEvent:
        if not isinstance(event, Delta):
            return event
        try:
            fields = msgspec.json.decode(event.raw)
        except DECODE_ERRORS as error:  # in a field that is not read otherwise
            raise not_json(event.raw, error) from error
        return replace(event, pieces=self._reader.read(fields), model=model_of(fields))


def stream_error(data: bytes) -> StreamError:
    try:
        body = msgspec.json.decode(data)
    except DECODE_ERRORS:
        body = data.decode("utf-8", "replace")
    return StreamError(decode_body_error(body, FailureKind.STREAM_ERROR))


def not_json(data: bytes, error: Exception) -> ProviderProtocolError:
    excerpt = clean(data[: _EXCERPT_CHARS * 4].decode("utf-8", "replace"), _EXCERPT_CHARS)
    return ProviderProtocolError(f"not a chat completion in JSON ({error}): {excerpt}")
