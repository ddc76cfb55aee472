"""The door of completions (legacy): https://platform.openai.com/docs/api-reference/completions.

Where a route has a completions endpoint the body goes through. Where it has only chats, a prompt
that is one text becomes the message of a user, as OpenRouter does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from msgspec.structs import replace

from signalbox.adapters.chat import ChatAnswer, ChatRequest
from signalbox.adapters.completions_answer_writer import ID_HEAD, TextChunkWriter, text_completion
from signalbox.adapters.completions_body import outline_of, read_completions_body
from signalbox.adapters.completions_request_reader import read_completions_request
from signalbox.adapters.completions_wire import TEXT_COMPLETION, retold
from signalbox.adapters.door import NO_TARGET, Body, Outline, Target
from signalbox.adapters.openai_door import ChatEncoder, error_body
from signalbox.adapters.protocol import Answer, Delta
from signalbox.adapters.sse import sse_comment
from signalbox.errors import ApiError
from signalbox.types import Dialect, Flavour, Request


class CompletionsEncoder(ChatEncoder):
    """`DoorEncoder` for completions: a chat's, but for what chunks and choices are called."""

    id_head = ID_HEAD
    kind = TEXT_COMPLETION
    nothing: Mapping[str, object] = MappingProxyType({"text": "", "logprobs": None})


class CompletionsDoor:
    """`Door` of completions."""

    dialect = Dialect.COMPLETIONS
    forwarded_headers = ("openai-beta",)
    keep_alive = sse_comment(b"keep-alive")
    takes_routing_fields = True

    def read_body(self, data: bytes, target: Target = NO_TARGET) -> dict[str, Any]:
        return read_completions_body(data, target)

    def outline(self, body: Body, target: Target = NO_TARGET) -> Outline:
        return outline_of(body, target)

    def form(self, request: Request) -> ChatRequest:
        return read_completions_request(request.body, request.model)

    def error_body(
        self, error: ApiError, trace_id: str, flavour: Flavour = Flavour.PLAIN
    ) -> dict[str, object]:
        return error_body(error, trace_id)

    def encoder(self, request: Request) -> CompletionsEncoder:
        return CompletionsEncoder(include_usage=request.include_usage, trace_id=request.id)

    def answer(self, answer: Answer, request: Request) -> Answer:
        assert isinstance(answer.told, ChatAnswer)
        return replace(answer, body=text_completion(answer.told, request))

    def event_writer(self, request: Request) -> TextChunkWriter:
        return TextChunkWriter(request)

    def retold(self, delta: Delta, text: str) -> Delta:
        return retold(delta, text)
