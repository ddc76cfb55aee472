"""OpenAI's dialect, chat completions: https://platform.openai.com/docs/api-reference/chat.

Many providers speak it, each a little differently. What they do not take is data in
`openai_parameters.py`; what they add is read by `openai_wire.py`. How a begun answer is handed to
them is `openai_prefill.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from signalbox import __version__
from signalbox.adapters.openai_chunks import with_text
from signalbox.adapters.openai_errors import clean, decode_body_error, decode_error
from signalbox.adapters.openai_parameters import (
    GATEWAY_FIELDS,
    OPENROUTER,
    OPENROUTER_ROUTING_FIELDS,
    check,
    differences_of,
)
from signalbox.adapters.openai_prefill import PLAIN, begin_answer
from signalbox.adapters.openai_wire import (
    DECODE_ERRORS,
    Choice,
    Envelope,
    finish_reason,
    read_content,
    read_usage,
)
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
from signalbox.adapters.provider_state import made
from signalbox.adapters.rate_limit_headers import parse_rate_limits
from signalbox.adapters.sse import MAX_EVENT_BYTES, EventStreamDecoder, ServerSentEvent
from signalbox.errors import Failure, FailureKind, ProviderProtocolError, UnsupportedParameter
from signalbox.types import Request, Route, Secret, Usage

USER_AGENT = f"signalbox/{__version__}"
CREDENTIALS = frozenset({"authorization", "api-key", "x-api-key"})
"""Headers by which providers of this dialect tell whose account it is."""
_EXCERPT_CHARS = 200
_chunk_decoder = msgspec.json.Decoder(Envelope)


class OpenAIAdapter:
    """One provider that speaks OpenAI's dialect; `provider` picks its known differences."""

    dialect = "openai"

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self._differences = differences_of(provider)

    def build(
        self,
        request: Request,
        route: Route,
        base_url: str,
        key: Secret | None,
        *,
        prefill: str | None = None,
    ) -> WireRequest:
        """See `Adapter.build`. The client's body goes out as it is, but for the gateway's own
        fields, the model, the route's `params` where the client gave none, and what the provider
        does not take."""
        extra = request.extra
        refuse = extra.refuse_unsupported or extra.provider.require_parameters
        checked = check(request.body, self.provider, refuse_unsupported=refuse)
        if checked.unsupported:
            raise UnsupportedParameter(checked.unsupported[0], f"{self.provider} does not take it")
        body = self._translate(request.body, checked.dropped)
        for name, value in route.params.items():
            if body.get(name) is None:
                body[name] = value
        body["model"] = route.model
        if self._differences.streams_usage_unasked:
            body.pop("stream_options", None)
        elif request.stream:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        if prefill is not None:
            begin_answer(body, prefill, self._differences.prefill or PLAIN)
        return WireRequest(
            method="POST",
            url=f"{base_url.rstrip('/')}/chat/completions",
            headers=_headers(request, route, key),
            body=msgspec.json.encode(body),
            dropped=checked.dropped,
        )

    def prefills(self, route: Route) -> bool:
        """See `Adapter.prefills`. What the route's configuration says goes first."""
        if route.prefill is not None:
            return route.prefill
        style = self._differences.prefill
        return style is not None and not style.on_request

    def echoes_prefill(self, route: Route) -> bool:
        return (self._differences.prefill or PLAIN).echoes

    def _translate(self, original: Mapping[str, Any], dropped: tuple[str, ...]) -> dict[str, Any]:
        """A new body with the provider's names, without what must not reach it."""
        left_out = GATEWAY_FIELDS.union(dropped)
        if self.provider != OPENROUTER:
            left_out |= OPENROUTER_ROUTING_FIELDS
        renames = self._differences.renames
        body = {
            renames.get(name, name): value
            for name, value in original.items()
            if name not in left_out
        }
        if "temperature" in dropped:
            body["temperature"] = self._differences.max_temperature
        return body

    def decode_answer(self, body: bytes) -> Answer | Failure:
        """See `Adapter.decode_answer`. An answer without choices is an `EMPTY_ANSWER`."""
        try:
            fields = msgspec.json.decode(body)
        except DECODE_ERRORS as error:
            raise _not_json(body, error) from error
        if isinstance(fields, list) and len(fields) == 1:
            fields = fields[0]  # Google wraps an error in an array
        try:
            completion = msgspec.convert(fields, Envelope)
        except DECODE_ERRORS as error:
            raise ProviderProtocolError(f"the answer is not a chat completion: {error}") from error
        if completion.is_error:
            return decode_body_error(fields, FailureKind.SERVER_ERROR)
        if not completion.choices:
            return Failure(FailureKind.EMPTY_ANSWER, "the answer has no choices")
        messages = [choice.message for choice in completion.choices if choice.message is not None]
        return Answer(
            body=fields,
            content_chars=sum(read_content(message).chars for message in messages),
            finish_reason=finish_reason(completion.choices[0]),
            usage=self._usage(completion),
            id=_text(completion.id),
            made=made(fields),
        )

    def stream_decoder(self) -> OpenAIStreamDecoder:
        return OpenAIStreamDecoder(self)

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        return decode_error(status, headers, body, now)

    def rate_limits(self, headers: Headers, now: float) -> RateLimits:
        return parse_rate_limits(headers, now)

    def decode_chunk(self, data: bytes) -> StreamEvent:
        """One event's JSON. Raises `ProviderProtocolError` where it is no chunk and no error."""
        try:
            chunk = _chunk_decoder.decode(data)
            if not data.isascii():
                data.decode()  # fields that are not read may hold anything, and go to the client
        except DECODE_ERRORS as error:
            raise _not_json(data, error) from error
        if chunk.is_error:
            return _stream_error(data)
        choices = chunk.choices or ()
        text, reasoning_chars, content_chars, opaque = "", 0, 0, False
        gives_out = bool(chunk.container)
        for choice in choices:
            if choice.delta is None:
                continue
            content = read_content(choice.delta)
            content_chars += content.chars
            opaque = opaque or content.opaque
            gives_out = gives_out or choice.delta.may_give_out_state
            if not choice.index:
                text += content.text
                reasoning_chars += content.reasoning_chars
        return Delta(
            raw=data,
            content_chars=content_chars,
            text=text,
            reasoning_chars=reasoning_chars,
            opaque=opaque,
            finish_reasons=_finish_reasons(choices),
            usage=None if chunk.reported_usage is None else self._usage(chunk),
            has_choices=bool(choices),
            id=_text(chunk.id),
            made=_made_in(data) if gives_out else (),
        )

    def retold(self, delta: Delta, text: str) -> Delta:
        """See `Adapter.retold`. A chunk without choices has no place for `text` and stays."""
        if not delta.has_choices:
            return delta
        return replace(
            delta,
            raw=with_text(delta.raw, text),
            content_chars=delta.content_chars - delta.reasoning_chars - len(delta.text) + len(text),
            text=text,
            reasoning_chars=0,
        )

    def _usage(self, envelope: Envelope) -> Usage | None:
        return read_usage(
            envelope.reported_usage, reasoning_apart=self._differences.reasoning_apart
        )


