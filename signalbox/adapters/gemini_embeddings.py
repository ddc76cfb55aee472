"""Gemini's embeddings: API reference, "Embeddings", `embedContent` and `batchEmbedContents`.

    {"embedding": {"values": [floats]}}  or  {"embeddings": [{"values": [floats]}]}

A request with more inputs than a batch takes goes out in several calls, whose answers are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from signalbox.adapters.embeddings_batches import BatchLimits, Input, batches, likely_tokens
from signalbox.adapters.embeddings_form import EmbeddingsAnswer, EmbeddingsRequest
from signalbox.adapters.forms import embeddings_form
from signalbox.adapters.gemini_errors import decode_body_error, decode_error
from signalbox.adapters.gemini_fields import camel
from signalbox.adapters.gemini_http import gemini_headers, method_url, resource_name
from signalbox.adapters.gemini_wire import read_usage
from signalbox.adapters.openai_errors import clean
from signalbox.adapters.openai_parameters import ParameterCheck
from signalbox.adapters.openai_wire import DECODE_ERRORS
from signalbox.adapters.protocol import Answer, Headers, RateLimits, WireRequest
from signalbox.adapters.rate_limit_headers import parse_rate_limits
from signalbox.adapters.whole_answers import WholeAnswers
from signalbox.errors import Failure, FailureKind, ProviderProtocolError, UnsupportedParameter
from signalbox.types import Dialect, Request, Route, Secret, Usage

LIMITS = BatchLimits(inputs=100)
"""Its 400: "at most 100 requests can be in one batch"."""
_EXCERPT_CHARS = 200
_TASK = "taskType"
_DIMENSIONS = "outputDimensionality"
_PARAMS = {"task": _TASK, "dimensions": _DIMENSIONS}
"""Words of other dialects for what a route may add to each input."""

_Fields = dict[str, msgspec.Raw]
_envelopes = msgspec.json.Decoder(_Fields)
_floats = msgspec.json.Decoder(list[float])
_ABSENT = msgspec.Raw(b"null")


@dataclass(frozen=True, slots=True)
class GeminiEmbeddingsAdapter(WholeAnswers):
    """The embedding methods of one provider that speaks Gemini's dialect."""

    provider: str

    @property
    def dialect(self) -> Dialect:
        return Dialect.EMBED

    def build(
        self,
        request: Request,
        route: Route,
        base_url: str,
        key: Secret | None,
        *,
        prefill: str | None = None,
    ) -> WireRequest:
        checked = self._check(request)
        if checked.unsupported:
            raise UnsupportedParameter(checked.unsupported[0], f"{self.provider} does not take it")
        params = {_PARAMS.get(name, name): value for name, value in route.params.items()}
        method = "batchEmbedContents"
        if request.door is not self.dialect:
            bodies = _batches_of(embeddings_form(request), route.model, params)
        elif _is_batch(request.body):
            bodies = _split(request.body, route.model, params)
        else:
            method = "embedContent"
            bodies = [_named(request.body, route.model, params)]
        first, *more = (msgspec.json.encode(body) for body in bodies)
        return WireRequest(
            method="POST",
            url=method_url(base_url, route.model, method),
            headers=gemini_headers(request, route, key),
            body=first,
            dropped=checked.dropped,
            more=tuple(more),
        )

    def unsupported(self, request: Request, route: Route) -> tuple[str, ...]:
        return self._check(request).unsupported

    def dropped(self, request: Request, route: Route) -> tuple[str, ...]:
        return self._check(request).dropped

    def _check(self, request: Request) -> ParameterCheck:
        if request.door is self.dialect:
            return ParameterCheck()
        form = embeddings_form(request)
        unsupported = [] if all(isinstance(it, str) for it in form.inputs) else ["input"]
        dropped = [] if form.user is None else ["user"]
        dropped += [name for name, value in form.unknown.items() if value is not None]
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
        inputs = embeddings_form(request).inputs
        fields: dict[str, Any] = {}
        vectors: list[_Fields] = []
        usages: list[Usage] = []
        for call, body in zip(batches(inputs, LIMITS), bodies, strict=True):
            page = _read_page(body, len(call))
            if isinstance(page, Failure):
                return page
            rest, read = page
            fields = {**rest, **fields}
            vectors += read
            usages.append(_usage(rest, inputs[call.start : call.stop]))
        usage = Usage(
            prompt=sum(each.prompt or 0 for each in usages),
            completion=0,
            estimated=any(each.estimated for each in usages),
        )
        native = request.door is self.dialect
        return Answer(
            body=_joined(fields, vectors, request) if native else {},
            content_chars=len(inputs),
            finish_reason="stop",
            usage=usage,
            told=None if native else EmbeddingsAnswer(tuple(map(_vector, vectors)), usage),
        )

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        return decode_error(status, headers, body, now)

    def rate_limits(self, headers: Headers, now: float) -> RateLimits:
        return parse_rate_limits(headers, now)


