"""State that lives at a provider: where the body of a request refers to some, and where an answer
makes some.

An id (of a stored answer, a file, a container, an audio answer, a cached prompt) means something
only to the provider and the account that gave it out. So does encrypted reasoning, which another
one refuses; but a request makes sense without it. `provider_state_places.py` says where such
values stand, for each dialect; a reference is any string of one or more characters found there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from signalbox.adapters.gemini_fields import snake
from signalbox.adapters.provider_state_places import (
    EACH,
    EACH_OR_ONE,
    NO_STATE,
    TABLES,
    Place,
    StateTable,
)
from signalbox.types import Dialect, Origin, Request

Body = Mapping[str, Any]


class StateReference(msgspec.Struct, frozen=True):
    """A value in a request's body that only the provider which gave it out understands."""

    field: str
    """Its path: `messages[2].audio.id`."""
    value: str
    strippable: bool
    """Encrypted reasoning: the request makes sense without it."""


_Steps = tuple[tuple[str, ...], ...]
"""The spellings of each field on the way, or what stands for the items of a list."""


class _Walk(msgspec.Struct, frozen=True):
    """A place made ready for walking."""

    place: Place
    steps: _Steps
    """From the body or the message on."""
    taken_after: int
    """The number of steps that lead to what is left out."""
    of_holder: bool
    """Whether `place.kinds` are those of the message itself: no list is on the way."""

    @property
    def name(self) -> str:
        """What is left out, as `x-signalbox-dropped` names it."""
        return self.place.named or self.place.taken.replace(EACH, "").replace(EACH_OR_ONE, "")

    def begins_in(self, holder: Any) -> bool:
        return not self.of_holder or _is_of(holder, self.place.kinds)


_Walks = Mapping[str, tuple[_Walk, ...]]
"""By the first field on the way."""


def _steps(path: str, *, twice: bool = False) -> _Steps:
    """`twice`: the fields have two spellings."""
    for mark in (EACH, EACH_OR_ONE):
        path = path.replace(mark, f".{mark}")
    names = path.split(".") if path else []
    return tuple(tuple(dict.fromkeys((name, snake(name) if twice else name))) for name in names)


def _walks(places: Iterable[Place], prefix: str = "", *, twice: bool = False) -> _Walks:
    walks: dict[str, tuple[_Walk, ...]] = {}
    for place in places:
        steps = _steps(place.path.removeprefix(prefix), twice=twice)
        taken = place.taken
        rest = "" if prefix and taken + "." == prefix else taken.removeprefix(prefix)
        in_list = any(step[0] in (EACH, EACH_OR_ONE) for step in steps)
        walk = _Walk(place, steps, len(_steps(rest)), of_holder=not in_list)
        for name in steps[0]:
            walks[name] = (*walks.get(name, ()), walk)
    return walks


class _Map:
    """The walks of one dialect's table."""

    def __init__(self, table: StateTable) -> None:
        prefix = f"{table.messages}{EACH}."
        self.messages = table.messages
        self.content, self.silent = table.content, table.silent
        twice = table.spelled_twice
        of_message = [place for place in table.places if place.path.startswith(prefix)]
        of_body = [place for place in table.places if place not in of_message]
        self.of_body = _walks(of_body, twice=twice)
        self.of_message = _walks(of_message, prefix, twice=twice)
        self.of_answer = _walks(table.answers)
        self.reasoning = tuple(
            walk for walks in self.of_message.values() for walk in walks if walk.place.taken
        )
        self.ids_go = table.ids_go_with_reasoning
        self._local = [kind for place in table.places if place.local for kind in place.kinds]
        self.rare = frozenset(self.of_message) - {"content", "tool_calls"}
        """Fields that an ordinary message does not have."""

    def messages_of(self, body: Body) -> list[Any]:
        """None where the dialect's field holds something else, such as a text."""
        messages = body.get(self.messages)
        return messages if isinstance(messages, list) else []

    def ids_in(self, messages: list[Any]) -> frozenset[str]:
        """Of messages that are there themselves."""
        if not self._local:
            return frozenset()
        there = (m for m in messages if isinstance(m, dict) and m.get("type") not in self._local)
        ids = (message.get("id") for message in there)
        return frozenset(each for each in ids if isinstance(each, str))


