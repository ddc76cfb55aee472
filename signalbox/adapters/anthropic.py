"""Anthropic's dialect, Messages: https://platform.claude.com/docs/en/api/messages.

What a model takes is `anthropic_models.py`; other dialects' requests are written by
`anthropic_request_writer.py`; answers are read by `anthropic_answer_reader.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from signalbox import __version__
from signalbox.adapters.anthropic_answer_reader import EventReader, kind_of, read_message
from signalbox.adapters.anthropic_errors import decode_body_error, decode_error
from signalbox.adapters.anthropic_events import retold
from signalbox.adapters.anthropic_fitting import begin_answer, fitted_body
from signalbox.adapters.anthropic_models import traits_of
from signalbox.adapters.anthropic_request_writer import Written, write_messages_request
from signalbox.adapters.anthropic_wire import DECODE_ERRORS, Message
from signalbox.adapters.client_headers import forwarded
from signalbox.adapters.event_decoder import SseDecoder
from signalbox.adapters.forms import chat_form
from signalbox.adapters.openai_errors import clean
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
from signalbox.errors import Failure, FailureKind, ProviderProtocolError, UnsupportedParameter
from signalbox.types import Dialect, Request, Route, Secret

USER_AGENT = f"signalbox/{__version__}"
API_VERSION = "2023-06-01"
CREDENTIALS = frozenset({"authorization", "x-api-key"})
_FORWARDED = frozenset({"anthropic-version", "anthropic-beta"})
_EXCERPT_CHARS = 200


class AnthropicAdapter:
    """One provider that speaks Messages."""

    dialect = Dialect.MESSAGES

    def __init__(self, provider: str) -> None:
        self.provider = provider

    def build(
        self,
        request: Request,
        route: Route,
        base_url: str,
        key: Secret | None,
        *,
        prefill: str | None = None,
    ) -> WireRequest:
        """See `Adapter.build`. A body of this dialect goes out as it is, but for the gateway's own
        fields, the model, what the route and the model's defaults add, and what the model is
        documented to refuse."""
        prefilled = prefill is not None and bool(prefill_text(prefill))
        written = self._written(request, route, prefilled)
        if written.unsupported:
            name = next(iter(written.unsupported))
            raise UnsupportedParameter(name, f"{self.provider} does not take it")
        body = dict(written.body)
        for name, value in route.params.items():
            if body.get(name) is None:
                body[name] = value
        body["model"] = route.model
        body.pop("stream", None)
        if request.stream:
            body["stream"] = True
        if prefill is not None:
            begin_answer(body, prefill)
        return WireRequest(
            method="POST",
            url=f"{base_url.rstrip('/')}/messages",
            headers=messages_headers(request, route, key),
            body=msgspec.json.encode(body),
            dropped=tuple(written.dropped),
        )

    def unsupported(self, request: Request, route: Route) -> tuple[str, ...]:
        return tuple(self._written(request, route).unsupported)

    def dropped(self, request: Request, route: Route) -> tuple[str, ...]:
        return tuple(self._written(request, route).dropped)

    def _written(self, request: Request, route: Route, prefilled: bool = False) -> Written:
        """Once for each route; what is written is not changed afterwards."""
        key = f"messages {self.provider} {route.id} {prefilled}"
        known = request.memo.get(key)
        if known is not None and known[0] is route:
            written: Written = known[1]
            return written
        written = self._write(request, route, prefilled)
        extra = request.extra
        if extra.refuse_unsupported or extra.provider.require_parameters:
            written = Written(written.body, {}, {**written.unsupported, **written.dropped})
        request.memo[key] = (route, written)
        return written

    def _write(self, request: Request, route: Route, prefilled: bool) -> Written:
        if request.door is self.dialect:
            return fitted_body(request, route)
        return write_messages_request(chat_form(request), route, prefilled=prefilled)

    def prefills(self, route: Route) -> bool:
        """See `Adapter.prefills`. What the route's configuration says goes first."""
        return traits_of(route.model).prefill if route.prefill is None else route.prefill

    def echoes_prefill(self, route: Route) -> bool:
        return False

    def retold(self, delta: Delta, text: str) -> Delta:
        return retold(delta, text)

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure:
        """See `Adapter.decode_answer`."""
        fields = decode_object(body)
        if fields.get("type") == "error" or ("error" in fields and "content" not in fields):
            return decode_body_error(fields, FailureKind.SERVER_ERROR)
        try:
            message = msgspec.convert(fields, Message)
        except DECODE_ERRORS as error:
            raise ProviderProtocolError(f"the answer is not a message: {error}") from error
        if message.content is None:
            raise ProviderProtocolError("the answer is not a message: it has no `content`")
        return read_message(fields, message)

    def stream_decoder(self, request: Request) -> SseDecoder:
        return SseDecoder(_StreamReader().read_event, _failure_in)

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        return decode_error(status, headers, body, now)

    def rate_limits(self, headers: Headers, now: float) -> RateLimits:
        return parse_rate_limits(headers, now)


