"""Cohere's embeddings, v2: Cohere API reference, "Embed API".

    {"id", "embeddings": {"float": [[floats]]}, "texts", "meta": {"billed_units": {"input_tokens"}}}

`input_type` is required there. It is the client's own `input_type`, what Gemini's `taskType` says,
the route's, or `search_document`: what a store of texts is filled with. Texts that are too long are
an error, as elsewhere, not cut. A request with more texts than a call takes goes out in several
calls, whose answers are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import msgspec

from signalbox.adapters.cohere_errors import decode_body_error, decode_error
from signalbox.adapters.cohere_models import chooses_dimensions
from signalbox.adapters.embeddings_answers import total_usage
from signalbox.adapters.embeddings_batches import BatchLimits, batches, likely_tokens
from signalbox.adapters.embeddings_form import EmbeddingsAnswer, EmbeddingsRequest
from signalbox.adapters.forms import embeddings_form
from signalbox.adapters.json_objects import DECODE_ERRORS, decode_object, object_at, text_at
from signalbox.adapters.openai_headers import openai_headers
from signalbox.adapters.openai_parameters import ParameterCheck
from signalbox.adapters.protocol import Answer, Delta, Headers, RateLimits, WireRequest
from signalbox.adapters.rate_limit_headers import parse_rate_limits
from signalbox.errors import Failure, FailureKind, ProviderProtocolError, UnsupportedParameter
from signalbox.types import Dialect, Request, Route, Secret, Usage

LIMITS = BatchLimits(inputs=96)
"""API reference, `texts`: at most 96 a call."""
USUAL_TYPE = "search_document"
_INPUT_TYPE = "input_type"
_OF_TASK = {
    "RETRIEVAL_QUERY": "search_query",
    "QUESTION_ANSWERING": "search_query",
    "FACT_VERIFICATION": "search_query",
    "CODE_RETRIEVAL_QUERY": "search_query",
    "RETRIEVAL_DOCUMENT": "search_document",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
}
"""Gemini's `taskType` → `input_type`; of the others there is none."""
_PARAMS = {"dimensions": "output_dimension", "task": _INPUT_TYPE}


