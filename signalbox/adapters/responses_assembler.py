"""The events of one response, made one after the other, and the response that they come to.

Format: OpenAI API reference, "Streaming events" of the Responses API. Every event has a
`sequence_number`; items stand in `output` by `output_index`, a message's parts in its `content` by
`content_index`. What is told piece by piece is told whole once more when it ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = Mapping[str, Any]
Event = dict[str, Any]
"""Its name is its `type`."""
Status = Literal["completed", "incomplete"]

TERMINAL = frozenset({"response.completed", "response.incomplete"})
TEXT_DELTA = "response.output_text.delta"
ANNOTATION = "response.output_text.annotation.added"
REFUSAL_DELTA = "response.refusal.delta"
SUMMARY_DELTA = "response.reasoning_summary_text.delta"
REASONING_DELTA = "response.reasoning_text.delta"
CONTINUABLE = ("message", "reasoning")
"""Items that another route could go on from, as long as they hold text alone."""
_PLAIN_EVENTS = (
    "response.created",
    "response.queued",
    "response.in_progress",
    "response.completed",
    "response.incomplete",
    "response.content_part.",
    "response.output_text.",
    "response.reasoning_",
)
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_CALLS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}


def is_opaque(type_: str, item_type: object = None) -> bool:
    """Whether an event holds, or repeats, what another route could not go on from. `item_type`: of
    the item that it begins or ends."""
    if type_.startswith("response.output_item."):
        return item_type not in CONTINUABLE
    return not type_.startswith(_PLAIN_EVENTS)


@dataclass
class OpenItem:
    """An item that has begun and not ended; `place` is its `output_index`."""

    item: dict[str, Any]
    place: int
    said: list[str] = field(default_factory=list)
    """Of its open part, or of its arguments."""
    part: dict[str, Any] | None = None
    logprobs: list[Any] = field(default_factory=list)
    raw: bool = False
    """Of reasoning: the text is no summary, and has no parts that begin and end."""

    @property
    def part_place(self) -> int:
        """The place of the open part, which is not among the item's yet."""
        return len(self.item["content" if self.item["type"] == "message" else "summary"])


