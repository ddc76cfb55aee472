"""What a client of Gemini's API is sent.

Chunks of a provider of the same dialect go out as they came. Held back is the end, the chunks with
a finish reason, until it is certain. A stream is server-sent events without names, comments or an
end mark; Google's SDK breaks on comments, so that a seam shows in the last chunk alone.
"""

from __future__ import annotations

import msgspec

from signalbox.adapters.gemini_answer_writer import candidate, finish_reason, usage_fields
from signalbox.adapters.gemini_errors_told import error_body
from signalbox.adapters.gemini_events import Fields, field_of, raw, read_fields, read_objects
from signalbox.adapters.protocol import Answer, Delta, Seam
from signalbox.adapters.sse import sse_event
from signalbox.errors import ApiError
from signalbox.types import Usage

OWN = "x_signalbox"
"""The field of the last chunk, or of a whole answer, with what the gateway itself has to tell."""
_NAMES = (("responseId", "response_id"), ("modelVersion", "model_version"))
_USAGE = ("usageMetadata", "usage_metadata")
_FINISH = ("finishReason", "finish_reason", "finishMessage", "finish_message")


class GenerateEncoder:
    """`DoorEncoder` for `generateContent` and its stream. One serves one request."""

    def __init__(self, trace_id: str) -> None:
        self._trace_id = trace_id
        self._first: Fields | None = None
        """The id and the model of the first chunk."""
        self._held: list[Delta] = []
        self._seams: list[Seam] = []

    def delta(self, delta: Delta) -> bytes:
        """The event's bytes, as far as they may go out now."""
        if not delta.raw:
            return b""
        if self._first is None:
            self._first = _envelope(read_fields(delta.raw))
        released = b""
        says_more = bool(delta.content_chars or delta.opaque)
        if self._held and says_more:
            released = b"".join(self._written(held) for held in self._held)
            self._held.clear()
        if delta.finish_reasons or self._held:
            self._held.append(delta)
            return released
        return released + self._written(delta)

    def resumed(self, seam: Seam) -> bytes:
        self._seams.append(seam)
        return b""

    def cut(self, choices: int) -> bytes:
        reason = finish_reason("length")
        candidates = [{**candidate(i, []), "finishReason": reason} for i in range(choices)]
        raw = msgspec.json.encode({"candidates": candidates})
        return self.delta(Delta(raw, finish_reasons=((0, "length"),)))

    def finish(self, provider: str, cost: str | None, usage: Usage | None) -> bytes:
        """What was held, the last of it with the usage. The provider's own is kept; where it said
        nothing, or `usage` is an estimate or covers several attempts, it is made of that."""
        before = b"".join(self._written(held) for held in self._held[:-1])
        last = self._fields(self._held[-1]) if self._held else {"candidates": raw([])}
        known = field_of(last, *_USAGE) != msgspec.Raw(b"null")
        if usage is not None and (usage.estimated or self._seams or not known):
            last.pop("usage_metadata", None)
            last["usageMetadata"] = raw(usage_fields(usage))
        last[OWN] = raw(self._own(provider, cost))
        return before + sse_event(msgspec.json.encode({**last, **(self._first or {})}))

    def error(self, error: ApiError) -> bytes:
        """What was held, without the end that it told, and the error."""
        held = b"".join(self._written(held, ends=False) for held in self._held)
        return held + sse_event(msgspec.json.encode(error_body(error, self._trace_id)))

    def answer(self, answer: Answer, provider: str, cost: str | None) -> bytes:
        return msgspec.json.encode({**answer.body, OWN: self._own(provider, cost)})

    def _own(self, provider: str, cost: str | None) -> dict[str, object]:
        own: dict[str, object] = {"provider": provider}
        if cost is not None:
            own["cost"] = msgspec.Raw(cost.encode())
        if self._seams:
            own["resumed"] = self._seams
        return own

    def _written(self, delta: Delta, *, ends: bool = True) -> bytes:
        """The chunk as it came; after a seam as one of the first attempt's, without usage."""
        if not self._seams and ends:
            return sse_event(delta.raw)
        fields = self._fields(delta)
        if self._seams:
            fields = {name: value for name, value in fields.items() if name not in _USAGE}
        if not ends and bytes(fields.get("candidates", b"null")) != b"null":
            candidates = read_objects(fields["candidates"])
            kept = [{n: v for n, v in each.items() if n not in _FINISH} for each in candidates]
            fields["candidates"] = raw(kept)
        return sse_event(msgspec.json.encode({**fields, **(self._first or {})}))

    def _fields(self, delta: Delta) -> Fields:
        fields = read_fields(delta.raw)
        if not self._seams:
            return fields
        other = [name for names in _NAMES for name in names]
        return {name: value for name, value in fields.items() if name not in other}


def _envelope(fields: Fields) -> Fields:
    """The chunk's id and model, by the names that it has them under."""
    return {name: fields[name] for names in _NAMES for name in names if name in fields}
