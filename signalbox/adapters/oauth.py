"""Access tokens of OAuth 2.0: what is asked of a token endpoint, and what its answer means.

Sources: RFC 6749, sections 4.4 and 5 (client credentials, answers, errors); RFC 7523 (the JWT that
stands for a service account); Microsoft Entra, "OAuth 2.0 client credentials flow" and "Managed
identities: acquire a token over HTTP"; Google Cloud, "Using OAuth 2.0 for server to server
applications" and "Access tokens from the metadata server".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from signalbox.adapters.openai_errors import clean
from signalbox.adapters.openai_headers import USER_AGENT
from signalbox.adapters.openai_wire import DECODE_ERRORS
from signalbox.adapters.protocol import Headers, WireRequest
from signalbox.config import (
    AzureIdentity,
    EntraClient,
    GoogleMetadata,
    ServiceAccount,
    TokenCredential,
)
from signalbox.errors import Failure, FailureKind
from signalbox.types import AccessToken

AZURE_RESOURCE = "https://cognitiveservices.azure.com"
GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
ASSERTION_SECONDS = 3600
"""How long the JWT of a service account holds; Google takes no longer one."""
LARGEST_TOKEN_ANSWER = 64 * 1024
"""Bytes. Tokens that name many groups have some kilobytes."""
LONGEST_LIFE = 86_400.0
"""Seconds for which a token is kept at most, whatever its endpoint says: Azure's managed identities
have the longest, a day."""
_LONGEST_TOKEN = 16_384
_WORDS_CHARS = 300
_TEMPORARY = frozenset({"temporarily_unavailable", "server_error", "slow_down"})
"""Errors of RFC 6749 (4.1.2.1) and of its successors that say nothing of the credential."""
_TRY_AGAIN = frozenset({404, 408, 410})
"""Statuses with which Azure's metadata service asks to be asked again, as it does with 5xx."""


class TokenAnswer(msgspec.Struct, frozen=True):
    """A token and the seconds that it holds from now."""

    token: AccessToken
    expires_in: float


def token_request(credential: TokenCredential, now: float) -> WireRequest:
    """What is asked of the credential's endpoint. `now`: Unix time.

    Raises `ValueError` where a service account's private key is none.
    """
    match credential:
        case EntraClient():
            return _form(
                credential.token_url,
                grant_type="client_credentials",
                client_id=credential.client_id,
                client_secret=credential.client_secret.reveal(),
                scope=f"{AZURE_RESOURCE}/.default",
            )
        case ServiceAccount():
            return _form(
                credential.token_url,
                grant_type="urn:ietf:params:oauth:grant-type:jwt-bearer",
                assertion=_assertion(credential, now),
            )
        case AzureIdentity():
            query = {"api-version": "2018-02-01", "resource": AZURE_RESOURCE}
            if credential.client_id is not None:
                query["client_id"] = credential.client_id
            return _question(f"{credential.token_url}?{urlencode(query)}", ("metadata", "true"))
        case GoogleMetadata():
            return _question(credential.token_url, ("metadata-flavor", "Google"))


def read_token(status: int, headers: Headers, body: bytes, url: str) -> TokenAnswer | Failure:
    """What an endpoint at `url` answered. Whatever comes, nothing is raised.

    `KEY_REJECTED`: it refuses the credential; `RATE_LIMITED`: it was asked too often;
    `CONNECT_FAILED`: it is not able to answer, or what answers is no token endpoint.
    """
    fields = _object(body)
    if status == 200:
        return _token(fields, url)
    place = f"the token endpoint at {urlsplit(url).hostname} answered {status}"
    code = fields.get("error")
    if isinstance(code, dict):  # Google's own form of errors, as its proxies use it
        fields, code = {"error_description": code.get("message")}, code.get("status")
    code = clean(code, _WORDS_CHARS) if isinstance(code, str) else None
    words = fields.get("error_description")
    said = [each for each in (code, words) if isinstance(each, str) and each]
    message = clean(": ".join((place, *said)), _WORDS_CHARS)
    if status == 429:
        return Failure(FailureKind.RATE_LIMITED, message, retry_after=_retry_after(headers))
    if status >= 500 or status < 400 or code in _TEMPORARY or (status in _TRY_AGAIN and not code):
        return Failure(FailureKind.CONNECT_FAILED, message, retry_after=_retry_after(headers))
    return Failure(FailureKind.KEY_REJECTED, message, code=code)


def _token(fields: Mapping[str, Any], url: str) -> TokenAnswer | Failure:
    token, kind = fields.get("access_token"), fields.get("token_type", "Bearer")
    fits = (
        isinstance(token, str)
        and 0 < len(token) <= _LONGEST_TOKEN
        and token.isascii()
        and token.isprintable()
        and " " not in token
    )
    seconds = _seconds(fields.get("expires_in"))
    if not fits or not isinstance(kind, str) or kind.lower() != "bearer" or not seconds:
        place = urlsplit(url).hostname
        return Failure(
            FailureKind.CONNECT_FAILED,
            f"the token endpoint at {place} gave no bearer token with a time to live",
        )
    return TokenAnswer(AccessToken(str(token)), min(seconds, LONGEST_LIFE))


def _seconds(value: object) -> float | None:
    """A number above 0; Azure's metadata service writes it as a string."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return None
    return min(value, LONGEST_LIFE)


def _retry_after(headers: Headers) -> float | None:
    return next((_seconds(value.strip()) for name, value in headers if name == "retry-after"), None)


def _object(body: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(body)
    except DECODE_ERRORS:
        return {}
    return fields if isinstance(fields, dict) else {}


def _assertion(account: ServiceAccount, now: float) -> str:
    # Its library takes a tenth of a second to load: only those pay who have such a key.
    from signalbox.adapters.rs256 import signed_jwt  # noqa: PLC0415 (see above)

    claims = {
        "iss": account.email,
        "scope": GOOGLE_SCOPE,
        "aud": account.token_url,
        "iat": int(now),
        "exp": int(now) + ASSERTION_SECONDS,
    }
    return signed_jwt(claims, account.private_key, account.private_key_id)


def _form(url: str, **fields: str) -> WireRequest:
    return WireRequest(
        method="POST",
        url=url,
        headers=(*_COMMON, ("content-type", "application/x-www-form-urlencoded")),
        body=urlencode(fields).encode(),
    )


def _question(url: str, header: tuple[str, str]) -> WireRequest:
    return WireRequest(method="GET", url=url, headers=(*_COMMON, header), body=b"")


_COMMON = (
    ("accept", "application/json"),
    ("accept-encoding", "identity"),
    ("user-agent", USER_AGENT),
)
