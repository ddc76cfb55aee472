"""A provider's Responses API: https://platform.openai.com/docs/api-reference/responses.

A request that came through the door of the same dialect goes out as it is. Any other is written
from its form, to be stored nowhere; what the API has no field for is found by the one table of
parameters (`openai_parameters.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.adapters.chat import ChatRequest, JsonSchema, Native, ReasoningWish, Tool
from signalbox.adapters.forms import chat_form
from signalbox.adapters.message_hints import DESCRIPTION, DETAIL, hints_left_out
from signalbox.adapters.openai_errors import decode_error
from signalbox.adapters.openai_headers import openai_headers
from signalbox.adapters.openai_parameters import (
    GATEWAY_FIELDS,
    OPENROUTER,
    OPENROUTER_ROUTING_FIELDS,
    ParameterCheck,
    check,
)
from signalbox.adapters.openai_reasoning import reasoning_fields
from signalbox.adapters.openai_request_reader import read_chat_request
from signalbox.adapters.openai_request_writer import without_cache, write_chat_request
from signalbox.adapters.protocol import (
    Answer,
    Delta,
    Headers,
    RateLimits,
    StreamDecoder,
    WireRequest,
)
from signalbox.adapters.rate_limit_headers import parse_rate_limits
from signalbox.adapters.responses_answer_reader import read_response
from signalbox.adapters.responses_body import items_of
from signalbox.adapters.responses_chunks import retold
from signalbox.adapters.responses_event_reader import EventReader
from signalbox.adapters.responses_providers import STATE, provider_of, responses_differences
from signalbox.adapters.responses_request_writer import (
    media_left_out,
    reasoning_left_out,
    write_parameters,
    write_responses_request,
)
from signalbox.adapters.responses_stream import response_decoder
from signalbox.errors import Failure, UnsupportedParameter
from signalbox.types import Dialect, Request, Route, Secret

Body = Mapping[str, Any]


class ResponsesAdapter:
    """One provider that serves the Responses API; `provider` picks its known differences."""

    dialect = Dialect.RESPONSES

    def __init__(self, provider: str, api: str = "openai") -> None:
        """Both as the configuration has them."""
        self.provider = provider
        self._api = api
        self._known = provider_of(provider, api)

    def build(
        self,
        request: Request,
        route: Route,
        base_url: str,
        key: Secret | None,
        *,
        prefill: str | None = None,
    ) -> WireRequest:
        """See `Adapter.build`."""
        checked = self._check(request, route)
        if checked.unsupported:
            raise UnsupportedParameter(checked.unsupported[0], f"{self.provider} does not take it")
        if request.door is self.dialect:
            body = self._as_it_came(request)
        else:
            body = write_responses_request(self._fitted(request, route))
        for name, value in _parameters(route.params).items():
            if body.get(name) is None:
                body[name] = value
        body["model"] = route.model
        if prefill is not None:
            begun = {"type": "message", "role": "assistant", "content": prefill.rstrip()}
            body["input"] = [*items_of(body), begun]
        return WireRequest(
            method="POST",
            url=f"{base_url.rstrip('/')}/responses",
            headers=openai_headers(request, route, key),
            body=msgspec.json.encode(body),
            dropped=checked.dropped,
        )

    def unsupported(self, request: Request, route: Route) -> tuple[str, ...]:
        return self._check(request, route).unsupported

    def dropped(self, request: Request, route: Route) -> tuple[str, ...]:
        return self._check(request, route).dropped

    def prefills(self, route: Route) -> bool:
        """Where the configuration says so: the API begins every answer anew."""
        return route.prefill is True

    def echoes_prefill(self, route: Route) -> bool:
        return True

    def retold(self, delta: Delta, text: str) -> Delta:
        return retold(delta, text)

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure:
        """See `Adapter.decode_answer`."""
        return read_response(body, self._known.format, told=request.door is not self.dialect)

    def stream_decoder(self, request: Request) -> StreamDecoder:
        told = request.door is not self.dialect
        reader = EventReader(self._known.format, told=told)
        return response_decoder(reader, lambda body: self.decode_answer(body, request))

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        return decode_error(status, headers, body, now)

    def rate_limits(self, headers: Headers, now: float) -> RateLimits:
        return parse_rate_limits(headers, now)

    # ── requests ──────────────────────────────────────────────────────────────────────────────

    def _as_it_came(self, request: Request) -> dict[str, Any]:
        """Without the gateway's own fields; the model's `default_params` where it gave none."""
        left_out = GATEWAY_FIELDS
        if self.provider != OPENROUTER:
            left_out |= OPENROUTER_ROUTING_FIELDS
        body = {name: value for name, value in request.body.items() if name not in left_out}
        for name, value in _parameters(request.defaults).items():
            if body.get(name) is None:
                body[name] = value
        return body

    def _check(self, request: Request, route: Route) -> ParameterCheck:
        extra = request.extra
        refuse = extra.refuse_unsupported or extra.provider.require_parameters
        if request.door is self.dialect:
            return self._check_own(request, refuse=refuse)
        form = chat_form(request)
        checked = self._check_form(request, route, refuse=refuse)
        dropped, unsupported = [*checked.dropped], [*checked.unsupported]
        hints = [name for name in form.unknown if name not in GATEWAY_FIELDS]
        if reasoning_left_out(form):
            hints.append("messages.reasoning")
        hints += hints_left_out(form, Dialect.RESPONSES, DETAIL, DESCRIPTION)
        if without_cache(form)[1]:
            hints.append("cache_control")
        if form.store and request.door is Dialect.CHAT:
            hints.append("store")  # what is translated is kept nowhere
        if form.audio is not None:
            hints.append("audio")
        if media_left_out(form):
            unsupported.append("messages")
        foreign = _foreign(form)
        hints += [native.name for native in foreign if not native.meaning]
        unsupported += [native.name for native in foreign if native.meaning]
        (unsupported if refuse else dropped).extend(hints)
        return ParameterCheck(tuple(dict.fromkeys(dropped)), tuple(dict.fromkeys(unsupported)))

    def _check_form(self, request: Request, route: Route, *, refuse: bool) -> ParameterCheck:
        """What the table of parameters says."""
        differences = responses_differences(self.provider, self._api, route.model)
        body = _chat_body(request, chat_form(request))
        return check(body, differences, refuse_unsupported=refuse)

    def _check_own(self, request: Request, *, refuse: bool) -> ParameterCheck:
        if self._known.stores:
            return ParameterCheck()
        lacking = tuple(name for name in STATE if request.body.get(name))
        # It would be taken, and nothing be kept.
        kept = ("store",) if request.body.get("store") is True else ()
        return ParameterCheck((), (*lacking, *kept)) if refuse else ParameterCheck(kept, lacking)

    def _fitted(self, request: Request, route: Route) -> ChatRequest:
        """The form without what the route does not take. Unknown fields do not count here: one may
        be named like a field of the form."""
        form = chat_form(request)
        checked = self._check_form(request, route, refuse=False)
        left_out: dict[str, Any] = {
            name: None for name in checked.dropped if name in ChatRequest.__struct_fields__
        }
        if "tools.strict" in checked.dropped:
            left_out["tools"] = tuple(
                replace(tool, strict=None) if isinstance(tool, Tool) else tool
                for tool in form.tools
            )
        if "response_format.strict" in checked.dropped and isinstance(
            form.response_format, JsonSchema
        ):
            left_out["response_format"] = replace(form.response_format, strict=None)
        if form.reasoning is not None:
            left_out["reasoning"] = self._wish(form.reasoning, request, route)
        return replace(form, **left_out)

    def _wish(self, wish: ReasoningWish, request: Request, route: Route) -> ReasoningWish | None:
        """In the API's own words. It shows what was thought only to whom asks for a summary."""
        style = responses_differences(self.provider, self._api, route.model).reasoning
        if style is None:
            return None
        form = chat_form(request)
        degree = {"effort": wish.effort, "max_tokens": wish.max_tokens, "enabled": wish.enabled}
        fields, _ = reasoning_fields({"reasoning": degree, "max_tokens": form.max_tokens}, style)
        effort = fields.get("reasoning_effort")
        if not style.summaries:
            return ReasoningWish(effort=effort)
        exclude = wish.exclude
        if exclude is None:
            exclude = _hides(route.params) or not _is_shown(wish, form.dialect)
        summary = None if exclude else wish.summary
        return ReasoningWish(effort=effort, summary=summary, exclude=exclude)