# ── requests ──────────────────────────────────────────────────────────────────────────────────


def _is_batch(body: Any) -> bool:
    return "requests" in body and "content" not in body


def _batches_of(
    form: EmbeddingsRequest, model: str, params: dict[str, Any]
) -> list[dict[str, Any]]:
    given = {_TASK: form.task, "title": form.title, _DIMENSIONS: form.dimensions}
    shared = {**params, **{name: value for name, value in given.items() if value is not None}}
    return [
        {
            "requests": [
                {
                    **shared,
                    "model": resource_name(model),
                    "content": {"parts": [{"text": text}]},
                }
                for text in form.inputs[call.start : call.stop]
            ]
        }
        for call in batches(form.inputs, LIMITS)
    ]


def _split(body: Any, model: str, params: dict[str, Any]) -> list[dict[str, Any]]:
    """The client's own batch, cut where it is too long; each request names the model."""
    requests = [_named(request, model, params) for request in body["requests"]]
    rest = {name: value for name, value in body.items() if name not in ("requests", "extra")}
    most = LIMITS.inputs or len(requests)
    return [
        {**rest, "requests": requests[start : start + most]}
        for start in range(0, len(requests), most)
    ]


def _named(request: Any, model: str, params: dict[str, Any]) -> dict[str, Any]:
    known = {camel(name) for name, value in request.items() if value is not None}
    added = {name: value for name, value in params.items() if camel(name) not in known}
    kept = {name: value for name, value in request.items() if name != "extra"}
    return {**kept, **added, "model": resource_name(model)}


# ── answers ───────────────────────────────────────────────────────────────────────────────────


def _read_page(body: bytes, count: int) -> tuple[dict[str, Any], list[_Fields]] | Failure:
    """The other fields of one call's answer, and its vectors, one an input."""
    try:
        if not body.isascii():
            body.decode()  # what is not read may hold anything, and goes to the client
        if not body.lstrip().startswith(b"{"):
            return _error(msgspec.json.decode(body))
        fields = _envelopes.decode(body)
        if bytes(fields.get("error", _ABSENT)) != b"null":
            return _error(msgspec.json.decode(body))
        vectors = _vectors(fields)
        rest = {name: msgspec.json.decode(value) for name, value in fields.items()}
    except DECODE_ERRORS as error:
        excerpt = clean(body[: _EXCERPT_CHARS * 4].decode("utf-8", "replace"), _EXCERPT_CHARS)
        raise ProviderProtocolError(f"not an embeddings answer ({error}): {excerpt}") from error
    if not vectors:
        return Failure(FailureKind.EMPTY_ANSWER, "the answer has no vectors")
    if len(vectors) != count:
        raise ProviderProtocolError(f"{len(vectors)} vectors for {count} inputs")
    for vector in vectors:
        if not bytes(vector.get("values", _ABSENT)).startswith(b"["):
            raise ProviderProtocolError("a vector is no list")
    return rest, vectors


def _vectors(fields: _Fields) -> list[_Fields]:
    """Taken out of `fields`."""
    one, many = fields.pop("embedding", _ABSENT), fields.pop("embeddings", _ABSENT)
    if bytes(one) != b"null":
        return [_envelopes.decode(one)]
    return msgspec.json.decode(many, type=list[_Fields] | None) or []


def _error(body: object) -> Failure:
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    if not isinstance(body, dict) or not body.get("error"):
        raise ProviderProtocolError("neither an embeddings answer nor an error")
    return decode_body_error(body, FailureKind.SERVER_ERROR)


def _usage(fields: dict[str, Any], inputs: Sequence[Input]) -> Usage:
    """Most of Gemini's models do not say: then it is estimated."""
    reported = read_usage(fields.get("usageMetadata"))
    if reported is None or not reported.prompt:
        return Usage(prompt=likely_tokens(inputs), completion=0, estimated=True)
    return Usage(prompt=reported.input_total, completion=0)


def _joined(fields: dict[str, Any], vectors: list[_Fields], request: Request) -> dict[str, Any]:
    if _is_batch(request.body):
        return {**fields, "embeddings": vectors}
    return {**fields, "embedding": vectors[0]}


def _vector(fields: _Fields) -> tuple[float, ...]:
    try:
        return tuple(_floats.decode(fields["values"]))
    except DECODE_ERRORS as error:
        raise ProviderProtocolError(f"a vector cannot be read: {error}") from error