class OpenAIStreamDecoder:
    """See `StreamDecoder`. Nothing is told of what follows an error or the end mark.

    Usage is told as often as the provider sends it (Groq thrice, Perplexity in every chunk,
    cumulative): the last one counts, they are never added.
    """

    def __init__(self, adapter: OpenAIAdapter) -> None:
        self._adapter = adapter
        self._events = EventStreamDecoder()
        self._over = False
        self._begun = False
        self._whole_body: list[bytes] | None = None
        """Set when the bytes are no event stream but one JSON document or a page."""
        self._whole_size = 0

    def feed(self, data: bytes) -> list[StreamEvent]:
        if self._over:
            return []
        if not self._begun:
            data = data.lstrip()
            self._begun = bool(data)
            if data.startswith((b"{", b"[", b"<")):
                self._whole_body = []
        if self._whole_body is not None:
            self._keep_whole(data)
            return []
        return self._read(self._events.feed(data))

    def end(self) -> list[StreamEvent]:
        """See `StreamDecoder.end`. A last event that was cut in its middle is no event: what is
        missing is told by the finish reason that did not come."""
        if self._over:
            return []
        if self._whole_body is not None:
            return [self._read_whole(b"".join(self._whole_body))]
        try:
            return self._read(self._events.end())
        except ProviderProtocolError:
            return []

    def _read(self, events: list[ServerSentEvent]) -> list[StreamEvent]:
        read: list[StreamEvent] = []
        for event in events:
            if not event.data:
                continue
            try:
                told = self._read_event(event)
            except ProviderProtocolError as error:
                if not read:
                    raise
                # What came before it in the same bytes is good, and must not be lost with it.
                told = StreamError(Failure(FailureKind.PROTOCOL_ERROR, str(error)))
            read.append(told)
            if not isinstance(told, Delta):
                self._over = True
                break
        return read

    def _read_event(self, event: ServerSentEvent) -> StreamEvent:
        if event.data.startswith(b"[DONE]"):
            return StreamFinished()
        if event.name == b"error":  # Groq
            return _stream_error(event.data)
        return self._adapter.decode_chunk(event.data)

    def _keep_whole(self, data: bytes) -> None:
        assert self._whole_body is not None
        self._whole_body.append(data)
        self._whole_size += len(data)
        if self._whole_size > MAX_EVENT_BYTES:
            raise ProviderProtocolError(
                f"more than {MAX_EVENT_BYTES} bytes of what is not the event stream asked for"
            )

    def _read_whole(self, body: bytes) -> StreamEvent:
        """An error that came as plain JSON under a stream's content type, as Google does."""
        self._over = True
        answer = self._adapter.decode_answer(body)
        if isinstance(answer, Failure):
            return StreamError(answer)
        raise ProviderProtocolError("one whole JSON answer where an event stream was asked for")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _made_in(data: bytes) -> tuple[str, ...]:
    """Nothing where fields that are not read otherwise are more than a decoder takes."""
    try:
        return made(msgspec.json.decode(data))
    except DECODE_ERRORS:
        return ()