class ResponseAssembler:
    """Each method gives the events that say it.

    `head` is the response as it begins, without output; `ids` what the ids of its items end in. To
    go on with what was begun elsewhere, give what there is of it.
    """

    def __init__(
        self,
        head: Json,
        ids: str,
        *,
        sequence: int = 0,
        output: Sequence[Json] = (),
        message: OpenItem | None = None,
        thought: OpenItem | None = None,
    ) -> None:
        self.head = head
        self.output: list[Json] = list(output)
        """As they end; those that are open hold their place."""
        self.sequence = sequence
        self._ids = ids
        self._message = message
        self._thought = thought
        self._calls: dict[int, OpenItem] = {}

    def begin(self) -> list[Event]:
        response = self.response("in_progress")
        return [
            self.event("response.created", response=response),
            self.event("response.in_progress", response=response),
        ]

    def event(self, type_: str, **fields: Any) -> Event:
        self.sequence += 1
        return {"type": type_, "sequence_number": self.sequence - 1, **fields}

    def response(self, status: str, **fields: Any) -> dict[str, Any]:
        return {**self.head, "status": status, "output": list(self.output), **fields}

    # ── messages ──────────────────────────────────────────────────────────────────────────────

    def text(self, text: str, logprobs: Sequence[Any] = ()) -> list[Event]:
        events = self._open_part({"type": "output_text", "text": "", "annotations": []})
        assert self._message is not None
        self._message.logprobs += logprobs
        fields = {"delta": text, "logprobs": list(logprobs)}
        return [*events, self._said(self._message, TEXT_DELTA, text, fields)]

    def refusal(self, text: str) -> list[Event]:
        events = self._open_part({"type": "refusal", "refusal": ""})
        assert self._message is not None
        return [*events, self._said(self._message, REFUSAL_DELTA, text, {"delta": text})]

    def citation(self, annotation: Json) -> list[Event]:
        """About the text so far; nothing where there is none."""
        message = self._message
        if message is None or message.part is None or "annotations" not in message.part:
            return []
        annotations = message.part["annotations"]
        annotations.append(annotation)
        told = self.event(
            ANNOTATION,
            **self._in(message),
            annotation_index=len(annotations) - 1,
            annotation=annotation,
        )
        return [told]

    @property
    def text_chars(self) -> int:
        """Of the open part."""
        return 0 if self._message is None else sum(map(len, self._message.said))

    def _open_part(self, part: dict[str, Any]) -> list[Event]:
        events: list[Event] = []
        if self._message is None:
            events += self.close_thought()
            item = {"type": "message", "role": "assistant", "content": []}
            self._message, added = self._add("msg", item)
            events.append(added)
        message = self._message
        if message.part is not None and message.part["type"] == part["type"]:
            return events
        events += self._close_part(message)
        message.part = part
        told = self.event("response.content_part.added", **self._in(message), part={**part})
        return [*events, told]

    def _close_part(self, message: OpenItem) -> list[Event]:
        part = message.part
        if part is None:
            return []
        text, place = "".join(message.said), self._in(message)
        if part["type"] == "refusal":
            part["refusal"] = text
            done = self.event("response.refusal.done", **place, refusal=text)
        else:
            part["text"] = text
            if message.logprobs:
                part["logprobs"] = list(message.logprobs)
            done = self.event(
                "response.output_text.done", **place, text=text, logprobs=list(message.logprobs)
            )
        told = self.event("response.content_part.done", **place, part=part)
        message.item["content"].append(part)
        message.part, message.said, message.logprobs = None, [], []
        return [done, told]

    def close_message(self, status: Status = "completed") -> list[Event]:
        message, self._message = self._message, None
        if message is None:
            return []
        return [*self._close_part(message), self._end(message, status=status)]

    # ── reasoning ─────────────────────────────────────────────────────────────────────────────

    def reasoning(self, text: str) -> list[Event]:
        events = self.open_thought()
        thought = self._thought
        assert thought is not None
        if not thought.raw and thought.part is None:
            thought.part = {"type": "summary_text", "text": ""}
            place = self._in_summary(thought)
            told = self.event(
                "response.reasoning_summary_part.added", **place, part={**thought.part}
            )
            events.append(told)
        name = REASONING_DELTA if thought.raw else SUMMARY_DELTA
        thought.said.append(text)
        return [*events, self.event(name, **self._in_summary(thought), delta=text)]

    def open_thought(self) -> list[Event]:
        if self._thought is not None:
            return []
        events = self.close_message()
        self._thought, added = self._add("rs", {"type": "reasoning", "summary": []})
        return [*events, added]

    def close_thought(self, encrypted: str | None = None) -> list[Event]:
        thought, self._thought = self._thought, None
        if thought is None:
            return []
        events: list[Event] = []
        text, place = "".join(thought.said), self._in_summary(thought)
        if thought.raw and text:
            thought.item["content"] = [{"type": "reasoning_text", "text": text}]
            events.append(self.event("response.reasoning_text.done", **place, text=text))
        elif thought.part is not None:
            part = {**thought.part, "text": text}
            thought.item["summary"].append(part)
            events.append(self.event("response.reasoning_summary_text.done", **place, text=text))
            events.append(self.event("response.reasoning_summary_part.done", **place, part=part))
        if encrypted is not None:
            thought.item["encrypted_content"] = encrypted
        return [*events, self._end(thought)]

    # ── calls and whatever else ───────────────────────────────────────────────────────────────

    def call(self, place: int, id: str | None, name: str | None, *, custom: bool) -> list[Event]:
        """The call at this place of all calls begins, unless it has."""
        if place in self._calls:
            return []
        events = [*self.close_thought(), *self.close_message()]
        kind = "custom_tool_call" if custom else "function_call"
        call_id = id or f"call_{self._ids}_{place}"
        item = {"type": kind, "call_id": call_id, "name": name or "", _CALLS[kind][0]: ""}
        self._calls[place], added = self._add("ctc" if custom else "fc", item)
        return [*events, added]

    def arguments(self, place: int, text: str) -> list[Event]:
        """More of what a call that has begun is called with."""
        call = self._calls[place]
        call.said.append(text)
        name = f"{_CALLS[call.item['type']][1]}.delta"
        return [self.event(name, item_id=call.item["id"], output_index=call.place, delta=text)]

    def item(self, prefix: str, item: Json) -> list[Event]:
        """An item that comes whole."""
        events = [*self.close_thought(), *self.close_message()]
        opened, added = self._add(prefix, {**item})
        return [*events, added, self._end(opened)]

    def adopt(self, item: Json) -> tuple[int, list[Event]]:
        """An item of another answer begins; its place here. Its end is told by `adopted`."""
        events = [*self.close_thought(), *self.close_message()]
        place = len(self.output)
        self.output.append(item)
        added = self.event("response.output_item.added", output_index=place, item=item)
        return place, [*events, added]

    def adopted(self, place: int, item: Json) -> Event:
        self.output[place] = item
        return self.event("response.output_item.done", output_index=place, item=item)

    # ── the end ───────────────────────────────────────────────────────────────────────────────

    def end(self, finish: str) -> list[Event]:
        """`finish` in OpenAI's words for chat completions."""
        reason = _INCOMPLETE.get(finish)
        status: Status = "completed" if reason is None else "incomplete"
        events = [*self.close_thought(), *self.close_message(status)]
        for call in self._calls.values():
            events += self._close_call(call, status)
        self._calls.clear()
        details = None if reason is None else {"reason": reason}
        response = self.response(status, incomplete_details=details)
        return [*events, self.event(f"response.{status}", response=response)]

    def cut(self) -> None:
        """What is open holds what was said of it, and nothing more is told of it."""
        sequence = self.sequence
        self.close_thought()
        self.close_message("incomplete")
        self.sequence = sequence

    def _close_call(self, call: OpenItem, status: Status) -> list[Event]:
        name, event = _CALLS[call.item["type"]]
        # A tool without arguments is called with an object all the same.
        said = "".join(call.said) or ("{}" if name == "arguments" else "")
        call.item[name] = said
        place = {"item_id": call.item["id"], "output_index": call.place}
        return [self.event(f"{event}.done", **place, **{name: said}), self._end(call, status)]

    def _add(self, prefix: str, item: dict[str, Any]) -> tuple[OpenItem, Event]:
        place = len(self.output)
        item = {"id": f"{prefix}_{self._ids}_{place}", **item}
        if item["type"] != "reasoning":
            item["status"] = "in_progress"
        told = {**item, "content": []} if item["type"] == "message" else {**item}
        self.output.append(item)
        return (
            OpenItem(item, place),
            self.event("response.output_item.added", output_index=place, item=told),
        )

    def _end(self, opened: OpenItem, status: Status = "completed") -> Event:
        if opened.item["type"] != "reasoning":
            opened.item["status"] = status
        return self.adopted(opened.place, opened.item)

    def _said(self, opened: OpenItem, name: str, text: str, fields: Json) -> Event:
        opened.said.append(text)
        return self.event(name, **self._in(opened), **fields)

    @staticmethod
    def _in(message: OpenItem) -> dict[str, Any]:
        return {
            "item_id": message.item["id"],
            "output_index": message.place,
            "content_index": message.part_place,
        }

    @staticmethod
    def _in_summary(thought: OpenItem) -> dict[str, Any]:
        place = {"item_id": thought.item["id"], "output_index": thought.place}
        if thought.raw:
            return {**place, "content_index": 0}
        return {**place, "summary_index": thought.part_place}
