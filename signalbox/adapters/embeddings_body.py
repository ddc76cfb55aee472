"""What a client may send to `/v1/embeddings`: OpenAI's API reference, "Create embeddings"."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from signalbox.adapters.body_checks import (
    STRING,
    Check,
    check_fields,
    decoded_object,
    expected,
    is_whole,
    required,
)
from signalbox.adapters.door import BadRequest, Body, Target
from signalbox.adapters.embeddings_form import EmbeddingsRequest
from signalbox.adapters.openai_parameters import OPENROUTER_ROUTING_FIELDS
from signalbox.types import Dialect

MOST_INPUTS = 2048
"""API reference, `input`: an array may have this many at most."""
MODEL: Final[Check] = (lambda v: isinstance(v, str) and bool(v.strip()), "the name of a model")
BASE64 = "base64"

_INPUT = "a string, a list of strings, a list of token ids or a list of such lists"
_TOKEN = "a token id (a whole number of 0 or more)"

_FIELDS: Mapping[str, Check] = MappingProxyType(
    {
        "dimensions": (lambda v: is_whole(v) and v >= 1, "a whole number of 1 or more"),
        "encoding_format": (lambda v: v in ("float", BASE64), "float or base64"),
        "user": STRING,
    }
)
_KNOWN = frozenset({"model", "input", *_FIELDS, *OPENROUTER_ROUTING_FIELDS})


def read_embeddings_body(data: bytes, target: Target) -> dict[str, Any]:
    """The decoded and validated body. Raises `BadRequest`. A path may name the model instead."""
    body = decoded_object(data)
    if target.model is None:
        required(body, "model", MODEL, "")
    inputs = text_or_tokens(body.get("input"), "input", _INPUT)
    if len(inputs) > MOST_INPUTS:
        raise BadRequest("input", f"expected at most {MOST_INPUTS} inputs, got {len(inputs)}")
    check_fields(body, _FIELDS)
    return body


def read_embeddings_request(body: Body, model: str) -> EmbeddingsRequest:
    """The form of a body that has passed `read_embeddings_body`."""
    given = body["input"]
    return EmbeddingsRequest(
        dialect=Dialect.EMBEDDINGS,
        model=model,
        inputs=text_or_tokens(given, "input", _INPUT),
        single=isinstance(given, str) or is_whole(given[0]),
        dimensions=body.get("dimensions"),
        base64=body.get("encoding_format") == BASE64,
        user=body.get("user"),
        unknown={name: value for name, value in body.items() if name not in _KNOWN},
    )


def text_or_tokens(given: object, path: str, what: str) -> tuple[str | tuple[int, ...], ...]:
    """The texts, or token ids, of a field that takes one or many of either; at least one.

    Raises `BadRequest` with the path of the first that is neither, or is not of the first's kind.
    """
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, list) or not given:
        raise expected(path, what, given)
    first = given[0]
    if isinstance(first, str):
        return tuple(_text(item, f"{path}[{place}]") for place, item in enumerate(given))
    if is_whole(first):
        return (_tokens(given, path),)
    if isinstance(first, list):
        return tuple(_tokens(item, f"{path}[{place}]") for place, item in enumerate(given))
    raise expected(f"{path}[0]", "a string, a token id or a list of token ids", first)


def _text(item: object, path: str) -> str:
    if not isinstance(item, str):
        raise expected(path, "a string, as the first is one", item)
    return item


def _tokens(item: object, path: str) -> tuple[int, ...]:
    if not isinstance(item, list) or not item:
        raise expected(path, "a list of token ids", item)
    for place, token in enumerate(item):
        if not is_whole(token) or token < 0:
            raise expected(f"{path}[{place}]", _TOKEN, token)
    return tuple(item)
