"""Bodies with every field that a door's API documents, and what a hostile client makes of them.

`SEEDS` are valid; `spoilt` puts an odd value in the place of each of their values, one at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from signalbox.types import Dialect
from tests.seeds_openai import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES
from tests.seeds_vendors import EMBED, GENERATE, MESSAGES

SEEDS: Mapping[Dialect, dict[str, Any]] = {
    Dialect.CHAT: CHAT,
    Dialect.RESPONSES: RESPONSES,
    Dialect.MESSAGES: MESSAGES,
    Dialect.GENERATE: GENERATE,
    Dialect.COMPLETIONS: COMPLETIONS,
    Dialect.EMBEDDINGS: EMBEDDINGS,
    Dialect.EMBED: EMBED,
}

PLAIN: Mapping[Dialect, dict[str, Any]] = {
    Dialect.CHAT: {"model": "m", "messages": [{"role": "user", "content": "t"}]},
    Dialect.RESPONSES: {"model": "m", "input": [{"role": "user", "content": "t"}]},
    Dialect.MESSAGES: {
        "model": "m",
        "max_tokens": 3000,
        "messages": [{"role": "user", "content": "t"}],
    },
    Dialect.GENERATE: {"contents": [{"role": "user", "parts": [{"text": "t"}]}]},
    Dialect.COMPLETIONS: {"model": "m", "prompt": "p"},
    Dialect.EMBEDDINGS: {"model": "m", "input": ["a"]},
    Dialect.EMBED: {"requests": [{"model": "models/m", "content": {"parts": [{"text": "a"}]}}]},
}
"""What is required."""


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


ODD: Sequence[Any] = (
    None,
    True,
    0,
    -1,
    1.5,
    10**30,
    -(10**400),
    1e308,
    "",
    "x\x00y",
    "\U0001f600",
    [],
    [None],
    [[]],
    ["x"],
    [1],
    [{}],
    {},
    {"type": "x"},
    {"x": None},
    {"type": 1},
    {"text": "x"},
    nested(90),
)
Path = tuple[str | int, ...]


def paths_in(value: Any, head: Path = ()) -> Iterator[Path]:
    if head:
        yield head
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths_in(inner, (*head, name))


def put(value: Any, path: Path, new: Any) -> Any:
    """The value with `new` in the place that the path names; the rest is shared."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


def without(value: Any, path: Path) -> Any:
    copy = value.copy()
    if len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = without(value[path[0]], path[1:])
    return copy


def sparse(door: Dialect) -> Iterator[dict[str, Any]]:
    """A body for each field, with what is required and little else, so that most routes carry it;
    and one for each message."""
    seed, plain = SEEDS[door], PLAIN[door]
    for name, value in seed.items():
        if name in plain and isinstance(value, list):
            yield from ({**plain, name: [*plain[name], item]} for item in _singles(value))
        if isinstance(value, dict):
            yield from ({**plain, name: {inner: value[inner]}} for inner in value)
        yield {**plain, name: value}


def _singles(items: list[Any]) -> Iterator[Any]:
    """The items, each with one of its fields, or one part, besides what says what it is."""
    for item in items:
        if not isinstance(item, dict):
            continue
        said = {name: item[name] for name in _SAYING if name in item}
        for field, value in item.items():
            if field in ("content", "parts") and isinstance(value, list):
                yield from ({**said, field: [part]} for part in value)
            elif field in ("tool_calls", "reasoning_details"):
                yield from ({"content": "t", **said, field: [one]} for one in value)
            elif field not in said:
                yield {"content": "t", **said, field: value} if "role" in said else item


_SAYING = ("type", "role", "tool_call_id", "call_id", "name", "arguments", "input", "output")


def spoilt(seed: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in paths_in(seed):
        yield path, without(seed, path)
        for odd in ODD:
            yield path, put(seed, path, odd)


def encoded(body: Any) -> bytes:
    return json.dumps(body).encode()
