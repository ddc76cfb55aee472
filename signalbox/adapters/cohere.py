"""Cohere's chat, v2: Cohere API reference, "Chat" and "Chat with Streaming".

No door speaks this dialect: every body is written by `cohere_request_writer.py`, and what comes
back is read by `cohere_answer_reader.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from signalbox.adapters.cohere_answer_reader import EventReader, read_answer
from signalbox.adapters.cohere_errors import decode_body_error, decode_error
from signalbox.adapters.cohere_request_writer import Written, refusing, write_cohere_request
from signalbox.adapters.event_decoder import SseDecoder
from signalbox.adapters.forms import chat_form
from signalbox.adapters.json_objects import DECODE_ERRORS, decode_object
from signalbox.adapters.openai_headers import openai_headers
from signalbox.adapters.protocol import (
    Answer,
    Delta,
    Headers,
    RateLimits,
    StreamError,
    StreamEvent,
    StreamFinished,
    WireRequest,
)
from signalbox.adapters.rate_limit_headers import parse_rate_limits
from signalbox.adapters.splice import prefill_text
from signalbox.adapters.sse import ServerSentEvent
from signalbox.errors import Failure, FailureKind, UnsupportedParameter
from signalbox.types import Dialect, Request, Route, Secret


class CohereAdapter(msgspec.Struct, frozen=True):
    """The chat of one provider that speaks Cohere's dialect."""

    provider: str

    @property
    def dialect(self) -> Dialect:
        return Dialect.COHERE_CHAT

    def build(
        self,
        request: Request,
        route: Route,
        base_url: str,
        key: Secret | None,
        *,
        prefill: str | None = None,
    ) -> WireRequest:
        """See `Adapter.build`. A route's `params` are in Cohere's words."""
        written = self._written(request, route)
        if written.unsupported:
            name = next(iter(written.unsupported))
            raise UnsupportedParameter(name, f"{self.provider} does not take it")
        body = {"model": route.model, **written.body, "stream": request.stream}
        for name, value in route.params.items():
            if body.get(name) is None:
                body[name] = value
        if prefill is not None and (text := prefill_text(prefill)):
            body["messages"] = [*body["messages"], {"role": "assistant", "content": text}]
        return WireRequest(
            method="POST",
            url=f"{base_url.rstrip('/')}/chat",
            headers=openai_headers(request, route, key, Dialect.COHERE_CHAT),
            body=msgspec.json.encode(body),
            dropped=tuple(written.dropped),
        )

    def unsupported(self, request: Request, route: Route) -> tuple[str, ...]:
        return tuple(self._written(request, route).unsupported)

    def dropped(self, request: Request, route: Route) -> tuple[str, ...]:
        return tuple(self._written(request, route).dropped)

    def _written(self, request: Request, route: Route) -> Written:
        """Once for each route; what is written is not changed afterwards."""
        memo = f"cohere {self.provider} {route.id}"
        known: tuple[Route, Written] | None = request.memo.get(memo)
        if known is not None and known[0] == route:
            return known[1]
        written = write_cohere_request(chat_form(request), route)
        extra = request.extra
        if extra.refuse_unsupported or extra.provider.require_parameters:
            written = refusing(written)
        request.memo[memo] = (route, written)
        return written

    def prefills(self, route: Route) -> bool:
        """See `Adapter.prefills`. A conversation ends in words of the user or of a tool."""
        return route.prefill is True

    def echoes_prefill(self, route: Route) -> bool:
        return False

    def retold(self, delta: Delta, text: str) -> Delta:
        return delta  # no door speaks this dialect: the door's own function is asked

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure:
        """See `Adapter.decode_answer`."""
        fields = decode_object(body)
        if not isinstance(fields.get("message"), dict) and _is_error(fields):
            return decode_body_error(fields, FailureKind.SERVER_ERROR)
        return read_answer(fields)

    def stream_decoder(self, request: Request) -> SseDecoder:
        return SseDecoder(_StreamReader().read_event, _failure_in)

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        return decode_error(status, headers, body, now)

    def rate_limits(self, headers: Headers, now: float) -> RateLimits:
        return parse_rate_limits(headers, now)


def _is_error(fields: dict[str, object]) -> bool:
    return bool(fields.get("message") or fields.get("error"))


class _StreamReader:
    def __init__(self) -> None:
        self._reader = EventReader()

    def read_event(self, event: ServerSentEvent) -> Sequence[StreamEvent]:
        if event.data.startswith(b"[DONE]"):
            return [StreamFinished()]
        if event.name == b"error":
            return [_stream_error(event.data)]
        told = self._reader.read(event.data, event.name.decode("utf-8", "replace"))
        if isinstance(told, Delta) and not told.has_choices:
            fields = decode_object(event.data)
            if "type" not in fields and _is_error(fields):
                return [_stream_error(event.data)]
        return [told]


def _failure_in(body: bytes) -> Failure | None:
    fields = decode_object(body)
    if not isinstance(fields.get("message"), dict) and _is_error(fields):
        return decode_body_error(fields, FailureKind.STREAM_ERROR)
    return None


def _stream_error(data: bytes) -> StreamError:
    body: object
    try:
        body = msgspec.json.decode(data)
    except DECODE_ERRORS:
        body = data.decode("utf-8", "replace")
    return StreamError(decode_body_error(body, FailureKind.STREAM_ERROR))
