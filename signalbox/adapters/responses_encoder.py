"""What a client of the Responses API is sent.

A provider of the same dialect is not rewritten: its events go out with their own bytes. The event
that ends the stream is held until the end is certain, and then told what the answer cost. After a
seam every event is made anew, so that what several attempts sent is one response.
"""

from __future__ import annotations

from typing import Any

import msgspec

from signalbox.adapters.openai_chunks import Fields, read_fields
from signalbox.adapters.openai_door import encode_answer, error_body
from signalbox.adapters.protocol import Answer, Delta, Seam
from signalbox.adapters.responses_answer_writer import (
    own_id,
    response_head,
    response_id,
    response_usage,
)
from signalbox.adapters.responses_assembler import (
    ANNOTATION,
    CONTINUABLE,
    REASONING_DELTA,
    REFUSAL_DELTA,
    SUMMARY_DELTA,
    TERMINAL,
    TEXT_DELTA,
    Event,
    OpenItem,
    ResponseAssembler,
)
from signalbox.adapters.responses_chunks import named_event
from signalbox.adapters.sse import sse_comment
from signalbox.errors import ApiError
from signalbox.types import Request, Usage

_PLACES = (
    "response.output_item.",
    "response.content_part.",
    "response.reasoning_summary_part.",
)
"""Events that begin and end what deltas are about."""


