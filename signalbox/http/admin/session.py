"""Who asks."""

from __future__ import annotations

from typing import Literal

from signalbox.http.admin.operations import Operation, View
from signalbox.http.admin.resources import AnyCall, filled


class Session(View, frozen=True):
    name: str
    role: Literal["viewer", "admin"]
    user: str | None
    """The user's id; null: the admin token vouches for it."""


async def _read(call: AnyCall) -> Session:
    return filled(Session, call.caller)


OPERATIONS = (Operation("GET", "/session", "Who asks, and what they may do", _read, Session),)
