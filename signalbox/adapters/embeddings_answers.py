"""Answers of embeddings endpoints in OpenAI's dialect: API reference, "Create embeddings".

    {"object": "list", "model", "usage": {"prompt_tokens", "total_tokens"},
     "data": [{"object": "embedding", "index", "embedding": [floats] or "base64"}]}

Vectors are large, so they are not decoded where they go out as they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from signalbox.adapters.embeddings_batches import Input, likely_tokens
from signalbox.adapters.embeddings_form import EmbeddingsAnswer
from signalbox.adapters.openai_errors import clean, decode_body_error
from signalbox.adapters.openai_wire import DECODE_ERRORS, read_usage
from signalbox.adapters.vectors import to_base64, to_floats
from signalbox.errors import Failure, FailureKind, ProviderProtocolError
from signalbox.types import Usage

_EXCERPT_CHARS = 200
_Fields = dict[str, msgspec.Raw]
_envelopes = msgspec.json.Decoder(_Fields)
_items = msgspec.json.Decoder(list[_Fields])
_floats = msgspec.json.Decoder(list[float])
_ABSENT = msgspec.Raw(b"null")


class Page(msgspec.Struct, frozen=True):
    """The answer to one call: its vectors in their inputs' order."""

    fields: dict[str, object]
    """All but `data`."""
    items: list[_Fields]
    usage: Usage


def read_page(body: bytes, inputs: Sequence[Input]) -> Page | Failure:
    """The answer to `inputs`. Raises `ProviderProtocolError` where it is not one vector for each.

    Where the provider says no usage, it is estimated. Embeddings have no output tokens.
    """
    try:
        if not body.isascii():
            body.decode()  # what is not read may hold anything, and goes to the client
        fields = _fields(body)
        if fields is None or "data" not in fields or _is_error(fields):
            return _failure(body)
        items = _items.decode(fields.pop("data"))
        rest = {name: msgspec.json.decode(value) for name, value in fields.items()}
        items = _in_order(items)
    except DECODE_ERRORS as error:
        raise _not_embeddings(body, error) from error
    if not items:
        return Failure(FailureKind.EMPTY_ANSWER, "the answer has no vectors")
    if len(items) != len(inputs):
        raise ProviderProtocolError(f"{len(items)} vectors for {len(inputs)} inputs")
    for item in items:
        if not bytes(item.get("embedding", _ABSENT)).startswith((b"[", b'"')):
            raise ProviderProtocolError("a vector is neither a list nor base64")
    return Page(rest, items, _usage(rest, inputs))


def joined(pages: Sequence[Page], *, base64: bool) -> dict[str, object]:
    """One answer of several, in the encoding that the client wants: that of the first page, with
    all vectors, numbered through, and the sum of the usage."""
    first = pages[0]
    all_items = (item for page in pages for item in page.items)
    items = [_numbered(item, index, base64) for index, item in enumerate(all_items)]
    body: dict[str, object] = {"object": "list", **first.fields, "data": items}
    reported = first.fields.get("usage")
    if len(pages) > 1 or not isinstance(reported, dict) or first.usage.estimated:
        body["usage"] = embeddings_usage(pages)
    return body


def embeddings_usage(pages: Sequence[Page]) -> dict[str, object]:
    tokens = sum(page.usage.prompt or 0 for page in pages)
    return {"prompt_tokens": tokens, "total_tokens": tokens}


def told(pages: Sequence[Page]) -> EmbeddingsAnswer:
    """The same in the gateway's own model."""
    model = pages[0].fields.get("model")
    return EmbeddingsAnswer(
        vectors=tuple(_vector(item["embedding"]) for page in pages for item in page.items),
        usage=total_usage(page.usage for page in pages),
        model=model if isinstance(model, str) else None,
    )


def vector_as(vector: Sequence[float] | str, *, base64: bool) -> Sequence[float] | str:
    """The vector in the encoding that is wanted. Raises `ProviderProtocolError`."""
    if isinstance(vector, str) == base64:
        return vector
    try:
        return to_floats(vector) if isinstance(vector, str) else to_base64(vector)
    except ValueError as error:
        raise ProviderProtocolError(f"a vector cannot be read: {error}") from error


def _numbered(item: _Fields, index: int, base64: bool) -> dict[str, object]:
    numbered: dict[str, object] = {"object": "embedding", **item, "index": index}
    raw = item["embedding"]
    if bytes(raw).startswith(b'"') != base64:
        numbered["embedding"] = vector_as(_vector(raw), base64=base64)
    return numbered


def _vector(raw: msgspec.Raw) -> tuple[float, ...] | str:
    try:
        if bytes(raw).startswith(b'"'):
            return msgspec.json.decode(raw, type=str)
        return tuple(_floats.decode(raw))
    except DECODE_ERRORS as error:
        raise ProviderProtocolError(f"a vector cannot be read: {error}") from error


def _fields(body: bytes) -> _Fields | None:
    """The answer's top-level fields; None where it is JSON of another kind."""
    try:
        return _envelopes.decode(body)
    except msgspec.ValidationError:
        return None


def _is_error(fields: _Fields) -> bool:
    error = bytes(fields.get("error", _ABSENT))
    return error != b"null" or bytes(fields.get("object", _ABSENT)) == b'"error"'


def _failure(body: bytes) -> Failure:
    """Of a 200 that holds no vectors: an error, in any provider's style."""
    told = msgspec.json.decode(body)
    if isinstance(told, list) and len(told) == 1:
        told = told[0]  # Google wraps an error in an array
    said = isinstance(told, dict) and any(told.get(name) for name in ("error", "message", "detail"))
    if not said and not (isinstance(told, dict) and told.get("object") == "error"):
        raise ProviderProtocolError(f"not an embeddings answer: {_excerpt(body)}")
    return decode_body_error(told, FailureKind.SERVER_ERROR)


def _in_order(items: list[_Fields]) -> list[_Fields]:
    """By their `index`, where each has its own; else as they came."""
    indexes = [msgspec.json.decode(item.get("index", _ABSENT)) for item in items]
    places: list[int] = [i for i in indexes if isinstance(i, int) and not isinstance(i, bool)]
    if sorted(places) != list(range(len(items))):
        return items
    return [item for _, item in sorted(zip(places, items, strict=True), key=lambda pair: pair[0])]


def _usage(fields: dict[str, object], inputs: Sequence[Input]) -> Usage:
    usage = fields.get("usage")
    reported = read_usage(usage, reasoning_apart=False)
    if reported is None and isinstance(usage, dict):
        # Voyage and Jina say the total alone, and it is all input.
        reported = read_usage({"prompt_tokens": usage.get("total_tokens")}, reasoning_apart=False)
    if reported is None or not reported.prompt:
        return Usage(prompt=likely_tokens(inputs), completion=0, estimated=True)
    return Usage(prompt=reported.prompt, completion=0)


def total_usage(usages: Iterable[Usage]) -> Usage:
    """Of several calls together."""
    listed = list(usages)
    return Usage(
        prompt=sum(usage.prompt or 0 for usage in listed),
        completion=0,
        estimated=any(usage.estimated for usage in listed),
    )


def _excerpt(body: bytes) -> str:
    return clean(body[: _EXCERPT_CHARS * 4].decode("utf-8", "replace"), _EXCERPT_CHARS)


def _not_embeddings(body: bytes, error: Exception) -> ProviderProtocolError:
    return ProviderProtocolError(f"not an embeddings answer ({error}): {_excerpt(body)}")
