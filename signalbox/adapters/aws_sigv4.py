"""AWS Signature Version 4: how a request is signed with an access key.

Source: AWS Identity and Access Management user guide, "Create a signed AWS API request": a
canonical request, a string to sign, a key derived for the day, the region and the service, and the
`authorization` header. Each part of the path is encoded once more than in the address, as every
service but S3 has it. Nothing here reads a clock.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, urlsplit

from msgspec.structs import replace

from signalbox.adapters.protocol import WireRequest
from signalbox.config import AwsAccessKey

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "bedrock"
"""What Amazon Bedrock's runtime is called in signatures."""
_TERMINATOR = "aws4_request"
_UNSIGNED = frozenset(
    {"accept-encoding", "authorization", "connection", "content-length", "expect", "user-agent"}
)
"""Headers that something on the way may change, and the one that the signature goes into."""


def sign(
    wire: WireRequest, credentials: AwsAccessKey, now: float, service: str = SERVICE
) -> WireRequest:
    """`wire` with `x-amz-date`, `authorization` and, for temporary credentials,
    `x-amz-security-token`, all but what may change on the way signed. `now`: wall clock, seconds.
    """
    moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    ours = {"authorization", "x-amz-date", "x-amz-security-token"}
    headers = [(name, value) for name, value in wire.headers if name not in ours]
    headers.append(("x-amz-date", moment))
    if credentials.session_token is not None:
        headers.append(("x-amz-security-token", credentials.session_token.reveal()))
    signed = _signed_headers(wire.url, headers)
    names = ";".join(signed)
    scope = "/".join((moment[:8], credentials.region, service, _TERMINATOR))
    request = canonical_request(wire, signed)
    to_sign = "\n".join((ALGORITHM, moment, scope, _digest(request.encode())))
    signature = _hmac(_key(credentials, moment[:8], service), to_sign).hex()
    authorization = (
        f"{ALGORITHM} Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return replace(wire, headers=(*headers, ("authorization", authorization)))


def canonical_request(wire: WireRequest, signed: dict[str, str]) -> str:
    """The form of a request that both sides hash; `signed`: by name, in their order."""
    address = urlsplit(wire.url)
    path = quote(address.path or "/", safe="/-._~")
    pairs = sorted(
        (quote(name, safe="-._~"), quote(value, safe="-._~"))
        for name, value in parse_qsl(address.query, keep_blank_values=True)
    )
    return "\n".join(
        (
            wire.method,
            path,
            "&".join(f"{name}={value}" for name, value in pairs),
            *(f"{name}:{value}" for name, value in signed.items()),
            "",
            ";".join(signed),
            _digest(wire.body),
        )
    )


def _signed_headers(url: str, headers: list[tuple[str, str]]) -> dict[str, str]:
    """By name, in the order of their names; values of one name are joined, inner space is one."""
    address = urlsplit(url)
    found: dict[str, list[str]] = {"host": [_host(address.hostname or "", address.port, url)]}
    for name, value in headers:
        if name not in _UNSIGNED and name != "host":
            found.setdefault(name, []).append(" ".join(value.split()))
    return {name: ",".join(found[name]) for name in sorted(found)}


def _host(name: str, port: int | None, url: str) -> str:
    """As the `host` header has it: a port only where it is not the scheme's own."""
    usual = 443 if url.startswith("https:") else 80
    name = f"[{name}]" if ":" in name else name
    return name if port in (None, usual) else f"{name}:{port}"


def _key(credentials: AwsAccessKey, day: str, service: str) -> bytes:
    key = b"AWS4" + credentials.secret_access_key.reveal().encode()
    for part in (day, credentials.region, service, _TERMINATOR):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
