"""HTTP/1.1 as a client speaks it, without I/O: URLs, request heads, the parser of answers.

Framing follows RFC 9112; the bytes are parsed by llhttp through httptools, whose gaps (it does not
know that a HEAD was asked, that a body may end with the connection, nor any bound) are filled here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import httptools
import httpx

from signalbox.errors import SignalboxError
from signalbox.types import Secret

MAX_OVERHEAD: Final = 64 * 1024
"""Bytes that may come without adding to the body: heads (interim ones too), chunk extensions,
trailers. Four times what common servers allow in a head; an endless one ends here."""

MAX_HEADERS: Final = 256
"""Header fields in one head. Providers send 20 to 40."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NOT_IN_A_VALUE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
_COMPUTED = frozenset({"content-length", "transfer-encoding"})
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


class RequestRefused(SignalboxError):
    """The request cannot be put on the wire as it is; nothing was sent."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go; two requests may share one when all three fields are equal."""

    tls: bool
    host: str
    """ASCII (international names in their `xn--` form); an IPv6 address has no brackets."""
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, split into what opens the connection and what stands in the request's head."""

    origin: Origin
    path: str
    """Path and query, percent-encoded. It may hold a key and is in no message."""
    host_header: str


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that is spoken to in clear text."""

    host: str
    port: int
    authorization: Secret | None = None
    """The value of `Proxy-Authorization`."""

    def __str__(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def split_url(url: httpx.URL) -> Target:
    """Raises `RequestRefused` for a URL that is not plain http or https."""
    if url.scheme not in _DEFAULT_PORTS:
        raise RequestRefused(f"the scheme is {url.scheme!r}, expected http or https")
    if not url.host:
        raise RequestRefused("the URL names no host")
    if url.userinfo:
        # It would travel on to logs and error reports; a key belongs into a header.
        raise RequestRefused(f"the URL of {url.host} has userinfo before the host")
    port = url.port if url.port is not None else _DEFAULT_PORTS[url.scheme]
    origin = Origin(url.scheme == "https", url.raw_host.decode("ascii"), port)
    return Target(origin, url.raw_path.decode("ascii"), url.netloc.decode("ascii"))


def encode_head(
    method: str,
    target: Target,
    headers: tuple[tuple[str, str], ...],
    body_length: int,
    proxy: Proxy | None = None,
) -> tuple[bytes, bool]:
    """The request's head, and whether it lets the connection live on.

    Framing is ours: the caller's `content-length` and `transfer-encoding` are left out, and the
    length of the body is said. To a proxy it names the whole URL (RFC 9112, 3.2.2). Raises
    `RequestRefused` for what would not survive as one header.
    """
    start, keep_alive = _encoded(method, target, headers, proxy)
    if body_length or method in _METHODS_WITH_BODY:
        return b"%bContent-Length: %d\r\n\r\n" % (start, body_length), keep_alive
    return start + b"\r\n", keep_alive


@lru_cache(maxsize=512)
def _encoded(
    method: str,
    target: Target,
    headers: tuple[tuple[str, str], ...],
    proxy: Proxy | None,
) -> tuple[bytes, bool]:
    """All of the head but the length of the body and the end.

    A gateway sends few different ones, one for each key and endpoint, and checking and encoding
    costs more than looking one up. What is cached holds keys, as the callers' own memory does; the
    bound is what keeps those that are not used any more from staying.
    """
    if not _TOKEN.fullmatch(method) or method == "CONNECT":
        raise RequestRefused("the method is not one that can be sent to an origin")
    host = target.host_header
    keep_alive = True
    lines: list[str] = []
    for name, value in headers:
        if not _TOKEN.fullmatch(name):
            raise RequestRefused("a header's name has characters that HTTP does not allow")
        if _NOT_IN_A_VALUE.search(value):
            raise RequestRefused(
                f"header {name}: its value has characters that HTTP does not allow"
            )
        lowered = name.lower()
        if lowered in _COMPUTED:
            continue
        if lowered == "host":
            host = value
            continue
        if lowered == "connection" and "close" in value.lower():
            keep_alive = False
        lines.append(f"{name}: {value}\r\n")
    resource = target.path
    if proxy is not None:
        resource = f"http://{target.host_header}{target.path}"
        if proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {proxy.authorization.reveal()}\r\n")
    start = f"{method} {resource} HTTP/1.1\r\nHost: {host}\r\n"
    return (start + "".join(lines)).encode("latin-1"), keep_alive


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """`headers` in the order received, names in lower case, text in latin-1."""

    status: int
    reason: bytes
    http_version: str
    headers: tuple[tuple[str, str], ...]


@lru_cache(maxsize=1024)
def _lowered(name: bytes) -> str:
    return name.decode("latin-1").lower()


class ResponseParser:
    """Reads the answer to one request, fed with bytes cut anywhere.

    `feed` never raises for what the bytes say: a fault is in `violation`, behind the body that
    came before it. Whatever follows a complete answer is `surplus`: nobody asked for it.
    """

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
        self._headers: list[tuple[str, str]] = []
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
        if self.head is not None or self.violation is not None:
            return  # Trailers, or what comes after the end: neither is used.
        if len(self._headers) >= MAX_HEADERS:
            self._refuse(f"more than {MAX_HEADERS} header fields")
            return
        self._headers.append((_lowered(name), value.decode("latin-1")))

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
        elif status < 200:
            self._interim = True
        else:
            self.keep_alive = self._parser.should_keep_alive()
            self._final_head(ResponseHead(status, self._reason, version, tuple(self._headers)))

    def on_body(self, data: bytes) -> None:
        if self.complete:
            self.surplus = True
        elif self.violation is None:
            self._overhead = 0
            self._body.append(data)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
            self._headers.clear()
            self._reason = b""
        elif self.violation is None:
            self.complete = True

    def _final_head(self, head: ResponseHead) -> None:
        codings = [
            value.strip().lower() for name, value in head.headers if name == "transfer-encoding"
        ]
        if codings not in ([], ["chunked"]):
            self._refuse("a transfer coding other than chunked")
            return
        self.head = head
        self._overhead = 0
        if self._asked_head:
            self.complete = True
        elif not codings and all(name != "content-length" for name, _ in head.headers):
            self._ends_with_connection = True

    def _refuse(self, what: str) -> None:
        if self.violation is None:
            self.violation = what
