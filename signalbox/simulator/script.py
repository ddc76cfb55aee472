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
from signalbox.simulator.scenario import Step
from signalbox.simulator.wire import Errors, Event, Parts, Piece, Said, step_error

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


def refused(step: Step, errors: Errors, model: str, headers: Mapping[str, str]) -> Script:
    """The script of a step that `refuses`: an error, a fixed body, a page of HTML."""
    refusal = (
        errors.named(step.error, model) if step.error else errors.usual(step.status or 500, model)
    )
    status = step.status or (200 if step.body is not None else refusal.status)
    if step.html_200:
        answer = whole_answer(200, HTML, "text/html; charset=utf-8", headers)
    elif isinstance(step.body, str):
        answer = whole_answer(status, step.body.encode(), "text/plain; charset=utf-8", headers)
    else:
        body = refusal.body if step.body is None else step.body
        answer = json_answer(status, body, headers)
    return (Pause(step.delay), *answer)


def whole(
    step: Step,
    said: Said,
    errors: Errors,
    model: str,
    token_delay: float,
    headers: Mapping[str, str],
) -> Iterator[Action]:
    """The script of an answer that is not streamed."""
    tokens = max(said.tokens - 1, 0)
    yield Pause(step.delay + step.first_token_delay + token_delay * tokens)
    content: Any = said.body
    if step.error_after is not None:
        content = step_error(errors, step, model).body
    body = msgspec.json.encode(content)
    breaks = step.stall_after is not None or step.cut_after is not None
    if step.malformed_after is not None or step.how == "eof":
        body, breaks = body[: len(body) // 2], False
    own = {"content-type": "application/json", "content-length": str(len(body))}
    yield SendHead(step.status or said.status, own | dict(headers))
    if breaks:
        yield SendHalf(body)
        yield _breaking_off(step)
        return
    yield from _pieces(body, step.split)
    if step.hang_up:
        yield HangUp("closed")


@dataclass(slots=True)
class _Streaming:
    """Plays one streamed answer. Faults come after a number of content chunks."""

    step: Step
    parts: Parts
    token_delay: float
    headers: Mapping[str, str]
    events: int = 0
    """Sent so far, comments aside."""

    def script(self) -> Iterator[Action]:
        step, pieces = self.step, self.parts.pieces
        yield Pause(step.delay)
        own = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        yield SendHead(step.status or 200, own | dict(self.headers))
        yield from self._opening()
        for sent in range(len(pieces) + 1):
            if self._falls_on(step.malformed_after, sent):
                yield from self._send(self._bytes(self.parts.broken))
            if self._falls_on(step.error_after, sent):
                for event in self.parts.failing(self.events):
                    yield from self._event(event)
                return
            if self._falls_on(step.stall_after, sent):
                yield Hang()
                return
            if self._falls_on(step.cut_after, sent):
                yield from self._cut(pieces[sent] if sent < len(pieces) else None)
                return
            if sent < len(pieces):
                yield Pause(self.token_delay if sent else 0.0)
                for event in (*pieces[sent].before, pieces[sent].event, *pieces[sent].after):
                    yield from self._event(event)
        for event in (*self.parts.ending, *self.parts.done):
            yield from self._event(event)
        if step.hang_up:
            yield HangUp("closed")

    def _opening(self) -> Iterator[Action]:
        step = self.step
        if step.bom:
            yield from self._send(BOM)
        if step.comments:
            yield from self._send(self._comment())
        for event in self.parts.opening:
            yield from self._event(event)
        if step.first_token_delay:
            yield Pause(step.first_token_delay)
        if step.comments:
            yield from self._send(self._comment())

    def _falls_on(self, after: int | None, sent: int) -> bool:
        return after is not None and sent == min(after, len(self.parts.pieces))

    def _cut(self, piece: Piece | None) -> Iterator[Action]:
        if self.step.how == "eof":
            return
        if piece is not None:
            for event in piece.before:
                yield from self._event(event)
            yield SendHalf(self._bytes(piece.event))
        else:
            ending = (*self.parts.ending, *self.parts.done)
            yield SendHalf(self._bytes(ending[0]) if ending else self._comment())
        yield _breaking_off(self.step)

    def _event(self, event: Event) -> Iterator[Action]:
        self.events += 1
        yield from self._send(self._bytes(event))

    def _send(self, data: bytes) -> Iterator[Action]:
        return _pieces(data, self.step.split)

    def _bytes(self, event: Event) -> bytes:
        return event.encoded(self._line_end)

    def _comment(self) -> bytes:
        return b": PROCESSING" + self._line_end * 2

    @property
    def _line_end(self) -> bytes:
        return b"\r\n" if self.step.crlf or self.parts.crlf else b"\n"


def streamed(
    step: Step, parts: Parts, token_delay: float, headers: Mapping[str, str]
) -> Iterator[Action]:
    """The script of a streamed answer."""
    return _Streaming(step, parts, token_delay, headers).script()


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
