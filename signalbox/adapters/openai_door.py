"""The door of OpenAI's dialect: what a client is sent. (What it may send: `openai_body.py`.)

A provider of the same dialect is not rewritten: its chunks go out with their own bytes. Changed
is only what clients stumble over: usage nobody asked for, a second finish reason (LangChain
concatenates them: `stopstop`), a chunk without choices (many clients read `choices[0]` unseen).
After a seam every chunk is rewritten, so that what several attempts sent is one stream.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec
from msgspec.structs import asdict

from signalbox.adapters.openai_chunks import (
    Fields,
    read_fields,
    without_finish_reasons,
    without_roles,
)
from signalbox.adapters.protocol import Answer, Delta, Seam
from signalbox.adapters.sse import sse_comment, sse_event
from signalbox.errors import ApiError
from signalbox.types import Usage

DONE = sse_event(b"[DONE]")
_NO_USAGE = re.compile(rb'"usage"\s*:\s*null')

_ENVELOPE = ("id", "object", "created", "model", "service_tier", "system_fingerprint")


def error_body(error: ApiError, trace_id: str) -> dict[str, object]:
    """The error object in OpenAI's form; `metadata` holds the trace and what was tried."""
    attempts = [
        {name: value for name, value in asdict(attempt).items() if value is not None}
        for attempt in error.attempts
    ]
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "code": error.code,
            "param": error.param,
            "metadata": {"trace_id": trace_id, "attempts": attempts, **error.metadata},
        }
    }


def encode_answer(body: Mapping[str, object], provider: str, cost: str | None) -> bytes:
    """The provider's JSON with `provider` and, where both are known, `usage.cost` put in."""
    answer: dict[str, object] = {**body, "provider": provider}
    usage = answer.get("usage")
    if cost is not None and isinstance(usage, dict):
        answer["usage"] = {**usage, "cost": msgspec.Raw(cost.encode())}
    return msgspec.json.encode(answer)


def usage_object(usage: Usage) -> dict[str, object]:
    """`usage` as OpenAI writes it; details that are not known are left out."""
    prompt, completion = usage.input_total, usage.output_total
    fields: dict[str, object] = {"prompt_tokens": prompt, "completion_tokens": completion}
    if prompt is not None and completion is not None:
        fields["total_tokens"] = prompt + completion
    written = usage.cache_write
    if usage.cache_write_1h is not None:
        written = (written or 0) + usage.cache_write_1h
    details = {
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_read,
            "cache_write_tokens": written,
            "audio_tokens": usage.audio_input,
            "image_tokens": usage.image_input,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_output,
            "image_tokens": usage.image_output,
        },
    }
    for name, counts in details.items():
        known = {each: count for each, count in counts.items() if count is not None}
        if known:
            fields[name] = known
    return fields


