"""Counting the tokens of a request at Anthropic: `/messages/count_tokens`.

Source: Anthropic API reference, "Count Message tokens". It takes the fields that make the prompt,
and is free of charge.
"""

from __future__ import annotations

import msgspec

from signalbox.adapters.anthropic import decode_object, messages_headers
from signalbox.adapters.anthropic_errors import decode_body_error, decode_error
from signalbox.adapters.anthropic_fitting import GATEWAY_FIELDS
from signalbox.adapters.anthropic_request_writer import Written, write_messages_request
from signalbox.adapters.forms import chat_form
from signalbox.adapters.protocol import (
    Answer,
    Headers,
    RateLimits,
    WireRequest,
)
from signalbox.adapters.rate_limit_headers import parse_rate_limits
from signalbox.adapters.whole_answers import WholeAnswers
from signalbox.errors import Failure, FailureKind, ProviderProtocolError, UnsupportedParameter
from signalbox.types import Dialect, Request, Route, Secret, Usage

_COUNTED = frozenset(
    {
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "cache_control",
        "mcp_servers",
        "context_management",
    }
)
FREE = Usage(prompt=0, completion=0)


class AnthropicCountAdapter(WholeAnswers):
    """One provider's endpoint for counting; what it answers stands in `Answer.body`."""

    dialect = Dialect.MESSAGES_COUNT

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
        """See `Adapter.build`. A body of this dialect goes out as it is, but for the model and the
        gateway's own fields; of another one's goes what is counted."""
        written = self._written(request, route)
        if written.unsupported:
            name = next(iter(written.unsupported))
            raise UnsupportedParameter(name, f"{self.provider} does not take it")
        body = dict(written.body)
        for name, value in route.params.items():
            if name in _COUNTED and body.get(name) is None:
                body[name] = value
        body["model"] = route.model
        return WireRequest(
            method="POST",
            url=f"{base_url.rstrip('/')}/messages/count_tokens",
            headers=messages_headers(request, route, key),
            body=msgspec.json.encode(body),
            dropped=tuple(written.dropped),
        )

    def unsupported(self, request: Request, route: Route) -> tuple[str, ...]:
        return tuple(self._written(request, route).unsupported)

    def dropped(self, request: Request, route: Route) -> tuple[str, ...]:
        return tuple(self._written(request, route).dropped)

    def _written(self, request: Request, route: Route) -> Written:
        if request.door is self.dialect:
            left_out = GATEWAY_FIELDS | {"stream"}
            return Written({n: v for n, v in request.body.items() if n not in left_out})
        written = write_messages_request(chat_form(request), route)
        counted = {name: value for name, value in written.body.items() if name in _COUNTED}
        return Written(counted, written.dropped, written.unsupported)

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure:
        fields = decode_object(body)
        if fields.get("type") == "error" or "error" in fields:
            return decode_body_error(fields, FailureKind.SERVER_ERROR)
        count = fields.get("input_tokens")
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ProviderProtocolError("the answer is no count: it has no `input_tokens`")
        return Answer(body=fields, content_chars=1, finish_reason="stop", usage=FREE)

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        return decode_error(status, headers, body, now)

    def rate_limits(self, headers: Headers, now: float) -> RateLimits:
        return parse_rate_limits(headers, now)
