"""The door of Gemini's embedding methods: https://ai.google.dev/api/embeddings."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.door import NO_TARGET, Body, Outline, Target
from signalbox.adapters.embeddings_answers import vector_as
from signalbox.adapters.embeddings_form import EmbeddingsAnswer, EmbeddingsRequest
from signalbox.adapters.gemini_embed_body import is_batch, read_embed_body, read_embed_request
from signalbox.adapters.gemini_errors_told import error_body
from signalbox.adapters.protocol import Answer, Delta
from signalbox.adapters.whole_encoder import NeverStreams
from signalbox.errors import ApiError
from signalbox.types import Dialect, Flavour, Request

_WHAT = "embeddings"


class GeminiEmbedDoor:
    """`Door` of `embedContent` and `batchEmbedContents`."""

    dialect = Dialect.EMBED
    forwarded_headers = ()
    keep_alive = None
    takes_routing_fields = False

    def read_body(self, data: bytes, target: Target = NO_TARGET) -> dict[str, Any]:
        return read_embed_body(data, target)

    def outline(self, body: Body, target: Target = NO_TARGET) -> Outline:
        assert target.model is not None, "the path names the model"
        return Outline(model=target.model)

    def form(self, request: Request) -> EmbeddingsRequest:
        return read_embed_request(request.body, request.model)

    def error_body(
        self, error: ApiError, trace_id: str, flavour: Flavour = Flavour.PLAIN
    ) -> dict[str, object]:
        return error_body(error, trace_id)

    def encoder(self, request: Request) -> EmbedEncoder:
        return EmbedEncoder(_WHAT)

    def answer(self, answer: Answer, request: Request) -> Answer:
        """See `Door.answer`. Raises `ProviderProtocolError` for vectors that are none."""
        assert isinstance(answer.told, EmbeddingsAnswer)
        values = [{"values": vector_as(vector, base64=False)} for vector in answer.told.vectors]
        if is_batch(request.body):
            return replace(answer, body={"embeddings": values})
        return replace(answer, body={"embedding": values[0]})

    def event_writer(self, request: Request) -> NeverStreams:
        return NeverStreams(_WHAT)

    def retold(self, delta: Delta, text: str) -> Delta:
        return delta


class EmbedEncoder(NeverStreams, frozen=True):
    """`DoorEncoder` of Gemini's embeddings. Nothing is added to the answer: what it cost and where
    it came from is told by its headers."""

    def answer(self, answer: Answer, provider: str, cost: str | None) -> bytes:
        return msgspec.json.encode(answer.body)
