"""From a scenario's step to what the server does: a pure translation, without clock or socket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from signalbox.simulator.actions import (
    Action,
    Hang,
    HangUp,
    Pause,
    Script,
    SendBody,
    SendGarbage,
    SendHalf,
    SendHead,
    json_answer,
    whole_answer,
)
from signalbox.simulator.answers import Answer
from signalbox.simulator.errors import ERRORS, usual_error
from signalbox.simulator.openai_wire import Chunks, completion
from signalbox.simulator.scenario import Step

GARBAGE = b"\x16\x03\x01\x00\x00 this is not HTTP\r\n\r\n"
HTML = b"<!doctype html><title>Just a moment</title><p>Checking your browser (simulated).</p>\n"
BOM = b"\xef\xbb\xbf"


def disrupted(step: Step) -> Script | None:
    """The script where the connection itself is what breaks; None where it is not."""
    if step.silence:
        return (Pause(step.delay), Hang())
    match step.connect:
        case None:
            return None
        case "garbage":
            return (Pause(step.delay), SendGarbage(GARBAGE), HangUp("closed"))
        case "close":
            return (Pause(step.delay), HangUp("closed"))
        case "reset":
            return (Pause(step.delay), HangUp("reset"))


def refused(step: Step, model: str, headers: Mapping[str, str]) -> Script:
    """The script of a step that `refuses`: an error, a fixed body, a page of HTML."""
    shape = ERRORS[step.error] if step.error else usual_error(step.status or 500)
    status = step.status or (200 if step.body is not None else shape.status)
    if step.html_200:
        answer = whole_answer(200, HTML, "text/html; charset=utf-8", headers)
    elif isinstance(step.body, str):
        answer = whole_answer(status, step.body.encode(), "text/plain; charset=utf-8", headers)
    else:
        body = shape.body(model) if step.body is None else step.body
        answer = json_answer(status, body, headers)
    return (Pause(step.delay), *answer)


def whole(
    step: Step, answer: Answer, token_delay: float, headers: Mapping[str, str]
) -> Iterator[Action]:
    """The script of an answer that is not streamed."""
    tokens = max(answer.completion_tokens - 1, 0)
    yield Pause(step.delay + step.first_token_delay + token_delay * tokens)
    content: dict[str, Any] = completion(answer, step)
    if step.error_after is not None:
        content = ERRORS[step.error or "server_error"].body(answer.model)
    body = msgspec.json.encode(content)
    breaks = step.stall_after is not None or step.cut_after is not None
    if step.malformed_after is not None or step.how == "eof":
        body, breaks = body[: len(body) // 2], False
    own = {"content-type": "application/json", "content-length": str(len(body))}
    yield SendHead(step.status or 200, own | dict(headers))
    if breaks:
        yield SendHalf(body)
        yield _breaking_off(step)
        return
    yield from _pieces(body, step.split)
    if step.hang_up:
        yield HangUp("closed")


@dataclass(frozen=True, slots=True)
class Streaming:
    """Plays one streamed answer. Faults come after a number of content chunks."""

    step: Step
    answer: Answer
    token_delay: float
    headers: Mapping[str, str]
    chunks: Chunks

    def script(self) -> Iterator[Action]:
        step = self.step
        contents = [self._event(chunk) for chunk in self.chunks.contents()]
        ending = self._ending()
        yield Pause(step.delay)
        own = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        yield SendHead(step.status or 200, own | dict(self.headers))
        yield from self._opening()
        for sent in range(len(contents) + 1):
            if self._falls_on(step.malformed_after, sent, contents):
                yield from self._send(self._event_bytes(b'{"choices":[{"delta":{"conte'))
            if self._falls_on(step.error_after, sent, contents):
                yield from self._error()
                return
            if self._falls_on(step.stall_after, sent, contents):
                yield Hang()
                return
            if self._falls_on(step.cut_after, sent, contents):
                yield from self._cut([*contents, *ending, self._comment()][sent])
                return
            if sent < len(contents):
                yield Pause(self.token_delay if sent else 0.0)
                yield from self._send(contents[sent])
        for event in ending:
            yield from self._send(event)
        if step.hang_up:
            yield HangUp("closed")

    def _opening(self) -> Iterator[Action]:
        step = self.step
        if step.bom:
            yield from self._send(BOM)
        if step.comments:
            yield from self._send(self._comment())
        for chunk in self.chunks.roles():
            yield from self._send(self._event(chunk))
        if step.first_token_delay:
            yield Pause(step.first_token_delay)
        if step.comments:
            yield from self._send(self._comment())

    def _falls_on(self, after: int | None, sent: int, contents: list[bytes]) -> bool:
        return after is not None and sent == min(after, len(contents))

    def _ending(self) -> list[bytes]:
        done = [] if self.step.no_done else [self._event_bytes(b"[DONE]")]
        return [self._event(chunk) for chunk in self.chunks.ending()] + done

    def _cut(self, next_event: bytes) -> Iterator[Action]:
        if self.step.how == "eof":
            return
        yield SendHalf(next_event)
        yield _breaking_off(self.step)

    def _error(self) -> Iterator[Action]:
        error = ERRORS[self.step.error or "server_error"]
        fields = error.fields(self.answer.model)
        match self.step.error_style:
            case "groq":
                fields |= {"status_code": error.status}
                data = msgspec.json.encode({"error": fields})
                yield from self._send(self._line(b"event: error") + self._event_bytes(data))
                return
            case "openrouter":
                shown = {"code": error.status, "message": fields["message"]}
                yield from self._send(self._event(self.chunks.error(shown)))
            case _:
                yield from self._send(self._event({"error": fields}))
                if (zero := self.chunks.zero_usage()) is not None:
                    yield from self._send(self._event(zero))
        if not self.step.no_done:
            yield from self._send(self._event_bytes(b"[DONE]"))

    def _send(self, data: bytes) -> Iterator[Action]:
        return _pieces(data, self.step.split)

    def _event(self, chunk: dict[str, Any]) -> bytes:
        return self._event_bytes(msgspec.json.encode(chunk))

    def _event_bytes(self, data: bytes) -> bytes:
        return self._line(b"data: " + data) + self._line(b"")

    def _comment(self) -> bytes:
        return self._line(b": PROCESSING") + self._line(b"")

    def _line(self, text: bytes) -> bytes:
        return text + (b"\r\n" if self.step.crlf else b"\n")


def streamed(
    step: Step,
    answer: Answer,
    token_delay: float,
    headers: Mapping[str, str],
    *,
    include_usage: bool,
) -> Iterator[Action]:
    """The script of a streamed answer."""
    chunks = Chunks(answer, step, include_usage=include_usage)
    return Streaming(step, answer, token_delay, headers, chunks).script()


def _breaking_off(step: Step) -> Action:
    if step.stall_after is not None:
        return Hang()
    return HangUp("reset" if step.how == "rst" else "closed")


def _pieces(data: bytes, split: str | int | None) -> Iterator[Action]:
    if not data:
        return
    size = len(data) if split is None else 1 if split == "byte" else int(split)
    for start in range(0, len(data), size):
        yield SendBody(data[start : start + size])