_MAPS = {dialect: _Map(table) for dialect, table in TABLES.items()}
_CHAT = _MAPS[Dialect.CHAT]


# ── requests ──────────────────────────────────────────────────────────────────────────────────


def references(body: Body, dialect: Dialect = Dialect.CHAT) -> tuple[StateReference, ...]:
    """What the body of a valid request of this dialect refers to, in the order of its messages."""
    map_ = _MAPS.get(dialect)
    if map_ is None:
        return ()
    found = list(_references(map_.of_body, body, ""))
    messages = map_.messages_of(body)
    here = map_.ids_in(messages)
    for index, message in enumerate(messages):
        if _may_refer(message, map_):
            found += _references(map_.of_message, message, f"{map_.messages}[{index}].", here)
    return tuple(found)


def without_reasoning(
    body: Body,
    kept: Callable[[str], bool] = lambda value: False,
    dialect: Dialect = Dialect.CHAT,
) -> tuple[Body, tuple[str, ...]]:
    """A body without the encrypted reasoning whose value is not `kept`, and what was left out.

    `body` stays as it is. What is left out goes with all that makes no sense without it: a signed
    text of reasoning with its signature.
    """
    map_ = _MAPS.get(dialect)
    if map_ is None:
        return body, ()
    dropped: dict[str, None] = {}
    stripped = (
        _stripped(message, kept, dropped, map_) if _may_refer(message, map_) else message
        for message in map_.messages_of(body)
    )
    messages = [message for message in stripped if message is not _GONE]
    if not dropped:
        return body, ()
    if map_.ids_go:
        messages = [_without_id(message, map_.ids_go) for message in messages]
    return {**body, map_.messages: messages}, tuple(dropped)


def request_for(request: Request, ours: Origin) -> tuple[Request, tuple[str, ...]]:
    """The request without encrypted reasoning that others have made, and what was left out."""
    origins = request.reasoning_origins
    if not origins:
        return request, ()
    body, dropped = without_reasoning(
        request.body, lambda value: origins.get(value, ours) == ours, request.door
    )
    return replace(request, body=body), dropped


def _may_refer(message: Any, map_: _Map) -> bool:
    """Cheaply; false for the messages that most requests consist of."""
    return isinstance(message, dict) and (
        not map_.rare.isdisjoint(message)
        or isinstance(message.get("content"), list)
        or bool(message.get("tool_calls"))
    )


def _without_id(message: Any, kinds: tuple[str, ...]) -> Any:
    if not isinstance(message, dict) or message.get("type", kinds[0]) not in kinds:
        return message
    return {name: value for name, value in message.items() if name != "id"}


def _references(
    walks: _Walks, holder: Mapping[str, Any], prefix: str, here: frozenset[str] = frozenset()
) -> Iterator[StateReference]:
    """`here`: the ids that local places may name."""
    if walks.keys().isdisjoint(holder):
        return
    for name in holder:
        for walk in walks.get(name, ()):
            place = walk.place
            if not walk.begins_in(holder):
                continue
            steps = ((name,), *walk.steps[1:])
            for path, value in _values(holder, steps, place.kinds):
                if _refers(place, value, here):
                    yield StateReference(prefix + path, value, place.strippable)


def _refers(place: Place, value: str, here: frozenset[str]) -> bool:
    if place.begins and not value.startswith(place.begins):
        return False
    return not (place.local and value in here)


def _values(
    value: Any, steps: _Steps, kinds: tuple[str, ...], path: str = ""
) -> Iterator[tuple[str, str]]:
    """(path, string) for every reference that the steps lead to."""
    if not steps:
        if isinstance(value, str) and value and value not in NO_STATE:
            yield path, value
        return
    names, rest = steps[0], steps[1:]
    if names[0] in (EACH, EACH_OR_ONE):
        if isinstance(value, list):
            for index, item in enumerate(value):
                if _is_of(item, kinds):
                    yield from _values(item, rest, kinds, f"{path}[{index}]")
        elif names[0] == EACH_OR_ONE and _is_of(value, kinds):
            yield from _values(value, rest, kinds, path)
    elif isinstance(value, dict):
        for name in names:
            if name in value:
                inner = f"{path}.{name}" if path else name
                yield from _values(value[name], rest, kinds, inner)


