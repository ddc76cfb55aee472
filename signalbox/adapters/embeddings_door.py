"""The door of embeddings: https://platform.openai.com/docs/api-reference/embeddings."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from signalbox.adapters.door import NO_TARGET, Body, Outline, Target
from signalbox.adapters.embeddings_answers import vector_as
from signalbox.adapters.embeddings_body import (
    BASE64,
    read_embeddings_body,
    read_embeddings_request,
)
from signalbox.adapters.embeddings_form import EmbeddingsAnswer, EmbeddingsRequest
from signalbox.adapters.openai_door import encode_answer, error_body
from signalbox.adapters.protocol import Answer, Delta
from signalbox.adapters.whole_encoder import NeverStreams
from signalbox.errors import ApiError
from signalbox.types import Dialect, Flavour, Request

_WHAT = "embeddings"


class EmbeddingsDoor:
    """`Door` of embeddings."""

    dialect = Dialect.EMBEDDINGS
    forwarded_headers = ("openai-beta",)
    keep_alive = None
    takes_routing_fields = True

    def read_body(self, data: bytes, target: Target = NO_TARGET) -> dict[str, Any]:
        return read_embeddings_body(data, target)

    def outline(self, body: Body, target: Target = NO_TARGET) -> Outline:
        return Outline(model=target.model or body["model"], user=body.get("user"))

    def form(self, request: Request) -> EmbeddingsRequest:
        return read_embeddings_request(request.body, request.model)

    def error_body(
        self, error: ApiError, trace_id: str, flavour: Flavour = Flavour.PLAIN
    ) -> dict[str, object]:
        return error_body(error, trace_id)

    def encoder(self, request: Request) -> EmbeddingsEncoder:
        return EmbeddingsEncoder(_WHAT)

    def answer(self, answer: Answer, request: Request) -> Answer:
        """See `Door.answer`. Raises `ProviderProtocolError` for vectors that are none."""
        assert isinstance(answer.told, EmbeddingsAnswer)
        return replace(answer, body=_embeddings(answer, answer.told, request))

    def event_writer(self, request: Request) -> NeverStreams:
        return NeverStreams(_WHAT)

    def retold(self, delta: Delta, text: str) -> Delta:
        return delta


class EmbeddingsEncoder(NeverStreams, frozen=True):
    """`DoorEncoder` of embeddings."""

    def answer(self, answer: Answer, provider: str, cost: str | None) -> bytes:
        return encode_answer(answer.body, provider, cost)


def _embeddings(answer: Answer, told: EmbeddingsAnswer, request: Request) -> dict[str, object]:
    base64 = request.body.get("encoding_format") == BASE64
    body: dict[str, object] = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": i, "embedding": vector_as(vector, base64=base64)}
            for i, vector in enumerate(told.vectors)
        ],
        "model": told.model or request.model,
    }
    tokens = answer.usage.prompt if answer.usage is not None else None
    if tokens is not None:
        body["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return body
