"""What is asked of answers that the gateway keeps itself: read, deleted, their input listed.

As of answers that a provider keeps (OpenAI API reference, Responses: get, delete, cancel, list
input items), but none of them is made in the background.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import msgspec

from signalbox.actors.provider_state import ProviderState
from signalbox.adapters.answer_memory import (
    Unkept,
    items_before,
    listed_items,
    states_of_deleted,
    unkept,
)
from signalbox.errors import ApiError, StoreUnavailable
from signalbox.http.asgi import RequestError
from signalbox.machines.decisions import refusal
from signalbox.types import StateKind

MOST_LISTED = 100
USUALLY_LISTED = 20


async def kept_reply(
    state: ProviderState, gateway_key: str, id: str, action: str, method: str, query: str
) -> bytes | None:
    """The JSON of the reply; None where the gateway does not keep the answer, or cannot tell.

    `action`: what followed the id in the path, one that there is. Raises `RequestError`.
    """
    try:
        kept = await state.kept(gateway_key, [(StateKind.ANSWER, id), (StateKind.INPUT, id)])
    except StoreUnavailable:
        return None
    answer = kept.get((StateKind.ANSWER, id))
    if answer is None:
        return None
    if unkept(answer) is not None:
        raise RequestError(not_found(id))
    if action == "cancel":
        raise RequestError(_no_background("Only those can be cancelled."))
    if action == "input_items":
        return _input_items(id, kept.get((StateKind.INPUT, id), b""), query)
    if method == "DELETE":
        state.keep(gateway_key, states_of_deleted(id))
        return msgspec.json.encode({"id": id, "object": "response", "deleted": True})
    if dict(parse_qsl(query)).get("stream") == "true":
        raise RequestError(_no_background("Only those can be streamed again."))
    return answer


def _input_items(id: str, before: bytes, query: str) -> bytes:
    """A page of the conversation that was answered, the latest first unless asked otherwise."""
    if unkept(before) is Unkept.SIZE:
        message = "The input of this answer is larger than what is kept of one."
        raise RequestError(refusal("state_unavailable", message, "id"))
    asked = dict(parse_qsl(query))
    items = listed_items(id, items_before(before))
    if _one_of(asked, "order", ("desc", "asc")) == "desc":
        items.reverse()
    after = asked.get("after")
    if after is not None:
        items = items[_place_after(items, after) :]
    limit = _limit(asked.get("limit"))
    page = items[:limit]
    return msgspec.json.encode(
        {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(items) > limit,
        }
    )


def _place_after(items: list[dict[str, Any]], id: str) -> int:
    for place, item in enumerate(items):
        if item["id"] == id:
            return place + 1
    raise RequestError(refusal("invalid_value", f"after: no item has the id {id[:100]!r}", "after"))


def _one_of(asked: dict[str, str], name: str, values: tuple[str, ...]) -> str:
    value = asked.get(name, values[0])
    if value not in values:
        message = f"{name}: expected {' or '.join(values)}, got {value[:40]!r}"
        raise RequestError(refusal("invalid_value", message, name))
    return value


def _limit(value: str | None) -> int:
    if value is None:
        return USUALLY_LISTED
    if not (value.isascii() and value.isdigit() and 1 <= int(value[:9]) <= MOST_LISTED):
        message = f"limit: expected a whole number from 1 to {MOST_LISTED}, got {value[:40]!r}"
        raise RequestError(refusal("invalid_value", message, "limit"))
    return int(value)


def not_found(id: str) -> ApiError:
    message = f"Response with id {id[:100]!r} not found."
    return ApiError(404, "invalid_request_error", "not_found", message, "id", should_retry=False)


def _no_background(what: str) -> ApiError:
    message = f"The answer was not made in the background. {what}"
    return refusal("invalid_value", message, "id")
