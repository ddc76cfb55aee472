"""The doors of Anthropic's clients: https://platform.claude.com/docs/en/api/messages."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters import anthropic_events
from signalbox.adapters.anthropic_answer_writer import message
from signalbox.adapters.anthropic_body import outline_of, read_messages_body
from signalbox.adapters.anthropic_encoder import PING, MessageEncoder
from signalbox.adapters.anthropic_errors_told import error_body
from signalbox.adapters.anthropic_event_writer import MessageEventWriter
from signalbox.adapters.anthropic_request_reader import read_messages_request
from signalbox.adapters.chat import ChatAnswer, ChatRequest
from signalbox.adapters.door import NO_TARGET, Body, Outline, Target
from signalbox.adapters.protocol import Answer, Delta
from signalbox.adapters.told_counts import retold_silent
from signalbox.errors import ApiError
from signalbox.types import Dialect, Flavour, Request


class MessagesDoor:
    """`Door` of the Messages API."""

    dialect = Dialect.MESSAGES
    forwarded_headers: tuple[str, ...] = ("anthropic-beta", "anthropic-version")
    keep_alive = PING
    takes_routing_fields = False

    def read_body(self, data: bytes, target: Target = NO_TARGET) -> dict[str, Any]:
        return read_messages_body(data)

    def outline(self, body: Body, target: Target = NO_TARGET) -> Outline:
        return outline_of(body)

    def form(self, request: Request) -> ChatRequest:
        return read_messages_request(request.body)

    def error_body(
        self, error: ApiError, trace_id: str, flavour: Flavour = Flavour.PLAIN
    ) -> dict[str, object]:
        return error_body(error, trace_id)

    def encoder(self, request: Request) -> MessageEncoder:
        return MessageEncoder(request.id, request.model)

    def answer(self, answer: Answer, request: Request) -> Answer:
        assert isinstance(answer.told, ChatAnswer)
        return replace(answer, body=message(answer.told, request, answer.content_chars))

    def event_writer(self, request: Request) -> MessageEventWriter:
        return MessageEventWriter(request)

    def retold(self, delta: Delta, text: str) -> Delta:
        if delta.raw:
            return anthropic_events.retold(delta, text)
        return retold_silent(delta, text)


class MessagesCountDoor(MessagesDoor):
    """`Door` of `count_tokens`: a request that is counted and not answered."""

    dialect = Dialect.MESSAGES_COUNT

    def read_body(self, data: bytes, target: Target = NO_TARGET) -> dict[str, Any]:
        return read_messages_body(data, counting=True)

    def outline(self, body: Body, target: Target = NO_TARGET) -> Outline:
        return outline_of(body, counting=True)

    def answer(self, answer: Answer, request: Request) -> Answer:
        raise TypeError("no other dialect counts for this one")

    def encoder(self, request: Request) -> MessageEncoder:
        return CountEncoder(request.id, request.model)


class CountEncoder(MessageEncoder):
    def answer(self, answer: Answer, provider: str, cost: str | None) -> bytes:
        """As it came: a count has no price."""
        return msgspec.json.encode(answer.body)


def count_answer(tokens: int) -> dict[str, object]:
    """The answer of `count_tokens`."""
    return {"input_tokens": tokens}
