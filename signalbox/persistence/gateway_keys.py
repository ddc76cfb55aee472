"""Gateway keys as they are made and as they are kept, and the secrets of a first start.

A key is `gateway-sk-` and 192 random bits. Only its SHA-256 and a visible prefix are kept: with so
many random bits nothing is to be gained from salt or a slow hash.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from signalbox.errors import SignalboxError
from signalbox.persistence.records import GatewayKeyRecord
from signalbox.types import Secret

PREFIX = "gateway-sk-"
TOKEN_PREFIX = "signalbox-user-"
VISIBLE_CHARS = 4
"""Of the random ones."""
RANDOM_BYTES = 24
MIN_TOKEN_CHARS = 16
TOKEN_FORM = f"one line of {MIN_TOKEN_CHARS} or more printable ASCII characters"


class BadTokenFile(SignalboxError):
    """A file that holds a token of the gateway cannot be read, or holds something else."""


def key_digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


class NewSecret(NamedTuple):
    """A secret that is shown once, and what is kept of it."""

    secret: Secret
    digest: bytes
    prefix: str


def new_key_secret() -> NewSecret:
    """Of a gateway key."""
    return _new_secret(PREFIX)


def new_user_token() -> NewSecret:
    """What a user signs in with."""
    return _new_secret(TOKEN_PREFIX)


def _new_secret(prefix: str) -> NewSecret:
    text = prefix + secrets.token_urlsafe(RANDOM_BYTES)
    return NewSecret(Secret(text), key_digest(text), text[: len(prefix) + VISIBLE_CHARS])


def new_gateway_key(
    name: str,
    *,
    key_id: str,
    created_at: float,
    expires_at: float | None = None,
    rpm: int | None = None,
    tpm: int | None = None,
    concurrency: int | None = None,
    models: tuple[str, ...] = (),
    owner: str | None = None,
    providers: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
    preset: str | None = None,
    byok_fallback: bool = False,
) -> tuple[Secret, GatewayKeyRecord]:
    """A new key, to be shown once, and what is kept of it. Times are Unix seconds."""
    made = new_key_secret()
    record = GatewayKeyRecord(
        id=key_id,
        name=name,
        digest=made.digest,
        prefix=made.prefix,
        created_at=created_at,
        expires_at=expires_at,
        rpm=rpm,
        tpm=tpm,
        concurrency=concurrency,
        models=models,
        owner=owner,
        providers=providers,
        tags=tags,
        preset=preset,
        byok_fallback=byok_fallback,
    )
    return made.secret, record


def find_key(records: Iterable[GatewayKeyRecord], name_or_id: str) -> GatewayKeyRecord | None:
    """The key of this name or id. An id wins over a name that looks like it."""
    known = {record.name: record for record in records}
    return {**known, **{record.id: record for record in known.values()}}.get(name_or_id)


def covers(models: Sequence[str], model: str) -> bool:
    """Whether a key with this list may call the model: `vendor/*` is every model of that prefix.

    An empty list allows every model.
    """
    return not models or any(
        model == name or (name.endswith("*") and model.startswith(name[:-1])) for name in models
    )


def is_token(text: str) -> bool:
    """Whether the text is long enough to be a secret, and fits into a header."""
    return len(text) >= MIN_TOKEN_CHARS and text.isascii() and text.isprintable()


def admin_token(path: Path) -> Secret:
    """The token in the file, which is made on the first call. Raises `BadTokenFile`."""
    return read_token(path) or new_admin_token(path)


def new_admin_token(path: Path) -> Secret:
    """Makes a token in place of the one in the file. Raises `BadTokenFile`."""
    token = Secret(secrets.token_urlsafe(RANDOM_BYTES))
    write_token(path, token)
    return token


def read_token(path: Path) -> Secret | None:
    """The token in a file; None where there is no such file. Raises `BadTokenFile`."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadTokenFile(f"{path} cannot be read: {_reason(error)}") from None
    if not is_token(text):
        raise BadTokenFile(f"{path}: expected {TOKEN_FORM}; delete the file and a new one is made")
    return Secret(text)


def write_token(path: Path, token: Secret) -> None:
    """Writes a file that only its owner may read. Raises `BadTokenFile`."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o600)
            file.write(token.reveal() + "\n")
        fresh.replace(path)
    except OSError as error:
        raise BadTokenFile(f"{path} cannot be written: {_reason(error)}") from None


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
