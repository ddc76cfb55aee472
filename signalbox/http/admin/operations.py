"""What an operation is: one declaration for those who route, check, perform and describe it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from signalbox.http.admin.access import SAFE_METHODS, Caller
from signalbox.http.admin.desk import Desk
from signalbox.persistence.auditing import Actor

JSON = "application/json"


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a request's body may hold."""


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may stand behind a path's question mark."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer holds."""


class Text(msgspec.Struct, frozen=True):
    """An answer that is no JSON, in UTF-8."""

    text: str


BodyT = TypeVar("BodyT")
QueryT = TypeVar("QueryT")


class Call(msgspec.Struct, Generic[QueryT, BodyT], frozen=True):
    """One request for an operation, checked."""

    desk: Desk
    caller: Caller
    address: str | None
    """The client's, without its port."""
    path: Mapping[str, str]
    """What stands in the places that the operation's path names."""
    query: QueryT
    body: BodyT
    if_match: str | None = None
    """The version that is to be changed; None: whichever it is."""

    @property
    def actor(self) -> Actor:
        return self.caller.actor(self.address)


class Operation(msgspec.Struct, frozen=True):
    """A path may end in `{name...}`, which takes what follows with its slashes."""

    method: str
    path: str
    """Below `/admin/api`."""
    summary: str
    perform: Callable[[Call[Any, Any]], Awaitable[Any]]
    """Gives an instance of `answer`. Raises `RequestError`."""
    answer: Any
    """A type; None: there is nothing to tell, and `status` is 204."""
    query: type[Query] = Query
    body: type[Body] = Body
    status: int = 200
    content_type: str = JSON
    conflicts: bool = False
    """Whether it may not be possible as things stand (409)."""
    versioned: bool = False
    """Whether `If-Match` may name the version that it is about."""

    @property
    def changes(self) -> bool:
        return self.method not in SAFE_METHODS

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(self.path.strip("/").split("/"))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the places in the path."""
        return tuple(name for part in self.parts if (name := place_name(part)))

    def match(self, parts: tuple[str, ...]) -> dict[str, str] | None:
        """What stands in the places; None where the path is another one."""
        own = self.parts
        if own[-1].endswith("...}") and len(parts) >= len(own):
            rest = len(own) - 1
            parts = (*parts[:rest], "/".join(parts[rest:]))
        if len(parts) != len(own):
            return None
        found: dict[str, str] = {}
        for mine, given in zip(own, parts, strict=True):
            name = place_name(mine)
            if name:
                found[name] = given
            elif mine != given:
                return None
        return found


def place_name(part: str) -> str:
    """`{id}` → `id`; nothing for a part that stands for itself."""
    return part[1:-1].removesuffix("...") if part.startswith("{") else ""
