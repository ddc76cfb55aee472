"""OpenAI's dialect, completions (legacy): https://platform.openai.com/docs/api-reference/completions.

It serves requests of its own door alone: a chat is not written down as a prompt. Which providers
have it, and what they do not take, is data in `completions_providers.py`; hints are those of chats
(`openai_parameters.py`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from signalbox.adapters.completions_body import peculiarities, prompts_of
from signalbox.adapters.completions_providers import (
    PROMPT_LIST,
    PROMPT_TOKENS,
    CompletionsEndpoint,
)
from signalbox.adapters.completions_wire import Choice, Envelope, retold
from signalbox.adapters.event_decoder import SseDecoder
from signalbox.adapters.openai_differences import differences_for
from signalbox.adapters.openai_errors import clean, decode_body_error, decode_error
from signalbox.adapters.openai_headers import openai_headers
from signalbox.adapters.openai_parameters import (
    GATEWAY_FIELDS,
    OPENROUTER_ROUTING_FIELDS,
    Body,
    Differences,
    ParameterCheck,
    check,
)
from signalbox.adapters.openai_stream import chunk_decoder
from signalbox.adapters.openai_wire import DECODE_ERRORS, read_usage
from signalbox.adapters.protocol import (
    Answer,
    Delta,
    Headers,
    RateLimits,
    StreamError,
    StreamEvent,
    WireRequest,
)
from signalbox.adapters.rate_limit_headers import parse_rate_limits
from signalbox.adapters.splice import prefill_text
from signalbox.errors import Failure, FailureKind, ProviderProtocolError, UnsupportedParameter
from signalbox.types import CHARS_PER_TOKEN, Dialect, Request, Route, Secret

_EXCERPT_CHARS = 200
_chunk_decoder = msgspec.json.Decoder(Envelope)


class CompletionsAdapter:
    """The completions endpoint of one provider."""

    dialect = Dialect.COMPLETIONS

    def __init__(self, provider: str, endpoint: CompletionsEndpoint, api: str = "openai") -> None:
        self.provider = provider
        self._api = api
        self._endpoint = endpoint
        self._reasoning_apart = differences_for(api, provider).reasoning_apart

    def build(
        self,
        request: Request,
        route: Route,
        base_url: str,
        key: Secret | None,
        *,
        prefill: str | None = None,
    ) -> WireRequest:
        """See `Adapter.build`. The client's body goes out as a chat's does."""
        checked = self._check(request, route)
        if checked.unsupported:
            raise UnsupportedParameter(checked.unsupported[0], f"{self.provider} does not take it")
        differences = self._differences_at(route)
        body = _body(request.body, differences, checked)
        for fallback in (request.defaults, route.params):
            for name, value in fallback.items():
                if body.get(name) is None:
                    body[name] = value
        body["model"] = route.model
        if differences.streams_usage_unasked:
            body.pop("stream_options", None)
        elif request.stream:
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        if prefill is not None:
            _begin(body, prefill)
        return WireRequest(
            method="POST",
            url=f"{base_url.rstrip('/')}/completions",
            headers=openai_headers(request, route, key),
            body=msgspec.json.encode(body),
            dropped=checked.dropped,
        )

    def unsupported(self, request: Request, route: Route) -> tuple[str, ...]:
        return self._check(request, route).unsupported

    def dropped(self, request: Request, route: Route) -> tuple[str, ...]:
        return self._check(request, route).dropped

    def _differences_at(self, route: Route) -> Differences:
        return differences_for(self._api, self.provider, route.model)

    def _check(self, request: Request, route: Route) -> ParameterCheck:
        extra = request.extra
        checked = check(
            request.body,
            self._differences_at(route),
            refuse_unsupported=extra.refuse_unsupported or extra.provider.require_parameters,
        )
        lacked = _lacked(request.body, self._endpoint.lacks)
        unsupported = dict.fromkeys((*lacked, *checked.unsupported))
        return ParameterCheck(checked.dropped, tuple(unsupported))

    def prefills(self, route: Route) -> bool:
        """See `Adapter.prefills`. A prompt that is one text is made longer; others are not rescued
        at all. What the route's configuration says goes first."""
        return self._endpoint.raw if route.prefill is None else route.prefill

    def echoes_prefill(self, route: Route) -> bool:
        return False

    def writes_functions(self, request: Request) -> bool:
        return False

    def retold(self, delta: Delta, text: str) -> Delta:
        return retold(delta, text)

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure:
        """See `Adapter.decode_answer`. An answer without choices is an `EMPTY_ANSWER`."""
        try:
            fields = msgspec.json.decode(body)
        except DECODE_ERRORS as error:
            raise _no_completion(body, error) from error
        if isinstance(fields, list) and len(fields) == 1:
            fields = fields[0]  # Google wraps an error in an array
        try:
            completion = msgspec.convert(fields, Envelope)
        except DECODE_ERRORS as error:
            raise _no_completion(body, error) from error
        if completion.is_error:
            return decode_body_error(fields, FailureKind.SERVER_ERROR)
        if not completion.choices:
            return Failure(FailureKind.EMPTY_ANSWER, "the answer has no choices")
        return Answer(
            body=fields,
            content_chars=sum(choice.chars for choice in completion.choices),
            finish_reason=completion.choices[0].finish,
            usage=read_usage(completion.usage, reasoning_apart=self._reasoning_apart),
            id=completion.id if isinstance(completion.id, str) else None,
            choices=len(completion.choices),
        )

    def stream_decoder(self, request: Request) -> SseDecoder:
        return chunk_decoder(self, request)

    def decode_chunk(self, data: bytes) -> StreamEvent:
        """One event's JSON. Raises `ProviderProtocolError` where it is no chunk and no error."""
        try:
            chunk = _chunk_decoder.decode(data)
            if not data.isascii():
                data.decode()  # fields that are not read may hold anything, and go to the client
            if chunk.is_error:
                failure = decode_body_error(msgspec.json.decode(data), FailureKind.STREAM_ERROR)
                return StreamError(failure)
        except DECODE_ERRORS as error:
            raise _no_completion(data, error) from error
        choices = chunk.choices or []
        first = [choice for choice in choices if not choice.index]
        return Delta(
            raw=data,
            content_chars=sum(choice.chars for choice in choices),
            text="".join(choice.text or "" for choice in first),
            reasoning_chars=sum(len(choice.reasoning or "") for choice in first),
            finish_reasons=tuple(_finishes(choices)),
            usage=read_usage(chunk.usage, reasoning_apart=self._reasoning_apart),
            has_choices=bool(choices),
            id=chunk.id if isinstance(chunk.id, str) else None,
        )

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        return decode_error(status, headers, body, now)

    def rate_limits(self, headers: Headers, now: float) -> RateLimits:
        return parse_rate_limits(headers, now)


