"""OpenAI's dialect, chat completions: https://platform.openai.com/docs/api-reference/chat.

Many providers speak it, each a little differently. What they do not take is data in
`openai_parameters.py`; what they add is read by `openai_wire.py`. How a begun answer is handed to
them is `openai_prefill.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.forms import chat_form
from signalbox.adapters.openai_adapting import adapted
from signalbox.adapters.openai_answer_reader import read_completion
from signalbox.adapters.openai_chunks import retold
from signalbox.adapters.openai_differences import differences_for
from signalbox.adapters.openai_errors import decode_body_error, decode_error
from signalbox.adapters.openai_functions import (
    answer_with_functions,
    speaks_functions,
)
from signalbox.adapters.openai_headers import openai_headers
from signalbox.adapters.openai_parameters import Differences, ParameterCheck, check
from signalbox.adapters.openai_prefill import PLAIN, begin_answer
from signalbox.adapters.openai_request_writer import (
    LeftOut,
    left_out,
    without_cache,
    write_chat_request,
)
from signalbox.adapters.openai_stream import (
    TellingDecoder,
    chunk_decoder,
    not_json,
    stream_error,
)
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
    StreamDecoder,
    StreamEvent,
    WireRequest,
)
from signalbox.adapters.provider_state import made
from signalbox.adapters.rate_limit_headers import parse_rate_limits
from signalbox.errors import Failure, FailureKind, ProviderProtocolError, UnsupportedParameter
from signalbox.types import Dialect, Request, Route, Secret, Usage

_CHECKED = "checked"
_chunk_decoder = msgspec.json.Decoder(Envelope)


class OpenAIAdapter:
    """One provider that speaks OpenAI's dialect; `provider` picks its known differences."""

    dialect = Dialect.CHAT

    def __init__(self, provider: str, api: str = "openai") -> None:
        self.provider = provider
        self._api = api
        self._differences = differences_for(api, provider)

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
        differences = self._differences_at(route)
        original, lacked, checked = self._original(request, differences)
        if checked.unsupported:
            raise UnsupportedParameter(checked.unsupported[0], f"{self.provider} does not take it")
        body = adapted(original, differences, lacked)
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
            headers=openai_headers(request, route, key),
            body=msgspec.json.encode(body),
            dropped=checked.dropped,
        )

    def unsupported(self, request: Request, route: Route) -> tuple[str, ...]:
        return self._original(request, self._differences_at(route))[2].unsupported

    def dropped(self, request: Request, route: Route) -> tuple[str, ...]:
        return self._original(request, self._differences_at(route))[2].dropped

    def _differences_at(self, route: Route) -> Differences:
        return differences_for(self._api, self.provider, route.model)

    def _original(
        self, request: Request, differences: Differences
    ) -> tuple[Mapping[str, Any], ParameterCheck, ParameterCheck]:
        """The request's body in this dialect, what of that body cannot be carried, and what of the
        request: another dialect's unknown field may be named like one of the body's."""
        extra = request.extra
        refuse = extra.refuse_unsupported or extra.provider.require_parameters
        if request.door is self.dialect:
            # Asked by the survey of the routes, and again by the call.
            known = request.memo.get(_CHECKED)
            if known is None or known[0] is not differences:
                checked = check(request.body, differences, refuse_unsupported=refuse)
                known = request.memo[_CHECKED] = (differences, checked)
            return request.body, known[1], known[1]
        body, lost = _written(request, caches=differences.routes_itself)
        checked = check(body, differences, refuse_unsupported=refuse)
        unsupported, dropped = lost.unsupported, lost.dropped
        if refuse:
            unsupported, dropped = (*unsupported, *dropped), ()
        everything = ParameterCheck(
            dropped=tuple(dict.fromkeys((*dropped, *checked.dropped))),
            unsupported=tuple(dict.fromkeys((*unsupported, *checked.unsupported))),
        )
        return body, checked, everything

    def prefills(self, route: Route) -> bool:
        """See `Adapter.prefills`. What the route's configuration says goes first."""
        if route.prefill is not None:
            return route.prefill
        style = self._differences.prefill
        return style is not None and not style.on_request

    def echoes_prefill(self, route: Route) -> bool:
        return (self._differences.prefill or PLAIN).echoes

    def writes_functions(self, request: Request) -> bool:
        """Whether tools were sent for functions, so that the answer's calls are to be those."""
        return (
            request.door is Dialect.CHAT
            and not self._differences.functions
            and speaks_functions(request.body)
        )

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure:
        """See `Adapter.decode_answer`. An answer without choices is an `EMPTY_ANSWER`."""
        try:
            fields = msgspec.json.decode(body)
        except DECODE_ERRORS as error:
            raise not_json(body, error) from error
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
        if self.writes_functions(request):
            fields = answer_with_functions(fields)
        messages = [choice.message for choice in completion.choices if choice.message is not None]
        return Answer(
            body=fields,
            content_chars=sum(read_content(message).chars for message in messages),
            finish_reason=finish_reason(completion.choices[0]),
            usage=self._usage(completion),
            id=_text(completion.id),
            made=made(fields),
            choices=len(completion.choices),
            told=None
            if request.door is self.dialect
            else read_completion(fields, self._usage(completion), request.id),
        )

    def stream_decoder(self, request: Request) -> StreamDecoder:
        decoder = chunk_decoder(self, request)
        return decoder if request.door is self.dialect else TellingDecoder(decoder, request)

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
            raise not_json(data, error) from error
        if chunk.is_error:
            return stream_error(data)
        choices = chunk.choices or ()
        if len(choices) == 1 and chunk.container is None:
            [choice] = choices
            message = choice.delta
            if message is not None and message.is_plain and not choice.index:
                return self._plain_delta(data, chunk, choice, message.content)
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

    def _plain_delta(
        self, data: bytes, chunk: Envelope, choice: Choice, content: object
    ) -> StreamEvent:
        text = content if isinstance(content, str) else ""
        reason = choice.finish_reason and finish_reason(choice)
        return Delta(
            raw=data,
            content_chars=len(text),
            text=text,
            finish_reasons=((0, reason),) if reason else (),
            usage=None if chunk.reported_usage is None else self._usage(chunk),
            id=_text(chunk.id),
        )

    def retold(self, delta: Delta, text: str) -> Delta:
        return retold(delta, text)

    def _usage(self, envelope: Envelope) -> Usage | None:
        return read_usage(
            envelope.reported_usage, reasoning_apart=self._differences.reasoning_apart
        )


def _written(request: Request, *, caches: bool) -> tuple[Mapping[str, Any], LeftOut]:
    """The body that the request's form writes to, made once; `caches`: with `cache_control`."""
    key = f"chat completion {caches}"
    known: tuple[Mapping[str, Any], LeftOut] | None = request.memo.get(key)
    if known is None:
        form = chat_form(request)
        lost = left_out(form)
        if not caches:
            form, stripped = without_cache(form)
            if stripped:
                lost = replace(lost, dropped=(*lost.dropped, "cache_control"))
        body = write_chat_request(form)
        body.pop("stream", None)
        if request.stream:
            body["stream"] = True
        known = request.memo[key] = (body, lost)
    return known


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
