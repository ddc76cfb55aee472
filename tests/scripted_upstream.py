"""Providers in memory, at the level of bytes: each call follows a script of steps."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from signalbox.actors.ports import UpstreamError, UpstreamErrorKind
from signalbox.adapters.protocol import WireRequest

JSON = (("content-type", "application/json"),)
EVENTS = (("content-type", "text/event-stream"),)


@dataclass(frozen=True)
class Head:
    """The answer's status and headers; what comes before it in a script is the wait for it."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = EVENTS


@dataclass(frozen=True)
class Wait:
    seconds: float


Step = Head | Wait | bytes | Exception
Script = Sequence[Step]
"""Bytes are read by one `receive` each, an exception is raised; the end of the script ends the
body."""

LOST = UpstreamError(UpstreamErrorKind.CONNECTION_LOST, "the connection was reset")
REFUSED = UpstreamError(UpstreamErrorKind.CONNECT_FAILED, "the connection was refused")


@dataclass(eq=False)
class Call:
    """One call as the provider saw it. `at`: virtual time in seconds."""

    number: int
    at: float
    url: str
    key: str
    body: dict[str, Any]
    open: bool = True
    """Whether its connection is still in use."""
    reads: list[float] = field(default_factory=list)
    """When its body was read."""


class ScriptedUpstream:
    """An `Upstream`. `script` says what happens to a call."""

    def __init__(self, script: Callable[[Call], Script]) -> None:
        self._script = script
        self.calls: list[Call] = []

    @property
    def open_calls(self) -> list[Call]:
        return [call for call in self.calls if call.open]

    async def send(self, request: WireRequest, connect_timeout: float) -> ScriptedResponse:
        key = dict(request.headers).get("authorization", "").removeprefix("Bearer ")
        body = json.loads(request.body or b"{}")
        call = Call(len(self.calls) + 1, trio.current_time(), request.url, key, body)
        self.calls.append(call)
        steps = deque(self._script(call))
        try:
            head = await play(steps)
        except BaseException:
            call.open = False
            raise
        assert isinstance(head, Head), f"a script needs a head before {head!r}"
        return ScriptedResponse(call, head, steps)


class ScriptedResponse:
    def __init__(self, call: Call, head: Head, steps: deque[Step]) -> None:
        self.status = head.status
        self.headers = head.headers
        self._call = call
        self._steps = steps

    async def receive(self) -> bytes:
        assert self._call.open, "a body was read after its connection was closed"
        self._call.reads.append(trio.current_time())
        data = await play(self._steps)
        assert isinstance(data, bytes)
        return data

    def leave(self) -> None:
        self._call.open = False

    def close(self) -> None:
        self._call.open = False


async def play(steps: deque[Step]) -> Head | bytes:
    """Waits and raises as the script says, up to its next head or bytes; b"" at its end."""
    await trio.lowlevel.checkpoint()
    while steps:
        step = steps.popleft()
        match step:
            case Wait():
                await trio.sleep(step.seconds)
            case Exception():
                # Scripts share their exceptions: the last call's traceback is not this one's.
                raise step.with_traceback(None)
            case _:
                return step
    return b""


# ── OpenAI's wire format ──────────────────────────────────────────────────────────────────────

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def event(document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]})


def text(words: str) -> bytes:
    return chunk({"content": words})


ROLE = chunk({"role": "assistant", "content": ""})
STOP = chunk({}, "stop")
DONE = event({"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": USAGE}) + (
    b"data: [DONE]\n\n"
)


def stream(*words: str) -> list[Step]:
    """A whole stream, in as many reads as it has events."""
    return [Head(), ROLE, *map(text, words), STOP, DONE]


def answer(words: str) -> list[Step]:
    message = {"role": "assistant", "content": words}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "c", "object": "chat.completion", "choices": [choice], "usage": USAGE}
    return [Head(headers=JSON), json.dumps(body).encode()]


def error(status: int, message: str = "its words", **headers: str) -> list[Step]:
    """An error in OpenAI's form; `retry_after="2"` is the header `retry-after`."""
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    body = {"error": {"message": message, "type": "error", "code": None}}
    return [Head(status, JSON + fields), json.dumps(body).encode()]
