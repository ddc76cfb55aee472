"""What a client may send to Gemini's embedding methods: API reference, "Embeddings".

    embedContent        {content: {parts: [{text}]}, taskType, title, outputDimensionality}
    batchEmbedContents  {requests: [{model, content, taskType, title, outputDimensionality}]}

Names may be in snake case too, as everywhere in Google's APIs (ProtoJSON).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from signalbox.adapters.body_checks import (
    OBJECT,
    STRING,
    Check,
    check_fields,
    decoded_object,
    expected,
    is_whole,
    objects,
    required,
)
from signalbox.adapters.chat import (
    Native,
)
from signalbox.adapters.door import BadRequest, Body, Target
from signalbox.adapters.embeddings_body import MOST_INPUTS
from signalbox.adapters.embeddings_form import EmbeddingsRequest
from signalbox.types import Dialect

_DIMENSIONS: Final[Check] = (
    lambda v: is_whole(v) and v >= 1,
    "a whole number of 1 or more",
)
_SNAKES = {"taskType": "task_type", "outputDimensionality": "output_dimensionality"}
_FIELDS: Mapping[str, Check] = MappingProxyType(
    {
        "taskType": STRING,
        "task_type": STRING,
        "title": STRING,
        "outputDimensionality": _DIMENSIONS,
        "output_dimensionality": _DIMENSIONS,
        "model": STRING,
    }
)
_KNOWN = frozenset({"content", *_FIELDS})


def read_embed_body(data: bytes, target: Target) -> dict[str, Any]:
    """The decoded and validated body. Raises `BadRequest`."""
    body = decoded_object(data)
    if not target.many:
        _check_request(body, "")
        return body
    requests = objects(body.get("requests"), "requests")
    if not requests:
        raise expected("requests", "a list of at least one object", body.get("requests"))
    if len(requests) > MOST_INPUTS:
        raise BadRequest("requests", f"expected at most {MOST_INPUTS}, got {len(requests)}")
    for place, request in enumerate(requests):
        _check_request(request, f"requests[{place}]")
    return body


def _check_request(request: Body, path: str) -> None:
    content = required(request, "content", OBJECT, path)
    inside = f"{path}.content.parts" if path else "content.parts"
    parts = content.get("parts")
    if isinstance(parts, dict):
        parts = [parts]
    if not objects(parts, inside):
        raise expected(inside, "a list of at least one part", parts)
    for place, part in enumerate(objects(parts, inside)):
        check_fields(part, {"text": STRING}, f"{inside}[{place}]")
    check_fields(request, _FIELDS, path)


def is_batch(body: Body) -> bool:
    """Whether a body that was read is a `batchEmbedContents` request."""
    return "requests" in body and "content" not in body


def read_embed_request(body: Body, model: str) -> EmbeddingsRequest:
    """The form of a body that has passed `read_embed_body`. The requests of a batch share one
    task and one length; where they do not, only Gemini can take them."""
    batch = is_batch(body)
    requests: list[dict[str, Any]] = body["requests"] if batch else [dict(body)]
    lengths = {_field(request, "outputDimensionality") for request in requests}
    tasks = {_field(request, "taskType") for request in requests}
    titles = {request.get("title") for request in requests}
    unknown = {name: it for each in requests for name, it in each.items() if name not in _KNOWN}
    if batch:
        unknown |= {name: it for name, it in body.items() if name != "requests"}
    native = [*_media(requests)]
    if len(lengths) > 1:
        native.append(Native(Dialect.EMBED, None, name="outputDimensionality"))
    return EmbeddingsRequest(
        dialect=Dialect.EMBED,
        model=model,
        inputs=tuple(_text(request["content"]) for request in requests),
        single=not batch,
        dimensions=lengths.pop() if len(lengths) == 1 else None,
        task=_shared(tasks),
        title=_shared(titles),
        unknown=unknown,
        native=tuple(native),
    )


def _shared(said: set[str | None]) -> str | None:
    """What all say; where they differ, what one of them says, so that it is named."""
    return max(said, key=lambda value: value or "")


def _field(request: Body, name: str) -> Any:
    value = request.get(name)
    return request.get(_SNAKES[name]) if value is None else value


def _parts(content: Body) -> list[dict[str, Any]]:
    parts = content["parts"]
    return [parts] if isinstance(parts, dict) else parts


def _text(content: Body) -> str:
    return "".join(part.get("text") or "" for part in _parts(content))


def _media(requests: list[dict[str, Any]]) -> Iterator[Native]:
    """Pictures and the like, which only some of Gemini's own models take."""
    for request in requests:
        for part in _parts(request["content"]):
            if part.get("text") is None:
                yield Native(Dialect.EMBED, part, name="content.parts")
