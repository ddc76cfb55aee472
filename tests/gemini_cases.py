"""Requests, streams and answers of Gemini's dialect, and what the adapter makes of them."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
from google.genai import types
from msgspec.structs import replace

from signalbox.adapters.chat import ChatRequest
from signalbox.adapters.gemini import GeminiAdapter
from signalbox.adapters.protocol import Delta, StreamError, StreamEvent, WireRequest
from signalbox.errors import Failure
from signalbox.types import Dialect, Request, Route, Secret, Usage
from tests.outgoing import REQUEST as CHAT_REQUEST
from tests.recordings import RECORDED, Exchange, own_exchanges, recorded_exchanges

BASE = "https://gemini.test/v1beta/"
KEY = Secret("AIza-canary-0123456789")
ADAPTER = GeminiAdapter("google")
CONTENTS: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": "Hi"}]}]

TRANSLATED = replace(CHAT_REQUEST)
"""Through a door of another dialect: what comes back has to be told."""
NATIVE = replace(CHAT_REQUEST, door=Dialect.GENERATE, body={"contents": CONTENTS}, model="m")


def is_generate(exchange: Exchange) -> bool:
    return "enerateContent" in exchange.path


OWN_STREAMS = own_exchanges("gemini/streams")
OWN_ANSWERS = own_exchanges("gemini/answers")
RECORDED_STREAMS = recorded_exchanges(lambda e: is_generate(e) and e.streamed and e.status == 200)
RECORDED_ANSWERS = recorded_exchanges(
    lambda e: is_generate(e) and not e.streamed and e.status == 200
)
EVENT_STREAMS = [
    *RECORDED_STREAMS,
    *(it for it in OWN_STREAMS if not it.values[0].expect.get("whole")),
]
"""Without the errors that are one JSON document."""
RECORDED_ERRORS = recorded_exchanges(lambda e: e.provider == "gemini" and e.status >= 400)


def route(model: str = "gemini-3-flash", **fields: Any) -> Route:
    return Route(provider="google", model=model, **fields)


def native(body: dict[str, Any], *, stream: bool = False) -> Request:
    return replace(NATIVE, body=body, stream=stream)


def translated(form: ChatRequest, **fields: Any) -> Request:
    """A request of a chat door whose form is this one."""
    request = replace(TRANSLATED, **{"stream": form.stream, **fields})
    request.memo["form"] = form
    return request


def sent(wire: WireRequest) -> dict[str, Any]:
    body: dict[str, Any] = msgspec.json.decode(wire.body)
    return body


def built(request: Request, where: Route | None = None) -> dict[str, Any]:
    """The body as it goes out."""
    return sent(ADAPTER.build(request, where or route(), BASE, KEY))


def decode(request: Request, *pieces: bytes) -> list[StreamEvent]:
    decoder = ADAPTER.stream_decoder(request)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.end()


def deltas(events: list[StreamEvent]) -> list[Delta]:
    return [event for event in events if isinstance(event, Delta)]


def failure(events: list[StreamEvent]) -> Failure | None:
    return next((event.failure for event in events if isinstance(event, StreamError)), None)


def finish_reasons(events: list[StreamEvent]) -> dict[int, str]:
    return {index: word for delta in deltas(events) for index, word in delta.finish_reasons}


def last_usage(events: list[StreamEvent]) -> Usage | None:
    usages = [delta.usage for delta in deltas(events) if delta.usage is not None]
    return usages[-1] if usages else None


def chunks(stream: bytes) -> list[dict[str, Any]]:
    lines = stream.decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]


def recorded_requests() -> list[tuple[str, str, dict[str, Any]]]:
    """(id, path, body) of each recorded request to this API; none where there are no recordings."""
    found = []
    for path in sorted((Path(RECORDED) / "open").glob("gemini-*.json")):
        request = json.loads(path.read_text()).get("request", {})
        if isinstance(request.get("body"), dict):
            found.append((path.stem, request["path"], request["body"]))
    return found


# ── the vendor's own reading ──────────────────────────────────────────────────────────────────


def sdk(body: dict[str, Any]) -> types.GenerateContentResponse:
    """As the SDK's client reads it: what it does not know is left out."""
    return types.GenerateContentResponse._from_response(response=deepcopy(body), kwargs={})


def sdk_parts(response: types.GenerateContentResponse) -> list[types.Part]:
    candidates = response.candidates or []
    content = candidates[0].content if candidates else None
    return list(content.parts or []) if content is not None else []


def sdk_text(responses: list[types.GenerateContentResponse], *, thought: bool = False) -> str:
    return "".join(
        part.text or ""
        for response in responses
        for part in sdk_parts(response)
        if bool(part.thought) is thought
    )


def sdk_calls(responses: list[types.GenerateContentResponse]) -> list[tuple[Any, Any]]:
    return [
        (part.function_call.name, part.function_call.args or {})
        for response in responses
        for part in sdk_parts(response)
        if part.function_call is not None
    ]
