"""Gemini's count of a prompt's tokens: API reference, "Counting tokens", `countTokens`.

    {contents} or {generateContentRequest: {model, contents, …}}  →  {totalTokens, …}

It costs nothing and has no content of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from signalbox.adapters.gemini_errors import decode_body_error, decode_error
from signalbox.adapters.gemini_fields import given, spelled
from signalbox.adapters.gemini_http import gemini_headers, method_url, resource_name
from signalbox.adapters.openai_errors import clean
from signalbox.adapters.openai_wire import DECODE_ERRORS
from signalbox.adapters.protocol import Answer, Headers, RateLimits, WireRequest
from signalbox.adapters.rate_limit_headers import parse_rate_limits
from signalbox.adapters.whole_answers import WholeAnswers
from signalbox.errors import Failure, FailureKind, ProviderProtocolError
from signalbox.types import Dialect, Request, Route, Secret, Usage

_WHOLE = "generateContentRequest"
_EXCERPT_CHARS = 200


@dataclass(frozen=True, slots=True)
class GeminiCountAdapter(WholeAnswers):
    """`countTokens` of one provider that speaks Gemini's dialect; it serves that door alone."""

    provider: str

    @property
    def dialect(self) -> Dialect:
        return Dialect.GENERATE_COUNT

    def build(
        self,
        request: Request,
        route: Route,
        base_url: str,
        key: Secret | None,
        *,
        prefill: str | None = None,
    ) -> WireRequest:
        left_out = ("extra", "model")
        body = {name: value for name, value in request.body.items() if name not in left_out}
        whole = given(body, _WHOLE)
        if isinstance(whole, dict):
            body[spelled(body, _WHOLE)] = {**whole, "model": resource_name(route.model)}
        return WireRequest(
            method="POST",
            url=method_url(base_url, route.model, "countTokens"),
            headers=gemini_headers(request, route, key),
            body=msgspec.json.encode(body),
        )

    def unsupported(self, request: Request, route: Route) -> tuple[str, ...]:
        return ()

    def dropped(self, request: Request, route: Route) -> tuple[str, ...]:
        return ()

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure:
        """See `Adapter.decode_answer`. What was counted was not used: there is nothing to pay."""
        try:
            fields = msgspec.json.decode(body)
        except DECODE_ERRORS as error:
            raise _no_count(body) from error
        if isinstance(fields, list) and len(fields) == 1:
            fields = fields[0]
        if isinstance(fields, dict) and fields.get("error"):
            return decode_body_error(fields, FailureKind.SERVER_ERROR)
        if not isinstance(fields, dict) or not _is_count(fields.get("totalTokens", 0)):
            raise _no_count(body)
        return Answer(
            body=fields,
            content_chars=1,
            finish_reason="stop",
            usage=Usage(prompt=0, completion=0),
        )

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        return decode_error(status, headers, body, now)

    def rate_limits(self, headers: Headers, now: float) -> RateLimits:
        return parse_rate_limits(headers, now)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _no_count(body: bytes) -> ProviderProtocolError:
    excerpt = clean(body[: _EXCERPT_CHARS * 4].decode("utf-8", "replace"), _EXCERPT_CHARS)
    return ProviderProtocolError(f"not a count of tokens: {excerpt}")
