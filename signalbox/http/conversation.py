"""Which requests belong to one conversation: they share their beginning, and its prompt cache."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from signalbox.adapters.door import Outline
from signalbox.http.extension_fields import BadExtension, kind_of

HEADER = "x-session-id"
LONGEST_SESSION = 256
"""Characters, as at OpenRouter."""


def conversation_digest(
    key_id: str, body: Mapping[str, Any], outline: Outline, headers: Mapping[str, str]
) -> str | None:
    """A hex digest; None where nothing tells conversations apart. Raises `BadExtension`.

    Other gateway keys have other conversations, whatever they call them.
    """
    name = _name_of(body, outline, headers)
    if name is None:
        return None
    data = msgspec.json.encode([key_id, *name])
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _name_of(
    body: Mapping[str, Any], outline: Outline, headers: Mapping[str, str]
) -> tuple[str, Any] | None:
    session = body.get("session_id")
    if session is not None and (not isinstance(session, str) or len(session) > LONGEST_SESSION):
        got = "a longer one" if isinstance(session, str) else kind_of(session)
        raise BadExtension(
            "session_id", f"expected a string of at most {LONGEST_SESSION} characters, got {got}"
        )
    for kind, value in (
        ("session", session or headers.get(HEADER)),
        ("cache", outline.cache_key),
        ("opening", outline.opening),
    ):
        if value:
            return kind, value
    return None
