"""Who is calling: gateway keys at the model doors, the admin token and its browser session.

A key is taken from wherever an SDK puts it. Keys are compared by their SHA-256, tokens in constant
time; neither ever reaches a log, an error or a trace.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import parse_qs

from signalbox.errors import ApiError
from signalbox.types import Secret

KEY_HEADERS = ("x-api-key", "x-goog-api-key", "api-key")
SESSION_COOKIE = "signalbox_session"
SESSION_SECONDS = 7 * 24 * 3600
LOGIN_SECONDS = 3600
"""How long the one-time login link of the start may wait to be used."""


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


class AdminAccess:
    """The admin token, one-time login links and signed session cookies.

    The cookie is `expiry.signature`, signed by HMAC-SHA256 under a key derived from the token, so a
    new token ends every session. `clock` is Unix time in seconds.
    """

    def __init__(self, token: Secret, clock: Callable[[], float]) -> None:
        self._token = token.reveal().encode()
        self._clock = clock
        self._signing_key = hmac.digest(self._token, b"signalbox session", "sha256")
        self._logins: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<AdminAccess, {len(self._logins)} login links open>"

    def token_matches(self, token: str | None) -> bool:
        return token is not None and hmac.compare_digest(token.encode(), self._token)

    def make_login(self) -> str:
        """The code of a login link that works once, for an hour."""
        code = secrets.token_urlsafe(24)
        self._logins[code] = self._clock() + LOGIN_SECONDS
        return code

    def redeem_login(self, code: str) -> str | None:
        """A session cookie's value for a code that is still good; None otherwise."""
        expiry = self._logins.pop(code, None)
        if expiry is None or expiry < self._clock():
            return None
        return self._signed(str(int(self._clock()) + SESSION_SECONDS))

    def session_valid(self, cookie: str | None) -> bool:
        if cookie is None or not cookie.isascii():
            return False
        expiry, _, _ = cookie.partition(".")
        # Whatever is signed with our key was made here: only then is it a number.
        if not hmac.compare_digest(cookie, self._signed(expiry)):
            return False
        return int(expiry) > self._clock()

    def _signed(self, expiry: str) -> str:
        signature = hmac.digest(self._signing_key, expiry.encode(), "sha256")
        return f"{expiry}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a request that a cookie vouches for comes from the gateway's own pages.

    Browsers send `Origin` with every websocket and every change; its host must be ours.
    """
    _, _, origin_host = headers.get("origin", "").partition("://")
    return bool(origin_host) and origin_host == headers.get("host")
