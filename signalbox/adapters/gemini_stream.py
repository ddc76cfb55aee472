"""The stream of `streamGenerateContent?alt=sse`: server-sent events without names, a
`GenerateContentResponse` in each, no end mark. An error before the first of them comes as plain
JSON under a stream's content type.
"""

from __future__ import annotations

from typing import Any

import msgspec

from signalbox.adapters.chat import FinishPiece
from signalbox.adapters.event_decoder import SseDecoder
from signalbox.adapters.gemini_answer_reader import CandidateReader
from signalbox.adapters.gemini_errors import decode_body_error
from signalbox.adapters.gemini_wire import Response, read_usage
from signalbox.adapters.openai_errors import MAX_MESSAGE_CHARS, clean
from signalbox.adapters.openai_wire import DECODE_ERRORS
from signalbox.adapters.protocol import Delta, StreamError, StreamEvent, StreamFinished
from signalbox.errors import Failure, FailureKind, ProviderProtocolError
from signalbox.types import Dialect, Request

_EXCERPT_CHARS = 200

Fields = dict[str, Any]


def read_response(data: bytes) -> tuple[Fields, Response] | Fields | list[Any]:
    """The answer, or the chunk, untyped and typed; what is an error, untyped alone.

    Raises `ProviderProtocolError` where it is neither.
    """
    try:
        fields = msgspec.json.decode(data)
        if isinstance(fields, list) and len(fields) == 1:
            fields = fields[0]
        if isinstance(fields, dict) and fields.get("error"):
            return fields
        return fields, msgspec.convert(fields, Response)
    except DECODE_ERRORS as error:
        excerpt = clean(data[: _EXCERPT_CHARS * 4].decode("utf-8", "replace"), _EXCERPT_CHARS)
        raise ProviderProtocolError(f"not an answer of Gemini's ({error}): {excerpt}") from error


def broken(words: str, kind: FailureKind) -> Failure:
    """The model made a mistake in what it wrote."""
    return Failure(kind, clean(f"the model's answer is broken: {words}", MAX_MESSAGE_CHARS))


def stream_decoder(request: Request) -> SseDecoder:
    """Usage comes with every chunk and counts from the start: the last one is true."""
    reader = _StreamReader(request)
    return SseDecoder(lambda event: [reader.read(event.data)], _failure_in)


def _failure_in(body: bytes) -> Failure | None:
    read = read_response(body)
    return None if isinstance(read, tuple) else decode_body_error(read, FailureKind.SERVER_ERROR)


class _StreamReader:
    def __init__(self, request: Request) -> None:
        self._request = request
        self._told = request.door is not Dialect.GENERATE
        self._reader: CandidateReader | None = None

    def read(self, data: bytes) -> StreamEvent:
        if data.startswith(b"[DONE]"):  # not Google's; proxies in front of it send one
            return StreamFinished()
        read = read_response(data)
        if not isinstance(read, tuple):
            return StreamError(decode_body_error(read, FailureKind.STREAM_ERROR))
        fields, response = read
        if self._reader is None:
            salt = response.response_id or self._request.id
            self._reader = CandidateReader(salt, told=self._told)
        candidates = response.candidates or []
        reading = self._reader.read(candidates, fields.get("candidates") or ())
        if reading.broken is not None:
            return StreamError(broken(reading.broken, FailureKind.STREAM_ERROR))
        if not candidates and response.block_reason:
            self._block(fields, response.block_reason, reading.finish, reading.pieces)
        return Delta(
            raw=data,
            content_chars=reading.content_chars,
            text=reading.text,
            reasoning_chars=reading.reasoning_chars,
            opaque=reading.opaque,
            finish_reasons=tuple(reading.finish),
            usage=read_usage(response.usage_metadata),
            has_choices=bool(candidates),
            id=response.response_id,
            made=tuple(reading.made),
            model=response.model_version if self._told else None,
            pieces=tuple(reading.pieces),
        )

    def _block(
        self, fields: Fields, reason: str, finish: list[tuple[int, str]], pieces: list[Any]
    ) -> None:
        """The prompt was refused: none of the alternatives will come."""
        extra = {"promptFeedback": fields["promptFeedback"]}
        for index in range(max(1, self._request.choices)):
            finish.append((index, "content_filter"))
            if self._told:
                pieces.append(FinishPiece("content_filter", index, reason, extra=extra))
