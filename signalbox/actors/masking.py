"""Secrets kept out of what is told and recorded of a call: some providers echo them."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from signalbox.actors.key_pool import ProviderKey
from signalbox.config import AwsAccessKey
from signalbox.errors import Failure
from signalbox.types import Route, Secret

SHORTEST_SECRET = 8
"""Characters. A shorter value of a secret header is a word that occurs by chance."""


def secrets_of(key: ProviderKey, route: Route) -> tuple[Secret, ...]:
    """The key and the route's secret headers."""
    own = [key.secret]
    if isinstance(key.credential, AwsAccessKey):
        own += [key.credential.secret_access_key, key.credential.session_token]
    kept = (secret for secret in own if secret is not None)
    return (*(value for _, value in route.headers), *kept)


def masked(text: str, secrets: Sequence[Secret]) -> str:
    for secret in secrets:
        if len(secret.reveal()) >= SHORTEST_SECRET:
            text = text.replace(secret.reveal(), "[key]")
    return text


def masked_failure(failure: Failure, secrets: Sequence[Secret]) -> Failure:
    return replace(
        failure,
        message=masked(failure.message, secrets),
        code=failure.code and masked(failure.code, secrets),
        param=failure.param and masked(failure.param, secrets),
    )
