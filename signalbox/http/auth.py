"""How a caller says who it is: the gateway key that comes with a request to a model door, a bearer
token, the origin that a browser names.

A key is taken from wherever an SDK puts it. None ever reaches a log, an error or a trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import parse_qs

from signalbox.errors import ApiError

KEY_HEADERS = ("x-api-key", "x-goog-api-key", "api-key")


def api_key_error(message: str) -> ApiError:
    return ApiError(
        status=401,
        type="invalid_request_error",
        code="invalid_api_key",
        message=message,
        headers=(("www-authenticate", "Bearer"),),
    )


def presented_keys(fields: Iterable[tuple[str, str]], query: str) -> set[str]:
    """Every different key that the request carries, wherever and however often it carries it.

    `fields` are its headers, names in lower case.
    """
    found = [bearer_token(value) for name, value in fields if name == "authorization"]
    found += [value.strip() for name, value in fields if name in KEY_HEADERS]
    if query:
        found += [key.strip() for key in parse_qs(query).get("key", ())]
    return {key for key in found if key}


def bearer_token(authorization: str | None) -> str | None:
    """The token of an `Authorization` header of that scheme."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    return token.strip() or None


def same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a request that a cookie vouches for comes from the gateway's own pages.

    Browsers send `Origin` with every websocket and every change; its host must be ours.
    """
    _, _, origin_host = headers.get("origin", "").partition("://")
    return bool(origin_host) and origin_host == headers.get("host")
