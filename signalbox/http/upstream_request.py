"""Requests as HTTP/1.1 writes them (RFC 9112), without I/O: URLs, origins, heads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import httpx

from signalbox.errors import SignalboxError
from signalbox.types import Secret

REMEMBERED_HEADS: Final = 512
"""Heads that are kept encoded: more than a gateway has keys and endpoints that are in use."""
MAX_REMEMBERED: Final = 4096
"""Bytes of such a head. What is longer has fields of a client's own, and will not come again."""

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


class RequestHeads:
    """Encodes heads, and remembers those of late.

    A gateway sends few different ones, one for each key and endpoint, and to check and encode one
    costs more than to look it up. They hold keys: they stay in this object, and not for long in
    one whose keys change.
    """

    def __init__(self) -> None:
        self._encoded: dict[object, tuple[bytes, bool]] = {}

    def encode(
        self,
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
        key = method, target, headers, proxy
        known = self._encoded.get(key)
        if known is None:
            known = _encode(method, target, headers, proxy)
            if len(known[0]) <= MAX_REMEMBERED:
                if len(self._encoded) >= REMEMBERED_HEADS:
                    self._encoded.clear()
                self._encoded[key] = known
        start, keep_alive = known
        if body_length or method in _METHODS_WITH_BODY:
            return b"%bContent-Length: %d\r\n\r\n" % (start, body_length), keep_alive
        return start + b"\r\n", keep_alive


def _encode(
    method: str,
    target: Target,
    headers: tuple[tuple[str, str], ...],
    proxy: Proxy | None,
) -> tuple[bytes, bool]:
    """All of the head but the length of the body and the end."""
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
