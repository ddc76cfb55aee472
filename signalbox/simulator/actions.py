"""What the server does to answer one request, step by step. Scripts are made of these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class SendHead:
    """Status and header fields. Without a `content-length` the body is chunked."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SendBody:
    """A piece of the body: one HTTP chunk, one write."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SendHalf:
    """Announces a whole piece of the body and sends the first half of its bytes.

    The message cannot be completed after it: only `Hang` or `HangUp` can follow.
    """

    data: bytes


@dataclass(frozen=True, slots=True)
class SendGarbage:
    """Bytes that are not HTTP."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Hang:
    """Sends nothing more; ends when the client closes."""


@dataclass(frozen=True, slots=True)
class HangUp:
    """Ends the connection in the middle: FIN ("closed") or RST ("reset")."""

    how: Literal["closed", "reset"]


Action = Pause | SendHead | SendBody | SendHalf | SendGarbage | Hang | HangUp
Script = Iterable[Action]
"""The message is completed where a script ends without `Hang` or `HangUp`."""


def whole_answer(
    status: int, body: bytes, content_type: str, headers: Mapping[str, str] | None = None
) -> Script:
    """Head and body of an answer whose length is known."""
    own = {"content-type": content_type, "content-length": str(len(body))}
    return (SendHead(status, own | dict(headers or {})), SendBody(body))


def json_answer(status: int, body: object, headers: Mapping[str, str] | None = None) -> Script:
    return whole_answer(status, msgspec.json.encode(body), "application/json", headers)
