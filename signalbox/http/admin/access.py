"""Who may use the admin API and the pages: the admin token, users, login links, sessions.

A user's token, like a gateway key, is known by its SHA-256. Each request asks the database for it,
so that a user who is disabled, or whose token is taken away, is out at once, in every instance.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from signalbox.actors.ports import Workers
from signalbox.http.auth import bearer_token, same_origin
from signalbox.persistence.auditing import Actor
from signalbox.persistence.gateway_keys import key_digest
from signalbox.persistence.records import UserRecord
from signalbox.persistence.stores import ManagedStore
from signalbox.types import Secret

SESSION_COOKIE = "signalbox_session"
SESSION_SECONDS = 7 * 24 * 3600
LOGIN_SECONDS = 3600
"""How long the one-time login link of the start may wait to be used."""

ADMIN_TOKEN = "admin token"
"""What the holder of the admin token is called in the audit."""
VIEWER, ADMIN = "viewer", "admin"
ROLES = (VIEWER, ADMIN)
SAFE_METHODS = ("GET", "HEAD")

_NOBODY = "-"
"""In a cookie, in the place of a user and of what binds it to the user's token."""


class Caller(msgspec.Struct, frozen=True):
    """Whose request it is."""

    name: str
    role: str
    """`viewer` or `admin`."""
    user: str | None = None
    """The user's id; None: the admin token vouches for it."""
    by_cookie: bool = False

    def may_change(self) -> bool:
        return self.role == ADMIN

    def actor(self, address: str | None) -> Actor:
        return Actor(self.name, self.role, address)


class AdminAccess:
    """Tells who a request comes from. `clock` is Unix time in seconds, `readers` read the store.

    A session's cookie is `expiry.user.role.mark.signature`. It is signed by HMAC-SHA256 under a key
    derived from the admin token, so a new one ends every session; the mark, of the user's token,
    ends those of a user whose token is another one or whose role has changed.
    """

    def __init__(
        self, token: Secret, store: ManagedStore, readers: Workers, clock: Callable[[], float]
    ) -> None:
        self._token = token.reveal().encode()
        self._store = store
        self._readers = readers
        self._clock = clock
        self._signing_key = hmac.digest(self._token, b"signalbox session", "sha256")
        self._logins: dict[str, float] = {}

    def __repr__(self) -> str:
        return f"<AdminAccess, {len(self._logins)} login links open>"

    async def caller(self, fields: Sequence[tuple[str, str]]) -> Caller | None:
        """Whose request it is with these headers, names in lower case; None: nobody's who is known.

        A token goes before a session. Raises `StoreUnavailable` where only the database can tell.
        """
        for name, value in fields:
            if name == "authorization" and (token := bearer_token(value)) is not None:
                return await self.holder(token)
        for cookie in _cookies(fields):
            if (found := await self._of_session(cookie)) is not None:
                return found
        return None

    async def holder(self, token: str) -> Caller | None:
        """Whose token it is. Raises `StoreUnavailable`."""
        if hmac.compare_digest(token.encode(), self._token):
            return Caller(ADMIN_TOKEN, ADMIN)
        digest = key_digest(token)
        users = await self._readers.run(self._store.records, UserRecord, {"token_digest": digest})
        return next((_caller(user) for user in users if _may_come_in(user)), None)

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
        return self._cookie(_NOBODY, ADMIN, _NOBODY)

    async def sign_in(self, token: str) -> tuple[Caller, str] | None:
        """Whose token it is, and a session cookie's value. Raises `StoreUnavailable`."""
        found = await self.holder(token)
        if found is None:
            return None
        if found.user is None:
            return found, self._cookie(_NOBODY, found.role, _NOBODY)
        return found, self._cookie(found.user, found.role, self._mark(key_digest(token)))

    async def _of_session(self, cookie: str) -> Caller | None:
        text, _, signature = cookie.rpartition(".")
        # Whatever is signed with our key was made here: only then does it have this form.
        if not cookie.isascii() or not hmac.compare_digest(signature, self._signature(text)):
            return None
        expiry, user_id, role, mark = text.split(".")
        if int(expiry) <= self._clock():
            return None
        if user_id == _NOBODY:
            return Caller(ADMIN_TOKEN, role, by_cookie=True)
        user = await self._readers.run(self._store.record, UserRecord, user_id)
        if user is None or user.token_digest is None or not _may_come_in(user):
            return None
        if user.role != role or self._mark(user.token_digest) != mark:
            return None
        return _caller(user, by_cookie=True)

    def _cookie(self, user: str, role: str, mark: str) -> str:
        text = f"{int(self._clock()) + SESSION_SECONDS}.{user}.{role}.{mark}"
        return f"{text}.{self._signature(text)}"

    def _signature(self, text: str) -> str:
        return _base64(hmac.digest(self._signing_key, text.encode(), "sha256"))

    def _mark(self, token_digest: bytes) -> str:
        return _base64(hmac.digest(self._signing_key, b"token " + token_digest, "sha256"))


def is_forged(caller: Caller, method: str, headers: Mapping[str, str]) -> bool:
    """Whether another site may have made the browser send it: a change that only a cookie vouches
    for, from another origin."""
    return caller.by_cookie and method not in SAFE_METHODS and not same_origin(headers)


def _caller(user: UserRecord, *, by_cookie: bool = False) -> Caller:
    return Caller(user.name, user.role, user.id, by_cookie)


def _may_come_in(user: UserRecord) -> bool:
    return user.enabled and user.role in ROLES


def _cookies(fields: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Every session cookie: HTTP/2 has a header for each, and a browser may hold two of a name."""
    for name, value in fields:
        for part in value.split(";") if name == "cookie" else ():
            key, _, content = part.strip().partition("=")
            if key == SESSION_COOKIE:
                yield content


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
