"""Streams of every chat dialect as providers send them, for scripted upstreams, and what the SDK of
each door makes of the bytes that its client gets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.actors.services import Provider
from signalbox.adapters.door import Target
from signalbox.adapters.doors import door_of
from signalbox.adapters.registry import ProviderAdapters, adapters_of
from signalbox.adapters.responses import ResponsesAdapter
from signalbox.config_settings import ProviderSettings
from signalbox.types import Dialect, ModelPlan, Request, Route
from tests import anthropic_sdk, google_sdk, openai_sdk, responses_wire, scripted_upstream
from tests.folding import fold
from tests.rig import PRICE, Rig, provider_key
from tests.scripted_upstream import Call, Head, Script, ScriptedUpstream, Step, event

# ── providers ─────────────────────────────────────────────────────────────────────────────────


class Api(msgspec.Struct, frozen=True):
    """How one provider is configured, and how it streams."""

    name: str
    api: str
    model: str
    begin: Sequence[bytes]
    opening: Sequence[bytes]
    """What comes before text."""
    text: Callable[[str], bytes]
    end: Sequence[bytes]
    thought: Callable[[str], Sequence[bytes]]
    """Reasoning as the first content."""
    call: Sequence[bytes]
    """A tool call, begun."""
    error: bytes
    """An overload that is told inside the stream."""
    prefills: bool = False

    @property
    def provider(self) -> Provider:
        base_url = f"http://{self.name}/v1"
        if self.api == "responses":
            # The one endpoint that some models of OpenAI's have.
            spoken = (ResponsesAdapter(self.name),)
            return Provider(ProviderAdapters(lambda model: spoken), base_url)
        settings = ProviderSettings(self.name, self.api, base_url, keys=())
        return Provider(adapters_of(settings), base_url)

    def script(self, *steps: Step) -> list[Step]:
        """What follows the beginning of an answer."""
        told = [*self.begin, *steps]
        return [Head(), *(_numbered(told) if self.api == "responses" else told)]

    def stream(self, *texts: str) -> list[Step]:
        return self.script(*self.opening, *map(self.text, texts), *self.end)

    def broken(self, *texts: str, by: Step | None = scripted_upstream.LOST) -> list[Step]:
        """None: the bytes just end."""
        cut = (*self.opening, *map(self.text, texts))
        return self.script(*cut, *(() if by is None else (by,)))


def _numbered(steps: Iterable[Step]) -> Iterator[Step]:
    """The Responses API numbers its events."""
    for number, step in enumerate(steps):
        mark = b'{"sequence_number": %d, "type"' % number
        yield step.replace(b'{"type"', mark, 1) if isinstance(step, bytes) else step


def named(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


CHAT = Api(
    "chat",
    "openai",
    "m",
    begin=[scripted_upstream.ROLE],
    opening=[],
    text=scripted_upstream.text,
    end=[scripted_upstream.STOP, scripted_upstream.DONE],
    thought=lambda words: [scripted_upstream.chunk({"reasoning_content": words})],
    call=[
        scripted_upstream.chunk(
            {"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": ""}}]}
        )
    ],
    error=event({"error": {"message": "overloaded", "type": "server_error", "code": None}}),
)

_BLOCK = {"type": "text", "text": ""}
_MESSAGE: dict[str, Any] = {
    "id": "msg_b",
    "type": "message",
    "role": "assistant",
    "model": "their-model",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 10, "output_tokens": 1},
}
MESSAGES = Api(
    "messages",
    "anthropic",
    "claude-opus-4-6",
    begin=[named("message_start", message=_MESSAGE)],
    opening=[
        named("content_block_start", index=0, content_block=_BLOCK),
        named("ping"),
    ],
    text=lambda words: named(
        "content_block_delta", index=0, delta={"type": "text_delta", "text": words}
    ),
    end=[
        named("content_block_stop", index=0),
        named(
            "message_delta",
            delta={"stop_reason": "end_turn", "stop_sequence": None},
            usage={"output_tokens": 5},
        ),
        named("message_stop"),
    ],
    thought=lambda words: [
        named(
            "content_block_start",
            index=0,
            content_block={"type": "thinking", "thinking": "", "signature": ""},
        ),
        named("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": words}),
    ],
    call=[
        named(
            "content_block_start",
            index=1,
            content_block={"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
        )
    ],
    error=named("error", error={"type": "overloaded_error", "message": "Overloaded"}),
)
PREFILLED = replace(MESSAGES, name="prefilled", model="claude-sonnet-4-5", prefills=True)


def _candidate(part: dict[str, Any], **fields: Any) -> bytes:
    content = {"role": "model", "parts": [part]}
    chunk = {
        "candidates": [{"index": 0, "content": content, **fields}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
        "modelVersion": "their-model",
        "responseId": "response_c",
    }
    return b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n"


GENERATE = Api(
    "generate",
    "gemini",
    "gemini-2.5-flash",
    begin=[],
    opening=[],
    text=lambda words: _candidate({"text": words}),
    end=[_candidate({"text": ""}, finishReason="STOP")],
    thought=lambda words: [_candidate({"text": words, "thought": True})],
    call=[_candidate({"functionCall": {"name": "f", "args": {}}})],
    error=event({"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}),
)

_RESPONSE: dict[str, Any] = {
    "id": "resp_d",
    "object": "response",
    "status": "in_progress",
    "model": "m",
    "output": [],
}
_USED = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
_ITEM = {"id": "msg_d", "type": "message", "role": "assistant", "content": []}
_SUMMARY = {"item_id": "rs_d", "output_index": 0, "summary_index": 0}
_PLACE = {"item_id": "msg_d", "output_index": 0, "content_index": 0}
RESPONSES = Api(
    "responses",
    "responses",
    "m",
    begin=[named("response.created", response=_RESPONSE)],
    opening=[
        named("response.output_item.added", output_index=0, item=_ITEM),
        named(
            "response.content_part.added",
            **_PLACE,
            part={"type": "output_text", "text": "", "annotations": []},
        ),
    ],
    text=lambda words: named("response.output_text.delta", **_PLACE, delta=words),
    end=[
        named(
            "response.completed",
            response={**_RESPONSE, "status": "completed", "output": [_ITEM], "usage": _USED},
        )
    ],
    thought=lambda words: [
        named(
            "response.output_item.added",
            output_index=0,
            item={"type": "reasoning", "id": "rs_d", "summary": []},
        ),
        named(
            "response.reasoning_summary_part.added",
            **_SUMMARY,
            part={"type": "summary_text", "text": ""},
        ),
        named("response.reasoning_summary_text.delta", **_SUMMARY, delta=words),
    ],
    call=[
        named(
            "response.output_item.added",
            output_index=1,
            item={"type": "function_call", "id": "fc", "call_id": "t", "name": "f"},
        )
    ],
    error=named("error", code="server_error", message="overloaded", param=None),
)

APIS = {api.name: api for api in (CHAT, MESSAGES, PREFILLED, GENERATE, RESPONSES)}


def rig_of(folder: Path, script: Callable[[Call], Script]) -> Rig:
    """A provider of each API, with a key each."""
    rig = Rig(ScriptedUpstream(script), folder, [provider_key(name) for name in APIS])
    providers = {name: api.provider for name, api in APIS.items()}
    rig.services = replace(rig.services, providers=providers)
    return rig


def model_of(*apis: Api) -> ModelPlan:
    """Routes in this order."""
    return ModelPlan("m", tuple(Route(api.name, api.model, PRICE) for api in apis))


# ── doors ─────────────────────────────────────────────────────────────────────────────────────

_TURNS = {"messages": [{"role": "user", "content": "Hi"}]}
BODIES: dict[Dialect, dict[str, Any]] = {
    Dialect.CHAT: {"model": "m", **_TURNS, "stream": True},
    Dialect.RESPONSES: {"model": "m", "input": "Hi", "stream": True},
    Dialect.MESSAGES: {"model": "m", **_TURNS, "max_tokens": 900, "stream": True},
    Dialect.GENERATE: {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
}


def request_of(rig: Rig, door: Dialect, *, stream: bool = True, **fields: Any) -> Request:
    raw = {**BODIES[door], **fields}
    if not stream:
        raw.pop("stream", None)
    target = Target("m", stream=stream)
    body = door_of(door).read_body(json.dumps(raw).encode(), target)
    outline = door_of(door).outline(body, target)
    assert outline.stream is stream
    return replace(
        rig.request(stream=stream), door=door, body=body, include_usage=True, begun=outline.begun
    )


@dataclass
class Told:
    """What a client comes to know of a stream, by its own SDK."""

    text: str = ""
    ends: list[str] = field(default_factory=list)
    """Finish reasons in the dialect's words."""
    error: str | None = None
    """Its type or code."""


