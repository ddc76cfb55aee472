"""Proxies, as the environment names them: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

No standard defines these variables. Followed is what curl does, the most common reader of them
(https://everything.curl.dev/usingcurl/proxies/env.html), and where it is careless the careful
reading of Go's `net/http`: loopback hosts are never proxied, whatever the variables say, since a
proxy's loopback is not this machine's, and keys meant for a local server would leave it. (curl and
httpx do proxy them unless NO_PROXY names them.)

`urllib.request` has functions for this, but they read `os.environ` by themselves, know no addresses
and networks in NO_PROXY, and proxy loopback hosts.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from signalbox.errors import SignalboxError
from signalbox.http.upstream_request import Origin, Proxy
from signalbox.types import Secret

_DEFAULT_PORT: Final = 80  # of a URL with the scheme http; curl alone takes 1080
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class BadProxySettings(SignalboxError):
    """A variable names a proxy that cannot be used. The message never quotes its value."""


@dataclass(frozen=True, slots=True)
class _Exception:
    """One entry of NO_PROXY."""

    name: str = ""
    """A host and all below it; "*": every one."""
    network: _Network | None = None
    port: int | None = None

    def covers(self, host: str, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            address = _address(host)
            return address is not None and address in self.network
        return self.name in ("*", host) or host.endswith("." + self.name)


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Which origins are called through which proxy. Without arguments: none through any."""

    http: Proxy | None = None
    https: Proxy | None = None
    exceptions: tuple[_Exception, ...] = field(default=(), repr=False)
    """As NO_PROXY has them; whatever was put there by mistake is not shown."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> ProxySettings:
        """Reads the variables once. Raises `BadProxySettings`.

        Of two spellings the lower case one holds. HTTP_PROXY in upper case is not read where
        REQUEST_METHOD is set: there a client's `Proxy:` header may have made it ("httpoxy",
        CVE-2016-5385).
        """
        for_all = _proxy(environment, "all_proxy", "ALL_PROXY")
        http_names = ["http_proxy"]
        if "REQUEST_METHOD" not in environment:
            http_names.append("HTTP_PROXY")
        return cls(
            _proxy(environment, *http_names) or for_all,
            _proxy(environment, "https_proxy", "HTTPS_PROXY") or for_all,
            _exceptions(_value(environment, "no_proxy", "NO_PROXY")[1]),
        )

    def proxy_for(self, origin: Origin) -> Proxy | None:
        proxy = self.https if origin.tls else self.http
        if proxy is None or _is_loopback(origin.host):
            return None
        host = _plain(origin.host)
        if any(exception.covers(host, origin.port) for exception in self.exceptions):
            return None
        return proxy


NO_PROXIES: Final = ProxySettings()


def _value(environment: Mapping[str, str], *names: str) -> tuple[str, str]:
    """The first of the variables that is set, and its value; an empty one counts, as with curl."""
    for name in names:
        if name in environment:
            return name, environment[name].strip()
    return "", ""


def _proxy(environment: Mapping[str, str], *names: str) -> Proxy | None:
    name, value = _value(environment, *names)
    if not value:
        return None
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadProxySettings(f"{name}: it is not a valid URL of a proxy") from None
    if parts.scheme != "http":
        # Behind an unknown scheme there may be anything, also a password without one.
        known = parts.scheme in ("https", "socks", "socks4", "socks4a", "socks5", "socks5h")
        given = f"{parts.scheme}://" if known else "another scheme"
        raise BadProxySettings(f"{name}: {given} is not supported, expected http://host:port")
    if not host or not host.isascii() or not host.isprintable() or " " in host:
        raise BadProxySettings(f"{name}: it names no host, expected http://host:port")
    return Proxy(host, _DEFAULT_PORT if port is None else port, _authorization(parts))


def _authorization(parts: SplitResult) -> Secret | None:
    if parts.username is None:
        return None
    credentials = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
    return Secret("Basic " + base64.b64encode(credentials).decode("ascii"))


def _exceptions(value: str) -> tuple[_Exception, ...]:
    entries = value.replace(",", " ").split()
    return tuple(exception for entry in entries if (exception := _exception(entry)) is not None)


def _exception(entry: str) -> _Exception | None:
    """None for an entry that names nothing, such as a lonely dot."""
    if entry == "*":
        return _Exception("*")
    if (network := _network(entry)) is not None:
        return _Exception(network=network)
    host, colon, port = entry.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit() and len(port) <= 5):
        host, port = entry, ""
    number = int(port) if port else None
    if (network := _network(host)) is not None:
        return _Exception(network=network, port=number)
    name = _plain(host.removeprefix("*")).lstrip(".")
    return _Exception(name, port=number) if name else None


def _network(text: str) -> _Network | None:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_loopback(host: str) -> bool:
    host = _plain(host)
    if host == "localhost" or host.endswith(".localhost"):  # RFC 6761, 6.3
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _plain(host: str) -> str:
    return host.lower().rstrip(".")
