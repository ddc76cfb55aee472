"""`/admin/api`: who asks, whether they may, for which operation, with what; and the answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from signalbox.errors import ApiError, StoreUnavailable
from signalbox.http.admin import problems
from signalbox.http.admin.access import AdminAccess, Caller, is_forged
from signalbox.http.admin.decoding import decode_body, decode_query
from signalbox.http.admin.desk import Desk
from signalbox.http.admin.openapi import ROOT, with_document
from signalbox.http.admin.operations import JSON, Call, Operation, Text
from signalbox.http.application import ORIGIN
from signalbox.http.asgi import (
    ClientDisconnected,
    HeaderList,
    Incoming,
    Receive,
    RequestError,
    Scope,
    Send,
    header_fields,
    header_map,
    read_body,
    send_whole,
)

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 1024 * 1024
"""The largest of what is sent here is a preset with its system prompt."""

_HEADERS = (("cache-control", "no-store"), ("x-content-type-options", "nosniff"))


class AdminApi:
    """An ASGI application for all paths below `ROOT`. `patience`: seconds for a body to come."""

    def __init__(
        self, access: AdminAccess, desk: Desk, operations: Sequence[Operation], patience: float
    ) -> None:
        self._access = access
        self._desk = desk
        self._operations = with_document(operations)
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        incoming = Incoming(receive)
        try:
            status, headers, body = await self._answer(scope, incoming)
        except ClientDisconnected:
            return
        except RequestError as error:
            status, headers, body = refused(error.error)
        except StoreUnavailable as error:
            status, headers, body = refused(problems.database_away(error).error)
        except Exception:
            logger.exception("%s %s failed", scope["method"], ROOT)
            status, headers, body = refused(problems.own_fault().error)
        await send_whole(send, incoming, status, (*_HEADERS, *headers), body)

    async def _answer(
        self, scope: Scope, receive: Incoming
    ) -> tuple[int, Sequence[tuple[str, str]], bytes]:
        fields = header_fields(scope)
        caller = await self._access.caller(fields)
        if caller is None:
            raise problems.admin_required()
        parts = _parts(scope)
        operation, path = self._find(scope["method"], parts)
        call = await self._call(operation, path, caller, fields, scope, receive)
        if not operation.changes:
            return _told(operation, await operation.perform(call))
        async with self._desk.turn:
            return _told(operation, await operation.perform(call))

    def _find(self, method: str, parts: tuple[str, ...]) -> tuple[Operation, Mapping[str, str]]:
        method = "GET" if method == "HEAD" else method
        found = [(each, each.match(parts)) for each in self._operations]
        there = [(operation, path) for operation, path in found if path is not None]
        if not there:
            raise problems.nothing_there("/".join((ROOT, *parts)))
        for operation, path in there:
            if operation.method == method:
                return operation, path
        raise problems.method_not_allowed(method, {operation.method for operation, _ in there})

    async def _call(
        self,
        operation: Operation,
        path: Mapping[str, str],
        caller: Caller,
        fields: HeaderList,
        scope: Scope,
        receive: Incoming,
    ) -> Call[Any, Any]:
        headers = header_map(fields)
        if operation.changes and not caller.may_change():
            raise problems.admin_only()
        if is_forged(caller, scope["method"], headers):
            raise problems.cross_origin()
        query = decode_query(scope["query_string"], operation.query)
        body = await self._read(receive, headers) if operation.changes else b""
        return Call(
            desk=self._desk,
            caller=caller,
            address=address_of(scope),
            path=path,
            query=query,
            body=decode_body(body, operation.body),
            if_match=headers.get("if-match"),
        )

    async def _read(self, receive: Incoming, headers: Mapping[str, str]) -> bytes:
        body = await read_limited(receive, headers, MAX_BODY_BYTES, self._patience)
        content_type = headers.get("content-type", "")
        if body and content_type.partition(";")[0].strip().lower() != JSON:
            raise problems.not_json(content_type)
        return body


def refused(error: ApiError) -> tuple[int, Sequence[tuple[str, str]], bytes]:
    headers = [("content-type", JSON), *error.headers]
    return error.status, headers, problems.error_body(error)


async def read_limited(
    receive: Incoming, headers: Mapping[str, str], limit: int, patience: float
) -> bytes:
    """As `read_body`, whose words about the limit are those of the doors."""
    try:
        return await read_body(receive, headers, limit=limit, patience=patience)
    except RequestError as error:
        if error.error.status == 413:
            raise problems.too_large(limit) from None
        raise


def address_of(scope: Scope) -> str | None:
    """The client's, or a proxy's in front of it."""
    client = scope.get("client")
    return None if client is None else str(client[0])


def _parts(scope: Scope) -> tuple[str, ...]:
    """Of the path below the root. A `%2F` does not part them; what is no UTF-8 is nobody's name."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    parts = [part for part in ORIGIN.sub("", raw.decode("latin-1")).split("/") if part]
    return tuple(unquote(part, errors="replace") for part in parts[ROOT.count("/") :])


def _told(operation: Operation, answer: Any) -> tuple[int, Sequence[tuple[str, str]], bytes]:
    if answer is None:
        return operation.status, (), b""
    headers = [("content-type", operation.content_type)]
    version = getattr(answer, "version", None)
    if operation.versioned and isinstance(version, str):
        headers.append(("etag", f'"{version}"'))
    body = answer.text.encode() if isinstance(answer, Text) else msgspec.json.encode(answer)
    return operation.status, headers, body
