"""HTTP/1.1 as a server writes it, without I/O: one response, from ASGI's messages to bytes.

The head is held back until the first piece of the body is there, so that both go out in one write
and a body that comes whole has its length said. Source: RFC 9112, sections 6 and 7.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from signalbox.errors import SignalboxError

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_STATUS_LINES: Final = {
    it.value: b"HTTP/1.1 %d %b\r\n" % (it.value, it.phrase.encode("ascii")) for it in HTTPStatus
}
_ENDS: Final = {
    (True, False): b"\r\n",
    (True, True): b"connection: keep-alive\r\n\r\n",
    (False, False): b"connection: close\r\n\r\n",
    (False, True): b"connection: close\r\n\r\n",
}
"""The last lines of a head, by `keep_alive` and whether the client speaks HTTP/1.0."""
_WITHOUT_BODY: Final = frozenset({204, 304})
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

_PLAIN, _LENGTH, _CODING, _CONNECTION, _DATE = range(5)
_KINDS: Final = {
    b"content-length": _LENGTH,
    b"transfer-encoding": _CODING,
    b"connection": _CONNECTION,
    b"date": _DATE,
}
_MAX_NAMES: Final = 1024
"""Names that are remembered in `_KINDS` as well-formed. An application has some dozens of them."""

_NOT_BEGUN, _NONE, _COUNTED, _CHUNKED, _UNTIL_CLOSED = range(5)
"""How the end of the body is told; `_NONE`: there is no body."""


class ResponseMisused(SignalboxError):
    """The application sent what is no response, or out of order. Nothing of it was encoded."""


class Response:
    """The answer to one request: `start`, then `encode_body` until `complete`."""

    __slots__ = (
        "_framing",
        "_headers",
        "_http_1_0",
        "_left",
        "_status",
        "_to_head",
        "complete",
        "keep_alive",
    )

    def __init__(self, *, to_head: bool, http_1_0: bool, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        """Whether the connection may live on; final once the head was encoded."""
        self.complete = False
        """Whether its last byte was encoded."""
        self._to_head = to_head
        self._http_1_0 = http_1_0
        self._status = 0
        self._headers: Iterable[tuple[bytes, bytes]] = ()
        self._framing = _NOT_BEGUN
        self._left = 0
        """Bytes that the promised content-length still lacks."""

    @property
    def begun(self) -> bool:
        """Whether a byte of it was encoded."""
        return self._framing != _NOT_BEGUN

    @property
    def ends_with_connection(self) -> bool:
        """Whether closing the connection in order would look like the end of the body."""
        return self._framing == _UNTIL_CLOSED

    def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        if self._status:
            raise ResponseMisused("http.response.start was sent twice")
        if not 200 <= status <= 999:
            raise ResponseMisused(f"the status is {status}, expected 200 to 999")
        self._status = status
        self._headers = headers

    def encode_body(self, data: bytes, more: bool, date: bytes) -> bytes:
        """What goes on the wire for the body's next piece, the head before the first one.

        `date` is a whole `date: …` line with its CR LF. Raises `ResponseMisused`.
        """
        if self.complete:
            raise ResponseMisused("a body was sent after the response had ended")
        head = b""
        if self._framing == _NOT_BEGUN:
            if not self._status:
                raise ResponseMisused("http.response.body was sent before http.response.start")
            head = self._encode_head(data, more, date)
        framing = self._framing
        if framing == _CHUNKED:
            if data:
                end = b"\r\n" if more else b"\r\n0\r\n\r\n"
                out = b"%b%x\r\n%b%b" % (head, len(data), data, end)
            else:
                out = head if more else head + b"0\r\n\r\n"
        elif framing == _NONE:
            out = head
        else:
            if framing == _COUNTED:
                left = self._left - len(data)
                if left < 0 or (left and not more):
                    if head:
                        self._framing = _NOT_BEGUN
                    size = "longer" if left < 0 else "shorter"
                    raise ResponseMisused(f"the body is {size} than its content-length")
                self._left = left
            out = b"%b%b" % (head, data)
        self.complete = not more
        return out

    def _encode_head(self, data: bytes, more: bool, date: bytes) -> bytes:
        length: bytes | None = None
        lines = 0
        parts: list[bytes] = []
        for name, value in self._headers:
            kind = _KINDS.get(name)
            if kind is None:
                kind = _learn(name)
            if kind == _LENGTH:
                length = _checked_length(length, value)
            elif kind == _CONNECTION:
                # What else may stand there is between the server and its client.
                if b"close" in value.lower():
                    self.keep_alive = False
            elif kind != _CODING:
                if kind == _DATE:
                    date = b""
                parts += (name, b": ", value, b"\r\n")
                lines += 1
        given = b"".join(parts)
        # A line end inside a value would be a header, or a response, of somebody else's making.
        if given.count(b"\n") != lines or given.count(b"\r") != lines or b"\0" in given:
            raise ResponseMisused("a header's value has a line end or NUL in it")
        framing = self._framed(length, data, more)
        if length is None and (framing == _COUNTED or (self._to_head and data and not more)):
            length = b"%d" % len(data)
        if length is not None and self._status != 204:
            framed = b"content-length: %b\r\n" % length
        else:
            framed = b"transfer-encoding: chunked\r\n" if framing == _CHUNKED else b""
        self._framing = framing
        return b"%b%b%b%b%b" % (
            _STATUS_LINES.get(self._status) or b"HTTP/1.1 %d \r\n" % self._status,
            given,
            date,
            framed,
            _ENDS[self.keep_alive, self._http_1_0],
        )

    def _framed(self, length: bytes | None, data: bytes, more: bool) -> int:
        if self._to_head or self._status in _WITHOUT_BODY:
            return _NONE
        if length is not None:
            self._left = int(length)
            return _COUNTED
        if not more:
            self._left = len(data)
            return _COUNTED
        if not self._http_1_0:
            return _CHUNKED
        self.keep_alive = False
        return _UNTIL_CLOSED


def _learn(name: bytes) -> int:
    """What kind of header this is; unknown spellings are checked once and remembered."""
    if _NAME.fullmatch(name) is None:
        raise ResponseMisused("a header's name has characters that HTTP does not allow")
    kind = _KINDS.get(name.lower(), _PLAIN)
    if len(_KINDS) < _MAX_NAMES:
        _KINDS[bytes(name)] = kind
    return kind


def _checked_length(before: bytes | None, value: bytes) -> bytes:
    if not value.isdigit() or before not in (None, value):
        raise ResponseMisused("content-length is not one number of bytes")
    return value