class ResponseEncoder:
    """`DoorEncoder` of the Responses API. One serves one request.

    The client gets one `response.created`, one end, and numbers without a gap; where the request
    fails after all, an `error` that OpenAI's SDKs raise, and `response.failed`.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._first = b""
        """The first event with a response."""
        self._last = b""
        self._sent = 0
        self._output: list[dict[str, Any]] = []
        """Items that have ended."""
        self._open: OpenItem | None = None
        self._end: bytes = b""
        """The event that ends the response, while it is held."""
        self._seams: list[Seam] = []
        self._joined: ResponseAssembler | None = None
        """After a seam: makes all events."""
        self._places: dict[int, int] = {}
        """Items of the attempt after the seam: their `output_index` there → here."""
        self.told: bytes | None = None
        """The response as it was told whole, where no provider has it: once it has ended."""

    # ── streams ───────────────────────────────────────────────────────────────────────────────

    def delta(self, delta: Delta) -> bytes:
        if self._end or not delta.raw:
            return b""
        if self._joined is not None:
            return self._framed(self._after_seam(delta, self._joined))
        if delta.event in TERMINAL:
            self._end = delta.raw
            return b""
        self._note(delta)
        self._last = delta.raw
        self._sent += 1
        return named_event(delta.event, delta.raw)

    def resumed(self, seam: Seam) -> bytes:
        """A comment that names the seam."""
        self._seams.append(seam)
        if self._joined is None:
            self._joined = self._assembler()
        self._places = {}
        told = (
            f"resumed at {seam.provider} {seam.model} "
            f"after {seam.after_chars} characters ({seam.how})"
        )
        return sse_comment(" ".join(told.split()).encode())

    def cut(self, choices: int) -> bytes:
        """What is open ends, and so does the response; both are `incomplete`."""
        joined, closing = self._joined, list[Event]()
        if joined is None:
            joined, opened = self._assembler(), self._open
            if not self._first:
                closing += joined.begin()
            if opened is not None and opened.item.get("type") not in CONTINUABLE:
                item = {**opened.item, "status": "incomplete"}
                closing.append(joined.adopted(opened.place, item))
        *rest, end = joined.end("length")
        closing += rest
        self._end = msgspec.json.encode(end)
        return self._framed(closing)

    def finish(self, provider: str, cost: str | None, usage: Usage | None) -> bytes:
        """The event that ends the response, with `provider`, usage and cost in it.

        The provider's own usage object is kept and `cost` added; where it gave none (or `usage` is
        an estimate, or counts several attempts) the object is made of `usage`.
        """
        if not self._end:
            return b""
        fields = read_fields(self._end)
        response = read_fields(fields["response"])
        told: dict[str, object] = {**response, "provider": provider}
        reported = response.get("usage")
        known: dict[str, object] | None = None
        estimated = usage is not None and usage.estimated
        told_usage = reported is not None and bytes(reported).startswith(b"{")
        if reported is not None and told_usage and not (estimated or self._seams):
            known = dict(read_fields(reported))
        elif usage is not None:
            known = response_usage(usage)
        if known is not None and cost is not None:
            known["cost"] = msgspec.Raw(cost.encode())
        told["usage"] = known
        if self._seams:
            told["x_signalbox"] = {"resumed": self._seams}
        whole = msgspec.json.encode(told)
        self._note_told(whole, _text(response, "id"))
        data = msgspec.json.encode({**fields, "response": msgspec.Raw(whole)})
        return named_event(_text(fields, "type"), data)

    def error(self, error: ApiError) -> bytes:
        """The documented `error` event, with all of it under `error` too, where OpenAI's SDKs look
        for it; then the response, failed."""
        told = error_body(error, self._request.id)["error"]
        assembler = self._joined or self._assembler()
        assembler.cut()
        first = assembler.event(
            "error", code=error.code, message=error.message, param=error.param, error=told
        )
        failed = {"code": error.code, "message": error.message}
        response = assembler.response("failed", error=failed)
        return self._framed([first, assembler.event("response.failed", response=response)])

    def answer(self, answer: Answer, provider: str, cost: str | None) -> bytes:
        whole = encode_answer(answer.body, provider, cost)
        self._note_told(whole, answer.body.get("id"))
        return whole

    def _note_told(self, response: bytes, id: object) -> None:
        """Its id tells whose it is, unless several attempts had a part in it."""
        if self._seams or id == response_id(self._request):
            self.told = response

    # ── what was sent, for what may follow a seam ─────────────────────────────────────────────

    def _note(self, delta: Delta) -> None:
        kind, opened = delta.event, self._open
        if kind == TEXT_DELTA:
            if opened is not None:
                opened.said.append(delta.text)
        elif kind in (SUMMARY_DELTA, REASONING_DELTA):
            if opened is not None:
                opened.raw = kind == REASONING_DELTA
                opened.said.append(_text(read_fields(delta.raw), "delta"))
        elif kind == ANNOTATION:
            self._note_annotation(delta.raw)
        elif not self._first and kind in ("response.created", "response.in_progress"):
            self._first = delta.raw
        elif kind.startswith(_PLACES):
            self._note_place(kind, delta.raw)

    def _note_place(self, kind: str, raw: bytes) -> None:
        event = msgspec.json.decode(raw)
        item, part = event.get("item"), event.get("part")
        opened = self._open
        if kind == "response.output_item.added" and isinstance(item, dict):
            self._open = self._opened(item, event.get("output_index"))
        elif kind == "response.output_item.done" and isinstance(item, dict):
            self._output.append(item)
            self._open = None
        elif opened is not None and isinstance(part, dict):
            if kind.endswith(".added"):
                opened.part = _begun_part(part)
            else:
                holder = "summary" if "summary" in kind else "content"
                ended = opened.item.get(holder)
                opened.item[holder] = [*(ended if isinstance(ended, list) else ()), part]
                opened.part = None
            opened.said = []

    def _note_annotation(self, raw: bytes) -> None:
        """Of the open part: what ends it later tells it whole."""
        annotation = msgspec.json.decode(raw).get("annotation")
        part = self._open.part if self._open is not None else None
        if part is not None and part.get("type") == "output_text" and isinstance(annotation, dict):
            part["annotations"].append(annotation)

    def _opened(self, item: dict[str, Any], place: object) -> OpenItem:
        """An item that begins: what it holds is told after it."""
        held = {**item}
        if not isinstance(item.get("id"), str):
            held["id"] = f"item_{len(self._output)}"
        if item.get("type") == "message":
            held["content"] = []
        elif item.get("type") == "reasoning":
            held["summary"] = []
        return OpenItem(held, place if isinstance(place, int) else len(self._output))

    def _assembler(self) -> ResponseAssembler:
        """Goes on with what was sent; with a response of the gateway's own where nothing was."""
        head = response_head(self._request, None)
        if self._first:
            response = msgspec.json.decode(self._first).get("response")
            head = response if isinstance(response, dict) else head
        sequence = self._sent
        if self._last:
            number = msgspec.json.decode(self._last).get("sequence_number")
            sequence = number + 1 if isinstance(number, int) else sequence
        opened, output = self._open, [*self._output]
        kind = None
        if opened is not None:
            output.append(opened.item)
            opened.place = len(output) - 1
            kind = opened.item.get("type")
        return ResponseAssembler(
            head,
            own_id(self._request),
            sequence=sequence,
            output=output,
            message=opened if kind == "message" else None,
            thought=opened if kind == "reasoning" else None,
        )

    # ── after a seam ──────────────────────────────────────────────────────────────────────────

    def _after_seam(self, delta: Delta, joined: ResponseAssembler) -> list[Event]:
        events: list[Event] = []
        if delta.event in (SUMMARY_DELTA, REASONING_DELTA) and delta.reasoning_chars:
            events += joined.reasoning(_text(read_fields(delta.raw), "delta"))
        if delta.text:
            events += joined.text(delta.text)
        if delta.event == REFUSAL_DELTA:
            events += joined.refusal(_text(read_fields(delta.raw), "delta"))
        elif delta.opaque:
            events += self._adopted(delta, joined)
        for _, reason in delta.finish_reasons:
            *closing, end = joined.end(reason)
            self._end = msgspec.json.encode(end)
            return [*events, *closing]
        return events

    def _adopted(self, delta: Delta, joined: ResponseAssembler) -> list[Event]:
        """An event of an item that begins after the seam, in its place here."""
        event = msgspec.json.decode(delta.raw)
        there, item = event.get("output_index"), event.get("item")
        if not isinstance(there, int):
            return []
        if delta.event == "response.output_item.added" and isinstance(item, dict):
            self._places[there], events = joined.adopt(item)
            return events
        if there not in self._places:
            return []
        place = self._places[there]
        if delta.event == "response.output_item.done" and isinstance(item, dict):
            return [joined.adopted(place, item)]
        fields = {n: v for n, v in event.items() if n not in ("type", "sequence_number")}
        return [joined.event(delta.event, **{**fields, "output_index": place})]

    @staticmethod
    def _framed(events: list[Event]) -> bytes:
        return b"".join(named_event(e["type"], msgspec.json.encode(e)) for e in events)


def _begun_part(part: dict[str, Any]) -> dict[str, Any] | None:
    """None for a part that could not be gone on with."""
    if part.get("type") == "output_text":
        return {**part, "annotations": []}
    return {**part} if part.get("type") in ("refusal", "summary_text") else None


def _text(fields: Fields, name: str) -> str:
    """A string of an event that has passed its reader; empty where it is none."""
    value = msgspec.json.decode(fields.get(name, msgspec.Raw(b"null")))
    return value if isinstance(value, str) else ""