class _StreamReader:
    """Reads a stream's events; a `ping` is a delta without content."""

    def __init__(self) -> None:
        self._reader = EventReader()

    def read_event(self, event: ServerSentEvent) -> Sequence[StreamEvent]:
        name = event.name.decode("utf-8", "replace")
        if name == "error":
            return [_stream_error(event.data)]
        if event.data.startswith(b"[DONE]"):
            return [StreamFinished()]  # endpoints that imitate this dialect
        kind = kind_of(event.data)
        if kind == "error":
            return [_stream_error(event.data)]
        if kind == "message_stop":
            return [StreamFinished()]
        return [self._reader.read(event.data, kind, name)]


def _failure_in(body: bytes) -> Failure | None:
    fields = decode_object(body)
    if fields.get("type") == "error" or "error" in fields:
        return decode_body_error(fields, FailureKind.STREAM_ERROR)
    return None


def decode_object(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body)
    except DECODE_ERRORS as error:
        excerpt = clean(body[: _EXCERPT_CHARS * 4].decode("utf-8", "replace"), _EXCERPT_CHARS)
        raise ProviderProtocolError(f"not a message in JSON ({error}): {excerpt}") from error
    if not isinstance(fields, dict):
        raise ProviderProtocolError("the answer is no JSON object")
    return fields


def messages_headers(
    request: Request, route: Route, key: Secret | None
) -> tuple[tuple[str, str], ...]:
    """The client's version and betas, under the gateway's own, under those of the route; betas of
    both are joined. Beside a caller's own key the route's credentials stay away."""
    withheld = CREDENTIALS if route.provider in request.byok else frozenset()
    headers = {"anthropic-version": API_VERSION}
    for name, value in forwarded(request, Dialect.MESSAGES).items():
        if name in _FORWARDED:
            _put(headers, name, value)
    headers["content-type"] = "application/json"
    headers["accept"] = "text/event-stream" if request.stream else "application/json"
    headers["accept-encoding"] = "identity"
    headers["user-agent"] = USER_AGENT
    if key is not None:
        headers["x-api-key"] = key.reveal()
    for name, secret in route.headers:
        if name.lower() not in withheld:
            _put(headers, name.lower(), secret.reveal())
    return tuple(headers.items())


def _put(headers: dict[str, str], name: str, value: str) -> None:
    if name == "anthropic-beta" and name in headers:
        betas = [*headers[name].split(","), *value.split(",")]
        value = ",".join(dict.fromkeys(beta.strip() for beta in betas))
    headers[name] = value


def _stream_error(data: bytes) -> StreamError:
    body: object
    try:
        body = msgspec.json.decode(data)
    except DECODE_ERRORS:
        body = data.decode("utf-8", "replace")
    return StreamError(decode_body_error(body, FailureKind.STREAM_ERROR))