class ChatEncoder:
    """`DoorEncoder` for chat completions. One serves one request.

    The client gets exactly one finish reason per choice and, with `include_usage`, exactly one
    usage chunk (`choices: []`, before `[DONE]`), otherwise none.

    A chunk that only ends is held until something follows it or the end is certain: where the
    request fails after all, the client sees one finish reason, and it is `error`.

    After a seam the chunks keep the first attempt's id, time, model and fingerprint, and say no
    role. The last one before `[DONE]` tells of all seams in `x_signalbox.resumed`.
    """

    id_head = "chatcmpl-"
    """Ids of the gateway's own making begin so."""
    kind = "chat.completion.chunk"
    """What its chunks call themselves."""
    nothing: Mapping[str, object] = MappingProxyType({"delta": {}})
    """What a choice says that says nothing."""

    def __init__(self, *, include_usage: bool, trace_id: str) -> None:
        self._include_usage = include_usage
        self._trace_id = trace_id
        self._finished: set[int] = set()
        self._last = b"{}"
        """The first attempt's last chunk with choices."""
        self._usage_chunk: Fields | None = None
        """The provider's last chunk with usage, without its choices."""
        self._seams: list[Seam] = []
        self._held = b""
        self._sent_end = False

    def delta(self, delta: Delta) -> bytes:
        """The event's bytes, as far as they may go out now."""
        data = self._delta_after_seam(delta) if self._seams else self._as_it_came(delta)
        if not data or not (self._held or delta.finish_reasons):
            return data
        held, self._held = self._held, b""
        only_ends = bool(delta.finish_reasons) and not (delta.content_chars or delta.opaque)
        if only_ends:
            self._held, data = data, b""
        self._sent_end |= bool(held) or (bool(delta.finish_reasons) and not only_ends)
        return held + data

    def _as_it_came(self, delta: Delta) -> bytes:
        """The event's bytes; empty for a chunk without choices. Such a chunk holds usage, which
        is sent at the end, or Azure's `prompt_filter_results`, which is not sent."""
        raw = delta.raw
        if delta.has_choices:
            self._last = raw
        elif delta.usage is None:
            return b""
        says_usage = b'"usage"' in raw and (delta.usage is not None or not _NO_USAGE.search(raw))
        if not says_usage and not delta.finish_reasons:
            return sse_event(raw) if delta.has_choices else b""
        repeated = self._repeated(delta)
        if not says_usage and not repeated:
            return sse_event(raw)
        fields = read_fields(raw)
        usage = fields.get("usage")
        if usage is not None and bytes(usage) != b"null":
            if delta.usage is not None:
                self._keep_usage(fields, whole=not delta.has_choices)
            del fields["usage"]
        if not delta.has_choices:
            return b""
        if repeated:
            fields["choices"] = without_finish_reasons(fields["choices"], repeated)
        return sse_event(msgspec.json.encode(fields))

    def resumed(self, seam: Seam) -> bytes:
        """A comment that names the seam. Nothing of the stream has finished by then."""
        self._seams.append(seam)
        told = (
            f"resumed at {seam.provider} {seam.model} "
            f"after {seam.after_chars} characters ({seam.how})"
        )
        return sse_comment(" ".join(told.split()).encode())

    def cut(self, choices: int) -> bytes:
        """A finish reason for each choice that has none."""
        left = [index for index in range(choices) if index not in self._finished]
        ends = [{"index": index, **self.nothing, "finish_reason": "length"} for index in left]
        raw = msgspec.json.encode({**self._envelope(), "choices": ends})
        return self.delta(Delta(raw, finish_reasons=tuple((index, "length") for index in left)))

    def finish(self, provider: str, cost: str | None, usage: Usage | None) -> bytes:
        """The usage chunk, where it was asked for, and the end mark.

        The provider's own usage object is kept and `cost` added; where the provider said nothing
        (or `usage` is an estimate for what it could not say) the object is made of `usage`. So it
        is after a seam: the provider's covers the last attempt, `usage` all of them.
        """
        if not self._include_usage:
            return self._held + DONE
        reported = None if self._seams else self._usage_chunk
        known: dict[str, object] | None = None
        if reported is not None and not (usage and usage.estimated):
            known = dict(read_fields(reported["usage"]))
        elif usage is not None:
            known = usage_object(usage)
        if known is not None:
            known = self._priced(known, provider, cost)
        chunk = self._envelope() if reported is None else reported
        last = {**chunk, "object": self.kind, "choices": [], "provider": provider, "usage": known}
        usage_chunk = sse_event(msgspec.json.encode({**last, **self._seams_told()}))
        return self._held + usage_chunk + DONE

    def error(self, error: ApiError) -> bytes:
        """One chunk with `error` at its top and `finish_reason: "error"`, then the end mark.

        OpenAI's SDKs raise `APIError` for any event with an `error`; a client that does not look
        there sees a finish reason that is no success, unless another one went out with content.
        """
        reason = None if self._sent_end else "error"
        choice = {"index": 0, **self.nothing, "finish_reason": reason}
        told = {**self._error_told(error), **self._seams_told()}
        chunk = {**self._envelope(), "choices": [choice], **told}
        return sse_event(msgspec.json.encode(chunk)) + DONE

    def answer(self, answer: Answer, provider: str, cost: str | None) -> bytes:
        return encode_answer(answer.body, provider, cost)

    def _priced(
        self, usage: dict[str, object], provider: str, cost: str | None
    ) -> dict[str, object]:
        """The usage object with what the request cost, where that is known."""
        return usage if cost is None else {**usage, "cost": msgspec.Raw(cost.encode())}

    def _error_told(self, error: ApiError) -> dict[str, object]:
        return error_body(error, self._trace_id)

    def _delta_after_seam(self, delta: Delta) -> bytes:
        """The chunk as one of the first attempt's; empty where it holds no content and no end."""
        ends = {index for index, _ in delta.finish_reasons} - self._finished
        if not (delta.content_chars or delta.opaque or ends):
            return b""
        fields = read_fields(delta.raw)
        kept = {n: v for n, v in fields.items() if n not in _ENVELOPE and n != "usage"}
        chunk: dict[str, object] = {**self._envelope(), **kept}
        choices = without_finish_reasons(fields["choices"], self._repeated(delta))
        chunk["choices"] = without_roles(choices)
        if ends and not self._include_usage:
            chunk |= self._seams_told()
        return sse_event(msgspec.json.encode(chunk))

    def _repeated(self, delta: Delta) -> set[int]:
        """The choices that this chunk finishes once more; from now on it is known to finish all
        that it does."""
        indexes = {index for index, _ in delta.finish_reasons}
        repeated = indexes & self._finished
        self._finished |= indexes
        return repeated

    def _seams_told(self) -> dict[str, object]:
        return {"x_signalbox": {"resumed": self._seams}} if self._seams else {}

    def _keep_usage(self, fields: Fields, *, whole: bool) -> None:
        if whole:
            self._usage_chunk = dict(fields)
        else:
            kept = (*_ENVELOPE, "usage")
            self._usage_chunk = {name: fields[name] for name in kept if name in fields}

    def _envelope(self) -> dict[str, object]:
        """The top-level fields of the chunks so far; with an id of the gateway's before any."""
        fields = read_fields(self._last)
        known = {name: fields[name] for name in _ENVELOPE if name in fields}
        return {"id": f"{self.id_head}{self._trace_id}", **known, "object": self.kind}