def _is_of(item: Any, kinds: tuple[str, ...]) -> bool:
    return not kinds or (isinstance(item, dict) and item.get("type") in kinds)


class _Gone:
    """In the place of a value that is left out."""


_GONE: Final = _Gone()


def _stripped(
    message: Any, kept: Callable[[str], bool], dropped: dict[str, None], map_: _Map
) -> Any:
    """The message, or `_GONE`; `dropped` gains the names of what is left out."""
    before = message
    for walk in map_.reasoning:
        if not walk.begins_in(message):
            continue
        pruned = _pruned(message, walk.steps, walk, kept)
        if pruned is not message:
            dropped[walk.name] = None
            message = pruned
        if message is _GONE:
            return message
    if message is before:
        return message
    return _without_content(message, before, map_)


def _without_content(message: Any, before: Any, map_: _Map) -> Any:
    """What becomes of a message all of whose content may be gone."""
    if map_.content is None:
        # Chat completions: the field has to be there, and may be empty.
        missing = "content" in before and "content" not in message
        return {**message, "content": ""} if missing else message
    content = message.get(map_.content)
    if isinstance(content, list) and map_.silent:
        said = [item for item in content if not _is_silent(item, map_.silent)]
        message = {**message, map_.content: said} if said else {}
    return message if map_.content in message else _GONE


def _is_silent(item: Any, fields: frozenset[str]) -> bool:
    return isinstance(item, dict) and item.get("text", "") == "" and item.keys() <= fields


def _pruned(value: Any, steps: _Steps, walk: _Walk, kept: Callable[[str], bool]) -> Any:
    """`value` itself where nothing is left out, `_GONE` where nothing is left of it."""
    kinds = walk.place.kinds
    if len(walk.steps) - len(steps) == walk.taken_after:
        values = _values(value, steps, kinds)
        return value if all(kept(each) for _, each in values) else _GONE
    names, rest = steps[0], steps[1:]
    if names[0] in (EACH, EACH_OR_ONE):
        if isinstance(value, list):
            return _pruned_items(value, rest, walk, kept)
        return _pruned(value, rest, walk, kept) if names[0] == EACH_OR_ONE else value
    for name in names if isinstance(value, dict) else ():
        if value is not _GONE and name in value:
            value = _pruned_field(value, name, rest, walk, kept)
    return value


def _pruned_items(
    items: list[Any], steps: _Steps, walk: _Walk, kept: Callable[[str], bool]
) -> list[Any]:
    kinds = walk.place.kinds
    pruned = [_pruned(it, steps, walk, kept) if _is_of(it, kinds) else it for it in items]
    if all(new is old for new, old in zip(pruned, items, strict=True)):
        return items
    return [item for item in pruned if item is not _GONE]


def _pruned_field(
    value: dict[str, Any], name: str, steps: _Steps, walk: _Walk, kept: Callable[[str], bool]
) -> Any:
    inner = _pruned(value[name], steps, walk, kept)
    if inner is value[name]:
        return value
    if inner is not _GONE and inner:
        return {**value, name: inner}
    return {other: each for other, each in value.items() if other != name} or _GONE


# ── answers ───────────────────────────────────────────────────────────────────────────────────


def made(answer: Body, dialect: Dialect = Dialect.CHAT) -> tuple[str, ...]:
    """The references that an answer, or an event of one, gives out. Each is whole in one event.

    A stored answer's own id is not among them: whether it is stored is the request's matter.
    """
    map_ = _MAPS[dialect]
    found = [reference.value for reference in _references(map_.of_answer, answer, "")]
    if dialect is Dialect.CHAT:
        found += _made_by_choices(answer)
    return tuple(dict.fromkeys(found))


def _made_by_choices(answer: Body) -> Iterator[str]:
    choices = answer.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            continue
        for message in (choice.get("message"), choice.get("delta")):
            if isinstance(message, dict) and _may_refer(message, _CHAT):
                for each in _references(_CHAT.of_message, message, ""):
                    yield each.value
