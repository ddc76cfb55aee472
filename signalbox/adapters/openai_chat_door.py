"""The door of chat completions: https://platform.openai.com/docs/api-reference/chat."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from signalbox.adapters.chat import ChatAnswer, ChatRequest
from signalbox.adapters.door import NO_TARGET, Body, Outline, Target
from signalbox.adapters.openai_answer_writer import ChunkWriter, chat_completion
from signalbox.adapters.openai_body import outline_of, read_chat_body
from signalbox.adapters.openai_chunks import retold
from signalbox.adapters.openai_door import ChatEncoder, error_body
from signalbox.adapters.openai_request_reader import read_chat_request
from signalbox.adapters.protocol import Answer, Delta
from signalbox.adapters.sse import sse_comment
from signalbox.errors import ApiError
from signalbox.types import Dialect, Flavour, Request


class ChatDoor:
    """`Door` of chat completions."""

    dialect = Dialect.CHAT
    forwarded_headers = ("openai-beta",)
    keep_alive = sse_comment(b"keep-alive")
    takes_routing_fields = True

    def read_body(self, data: bytes, target: Target = NO_TARGET) -> dict[str, Any]:
        return read_chat_body(data, target.model)

    def outline(self, body: Body, target: Target = NO_TARGET) -> Outline:
        return outline_of(body)

    def form(self, request: Request) -> ChatRequest:
        return read_chat_request(request.body)

    def error_body(
        self, error: ApiError, trace_id: str, flavour: Flavour = Flavour.PLAIN
    ) -> dict[str, object]:
        return error_body(error, trace_id)

    def encoder(self, request: Request) -> ChatEncoder:
        return ChatEncoder(include_usage=request.include_usage, trace_id=request.id)

    def answer(self, answer: Answer, request: Request) -> Answer:
        assert isinstance(answer.told, ChatAnswer)
        return replace(answer, body=chat_completion(answer.told, request))

    def event_writer(self, request: Request) -> ChunkWriter:
        return ChunkWriter(request)

    def retold(self, delta: Delta, text: str) -> Delta:
        return retold(delta, text)
