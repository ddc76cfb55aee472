"""OpenAI's dialect, embeddings: https://platform.openai.com/docs/api-reference/embeddings.

What providers take, and how much of it in one call, is data in `embeddings_differences.py`. A
request with more inputs goes out in several calls, whose answers are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from signalbox.adapters.embeddings_answers import (
    Page,
    joined,
    read_page,
    told,
    total_usage,
)
from signalbox.adapters.embeddings_batches import batches
from signalbox.adapters.embeddings_differences import embeddings_differences
from signalbox.adapters.embeddings_form import EmbeddingsRequest
from signalbox.adapters.forms import embeddings_form
from signalbox.adapters.openai_differences import differences_for
from signalbox.adapters.openai_errors import decode_error
from signalbox.adapters.openai_headers import openai_headers
from signalbox.adapters.openai_parameters import (
    GATEWAY_FIELDS,
    OPENROUTER_ROUTING_FIELDS,
    ParameterCheck,
)
from signalbox.adapters.protocol import Answer, Headers, RateLimits, WireRequest
from signalbox.adapters.rate_limit_headers import parse_rate_limits
from signalbox.adapters.whole_answers import WholeAnswers
from signalbox.errors import Failure, UnsupportedParameter
from signalbox.types import Dialect, Request, Route, Secret

_GEMINIS_NAMES = {"input": "content", "dimensions": "outputDimensionality"}


class EmbeddingsAdapter(WholeAnswers):
    """The embeddings endpoint of one provider with OpenAI's dialect."""

    dialect = Dialect.EMBEDDINGS

    def __init__(self, provider: str, api: str = "openai") -> None:
        self.provider = provider
        self._differences = embeddings_differences(api, provider)
        self._routes_itself = differences_for(api, provider).routes_itself

    def build(
        self,
        request: Request,
        route: Route,
        base_url: str,
        key: Secret | None,
        *,
        prefill: str | None = None,
    ) -> WireRequest:
        """See `Adapter.build`. A `dimensions` that the provider has another name for is renamed;
        `encoding_format` is left out where it does not take the value."""
        checked = self._check(request)
        if checked.unsupported:
            raise UnsupportedParameter(checked.unsupported[0], f"{self.provider} does not take it")
        form = embeddings_form(request)
        body = self._body(request, form, checked.dropped)
        for name, value in route.params.items():
            if body.get(name) is None:
                body[name] = value
        body["model"] = route.model
        first, *more = self._bodies(body, form)
        return WireRequest(
            method="POST",
            url=f"{base_url.rstrip('/')}/embeddings",
            headers=openai_headers(request, route, key),
            body=first,
            dropped=checked.dropped,
            more=tuple(more),
        )

    def _body(
        self, request: Request, form: EmbeddingsRequest, dropped: tuple[str, ...]
    ) -> dict[str, Any]:
        if request.door is self.dialect:
            left_out = GATEWAY_FIELDS.union(dropped)
            if not self._routes_itself:
                left_out |= OPENROUTER_ROUTING_FIELDS
            body = {name: it for name, it in request.body.items() if name not in left_out}
        else:
            body = {"input": form.inputs[0] if form.single else form.inputs}
            if form.dimensions is not None:
                body["dimensions"] = form.dimensions
        wanted = body.get("encoding_format")
        if wanted is not None and wanted not in self._differences.encodings:
            del body["encoding_format"]
        theirs = self._differences.dimensions
        if theirs not in (None, "dimensions") and body.get("dimensions") is not None:
            body[theirs] = body.pop("dimensions")
        return body

    def _bodies(self, body: dict[str, Any], form: EmbeddingsRequest) -> list[bytes]:
        calls = batches(form.inputs, self._differences.limits)
        if len(calls) == 1:
            return [msgspec.json.encode(body)]
        return [
            msgspec.json.encode({**body, "input": form.inputs[call.start : call.stop]})
            for call in calls
        ]

    def unsupported(self, request: Request, route: Route) -> tuple[str, ...]:
        return self._check(request).unsupported

    def dropped(self, request: Request, route: Route) -> tuple[str, ...]:
        return self._check(request).dropped

    def _check(self, request: Request) -> ParameterCheck:
        form = embeddings_form(request)
        foreign = form.dialect is not self.dialect
        names = _GEMINIS_NAMES if foreign else {}
        unsupported: list[str] = []
        dropped: list[str] = []
        if not self._differences.token_ids and not all(isinstance(it, str) for it in form.inputs):
            unsupported.append(names.get("input", "input"))
        if form.dimensions is not None and self._differences.dimensions is None:
            unsupported.append(names.get("dimensions", "dimensions"))
        if form.user is not None and not self._differences.user:
            dropped.append("user")
        if foreign:
            given = {"taskType": form.task, "title": form.title, **form.unknown}
            dropped += [name for name, value in given.items() if value is not None]
            for native in form.native:
                (unsupported if native.meaning else dropped).append(native.name)
        extra = request.extra
        if extra.refuse_unsupported or extra.provider.require_parameters:
            unsupported, dropped = [*unsupported, *dropped], []
        return ParameterCheck(tuple(dict.fromkeys(dropped)), tuple(dict.fromkeys(unsupported)))

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure:
        return self.decode_answers((body,), request)

    def decode_answers(self, bodies: Sequence[bytes], request: Request) -> Answer | Failure:
        """See `JoiningAdapter.decode_answers`."""
        form = embeddings_form(request)
        calls = batches(form.inputs, self._differences.limits)
        pages: list[Page] = []
        for call, body in zip(calls, bodies, strict=True):
            page = read_page(body, form.inputs[call.start : call.stop])
            if isinstance(page, Failure):
                return page
            pages.append(page)
        native = request.door is self.dialect
        return Answer(
            body=joined(pages, base64=form.base64) if native else {},
            content_chars=len(form.inputs),
            finish_reason="stop",
            usage=total_usage(page.usage for page in pages),
            told=None if native else told(pages),
        )

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        return decode_error(status, headers, body, now)

    def rate_limits(self, headers: Headers, now: float) -> RateLimits:
        return parse_rate_limits(headers, now)
