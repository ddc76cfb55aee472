"""Answers of the Responses API that no provider keeps, so the gateway does.

The API's clients refer to what was answered: to a whole answer with `previous_response_id`, to a
part of it with an item reference (OpenAI API reference, Responses: input). A provider of another
dialect keeps nothing, and one whose stream another route went on with has only the beginning. What
such an answer consisted of is put into the later request instead, which any route can then serve.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from signalbox.adapters.door import Body
from signalbox.adapters.responses_body import is_item, items_of
from signalbox.types import OwnState, Request, StateKind

LARGEST_ANSWER = 1024 * 1024
"""Bytes of one response. Text comes nowhere near; a few large pictures do."""
LARGEST_INPUT = 1024 * 1024
"""Bytes of the conversation before an answer: some 250,000 tokens of text."""
MOST_ITEMS = 1024
"""Of one answer."""

_NAMED = frozenset({"message", "function_call", "custom_tool_call", "image_generation_call"})
"""Kinds of items whose id is left out where they are put into a request: a provider would look for
what it has under it. (Reasoning keeps its own, which says who made it.)"""
_BAD_DATA = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Unkept(StrEnum):
    """Why an answer, or what came before it, is not kept; in the place of its data."""

    STORE = "store"
    """The client said so."""
    PAYLOADS = "payloads"
    SIZE = "size"
    DELETED = "deleted"


_UNKEPT = {why.encode(): why for why in Unkept}


class Reference(msgspec.Struct, frozen=True):
    """Where a request names an answer, or an item of one."""

    field: str
    id: str


class _Item(msgspec.Struct):
    id: Any = None


class _Response(msgspec.Struct):
    id: str
    output: list[_Item]


class _Output(msgspec.Struct):
    output: list[msgspec.Raw]


_response = msgspec.json.Decoder(_Response)
_output = msgspec.json.Decoder(_Output)
_items = msgspec.json.Decoder(list[msgspec.Raw])


# ── keeping ───────────────────────────────────────────────────────────────────────────────────


def states_of(told: bytes, request: Request) -> tuple[OwnState, ...]:
    """What is kept of an answer. `told`: the response object as the client has it.

    Of one that is not to be kept, only that it is not. The items are named by their ids; their
    content stands in the answer alone.
    """
    try:
        response = _response.decode(told)
    except _BAD_DATA:
        return ()
    unkept = _unkept(told, request)
    states = [
        (StateKind.ITEM, item.id, response.id.encode())
        for item in response.output[:MOST_ITEMS]
        if isinstance(item.id, str)
    ]
    states.append((StateKind.ANSWER, response.id, unkept.encode() if unkept else told))
    if unkept is None:
        before = msgspec.json.encode(items_of(request.body))
        data = before if len(before) <= LARGEST_INPUT else Unkept.SIZE.encode()
        states.append((StateKind.INPUT, response.id, data))
    return tuple(states)


def _unkept(told: bytes, request: Request) -> Unkept | None:
    if not request.stored:
        return Unkept.STORE
    if not request.remembered:
        return Unkept.PAYLOADS
    return Unkept.SIZE if len(told) > LARGEST_ANSWER else None


def states_of_deleted(id: str) -> tuple[OwnState, ...]:
    """What is kept of an answer that its client has deleted: that it has."""
    gone = Unkept.DELETED.encode()
    return (StateKind.ANSWER, id, gone), (StateKind.INPUT, id, gone)


def unkept(data: bytes) -> Unkept | None:
    """Why what is kept under a name is not the thing itself; None where it is."""
    return _UNKEPT.get(data)


# ── putting it into a request ─────────────────────────────────────────────────────────────────


def previous_answer(body: Body) -> Reference | None:
    """The answer that a valid body goes on from."""
    id = body.get("previous_response_id")
    return Reference("previous_response_id", id) if id else None


def item_references(body: Body) -> tuple[Reference, ...]:
    """Those in a valid body that name no other item of it, in their order."""
    items = items_of(body)
    here = {item.get("id") for item in items if not _is_reference(item) and _has_id(item)}
    return tuple(
        Reference(f"input[{place}].id", item["id"])
        for place, item in enumerate(items)
        if _is_reference(item) and item["id"] not in here
    )


def _is_reference(item: Mapping[str, Any]) -> bool:
    return bool(item.get("type") == "item_reference")


def _has_id(item: Mapping[str, Any]) -> bool:
    return isinstance(item.get("id"), str)


def items_of_answer(data: bytes) -> list[msgspec.Raw]:
    """The output items of an answer that is kept; none for a row that something else has written,
    as of `items_before`."""
    try:
        return _output.decode(data).output
    except _BAD_DATA:
        return []


def items_before(data: bytes) -> list[msgspec.Raw]:
    """The items that an answer was made from."""
    try:
        return _items.decode(data)
    except _BAD_DATA:
        return []


def items_by_id(items: Iterable[msgspec.Raw]) -> dict[str, msgspec.Raw]:
    named = {}
    for raw in items:
        try:
            id = msgspec.json.decode(raw, type=_Item).id
        except _BAD_DATA:
            continue
        if isinstance(id, str):
            named[id] = raw
    return named


def bytes_of(items: Iterable[msgspec.Raw]) -> int:
    return sum(memoryview(item).nbytes for item in items)


def restored(
    body: Body, before: Sequence[msgspec.Raw], by_id: Mapping[str, msgspec.Raw], *, resumed: bool
) -> dict[str, Any]:
    """The body with what it refers to: `before` in front of its input, items where they are named.

    `resumed`: `previous_response_id` has been served by that. What cannot be an item is left out,
    as in an answer whose provider made it up.
    """
    items: list[Any] = list(_fitting(before))
    for item in items_of(body):
        named = by_id.get(item["id"]) if _is_reference(item) else None
        items += [item] if named is None else _fitting([named])
    taken = {"previous_response_id"} if resumed else set()
    kept = {name: value for name, value in body.items() if name not in taken}
    return {**kept, "input": items}


def _fitting(items: Iterable[msgspec.Raw]) -> Iterable[dict[str, Any]]:
    for raw in items:
        try:
            item = msgspec.json.decode(raw)
        except _BAD_DATA:
            continue
        if is_item(item):
            yield _without_id(item) if item["type"] in _NAMED else item


def _without_id(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != "id"}


# ── telling what an answer was made from ──────────────────────────────────────────────────────


def listed_items(id: str, before: Sequence[msgspec.Raw]) -> list[dict[str, Any]]:
    """The items as the API lists them: each with an id, a message's text in a part. `id`: of the
    answer."""
    _, _, own = id.rpartition("_")
    items = _decoded(before)
    return [_listed(item, f"item_{own}_in{place}") for place, item in enumerate(items)]


def _decoded(items: Iterable[msgspec.Raw]) -> Iterable[dict[str, Any]]:
    for raw in items:
        try:
            item = msgspec.json.decode(raw)
        except _BAD_DATA:
            continue
        if isinstance(item, dict):
            yield item


def _listed(item: dict[str, Any], id: str) -> dict[str, Any]:
    told = {"id": id, **item}
    content = item.get("content")
    if item.get("type") == "message" and isinstance(content, str):
        kind = "output_text" if item.get("role") == "assistant" else "input_text"
        part = {"type": kind, "text": content}
        told["content"] = [{**part, "annotations": []} if kind == "output_text" else part]
    return told
