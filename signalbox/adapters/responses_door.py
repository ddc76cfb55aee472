"""The door of the Responses API: https://platform.openai.com/docs/api-reference/responses."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from signalbox.adapters.chat import ChatAnswer, ChatRequest
from signalbox.adapters.door import NO_TARGET, Body, Outline, Target
from signalbox.adapters.openai_door import error_body
from signalbox.adapters.protocol import Answer, Delta
from signalbox.adapters.provider_state import made
from signalbox.adapters.responses_answer_writer import ResponseEventWriter, response_object
from signalbox.adapters.responses_body import read_responses_body, responses_outline
from signalbox.adapters.responses_chunks import retold
from signalbox.adapters.responses_encoder import ResponseEncoder
from signalbox.adapters.responses_request_reader import read_responses_request
from signalbox.adapters.sse import sse_comment
from signalbox.errors import ApiError
from signalbox.types import Dialect, Flavour, Request


class ResponsesDoor:
    """`Door` of the Responses API."""

    dialect = Dialect.RESPONSES
    forwarded_headers = ("openai-beta",)
    keep_alive = sse_comment(b"keep-alive")
    takes_routing_fields = True

    def read_body(self, data: bytes, target: Target = NO_TARGET) -> dict[str, Any]:
        return read_responses_body(data)

    def outline(self, body: Body, target: Target = NO_TARGET) -> Outline:
        return responses_outline(body)

    def form(self, request: Request) -> ChatRequest:
        return read_responses_request(request.body, stored=request.remembered)

    def error_body(
        self, error: ApiError, trace_id: str, flavour: Flavour = Flavour.PLAIN
    ) -> dict[str, object]:
        return error_body(error, trace_id)

    def encoder(self, request: Request) -> ResponseEncoder:
        return ResponseEncoder(request)

    def answer(self, answer: Answer, request: Request) -> Answer:
        """See `Door.answer`. The ids of its reasoning count as given out: a client sends them
        back, and they mean something to the same provider alone."""
        assert isinstance(answer.told, ChatAnswer)
        body, renamed = response_object(answer.told, request)
        reasoning = [item for item in body["output"] if item["type"] == "reasoning"]
        given = [renamed.get(value, value) for value in answer.made]
        given += made({"output": reasoning}, Dialect.RESPONSES)
        return replace(answer, body=body, made=tuple(dict.fromkeys([*answer.made, *given])))

    def event_writer(self, request: Request) -> ResponseEventWriter:
        return ResponseEventWriter(request)

    def retold(self, delta: Delta, text: str) -> Delta:
        return retold(delta, text)
