"""HTTP/1.1 as a server reads it, without I/O: requests, their bodies, and what breaks the rules.

Framing follows RFC 9112. Fields are split by llhttp through httptools; what it lets pass, and what
two readers could take for two different messages, is refused here. Whatever the bytes are, the one
exception is `Violation`, and after it nothing more of the connection is read.
"""

from __future__ import annotations

import re
from typing import Final, Literal

import httptools

from signalbox.http.http1_chunks import ChunkReader
from signalbox.http.http1_violation import Violation

HeaderFields = list[tuple[bytes, bytes]]
"""In the order received, names in lower case, values without whitespace around them."""

MAX_HEAD: Final = 32 * 1024
"""Bytes of a head. Common servers take 8 to 16 KiB; `x-signalbox-extra` holds JSON."""

MAX_FIELDS: Final = 128
"""Header fields in a head. SDKs send about 20, proxies add as many."""

MAX_BLANK_LINES: Final = 4
"""Empty lines before a request, which old clients send after a body (RFC 9112, section 2.2)."""

METHODS: Final = {
    it.encode(): it for it in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
}
"""CONNECT is for proxies; what is not listed is answered 501 (RFC 9110, section 9.1)."""

HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\n"
"""The beginning of RFC 9113's section 3.4; the rest of it is HTTP/2's own to check."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST_LINE = re.compile(rb"(%b{1,32}) ([!-~]+) HTTP/(\d\.\d)\r\n" % _TOKEN)
_BEGINNING = re.compile(rb"%b{1,32}(?: |\Z)" % _TOKEN)
"""What a request begins with; a TLS hello, for one, does not."""
_BARE_LF = re.compile(rb"(?<!\r)\n")
_ABSOLUTE = re.compile(rb"https?://([^/?]+)", re.IGNORECASE)
_HOST = re.compile(rb"[A-Za-z0-9.\-_~%!$&'()*+,;=:\[\]]*")
_DIGITS = re.compile(rb"[0-9]{1,19}")
_CODINGS = re.compile(rb"%b+(?:[ \t]*,[ \t]*%b+)*" % (_TOKEN, _TOKEN))

_SLASH: Final = ord("/")
_VERSIONS: Final = {b"1.1": "1.1", b"1.0": "1.0"}
_ONCE: Final = (b"host", b"content-length", b"transfer-encoding")
_NO_OPTIONS: Final = frozenset[bytes]()
_KEEP_ALIVE: Final = frozenset({b"keep-alive", b"Keep-Alive"})
_KEEP_ALIVE_OPTIONS: Final = frozenset({b"keep-alive"})


class Request:
    """A request's head. `headers` in the order received, names in lower case."""

    __slots__ = (
        "continue_awaited",
        "headers",
        "http_version",
        "keep_alive",
        "method",
        "query",
        "raw_path",
        "target",
    )

    def __init__(
        self, method: str, target: bytes, http_version: str, headers: HeaderFields
    ) -> None:
        self.method = method
        self.target = target
        """As it was sent: visible ASCII without a fragment."""
        self.raw_path, _, self.query = target.partition(b"?")
        """Percent-encoded, with scheme and authority where the target is in absolute form."""
        self.http_version = http_version
        """`1.0` or `1.1`."""
        self.headers = headers
        self.keep_alive = True
        """Whether the client lets the connection live on (RFC 9112, section 9.3)."""
        self.continue_awaited = False
        """Whether the client waits for `100 Continue` before it sends the body."""


class HandOver:
    """From here on the connection is another protocol's. `data`: every byte that belongs to it,
    the request that asks for the change among them."""

    __slots__ = ("data", "protocol")

    def __init__(self, protocol: Literal["websocket", "h2"], data: bytes) -> None:
        self.protocol = protocol
        self.data = data


