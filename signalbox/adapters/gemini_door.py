"""The doors of Google's clients: https://ai.google.dev/api/generate-content and `countTokens`.

`streamGenerateContent` is always answered with server-sent events, as `alt=sse` asks for.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters import gemini_events
from signalbox.adapters.chat import ChatAnswer, ChatRequest
from signalbox.adapters.door import NO_TARGET, Body, Outline, Target
from signalbox.adapters.gemini_answer_writer import generated
from signalbox.adapters.gemini_body import (
    counted_request,
    outline_of,
    read_count_body,
    read_generate_body,
)
from signalbox.adapters.gemini_chunk_writer import ChunkWriter
from signalbox.adapters.gemini_encoder import GenerateEncoder
from signalbox.adapters.gemini_errors_told import error_body
from signalbox.adapters.gemini_request_reader import read_generate_request
from signalbox.adapters.gemini_settings_reader import shows_thoughts
from signalbox.adapters.protocol import Answer, Delta
from signalbox.adapters.told_counts import retold_silent
from signalbox.errors import ApiError
from signalbox.types import Dialect, Flavour, Request


class GenerateDoor:
    """`Door` of `generateContent` and `streamGenerateContent`; the path says which."""

    dialect = Dialect.GENERATE
    forwarded_headers: tuple[str, ...] = ()
    keep_alive = None
    takes_routing_fields = False

    def read_body(self, data: bytes, target: Target = NO_TARGET) -> dict[str, Any]:
        return read_generate_body(data, target)

    def outline(self, body: Body, target: Target = NO_TARGET) -> Outline:
        return outline_of(body, target)

    def form(self, request: Request) -> ChatRequest:
        return read_generate_request(request.body, request.model, stream=request.stream)

    def error_body(
        self, error: ApiError, trace_id: str, flavour: Flavour = Flavour.PLAIN
    ) -> dict[str, object]:
        return error_body(error, trace_id)

    def encoder(self, request: Request) -> GenerateEncoder:
        return GenerateEncoder(request.id)

    def answer(self, answer: Answer, request: Request) -> Answer:
        assert isinstance(answer.told, ChatAnswer)
        thoughts = shows_thoughts(request.body)
        body = generated(answer.told, request, answer.content_chars, thoughts=thoughts)
        return replace(answer, body=body)

    def event_writer(self, request: Request) -> ChunkWriter:
        return ChunkWriter(request, thoughts=shows_thoughts(request.body))

    def retold(self, delta: Delta, text: str) -> Delta:
        if delta.raw:
            return gemini_events.retold(delta, text)
        return retold_silent(delta, text)


class GenerateCountDoor(GenerateDoor):
    """`Door` of `countTokens`: a request that is counted and not answered."""

    dialect = Dialect.GENERATE_COUNT

    def read_body(self, data: bytes, target: Target = NO_TARGET) -> dict[str, Any]:
        return read_count_body(data, target)

    def outline(self, body: Body, target: Target = NO_TARGET) -> Outline:
        return outline_of(counted_request(body), target, counting=True)

    def form(self, request: Request) -> ChatRequest:
        return read_generate_request(counted_request(request.body), request.model, stream=False)

    def encoder(self, request: Request) -> GenerateEncoder:
        return CountEncoder(request.id)


class CountEncoder(GenerateEncoder):
    def answer(self, answer: Answer, provider: str, cost: str | None) -> bytes:
        """As it came: a count has no price."""
        return msgspec.json.encode(answer.body)


def count_answer(tokens: int) -> dict[str, object]:
    """The answer of `countTokens`."""
    return {"totalTokens": tokens}
