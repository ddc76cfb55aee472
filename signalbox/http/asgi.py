"""The little of ASGI that the model doors need: heads, bodies, answers.

Source: ASGI 3.0, HTTP & WebSocket message format 2.x.
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Protocol

import trio
import zstandard

from signalbox.errors import ApiError, SignalboxError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

DISCONNECT = "signalbox.disconnect"
"""The extension of the scope through which a call hears at once that its client has left: a
function that takes the callback, or None when nobody wants to know any more."""

BODY_IS_THERE = "signalbox.body_is_there"
"""The extension that says, where it is true, that the whole of the request's body has arrived: the
first message holds it, and nobody has to wait for it."""

HeaderList = tuple[tuple[str, str], ...]

ZSTD_WINDOW = 8 * 1024 * 1024
"""The memory that a sender may ask for: RFC 9659 allows no more for a content coding."""
ZSTD_PIECE = 256
"""Compressed bytes decoded at a time: the decoder takes no limit on its output, and a block of
four bytes can stand for 128 KiB, so this bounds a piece's output at 8 MiB."""
LINGER_SECONDS = 2.0
LINGER_BYTES = 64 * 1024 * 1024
"""How long, and how much, of a body that nobody wants is read after its answer was sent: twice the
usual `server.max_body_bytes`, at the speed of a local network."""


class RequestError(SignalboxError):
    """The request is answered with this error and goes no further."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


class ClientDisconnected(SignalboxError):
    """The client left while its request was still being read; nobody is there to be answered."""


class Incoming:
    """ASGI's `receive`, which knows whether the request's body has come to its end."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self.ended = True
        return message


class Outgoing:
    """ASGI's `send`, to which a client that has left is no error.

    Hypercorn says nothing of what it sends after a connection's end, but raises in the moment in
    which it closes one.
    """

    def __init__(self, send: Send) -> None:
        self._send = send

    async def __call__(self, message: Message) -> None:
        try:
            await self._send(message)
        except trio.BusyResourceError:
            return


def header_fields(scope: Scope) -> HeaderList:
    """The request's headers in order, names in lower case."""
    return tuple((n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in scope["headers"])


def header_map(fields: HeaderList) -> dict[str, str]:
    """Headers by name; of a repeated one the first counts."""
    return dict(reversed(fields))


def header_text(value: str) -> str:
    """A header's value as its sender meant it: UTF-8 where it is that, else Latin-1."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return value


async def read_body(
    receive: Receive,
    headers: Mapping[str, str],
    *,
    limit: int,
    patience: float,
    is_there: bool = False,
) -> bytes:
    """The whole body, decoded from gzip or zstd, at most `limit` bytes on the wire and decoded.

    `is_there`: see `BODY_IS_THERE`; then no clock is set.

    Raises `RequestError`: 408 after `patience` seconds, 413, 415; `ClientDisconnected`.
    """
    # The server has checked that it is a number; what it is not is an upper bound.
    if int(headers.get("content-length", 0)) > limit:
        raise RequestError(_too_large(limit))
    if is_there:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected("the client left before its request was whole")
        return _decode(message.get("body", b""), headers.get("content-encoding", ""), limit)
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
    if len(text) <= limit:
        _check_end(decoder.eof, decoder.unused_data)
    return text


def _unzstd(body: bytes, limit: int) -> bytes:
    decoder = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj()
    text = bytearray()
    fed = 0
    while fed < len(body) and not decoder.eof and len(text) <= limit:
        text += decoder.decompress(body[fed : fed + ZSTD_PIECE])
        fed += ZSTD_PIECE
    if len(text) <= limit:
        _check_end(decoder.eof, decoder.unused_data + body[fed:])
    return bytes(text)


def _check_end(ended: bool, rest: bytes) -> None:
    if not ended:
        raise ValueError("the data is cut short")
    if rest:
        raise ValueError("something follows the end of the data")


_DECODERS: dict[str, _Decompressor] = {"gzip": _gunzip, "x-gzip": _gunzip, "zstd": _unzstd}


def _decode(body: bytes, encoding: str, limit: int) -> bytes:
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        if len(body) > limit:
            raise RequestError(_too_large(limit))
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
    send: Send,
    receive: Incoming,
    status: int,
    headers: Iterable[tuple[str, str]],
    body: bytes,
) -> None:
    """One whole answer. The server leaves its body out where the request was HEAD.

    Where the request's body has not ended, the rest of it is read and thrown away before the
    answer is: a connection that is closed over unread data is reset, and the reset can overtake
    the answer (RFC 9112, section 9.6).
    """
    # RFC 9110, section 8.6: a 204 says nothing of a length.
    length = () if status == 204 else (("content-length", str(len(body))),)
    await send_head(send, status, (*headers, *length))
    if receive.ended:
        await send({"type": "http.response.body", "body": body})
        return
    await send({"type": "http.response.body", "body": body, "more_body": True})
    async with trio.open_nursery() as nursery:
        enough = trio.Event()
        nursery.start_soon(_discard, receive, enough)
        with trio.move_on_after(LINGER_SECONDS):
            await enough.wait()
        await send({"type": "http.response.body", "body": b""})
        nursery.cancel_scope.cancel()


async def _discard(receive: Incoming, enough: trio.Event) -> None:
    """Reads until the body ends; past `LINGER_BYTES` only because the server, before it closes the
    connection, waits for room in the channel that this empties."""
    size = 0
    while not receive.ended:
        size += len((await receive()).get("body", b""))
        if size > LINGER_BYTES:
            enough.set()
    enough.set()
