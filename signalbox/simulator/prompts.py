"""What a request asks of the simulated model, whatever wire format it came in."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal


class BadRequest(Exception):
    """The request is not what the API takes; the message is for the client.

    `param` is the place in the body, in the words of the API that is spoken.
    """

    def __init__(
        self, message: str, param: str | None = None, *, status: int = 400, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Turn:
    """A message. Parts that are no text are named in brackets: `[image: image/png, 68 bytes]`."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str


@dataclass(frozen=True, slots=True)
class OfferedTool:
    name: str
    schema: Any = None
    """Of its arguments; None where it takes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """The fields of a request that change the simulated answer."""

    model: str
    turns: tuple[Turn, ...]
    tools: tuple[OfferedTool, ...] = ()
    tool_choice: Literal["auto", "none", "required"] = "auto"
    forced: str | None = None
    """The tool that must be called."""
    parallel: bool = True
    """Whether one answer may call several tools."""
    ceiling: int | None = None
    """Tokens of the answer, reasoning aside."""
    stops: tuple[str, ...] = ()
    choices: int = 1
    json: bool = False
    """The answer is to be JSON, of `schema` where there is one."""
    schema: Any = None
    reasoning: bool = False
    stream: bool = False
    include_usage: bool = True
    """Whether a stream tells its usage."""
    writes_cache: bool = False
    """The prompt is to be cached (Anthropic's `cache_control`)."""


@dataclass(frozen=True, slots=True)
class Call:
    """A model call as a wire format sees it."""

    body: Any
    """The decoded JSON."""
    model: str
    """The model that the path names; empty where the body names it."""
    key: str | None
    headers: dict[str, str]
    query: dict[str, str]
    ordinal: int
    stream: bool = False
    """What the path says about it (Gemini)."""


def table(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(f"expected an object, got {_kind(value)}", path)
    return value


def listing(value: object, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadRequest(f"expected an array, got {_kind(value)}", path)
    return value


def text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"expected a string, got {_kind(value)}", path)
    return value


def number(
    value: object, path: str, low: float | None = None, high: float | None = None
) -> float | None:
    """A number within its bounds; None where none is given."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f"expected a number, got {_kind(value)}", path)
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"{low} or more" if high is None else f"{low} to {high}"
        raise BadRequest(f"{value} is out of range: expected {bounds}", path)
    return value


def whole_number(value: object, path: str, low: int = 1) -> int | None:
    if isinstance(value, float):
        raise BadRequest(f"expected an integer, got {value}", path)
    found = number(value, path, low)
    return None if found is None else int(found)


def one_of(value: object, known: Iterable[str], path: str) -> str:
    words = tuple(known)
    if value not in words:
        shown = value if isinstance(value, str) else _kind(value)
        raise BadRequest(f"expected one of {', '.join(words)}, got {shown!r}", path)
    return str(value)


def only(fields: dict[str, Any], known: frozenset[str], unknown: str, path: str = "") -> None:
    """Raises BadRequest for the first field that the API does not have; `{name}` in `unknown` is
    its name."""
    for name in fields:
        if name not in known:
            where = f"{path}.{name}" if path else name
            raise BadRequest(unknown.replace("{name}", name), where, code="unknown_parameter")


def texts(value: object, path: str) -> tuple[str, ...]:
    """A string or an array of them; nothing where it is None."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    return tuple(text(one, f"{path}[{i}]") for i, one in enumerate(listing(value, path)))


def inline_media(kind: str, mime: str, data: object, path: str) -> str:
    """How an answer names media that came inside the request. Raises BadRequest for no base64."""
    return f"[{kind}: {mime}, {len(decoded_base64(data, path))} bytes]"


def decoded_base64(data: object, path: str) -> bytes:
    """Raises BadRequest for what is no base64."""
    try:
        return base64.b64decode(text(data, path), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"not base64: {error}", path) from error


def linked_media(kind: str, url: object, path: str) -> str:
    """The same for a URL; a `data:` URL is media inside the request."""
    where = text(url, path)
    if not where.startswith("data:"):
        if "://" not in where:
            raise BadRequest("expected a URL", path)
        return f"[{kind}: {where}]"
    head, comma, data = where.removeprefix("data:").partition(",")
    if not comma or not head.endswith(";base64"):
        raise BadRequest("expected a data URL in base64", path)
    return inline_media(kind, head.removesuffix(";base64"), data, path)


@dataclass(slots=True)
class OpenCalls:
    """Tool calls of a history that wait for their results, by id."""

    names: dict[str, str] = field(default_factory=dict)

    def close(self, call_id: str) -> bool:
        """Whether the call was open; it no longer is."""
        return self.names.pop(call_id, None) is not None


def _kind(value: object) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a number", str: "a string"}
    names |= {list: "an array", dict: "an object", type(None): "null"}
    return names.get(type(value), "something else")
