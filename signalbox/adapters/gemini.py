"""Gemini's API, `generateContent` and `streamGenerateContent`: https://ai.google.dev/api.

A body of the same dialect goes through; any other is written by `gemini_request_writer.py`. What
comes back is read by `gemini_answer_reader.py`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters import gemini_events
from signalbox.adapters.chat import AnswerChoice, ChatAnswer
from signalbox.adapters.chat_folding import Folder
from signalbox.adapters.forms import chat_form
from signalbox.adapters.gemini_answer_reader import CandidateReader, Reading
from signalbox.adapters.gemini_errors import decode_body_error, decode_error
from signalbox.adapters.gemini_fields import as_list
from signalbox.adapters.gemini_fitting import fitted_body
from signalbox.adapters.gemini_http import gemini_headers, method_url
from signalbox.adapters.gemini_params import add_params
from signalbox.adapters.gemini_request_writer import Written, write_generate_request
from signalbox.adapters.gemini_stream import broken, read_response, stream_decoder
from signalbox.adapters.gemini_wire import Response, read_usage
from signalbox.adapters.protocol import (
    Answer,
    Delta,
    Headers,
    RateLimits,
    StreamDecoder,
    WireRequest,
)
from signalbox.adapters.rate_limit_headers import parse_rate_limits
from signalbox.errors import Failure, FailureKind, UnsupportedParameter
from signalbox.types import Dialect, Request, Route, Secret, Usage


class GeminiAdapter(msgspec.Struct, frozen=True):
    """One provider that speaks Gemini's dialect."""

    provider: str

    @property
    def dialect(self) -> Dialect:
        return Dialect.GENERATE

    def build(
        self,
        request: Request,
        route: Route,
        base_url: str,
        key: Secret | None,
        *,
        prefill: str | None = None,
    ) -> WireRequest:
        """See `Adapter.build`. The key goes in a header: addresses are logged along the way."""
        unsupported = self.unsupported(request, route)
        if unsupported:
            raise UnsupportedParameter(unsupported[0], f"{self.provider} does not take it")
        written = self._written(request, route)
        body = dict(written.body)
        if prefill is not None:
            begun = {"role": "model", "parts": [{"text": prefill.rstrip()}]}
            body["contents"] = [*as_list(body.get("contents")), begun]
        method = "streamGenerateContent" if request.stream else "generateContent"
        url = method_url(base_url, route.model, method)
        return WireRequest(
            method="POST",
            url=f"{url}?alt=sse" if request.stream else url,
            headers=gemini_headers(request, route, key),
            body=msgspec.json.encode(body),
            dropped=self.dropped(request, route),
        )

    def unsupported(self, request: Request, route: Route) -> tuple[str, ...]:
        written = self._written(request, route)
        if _refuses(request):
            return tuple({**written.dropped, **written.unsupported})
        return tuple(written.unsupported)

    def dropped(self, request: Request, route: Route) -> tuple[str, ...]:
        return () if _refuses(request) else tuple(self._written(request, route).dropped)

    def _written(self, request: Request, route: Route) -> Written:
        """The body for this route, made once a request."""
        memo = f"gemini {route.id}"
        known: tuple[Route, Written] | None = request.memo.get(memo)
        if known is not None and known[0] == route:  # models may share one and differ in `params`
            return known[1]
        if request.door is self.dialect:
            params = {**route.params, **request.defaults}
            written = Written(fitted_body(request, route))
        else:
            params = dict(route.params)
            written = write_generate_request(chat_form(request), route.model)
        if params:
            added = add_params(written.body, params, request, route.model)
            written.dropped |= added.dropped
            written.unsupported |= added.unsupported
        request.memo[memo] = route, written
        return written

    def prefills(self, route: Route) -> bool:
        """See `Adapter.prefills`. Its models answer a turn of their own anew unless they are known
        to go on from it."""
        return route.prefill is True

    def echoes_prefill(self, route: Route) -> bool:
        return False

    def retold(self, delta: Delta, text: str) -> Delta:
        return gemini_events.retold(delta, text)

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure:
        """See `Adapter.decode_answer`. A refused prompt is an answer without content whose finish
        reason is `content_filter`; an answer without candidates is an `EMPTY_ANSWER` otherwise."""
        read = read_response(body)
        if not isinstance(read, tuple):
            return decode_body_error(read, FailureKind.SERVER_ERROR)
        fields, response = read
        told = request.door is not self.dialect
        if not response.candidates:
            if not response.block_reason:
                return Failure(FailureKind.EMPTY_ANSWER, "the answer has no candidates")
            return _blocked(fields, response, request.choices, told=told)
        reader = CandidateReader(response.response_id or request.id, told=told)
        reading = reader.read(response.candidates, fields["candidates"])
        if reading.broken is not None:
            return broken(reading.broken, FailureKind.SERVER_ERROR)
        return _answer(fields, response, reading, told=told)

    def stream_decoder(self, request: Request) -> StreamDecoder:
        return stream_decoder(request)

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        return decode_error(status, headers, body, now)

    def rate_limits(self, headers: Headers, now: float) -> RateLimits:
        return parse_rate_limits(headers, now)


def _refuses(request: Request) -> bool:
    """Whether hints count as meaning."""
    extra = request.extra
    return extra.refuse_unsupported or extra.provider.require_parameters


def _answer(fields: dict[str, Any], response: Response, reading: Reading, *, told: bool) -> Answer:
    assert response.candidates
    ends = dict(reading.finish)
    indexes = [candidate.index or 0 for candidate in response.candidates]
    usage = read_usage(response.usage_metadata)
    return Answer(
        body=fields,
        content_chars=reading.content_chars,
        finish_reason=ends.get(min(indexes)),
        usage=usage,
        id=response.response_id,
        made=tuple(reading.made),
        choices=len(response.candidates),
        told=_told(response, reading, usage) if told else None,
    )


def _told(response: Response, reading: Reading, usage: Usage | None) -> ChatAnswer:
    """The whole answer is the one chunk that it amounts to."""
    folder = Folder()
    folder.add(
        Delta(
            raw=b"",
            usage=usage,
            id=response.response_id,
            model=response.model_version,
            pieces=tuple(reading.pieces),
        )
    )
    answer = folder.answer()
    # A candidate without content and finish reason is one all the same.
    missing = len(response.candidates or ()) - len(answer.choices)
    return replace(answer, choices=(*answer.choices, *(AnswerChoice((), None),) * missing))


def _blocked(fields: dict[str, Any], response: Response, choices: int, *, told: bool) -> Answer:
    usage = read_usage(response.usage_metadata)
    refused = AnswerChoice(
        (),
        "content_filter",
        response.block_reason,
        extra={"promptFeedback": fields["promptFeedback"]},
    )
    answer = ChatAnswer(
        (refused,) * max(1, choices), usage, response.response_id, response.model_version
    )
    return Answer(
        body=fields,
        content_chars=0,
        finish_reason="content_filter",
        usage=usage,
        id=response.response_id,
        choices=max(1, choices),
        told=answer if told else None,
    )