def _body(original: Body, differences: Differences, checked: ParameterCheck) -> dict[str, Any]:
    left_out = GATEWAY_FIELDS.union(checked.dropped)
    if not differences.routes_itself:
        left_out |= OPENROUTER_ROUTING_FIELDS
    body = {name: value for name, value in original.items() if name not in left_out}
    if "temperature" in checked.dropped and "temperature" not in differences.lacking(original):
        body["temperature"] = differences.max_temperature
    return body


def _lacked(body: Body, lacks: frozenset[str]) -> list[str]:
    """The fields with meaning that the request uses and the endpoint does not take."""
    uses = dict.fromkeys(peculiarities(body))
    uses.pop("prompt", None)
    lacked = [name for name in uses if name in lacks]
    if (body.get("n") or 1) > 1 and "n" in lacks:
        lacked.append("n")
    prompts = prompts_of(body)
    tokens = not all(isinstance(prompt, str) for prompt in prompts)
    if (len(prompts) > 1 and PROMPT_LIST in lacks) or (tokens and PROMPT_TOKENS in lacks):
        lacked.append("prompt")
    return lacked


def _begin(body: dict[str, Any], prefill: str) -> None:
    """Changes `body` so that the answer goes on from `prefill`: the prompt ends with it."""
    begun = prefill_text(prefill)
    [prompt] = prompts_of(body)
    if not begun or not isinstance(prompt, str):
        return
    body["prompt"] = prompt + begun
    ceiling = body.get("max_tokens")
    if isinstance(ceiling, int):
        body["max_tokens"] = max(1, ceiling - -(-len(prefill) // CHARS_PER_TOKEN))


def _finishes(choices: list[Choice]) -> list[tuple[int, str]]:
    reasons = ((choice.index or 0, choice.finish) for choice in choices)
    return [(index, reason) for index, reason in reasons if reason is not None]


def _no_completion(data: bytes, error: Exception) -> ProviderProtocolError:
    excerpt = clean(data[: _EXCERPT_CHARS * 4].decode("utf-8", "replace"), _EXCERPT_CHARS)
    return ProviderProtocolError(f"not a completion ({error}): {excerpt}")
