"""Embeddings in OpenAI's and in Gemini's wire format.

Source: OpenAI's API reference, "Create embeddings"; Gemini API reference (`v1beta`),
"Embeddings".
"""

from __future__ import annotations

from random import Random
from typing import Any

from signalbox.simulator.answers import tokenise
from signalbox.simulator.gemini_errors import GeminiErrors
from signalbox.simulator.gemini_fields import spelled
from signalbox.simulator.gemini_requests import content_text
from signalbox.simulator.openai_errors import OpenAIErrors
from signalbox.simulator.prompts import (
    BadRequest,
    Call,
    listing,
    one_of,
    table,
    text,
    whole_number,
)
from signalbox.simulator.scenario import Step
from signalbox.simulator.vectors import DIMENSIONS, MAX_DIMENSIONS, as_base64, vector
from signalbox.simulator.wire import Said

MAX_INPUTS = 2048
"""OpenAI's own bound."""
MAX_REQUESTS = 100
"""Gemini's, of one batch."""

_GEMINI = frozenset({"model", "content", "taskType", "title", "outputDimensionality"})


class EmbeddingsEndpoint:
    """`POST /v1/embeddings`."""

    errors = OpenAIErrors()

    def answer(self, call: Call, step: Step, rng: Random) -> Said:
        body = table(call.body, "body")
        model = call.model or text(body.get("model"), "model")
        encoding = body.get("encoding_format") or "float"
        one_of(encoding, ("float", "base64"), "encoding_format")
        size = _size(body.get("dimensions"), "dimensions")
        inputs = _inputs(body.get("input"))
        vectors = [vector(said, size) for said, _ in inputs]
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": as_base64(values) if encoding == "base64" else values,
            }
            for index, values in enumerate(vectors)
        ]
        tokens = sum(count for _, count in inputs)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        whole: dict[str, Any] = {"object": "list", "data": data, "model": model, "usage": usage}
        if step.usage == "none":
            del whole["usage"]
        return Said(whole)


def _inputs(value: object) -> list[tuple[str, int]]:
    """Each input as a text, and its tokens. Token ids are a text of their own."""
    if isinstance(value, str):
        return [_text_input(value, "input")]
    inputs = listing(value, "input")
    if not inputs or len(inputs) > MAX_INPUTS:
        raise BadRequest(f"expected 1 to {MAX_INPUTS} inputs, got {len(inputs)}", "input")
    if all(_is_token(one) for one in inputs):
        return [_token_input(inputs)]
    found = []
    for index, one in enumerate(inputs):
        path = f"input[{index}]"
        if isinstance(one, list) and one and all(_is_token(token) for token in one):
            found.append(_token_input(one))
        else:
            found.append(_text_input(text(one, path), path))
    return found


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _token_input(tokens: list[int]) -> tuple[str, int]:
    return "tokens:" + ",".join(map(str, tokens)), len(tokens)


def _text_input(said: str, path: str) -> tuple[str, int]:
    if not said:
        raise BadRequest("input cannot be an empty string", path)
    return said, len(tokenise(said))


def _size(value: object, path: str) -> int:
    size = whole_number(value, path) or DIMENSIONS
    if size > MAX_DIMENSIONS:
        raise BadRequest(f"{size} is above {MAX_DIMENSIONS}", path)
    return size


class EmbedEndpoint:
    """`:embedContent` and, with many, `:batchEmbedContents`."""

    errors = GeminiErrors()

    def __init__(self, *, many: bool) -> None:
        self._many = many

    def answer(self, call: Call, step: Step, rng: Random) -> Said:
        body = table(call.body, "request")
        if not self._many:
            return Said({"embedding": self._embedded(body, call.model, "")})
        requests = listing(spelled(body, frozenset({"requests"}), "").get("requests"), "requests")
        if not 1 <= len(requests) <= MAX_REQUESTS:
            raise BadRequest(
                f"* BatchEmbedContentsRequest.requests: at most {MAX_REQUESTS} requests can be in "
                "one batch"
            )
        embedded = []
        for index, one in enumerate(requests):
            path = f"requests[{index}]"
            request = table(one, path)
            if request.get("model") != f"models/{call.model}":
                raise BadRequest(f"* {path}.model: all requests must name the batch's model")
            embedded.append(self._embedded(request, call.model, path))
        return Said({"embeddings": embedded})

    def _embedded(self, request: dict[str, Any], model: str, path: str) -> dict[str, Any]:
        known = spelled(request, _GEMINI, path)
        if known.get("model", f"models/{model}") != f"models/{model}":
            raise BadRequest("the model is another one than the path's", "model")
        here = f"{path}.content" if path else "content"
        said = content_text(known.get("content"), here)
        size = _size(known.get("outputDimensionality"), "output_dimensionality")
        return {"values": vector(said, size)}
