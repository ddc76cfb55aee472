"""Answers as HTTP/1.1 writes them, without I/O: a parser fed with bytes cut anywhere.

Framing follows RFC 9112; the bytes are parsed by llhttp through httptools, whose gaps (it does not
know that a HEAD was asked, that a body may end with the connection, nor any bound) are filled here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

import httptools

MAX_OVERHEAD: Final = 64 * 1024
"""Bytes that may come without adding to the body: heads (interim ones too), chunk extensions,
trailers. Four times what common servers allow in a head; an endless one ends here."""

MAX_HEADERS: Final = 256
"""Header fields in one head. Providers send 20 to 40."""

LONGEST_KNOWN_NAME: Final = 64
"""Characters of a header's name that is remembered, with 1,023 others, as it is in lower case."""


class ResponseHead(NamedTuple):
    """`headers` in the order received, names in lower case, text in latin-1."""

    status: int
    reason: bytes
    http_version: str
    headers: tuple[tuple[str, str], ...]
    content_codings: tuple[str, ...] = ()
    """What its body is packed in, in lower case, as far as the headers say."""


def _names(names: list[bytes]) -> list[str]:
    """In lower case. What a provider calls its fields is the same in every answer."""
    if max(map(len, names), default=0) <= LONGEST_KNOWN_NAME:
        return list(map(_lowered, names))
    return [name.decode("latin-1").lower() for name in names]


@lru_cache(maxsize=1024)
def _lowered(name: bytes) -> str:
    return name.decode("latin-1").lower()


def _codings(headers: tuple[tuple[str, str], ...], field: str) -> tuple[str, ...]:
    return tuple(value.strip().lower() for name, value in headers if name == field)


class ResponseParser:
    """Reads the answer to one request, fed with bytes cut anywhere.

    `feed` never raises for what the bytes say: a fault is in `violation`, behind the body that
    came before it. Whatever follows a complete answer is `surplus`: nobody asked for it.
    """

    __slots__ = (
        "_asked_head",
        "_body",
        "_ends_with_connection",
        "_fields",
        "_interim",
        "_overhead",
        "_parser",
        "_reason",
        "complete",
        "head",
        "keep_alive",
        "surplus",
        "violation",
    )

    def __init__(self, method: str) -> None:
        self.head: ResponseHead | None = None
        self.complete = False
        self.surplus = False
        self.violation: str | None = None
        self.keep_alive = False
        """Whether the answer lets its connection live on; known with the head."""
        self._asked_head = method == "HEAD"
        self._ends_with_connection = False
        self._interim = False
        self._reason = b""
        self._fields: list[bytes] = []
        """Names and values by turns."""
        self._overhead = 0
        self._body: list[bytes] = []
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)

    def feed(self, data: bytes | bytearray) -> None:
        if self._parser is None:
            raise RuntimeError("the answer has ended")
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            # No callback here raises by itself, so this is a Ctrl-C inside one, or a bug.
            raise (error.__context__ or error) from None
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self.complete:
                self.surplus = True
            else:
                self._refuse(str(error))
        if self._overhead > MAX_OVERHEAD and not self.complete:
            self._refuse(f"more than {MAX_OVERHEAD} bytes of head, chunk framing or trailers")
        if self.complete or self.violation is not None:
            self._parser = None  # The two refer to each other; without this each waits for the GC.

    def end(self) -> bool:
        """The bytes ended. Whether the answer is whole now."""
        if self._ends_with_connection and self.violation is None:
            self.complete = True
        self._parser = None
        return self.complete

    def abandon(self) -> None:
        """The rest of the answer is not wanted."""
        self._parser = None  # As at its end.

    def take(self) -> bytes:
        """The body's bytes since the last call; at most what one `feed` brought."""
        if not self._body:
            return b""
        data = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        return data

    def on_message_begin(self) -> None:
        if self.complete:
            self.surplus = True

    def on_status(self, reason: bytes) -> None:
        if not self.complete:
            self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head is None:  # Else trailers, or what comes after the end: neither is used.
            self._fields += name, value

    def on_headers_complete(self) -> None:
        if self.complete or self.violation is not None or self._parser is None:
            return
        status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if version not in ("1.0", "1.1"):
            self._refuse(f"HTTP version {version}, expected 1.0 or 1.1")
        elif not 100 <= status <= 599:
            self._refuse(f"status {status}, expected 100 to 599")
        elif status == 101:
            self._refuse("status 101, but no other protocol was asked for")
        elif len(self._fields) > 2 * MAX_HEADERS:
            self._refuse(f"more than {MAX_HEADERS} header fields")
        elif status < 200:
            self._interim = True
        else:
            self.keep_alive = self._parser.should_keep_alive()
            self._final_head(status, version)

    def on_body(self, data: bytes) -> None:
        if self.complete:
            self.surplus = True
        elif self.violation is None:
            self._overhead = 0
            self._body.append(data)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            self._fields.clear()
            self._reason = b""
        elif self.violation is None:
            self.complete = True

    def _final_head(self, status: int, version: str) -> None:
        names = _names(self._fields[::2])
        values = [value.decode("latin-1") for value in self._fields[1::2]]
        headers = tuple(zip(names, values, strict=True))
        transfer = _codings(headers, "transfer-encoding") if "transfer-encoding" in names else ()
        if transfer and transfer != ("chunked",):
            self._refuse("a transfer coding other than chunked")
            return
        content = _codings(headers, "content-encoding") if "content-encoding" in names else ()
        self.head = ResponseHead(status, self._reason, version, headers, content)
        self._overhead = 0
        if self._asked_head:
            self.complete = True
        elif not transfer and "content-length" not in names:
            self._ends_with_connection = True

    def _refuse(self, what: str) -> None:
        if self.violation is None:
            self.violation = what