def told_by(door: Dialect, stream: bytes) -> Told:
    return _READERS[door](stream)


def _chat(stream: bytes) -> Told:
    seen = openai_sdk.sdk_stream(stream)
    events = [each.removeprefix(b"data: ") for each in stream.split(b"\n\n")]
    folded = fold(json.loads(each) for each in events if each.startswith(b"{"))
    assert fold(seen.chunks).text == folded.text
    error = None if seen.error is None else str(seen.error.code)
    return Told(folded.text, folded.finish.get(0, []), error)


def _responses(stream: bytes) -> Told:
    seen = responses_wire.sdk_stream(stream)
    numbers = [event["sequence_number"] for event in seen.events]
    assert numbers == list(range(len(numbers)))
    kinds = [event["type"] for event in seen.events]
    assert kinds.count("response.created") == 1
    error = None if seen.error is None else str(seen.error.code)
    ends = [kind for kind in kinds if kind in ("response.completed", "response.incomplete")]
    if seen.response is not None and ends:
        parts = [part for item in seen.response["output"] for part in item.get("content") or ()]
        assert "".join(part["text"] for part in parts) == seen.text
    return Told(seen.text, ends, error)


def _messages(stream: bytes) -> Told:
    seen = anthropic_sdk.sdk_stream(stream)
    kinds = [event.type for event in seen.events]
    assert kinds.count("message_start") == 1
    texts = [event.text for event in seen.events if event.type == "text"]
    if seen.error is not None:
        assert isinstance(seen.error.body, dict)
        return Told("".join(texts), [], seen.error.body["error"]["type"])
    assert seen.message is not None
    assert kinds.count("message_stop") == 1
    indexes = [event.index for event in seen.events if event.type == "content_block_start"]
    assert indexes == list(range(len(indexes)))
    said = "".join(block.text for block in seen.message.content if block.type == "text")
    assert said == "".join(texts)
    return Told(said, [str(seen.message.stop_reason)], None)


def _generate(stream: bytes) -> Told:
    seen = google_sdk.sdk_stream(stream)
    text = "".join(part.text or "" for part in seen.parts() if not part.thought)
    error = None if seen.error is None else str(seen.error.status)
    return Told(text, seen.finish(), error)


_READERS = {
    Dialect.CHAT: _chat,
    Dialect.RESPONSES: _responses,
    Dialect.MESSAGES: _messages,
    Dialect.GENERATE: _generate,
}