class Http1Protocol:
    """One connection's requests, fed with bytes cut anywhere, taken one after the other.

    `next_request`, then `read_body` until `body_ended`, then `next_request` again. All three
    raise `Violation`, and once they have, they do so for ever. How much waits in here is the
    feeder's to bound: `buffered` says.
    """

    __slots__ = (
        "_blank_lines",
        "_buffer",
        "_chunks",
        "_fields",
        "_left",
        "_searched",
        "_untouched",
        "_violation",
        "body_ended",
    )

    def __init__(self) -> None:
        self.body_ended = True
        """Whether the body of the last request was read to its end."""
        self._buffer = b""
        self._searched = 0
        """Bytes of the buffer that hold no end of a head."""
        self._blank_lines = 0
        self._left = 0
        """Bytes of a body with a length that are still to come."""
        self._chunks: ChunkReader | None = None
        self._fields: HeaderFields = []
        self._untouched = True
        """No request was read yet: HTTP/2 begins with its preface or not at all."""
        self._violation: Violation | None = None

    @property
    def buffered(self) -> int:
        """Bytes fed and not yet taken."""
        return len(self._buffer)

    def body_left(self) -> int | None:
        """Bytes of the body that are not read yet; None: its length is not known."""
        return None if self._chunks is not None else self._left

    @property
    def body_is_there(self) -> bool:
        """Whether the next `read_body` comes to the body's end."""
        return self.body_ended or (self._chunks is None and len(self._buffer) >= self._left)

    def feed(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data

    def next_request(self) -> Request | HandOver | None:
        """The next request's head; None: more bytes are needed. Raises `Violation`."""
        if self._violation is not None:
            raise self._violation
        if not self.body_ended:
            raise RuntimeError("the body before this request was not read to its end")
        if not self._buffer:
            return None
        try:
            return self._next_request()
        except Violation as violation:
            self._violation = violation
            raise

    def read_body(self) -> bytes:
        """What is there of the body, b"" where more bytes are needed, or where `body_ended`.

        Raises `Violation`, behind the last byte that came before it.
        """
        if self._violation is not None:
            raise self._violation
        if self.body_ended:
            return b""
        if self._chunks is not None:
            return self._read_chunks(self._chunks)
        piece = self._buffer
        if len(piece) <= self._left:
            self._buffer = b""
        else:
            piece, self._buffer = piece[: self._left], piece[self._left :]
        self._left -= len(piece)
        self.body_ended = not self._left
        return piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools' callback."""
        self._fields.append((name.lower(), value.rstrip()))

    # ── heads ─────────────────────────────────────────────────────────────────────────────────

    def _next_request(self) -> Request | HandOver | None:
        # What is checked, and in which order, must not depend on how the bytes were cut.
        if self._buffer[0] in b"\r\n" and not self._skip_blank_lines():
            return None
        buffer = self._buffer
        if self._untouched and HTTP2_PREFACE.startswith(buffer[: len(HTTP2_PREFACE)]):
            if len(buffer) < len(HTTP2_PREFACE):
                return None
            self._buffer = b""
            return HandOver("h2", buffer)
        line = _REQUEST_LINE.match(buffer, 0, MAX_HEAD)
        if line is None:
            self._check_request_line_begun()
            return None
        method, target, number = line.groups()
        if (
            number not in _VERSIONS
            or method not in METHODS
            or target[0] != _SLASH
            or b"#" in target
        ):
            self._check_request_line(method, target, number)
        end = buffer.find(b"\r\n\r\n", max(self._searched, line.end() - 2), MAX_HEAD)
        if end < 0:
            self._check_unfinished()
            return None
        end += 4
        fields = self._split(buffer[:end])
        request = Request(METHODS[method], target, _VERSIONS[number], fields)
        handed_over = self._read_fields(request)
        self._searched = self._blank_lines = 0
        self._untouched = False
        if handed_over is not None:
            self._buffer = b""
            return HandOver(handed_over, buffer)
        self._buffer = buffer[end:]
        return request

    def _skip_blank_lines(self) -> bool:
        while self._buffer[:2] == b"\r\n":
            self._blank_lines += 1
            if self._blank_lines > MAX_BLANK_LINES:
                raise Violation(400, "Too many empty lines before the request.")
            self._buffer = self._buffer[2:]
        if self._buffer in (b"", b"\r"):
            return False
        if self._buffer[0] in b"\r\n":
            raise Violation(400, "A line before the request does not end with CR LF.")
        return True

    def _check_request_line_begun(self) -> None:
        if _BEGINNING.match(self._buffer) is None:
            raise Violation(400, "The request does not begin with a method.")
        if b"\r\n" in self._buffer[:MAX_HEAD]:
            raise Violation(
                400, "The request line is malformed; expected METHOD TARGET HTTP/1.1 and CR LF."
            )
        self._check_unfinished()

    def _check_unfinished(self) -> None:
        window = self._buffer[:MAX_HEAD]
        if _BARE_LF.search(window, max(0, self._searched - 1)):
            raise Violation(400, "A line of the head ends with LF alone; expected CR LF.")
        if len(self._buffer) >= MAX_HEAD:
            if b"\r\n" not in window:
                raise Violation(414, f"The request line is longer than {MAX_HEAD} bytes.")
            raise Violation(431, f"The request's head is longer than {MAX_HEAD} bytes.")
        self._searched = max(0, len(self._buffer) - 3)

    def _check_request_line(self, method: bytes, target: bytes, number: bytes) -> None:
        if number not in _VERSIONS:
            raise Violation(505, f"HTTP/{number.decode()} is not spoken here; expected HTTP/1.1.")
        if method not in METHODS:
            raise Violation(501, f"The method {method.decode()} is not implemented.")
        if b"#" in target:
            raise Violation(400, "The request's target has a fragment.")
        asterisk = target == b"*" and method == b"OPTIONS"
        if target[0] != _SLASH and not asterisk and _ABSOLUTE.match(target) is None:
            raise Violation(400, "The request's target is neither a path nor an http URL.")

    def _split(self, head: bytes) -> HeaderFields:
        fields = self._fields = []
        try:
            # The head alone: the parser has no way to say where in the bytes a message ended.
            httptools.HttpRequestParser(self).feed_data(head)
        except httptools.HttpParserUpgrade:
            pass  # Whether it is one is decided below.
        except httptools.HttpParserCallbackError as error:
            # The callback does not raise by itself, so this is a Ctrl-C inside it, or a bug.
            raise (error.__context__ or error) from None
        except httptools.HttpParserError as error:
            raise Violation(400, f"The request's head is malformed: {error}.") from None
        finally:
            self._fields = []
        if len(fields) > MAX_FIELDS:
            raise Violation(431, f"The request has more than {MAX_FIELDS} header fields.")
        return fields

    def _read_fields(self, request: Request) -> Literal["websocket", "h2"] | None:
        fields = dict(request.headers)
        if len(fields) != len(request.headers):
            _check_repeated(request.headers, fields)
        get = fields.get
        self._check_host(request, get(b"host"))
        self._frame_body(request, get(b"content-length"), get(b"transfer-encoding"))
        connection, expect, upgrade = get(b"connection"), get(b"expect"), get(b"upgrade")
        options = _NO_OPTIONS if connection is None else _options(connection)
        request.keep_alive = b"close" not in options and (
            request.http_version == "1.1" or b"keep-alive" in options
        )
        if expect and request.http_version == "1.1":
            if expect.lower() != b"100-continue":
                raise Violation(417, "Expect: only 100-continue can be met.")
            request.continue_awaited = not self.body_ended
        if upgrade and b"upgrade" in options and self.body_ended and request.http_version == "1.1":
            return _handed_over(request, upgrade.lower())
        return None

    def _check_host(self, request: Request, host: bytes | None) -> None:
        if host is None:
            if request.http_version == "1.1":
                raise Violation(400, "The Host field is missing.")
            return
        if _HOST.fullmatch(host) is None:
            raise Violation(400, "The Host field is not a host and port.")
        if request.target[0] != 0x2F and request.target != b"*":
            absolute = _ABSOLUTE.match(request.target)
            if absolute is None or absolute[1].lower() != host.lower():
                raise Violation(400, "The request's target names another host than its Host field.")

    def _frame_body(self, request: Request, length: bytes | None, coding: bytes | None) -> None:
        """RFC 9112, section 6.3, where every doubt is an error."""
        if coding is not None:
            if length is not None:
                raise Violation(400, "There is a Content-Length beside a Transfer-Encoding.")
            if request.http_version == "1.0":
                raise Violation(400, "HTTP/1.0 has no Transfer-Encoding.")
            if coding.lower() != b"chunked":
                known = _CODINGS.fullmatch(coding) is not None
                last = coding.lower().rpartition(b",")[2].strip()
                # Another coding under the chunks is only unknown; anything else has no clear end.
                raise Violation(
                    501 if known and last == b"chunked" else 400,
                    "Transfer-Encoding: expected chunked and nothing else.",
                )
            self._chunks = ChunkReader()
            self.body_ended = False
            return
        self._chunks = None
        if length is None:
            return
        if _DIGITS.fullmatch(length) is None:
            raise Violation(400, "Content-Length is not a number of bytes.")
        self._left = int(length)
        self.body_ended = not self._left

    # ── bodies ────────────────────────────────────────────────────────────────────────────────

    def _read_chunks(self, chunks: ChunkReader) -> bytes:
        piece, taken = b"", 1
        try:
            # An error has its own call, behind the bytes before it.
            while taken and not piece and not chunks.ended:
                piece, taken = chunks.read(self._buffer)
                self._buffer = self._buffer[taken:]
        except Violation as violation:
            self._violation = violation
            raise
        if chunks.ended:
            self._chunks = None
            self.body_ended = True
        return piece


def _check_repeated(headers: HeaderFields, fields: dict[bytes, bytes]) -> None:
    """Of a field that comes twice, `fields` has the last one, but for `connection` all."""
    for name in _ONCE:
        if sum(name == other for other, _ in headers) > 1:
            raise Violation(400, f"There is more than one {name.decode().title()} field.")
    if b"connection" in fields:
        fields[b"connection"] = b",".join(it for name, it in headers if name == b"connection")


def _options(connection: bytes) -> frozenset[bytes]:
    if connection in _KEEP_ALIVE:
        return _KEEP_ALIVE_OPTIONS
    return frozenset(it.strip().lower() for it in connection.split(b","))


def _handed_over(request: Request, upgrade: bytes) -> Literal["websocket", "h2"] | None:
    """An upgrade that somebody here can serve; every other is ignored (RFC 9110, section 7.8)."""
    if upgrade == b"websocket" and request.method == "GET":
        return "websocket"
    if upgrade == b"h2c" and any(name == b"http2-settings" for name, _ in request.headers):
        return "h2"
    return None
