"""The OpenAPI document of the admin API, made of the declarations that it is served by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from signalbox import __version__
from signalbox.http.admin.access import SESSION_COOKIE
from signalbox.http.admin.operations import JSON, Body, Call, Operation, Text, View
from signalbox.http.admin.problems import ErrorBody

ROOT = "/admin/api"
PATH = "/openapi.json"
_REF = "#/components/schemas/{name}"
_SECURITY: list[dict[str, list[str]]] = [{"token": []}, {"session": []}]
_SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "description": "The admin token, or a user's."},
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION_COOKIE,
        "description": "What POST /login gives. A change by it needs an Origin of the gateway's.",
    },
}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "The `version` that is to be changed; without it, whichever there is.",
    "schema": {"type": "string"},
}
_ETAG = {"etag": {"description": "The `version`, quoted.", "schema": {"type": "string"}}}


class Document(View, frozen=True):
    """This document."""

    openapi: str
    info: dict[str, str]
    servers: list[dict[str, str]]
    security: list[dict[str, list[str]]]
    paths: dict[str, Any]
    components: dict[str, Any]


def with_document(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """And the one that tells of all of them."""

    async def perform(_: Call[Any, Any]) -> Document:
        return written

    own = Operation("GET", PATH, "This document", perform, Document)
    everything = (own, *operations)
    written = document(everything)
    return everything


def document(operations: Sequence[Operation]) -> Document:
    told = [each.answer for each in operations if each.answer not in (None, Text)]
    given = [kind for each in operations for kind in (each.body, each.query) if kind is not Body]
    kinds = [ErrorBody, *told, *given]
    references, schemas = msgspec.json.schema_components(kinds, ref_template=_REF)
    for name in msgspec.json.schema_components([ErrorBody, *told])[1]:
        # An answer has every field, also one that has a default where it is made.
        schemas[name]["required"] = list(schemas[name]["properties"])
    by_kind = dict(zip(map(repr, kinds), references, strict=True))
    queries = {each.query for each in operations}
    paths: dict[str, Any] = {}
    for each in operations:
        path = paths.setdefault(each.path.replace("...}", "}"), {})
        path[each.method.lower()] = _operation(each, by_kind, schemas)
    # What is spelled out as parameters needs no schema of its own.
    for query in queries:
        schemas.pop(query.__name__, None)
    return Document(
        openapi="3.1.0",
        info={"title": "Signalbox admin API", "version": __version__},
        servers=[{"url": ROOT}],
        security=_SECURITY,
        paths=paths,
        components={"schemas": schemas, "securitySchemes": _SCHEMES},
    )


def _operation(each: Operation, by_kind: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    query = schemas[each.query.__name__]
    told: dict[str, Any] = {
        "operationId": _id(each),
        "summary": each.summary,
        "tags": [each.parts[0]],
        "parameters": [
            *_places(each),
            *_parameters(query),
            *([_IF_MATCH] if each.versioned and each.changes and each.names else []),
        ],
        "responses": {str(each.status): _answer(each, by_kind), **_errors(each)},
    }
    if each.body is not Body:
        required = bool(schemas[each.body.__name__].get("required"))
        told["requestBody"] = {
            "required": required,
            "content": {JSON: {"schema": by_kind[repr(each.body)]}},
        }
    return told


def _id(each: Operation) -> str:
    words = [part.strip("{}.") for part in each.parts]
    return "_".join([each.method.lower(), *words]).replace("-", "_").replace(".", "_")


def _places(each: Operation) -> Iterable[dict[str, Any]]:
    for name in each.names:
        schema = {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _parameters(query: dict[str, Any]) -> Iterable[dict[str, Any]]:
    for name, schema in query.get("properties", {}).items():
        told = {"name": name, "in": "query", "schema": schema}
        if name in query.get("required", ()):
            told["required"] = True
        yield told


def _answer(each: Operation, by_kind: dict[str, Any]) -> dict[str, Any]:
    if each.answer is None:
        return {"description": "It is done."}
    schema = {"type": "string"} if each.answer is Text else by_kind[repr(each.answer)]
    answer: dict[str, Any] = {
        "description": "What was asked for.",
        "content": {each.content_type: {"schema": schema}},
    }
    return {**answer, "headers": _ETAG} if each.versioned else answer


def _errors(each: Operation) -> dict[str, Any]:
    statuses = [400, 401, 503]
    statuses += [404] if each.names else []
    statuses += [403, 408, 413, 415] if each.changes else []
    statuses += [409] if each.conflicts or each.versioned else []
    content = {JSON: {"schema": {"$ref": _REF.format(name="ErrorBody")}}}
    return {
        str(status): {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted(statuses)
    }
