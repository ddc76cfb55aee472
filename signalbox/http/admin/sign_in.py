"""`/login` and `/logout`: a token or a link becomes a session, and a session ends.

A form is answered with a redirect, as a browser wants it; JSON with JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

import msgspec

from signalbox.errors import StoreUnavailable
from signalbox.http.admin import problems
from signalbox.http.admin.access import (
    SESSION_COOKIE,
    SESSION_SECONDS,
    AdminAccess,
)
from signalbox.http.admin.api import address_of, read_limited, refused
from signalbox.http.admin.decoding import decode_body
from signalbox.http.admin.operations import JSON, Body
from signalbox.http.admin.throttle import SignInThrottle
from signalbox.http.asgi import (
    ClientDisconnected,
    Incoming,
    Receive,
    RequestError,
    Scope,
    Send,
    header_fields,
    header_map,
    send_whole,
)
from signalbox.http.auth import same_origin

LOGIN, LOGOUT = "/login", "/logout"
PATHS = frozenset({LOGIN, LOGOUT})
HOME = "/traces"
"""Where a browser goes when somebody has signed in."""

MAX_BODY_BYTES = 4096
FORM = "application/x-www-form-urlencoded"

_METHODS = {LOGIN: ("GET", "HEAD", "POST"), LOGOUT: ("POST",)}
_HEADERS = (("cache-control", "no-store"),)

Answer = tuple[int, Sequence[tuple[str, str]], bytes]


class Token(Body, frozen=True):
    token: str


class SignedIn(msgspec.Struct, frozen=True):
    name: str
    role: str


class SignIn:
    """An ASGI application for `PATHS`. `patience`: seconds for a body to come."""

    def __init__(self, access: AdminAccess, throttle: SignInThrottle, patience: float) -> None:
        self._access = access
        self._throttle = throttle
        self._patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        incoming = Incoming(receive)
        try:
            status, headers, body = await self._answer(scope, incoming)
        except ClientDisconnected:
            return
        except RequestError as error:
            status, headers, body = refused(error.error)
        except StoreUnavailable as error:
            status, headers, body = refused(problems.database_away(error).error)
        await send_whole(send, incoming, status, (*_HEADERS, *headers), body)

    async def _answer(self, scope: Scope, receive: Incoming) -> Answer:
        path, method = scope["path"], scope["method"]
        if method not in _METHODS[path]:
            raise problems.method_not_allowed(method, _METHODS[path])
        headers = header_map(header_fields(scope))
        if method != "POST":
            return self._by_link(scope)
        # Who makes a browser sign in as somebody else sees what its user then does.
        if "origin" in headers and not same_origin(headers):
            raise problems.cross_origin()
        if path == LOGOUT:
            return 204, [_cookie(scope, "", 0)], b""
        body = await read_limited(receive, headers, MAX_BODY_BYTES, self._patience)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in (JSON, FORM):
            raise problems.not_json(kind)
        token = decode_body(body, Token).token if kind == JSON else _of_form(body)
        return await self._by_token(scope, token, redirects=kind == FORM)

    def _by_link(self, scope: Scope) -> Answer:
        if scope["method"] == "HEAD":  # A link that is looked at is not used up.
            return 200, (), b""
        self._try(scope)
        codes = [v for k, v in parse_qsl(scope["query_string"].decode("latin-1")) if k == "code"]
        cookie = self._access.redeem_login("".join(codes))
        if cookie is None:
            raise problems.invalid_login(
                "The login link was used already or is too old; "
                "restart the gateway for a new one, or sign in with the admin token."
            )
        self._throttle.succeeded(address_of(scope))
        return 302, [_cookie(scope, cookie, SESSION_SECONDS), ("location", HOME)], b""

    async def _by_token(self, scope: Scope, token: str, *, redirects: bool) -> Answer:
        self._try(scope)
        found = await self._access.sign_in(token)
        if found is None:
            raise problems.invalid_login("Nobody has this token who may sign in.")
        self._throttle.succeeded(address_of(scope))
        caller, cookie = found
        headers = [_cookie(scope, cookie, SESSION_SECONDS)]
        if redirects:
            return 303, [*headers, ("location", HOME)], b""
        told = msgspec.json.encode(SignedIn(caller.name, caller.role))
        return 200, [*headers, ("content-type", JSON)], told

    def _try(self, scope: Scope) -> None:
        wait = self._throttle.take(address_of(scope))
        if wait:
            raise problems.too_many_tries(wait)


def _of_form(body: bytes) -> str:
    fields = dict(parse_qsl(body.decode("latin-1"), errors="replace", max_num_fields=10))
    return fields.get("token", "")


def _cookie(scope: Scope, value: str, seconds: int) -> tuple[str, str]:
    attributes = [f"Max-Age={seconds}", "Path=/", "HttpOnly", "SameSite=Lax"]
    if scope["scheme"] == "https":
        attributes.append("Secure")
    return "set-cookie", "; ".join([f"{SESSION_COOKIE}={value}", *attributes])
