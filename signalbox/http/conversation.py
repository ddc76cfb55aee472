"""Which requests belong to one conversation: they share their beginning, and its prompt cache."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from signalbox.http.extension_fields import BadExtension, kind_of

HEADER = "x-session-id"
LONGEST_SESSION = 256
"""Characters, as at OpenRouter."""
_INSTRUCTIONS = ("system", "developer")


def conversation_digest(
    key_id: str, body: Mapping[str, Any], headers: Mapping[str, str]
) -> str | None:
    """A hex digest; None where nothing tells conversations apart. Raises `BadExtension`.

    `body` is a valid chat request. Other gateway keys have other conversations, whatever they call
    them.
    """
    name = _name_of(body, headers)
    if name is None:
        return None
    data = msgspec.json.encode([key_id, *name])
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _name_of(body: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[str, Any] | None:
    session = body.get("session_id")
    if session is not None and (not isinstance(session, str) or len(session) > LONGEST_SESSION):
        got = "a longer one" if isinstance(session, str) else kind_of(session)
        raise BadExtension(
            "session_id", f"expected a string of at most {LONGEST_SESSION} characters, got {got}"
        )
    cache_key = body.get("prompt_cache_key")
    for kind, value in (
        ("session", session or headers.get(HEADER)),
        ("cache", cache_key if isinstance(cache_key, str) else None),
        ("opening", _opening(body["messages"])),
    ):
        if value:
            return kind, value
    return None


def _opening(messages: list[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    """The instructions and the first user message; later turns have the same."""
    opening: list[tuple[str, Any]] = []
    for message in messages:
        role = message["role"]
        if role in _INSTRUCTIONS or role == "user":
            opening.append((role, message.get("content")))
        if role == "user":
            break
    return opening