class CohereEmbeddingsAdapter(msgspec.Struct, frozen=True):
    """The embeddings of one provider that speaks Cohere's dialect."""

    provider: str

    @property
    def dialect(self) -> Dialect:
        return Dialect.COHERE_EMBED

    def build(
        self,
        request: Request,
        route: Route,
        base_url: str,
        key: Secret | None,
        *,
        prefill: str | None = None,
    ) -> WireRequest:
        checked = self._check(request, route)
        if checked.unsupported:
            raise UnsupportedParameter(checked.unsupported[0], f"{self.provider} does not take it")
        form = embeddings_form(request)
        body: dict[str, Any] = {"model": route.model, "embedding_types": ["float"]}
        kind = _asked_type(form) or _OF_TASK.get(form.task or "")
        if kind is not None:
            body[_INPUT_TYPE] = kind
        if form.dimensions is not None:
            body["output_dimension"] = form.dimensions
        for name, value in route.params.items():
            body.setdefault(_PARAMS.get(name, name), value)
        body.setdefault(_INPUT_TYPE, USUAL_TYPE)
        body.setdefault("truncate", "NONE")
        first, *more = (
            msgspec.json.encode({**body, "texts": form.inputs[call.start : call.stop]})
            for call in batches(form.inputs, LIMITS)
        )
        return WireRequest(
            method="POST",
            url=f"{base_url.rstrip('/')}/embed",
            headers=openai_headers(request, route, key, Dialect.COHERE_EMBED),
            body=first,
            dropped=checked.dropped,
            more=tuple(more),
        )

    def unsupported(self, request: Request, route: Route) -> tuple[str, ...]:
        return self._check(request, route).unsupported

    def dropped(self, request: Request, route: Route) -> tuple[str, ...]:
        return self._check(request, route).dropped

    def _check(self, request: Request, route: Route) -> ParameterCheck:
        form = embeddings_form(request)
        gemini = form.dialect is Dialect.EMBED
        unsupported: list[str] = []
        if not all(isinstance(it, str) for it in form.inputs):
            unsupported.append("content" if gemini else "input")
        if form.dimensions is not None and not chooses_dimensions(route.model):
            unsupported.append("outputDimensionality" if gemini else "dimensions")
        given = {"user": form.user, "title": form.title, **form.unknown}
        if _asked_type(form) is not None:
            del given[_INPUT_TYPE]
        if form.task not in _OF_TASK:
            given["taskType"] = form.task
        dropped = [name for name, value in given.items() if value is not None]
        for native in form.native:
            (unsupported if native.meaning else dropped).append(native.name)
        extra = request.extra
        if extra.refuse_unsupported or extra.provider.require_parameters:
            unsupported, dropped = [*unsupported, *dropped], []
        return ParameterCheck(tuple(dict.fromkeys(dropped)), tuple(dict.fromkeys(unsupported)))

    def prefills(self, route: Route) -> bool:
        return False

    def echoes_prefill(self, route: Route) -> bool:
        return False

    def retold(self, delta: Delta, text: str) -> Delta:
        return delta

    def decode_answer(self, body: bytes, request: Request) -> Answer | Failure:
        return self.decode_answers((body,), request)

    def decode_answers(self, bodies: Sequence[bytes], request: Request) -> Answer | Failure:
        """See `JoiningAdapter.decode_answers`."""
        inputs = embeddings_form(request).inputs
        vectors: list[tuple[float, ...]] = []
        usages: list[Usage] = []
        id: str | None = None
        for call, body in zip(batches(inputs, LIMITS), bodies, strict=True):
            fields = decode_object(body)
            if "embeddings" not in fields and (fields.get("message") or fields.get("error")):
                return decode_body_error(fields, FailureKind.SERVER_ERROR)
            read = _read_vectors(fields)
            if not read:
                return Failure(FailureKind.EMPTY_ANSWER, "the answer has no vectors")
            if len(read) != len(call):
                raise ProviderProtocolError(f"{len(read)} vectors for {len(call)} inputs")
            vectors += read
            usages.append(_usage(fields, inputs[call.start : call.stop]))
            id = id or text_at(fields, "id") or None
        usage = total_usage(usages)
        return Answer(
            body={},
            content_chars=len(inputs),
            finish_reason="stop",
            usage=usage,
            id=id,
            told=EmbeddingsAnswer(tuple(vectors), usage, id),
        )

    def stream_decoder(self, request: Request) -> NoReturn:
        raise TypeError("embeddings are not streamed")

    def decode_error(self, status: int, headers: Headers, body: bytes, now: float) -> Failure:
        return decode_error(status, headers, body, now)

    def rate_limits(self, headers: Headers, now: float) -> RateLimits:
        return parse_rate_limits(headers, now)


def _asked_type(form: EmbeddingsRequest) -> str | None:
    """Cohere's own field beside OpenAI's: its values change what the vectors mean, so a client that
    says it is heard."""
    given = form.unknown.get(_INPUT_TYPE)
    return given if isinstance(given, str) and given else None


def _read_vectors(fields: dict[str, Any]) -> list[tuple[float, ...]]:
    told = fields.get("embeddings")
    if isinstance(told, dict):
        told = told.get("float")
    try:
        return msgspec.convert(told or [], list[tuple[float, ...]])
    except DECODE_ERRORS as error:
        raise ProviderProtocolError(f"not an embeddings answer: {error}") from error


def _usage(fields: dict[str, Any], inputs: Sequence[Any]) -> Usage:
    tokens = object_at(fields, "meta", "billed_units").get("input_tokens")
    if isinstance(tokens, float) and tokens.is_integer():
        tokens = int(tokens)
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens <= 0:
        return Usage(prompt=likely_tokens(inputs), completion=0, estimated=True)
    return Usage(prompt=tokens, completion=0)
