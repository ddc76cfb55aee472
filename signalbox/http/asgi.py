"""The little of ASGI that the model doors need: heads, bodies, answers.

Source: ASGI 3.0, HTTP & WebSocket message format 2.x.
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol

import trio
import zstandard

from signalbox.types import ApiError, SignalboxError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HeaderList = tuple[tuple[str, str], ...]


class RequestError(SignalboxError):
    """The request is answered with this error and goes no further."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


class ClientDisconnected(SignalboxError):
    """The client left while its request was still being read; nobody is there to be answered."""


def header_map(scope: Scope) -> dict[str, str]:
    """The request's headers by lower-case name; of a repeated one the first counts."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return headers


async def read_body(
    receive: Receive, headers: dict[str, str], *, limit: int, patience: float
) -> bytes:
    """The whole body, decoded from gzip or zstd, at most `limit` bytes on the wire and decoded.

    Raises `RequestError`: 408 after `patience` seconds, 413, 415; `ClientDisconnected`.
    """
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise RequestError(_too_large(limit))
    parts: list[bytes] = []
    size = 0
    with trio.move_on_after(patience) as clock:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected("the client left before its request was whole")
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise RequestError(_too_large(limit))
            parts.append(part)
            if not message.get("more_body", False):
                break
    if clock.cancelled_caught:
        raise RequestError(
            ApiError(
                status=408,
                type="invalid_request_error",
                code="request_timeout",
                message=f"The request's body did not arrive within {patience:g} s.",
            )
        )
    return _decode(b"".join(parts), headers.get("content-encoding", ""), limit)


class _Decompressor(Protocol):
    def __call__(self, body: bytes, limit: int) -> bytes: ...


def _gunzip(body: bytes, limit: int) -> bytes:
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    text = decoder.decompress(body, limit + 1)
    if len(text) <= limit and not decoder.eof:
        raise ValueError("the gzip data is cut short")
    return text


def _unzstd(body: bytes, limit: int) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(body) as reader:
        return reader.read(limit + 1)


_DECODERS: dict[str, _Decompressor] = {"gzip": _gunzip, "x-gzip": _gunzip, "zstd": _unzstd}


def _decode(body: bytes, encoding: str, limit: int) -> bytes:
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    decoder = _DECODERS.get(encoding)
    if decoder is None:
        raise RequestError(
            ApiError(
                status=415,
                type="invalid_request_error",
                code="unsupported_encoding",
                message=f"Content-Encoding {encoding!r} is unknown; expected gzip or zstd.",
            )
        )
    try:
        text = decoder(body, limit)
    except (ValueError, zlib.error, zstandard.ZstdError) as error:
        raise RequestError(
            ApiError(
                status=400,
                type="invalid_request_error",
                code="invalid_value",
                message=f"The body is not valid {encoding}: {error}",
            )
        ) from None
    if len(text) > limit:
        raise RequestError(_too_large(limit))
    return text


def _too_large(limit: int) -> ApiError:
    return ApiError(
        status=413,
        type="invalid_request_error",
        code="request_too_large",
        message=f"The request's body is larger than {limit} bytes (server.max_body_bytes).",
    )


async def send_head(send: Send, status: int, headers: Iterable[tuple[str, str]]) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers],
        }
    )


async def send_whole(
    send: Send, status: int, headers: Iterable[tuple[str, str]], body: bytes, *, head: bool = False
) -> None:
    """One whole answer; for a HEAD request the body's length without the body."""
    fields = [*headers, ("content-length", str(len(body)))]
    await send_head(send, status, fields)
    await send({"type": "http.response.body", "body": b"" if head else body})