def _is_shown(wish: ReasoningWish, dialect: Dialect) -> bool:
    """Whether a client that says how much to think is shown it, where it does not say that. On
    Anthropic's side an effort alone makes no thinking visible."""
    if wish.enabled is False or wish.effort == "none":
        return False
    return wish.enabled is True or dialect is not Dialect.MESSAGES


def _hides(params: Mapping[str, Any]) -> bool:
    """For organisations that OpenAI did not verify: it refuses to write them a summary."""
    reasoning = params.get("reasoning")
    return isinstance(reasoning, Mapping) and reasoning.get("exclude") is True


def _chat_body(request: Request, form: ChatRequest) -> Body:
    """The request as a chat completion, which the table of parameters is about."""
    return request.body if request.door is Dialect.CHAT else write_chat_request(form)


def _foreign(form: ChatRequest) -> list[Native]:
    """What only another dialect understands, wherever it stands."""
    parts = [part for message in form.messages for part in message.parts]
    everything = [*form.native, *form.tools, *parts]
    return [
        each
        for each in everything
        if isinstance(each, Native) and each.dialect is not Dialect.RESPONSES
    ]


def _parameters(params: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's parameters, in the words of chat completions or of this dialect."""
    if not params:
        return {}
    form = read_chat_request({"model": "", "messages": [], **params})
    return {**form.unknown, **write_parameters(form)}
