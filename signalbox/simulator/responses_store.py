"""Answers of the responses API that the simulator keeps, each for the key that asked for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from signalbox.simulator.prompts import BadRequest

MAX_STORED = 1_000
"""The oldest make room."""


@dataclass(slots=True)
class Stored:
    key: str | None
    body: dict[str, Any]
    """As `GET` gives it."""
    input: list[Any]
    """The items that were asked with."""
    before: Stored | None = None
    """The answer that this one continues."""

    def items(self) -> Iterator[dict[str, Any]]:
        """Every item of the conversation up to here that is an object."""
        if self.before is not None:
            yield from self.before.items()
        for item in (*self.input, *self.body["output"]):
            if isinstance(item, dict):
                yield item


class ResponsesStore:
    def __init__(self) -> None:
        self._stored: OrderedDict[str, Stored] = OrderedDict()

    def keep(self, stored: Stored) -> None:
        self._stored[stored.body["id"]] = stored
        while len(self._stored) > MAX_STORED:
            self._stored.popitem(last=False)

    def get(self, answer_id: str, key: str | None) -> Stored | None:
        found = self._stored.get(answer_id)
        return found if found is not None and found.key == key else None

    def has_item(self, item_id: str, key: str | None) -> bool:
        """Whether an answer of this key gave out the item."""
        kept = (stored for stored in self._stored.values() if stored.key == key)
        return any(item.get("id") == item_id for stored in kept for item in stored.body["output"])

    def handle(self, method: str, answer_id: str, action: str, key: str | None) -> dict[str, Any]:
        """`GET`, `DELETE`, `POST …/cancel`, `GET …/input_items`. Raises BadRequest."""
        found = self.get(answer_id, key)
        if found is None:
            raise BadRequest(f"Response with id '{answer_id}' not found.", status=404)
        match method, action:
            case "GET", "":
                return found.body
            case "GET", "input_items":
                data = [item for item in found.input if isinstance(item, dict)]
                return {"object": "list", "data": data, "has_more": False}
            case "DELETE", "":
                del self._stored[answer_id]
                return {"id": answer_id, "object": "response", "deleted": True}
            case "POST", "cancel":
                if not found.body["background"]:
                    raise BadRequest("Cannot cancel a synchronous response.")
                found.body |= {"status": "cancelled", "output": []}
                return found.body
            case _:
                raise BadRequest(f"Invalid URL ({method} …/{action})", status=404)