def _finish_reasons(choices: list[Choice] | tuple[()]) -> tuple[tuple[int, str], ...]:
    reasons = ((choice.index or 0, finish_reason(choice)) for choice in choices)
    return tuple((index, reason) for index, reason in reasons if reason is not None)


def _stream_error(data: bytes) -> StreamError:
    try:
        body = msgspec.json.decode(data)
    except DECODE_ERRORS:
        body = data.decode("utf-8", "replace")
    return StreamError(decode_body_error(body, FailureKind.STREAM_ERROR))


def _not_json(data: bytes, error: Exception) -> ProviderProtocolError:
    excerpt = clean(data[: _EXCERPT_CHARS * 4].decode("utf-8", "replace"), _EXCERPT_CHARS)
    return ProviderProtocolError(f"not a chat completion in JSON ({error}): {excerpt}")


def _headers(request: Request, route: Route, key: Secret | None) -> tuple[tuple[str, str], ...]:
    """The client's allowed headers, under the gateway's own, under those of the route.

    Beside a caller's own key the route's credentials stay away: one of the two would pay.
    """
    withheld = CREDENTIALS if route.provider in request.byok else frozenset()
    headers = {name.lower(): value for name, value in request.forward_headers}
    headers["content-type"] = "application/json"
    headers["accept"] = "text/event-stream" if request.stream else "application/json"
    headers["accept-encoding"] = "identity"
    headers["user-agent"] = USER_AGENT
    if key is not None:
        headers["authorization"] = f"Bearer {key.reveal()}"
    for name, value in route.headers:
        if name.lower() not in withheld:
            headers[name.lower()] = value.reveal()
    return tuple(headers.items())
