"""Amazon Bedrock's Converse and ConverseStream: Amazon Bedrock API reference, runtime.

No door speaks this dialect: every body is written by `converse_request_writer.py`, and what comes
back is read by `converse_answer_reader.py`. A key that is a string is a Bedrock API key and goes as
a bearer token; requests with an access key are signed when they are sent (`aws_sigv4.py`).
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from signalbox.adapters.anthropic_models import traits_of
from signalbox.adapters.aws_event_stream import MEDIA_TYPE, AwsEventStreamDecoder, Message
from signalbox.adapters.converse_answer_reader import EventReader, read_answer
from signalbox.adapters.converse_errors import decode_error, stream_failure
from signalbox.adapters.converse_request_writer import Written, is_claude, write_converse_request
from signalbox.adapters.forms import chat_form
from signalbox.adapters.json_objects import decode_object
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
from signalbox.adapters.splice import prefill_text
from signalbox.errors import Failure, FailureKind, ProviderProtocolError, UnsupportedParameter
from signalbox.types import Dialect, Request, Route, Secret


class ConverseAdapter(msgspec.Struct, frozen=True):
    """Converse at one provider that is Amazon Bedrock."""

    provider: str

    @property
    def dialect(self) -> Dialect:
        return Dialect.CONVERSE

    @property
    def stream_types(self) -> frozenset[str]:
        """Media types of its streams."""
        return frozenset({MEDIA_TYPE})

    def build(
        self,
        request: Request,
        route: Route,
        base_url: str,
        key: Secret | None,
        *,
        prefill: str | None = None,
    ) -> WireRequest:
        """See `Adapter.build`. A route's `params` are in Converse's words. Model ids, ARNs among
        them, are one segment of the path."""
        begun = prefill_text(prefill) if prefill is not None else ""
        written = self._written(request, route, bool(begun))
        if written.unsupported:
            name = next(iter(written.unsupported))
            raise UnsupportedParameter(name, f"{self.provider} does not take it")
        body = dict(written.body)
        for name, value in route.params.items():
            if body.get(name) is None:
                body[name] = value
        if begun:
            said = {"role": "assistant", "content": [{"text": begun}]}
            body["messages"] = [*body["messages"], said]
        method = "converse-stream" if request.stream else "converse"
        accept = MEDIA_TYPE if request.stream else "application/json"
        headers = dict(openai_headers(request, route, key, Dialect.CONVERSE))
        return WireRequest(
            method="POST",
            url=f"{base_url.rstrip('/')}/model/{quote(route.model, safe='')}/{method}",
            headers=tuple({**headers, "accept": accept}.items()),
            body=msgspec.json.encode(body),
            dropped=tuple(written.dropped),
        )

    def unsupported(self, request: Request, route: Route) -> tuple[str, ...]:
        return tuple(self._written(request, route).unsupported)

    def dropped(self, request: Request, route: Route) -> tuple[str, ...]:
        return tuple(self._written(request, route).dropped)

    def _written(self, request: Request, route: Route, prefilled: bool = False) -> Written:
        """Once for each route; what is written is not changed afterwards."""
        memo = f"converse {self.provider} {route.id} {prefilled}"
        known: tuple[Route, Written] | None = request.memo.get(memo)
        if known is not None and known[0] == route:
            return known[1]
        written = write_converse_request(chat_form(request), route, prefilled=prefilled)
        extra = request.extra
        if extra.refuse_unsupported or extra.provider.require_parameters:
            written = Written(written.body, {}, {**written.dropped, **written.unsupported})
        request.memo[memo] = (route, written)
        return written

    def prefills(self, route: Route) -> bool:
        """See `Adapter.prefills`. What the route's configuration says goes first."""
        if route.prefill is not None:
            return route.prefill
        return is_claude(route.model) and traits_of(route.model).prefill

    def echoes_prefill(self, route: Route) -> bool:
        return False

    def retold(self, delta: Delta, text: str) -> Delta:
        return delta  # no door speaks this dialect: the door's own function is asked

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure:
        """See `Adapter.decode_answer`."""
        fields = decode_object(body)
        if "output" not in fields and (fields.get("message") or fields.get("Message")):
            return stream_failure(str(fields.get("__type") or ""), body)
        return read_answer(fields)

    def stream_decoder(self, request: Request) -> ConverseStreamDecoder:
        return ConverseStreamDecoder()

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        return decode_error(status, headers, body, now)

    def rate_limits(self, headers: Headers, now: float) -> RateLimits:
        return RateLimits()  # its answers say nothing of them


class ConverseStreamDecoder:
    """See `StreamDecoder`. Nothing is told of what follows an exception; after the usage, which is
    the last event, the stream is over."""

    def __init__(self) -> None:
        self._messages = AwsEventStreamDecoder()
        self._reader = EventReader()
        self._over = False

    def feed(self, data: bytes) -> list[StreamEvent]:
        if self._over:
            return []
        read: list[StreamEvent] = []
        for message in self._messages.feed(data):
            try:
                told = self._read(message)
            except ProviderProtocolError as error:
                if not read:
                    raise
                # What came before it in the same bytes is good, and must not be lost with it.
                told = [StreamError(Failure(FailureKind.PROTOCOL_ERROR, str(error)))]
            read += told
            if not isinstance(told[-1], Delta):
                self._over = True
                break
        return read

    def end(self) -> list[StreamEvent]:
        """See `StreamDecoder.end`. A last message that was cut in its middle is no message: what is
        missing is told by the finish reason that did not come."""
        return self.feed(b"")

    def _read(self, message: Message) -> list[StreamEvent]:
        kind = message.headers.get(":message-type", "event")
        if kind == "exception":
            name = message.headers.get(":exception-type", "")
            return [StreamError(stream_failure(name, message.payload))]
        if kind == "error":
            code = message.headers.get(":error-code", "")
            words = message.headers.get(":error-message", "").encode()
            return [StreamError(stream_failure(code, words))]
        name = message.headers.get(":event-type", "")
        told = self._reader.read(message.payload, name)
        if isinstance(told, Failure):
            return [StreamError(told)]
        return [told, StreamFinished()] if name == "metadata" else [told]
