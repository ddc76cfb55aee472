"""Streams and answers of the Responses API, and what the official SDK makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx2
import openai
from msgspec.structs import replace

from signalbox.adapters.protocol import Delta, StreamDecoder, StreamEvent
from signalbox.adapters.responses import ResponsesAdapter
from signalbox.types import Dialect, Extra, Request, Route
from tests.recordings import Exchange, own_exchanges, recorded_exchanges

REQUEST = Request(
    id="0190a0b0-0000-7000-8000-000000000000",
    received_at=1_700_000_000.5,
    door=Dialect.RESPONSES,
    body={"model": "m", "input": "Hi", "stream": True},
    model="m",
    stream=True,
    include_usage=True,
    extra=Extra(),
    key_id="k",
    key_name="k",
    stored=True,
)
TRANSLATED = replace(
    REQUEST,
    door=Dialect.CHAT,
    body={"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True},
)
ROUTE = Route(provider="openai", model="m-2024")


def is_responses(exchange: Exchange) -> bool:
    return "responses" in exchange.path or "-responses-" in exchange.id


OWN = own_exchanges("responses")
RECORDED = recorded_exchanges(is_responses)
EVERYTHING = [*OWN, *RECORDED]


def some(wanted: Any) -> list[Any]:
    """Those of `EVERYTHING` for which `wanted(exchange)` holds; a skipped one stays."""
    return [p for p in EVERYTHING if p.values[0] is None or wanted(p.values[0])]


STREAMS = some(lambda exchange: exchange.streamed)
ANSWERS = some(lambda exchange: not exchange.streamed and exchange.status == 200)


def decoder(provider: str, *, told: bool = True) -> StreamDecoder:
    return ResponsesAdapter(provider).stream_decoder(TRANSLATED if told else REQUEST)


def decode(provider: str, *pieces: bytes, told: bool = True) -> list[StreamEvent]:
    reading = decoder(provider, told=told)
    events = [event for piece in pieces for event in reading.feed(piece)]
    return events + reading.end()


def deltas(events: Iterable[StreamEvent]) -> list[Delta]:
    return [event for event in events if isinstance(event, Delta)]


@dataclass
class SdkResponse:
    """What a client of the official SDK comes to know."""

    text: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    reasoning: str = ""
    status: str | None = None
    usage: tuple[int, int] | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    response: dict[str, Any] | None = None
    error: openai.APIError | None = None


def sdk_stream(body: bytes) -> SdkResponse:
    """The events that the SDK yields, and the error that it raises at their end, if any."""
    seen = SdkResponse()
    with _client(body, "text/event-stream") as client:
        try:
            for event in client.responses.create(model="m", input="Hi", stream=True):
                told = event.to_dict(warnings=False)
                seen.events.append(told)
                if told["type"] == "response.output_text.delta":
                    seen.text += str(told["delta"])
                if "response" in told:
                    seen.response = dict(told["response"])  # type: ignore[call-overload]  # a JSON object
        except openai.APIError as error:
            seen.error = error
    if seen.response is not None:
        _fill(seen, seen.response, text=False)
    return seen


def sdk_answer(body: bytes) -> SdkResponse:
    with _client(body, "application/json") as client:
        response = client.responses.create(model="m", input="Hi")
    seen = SdkResponse(response=response.to_dict(warnings=False))
    assert seen.response is not None
    _fill(seen, seen.response, text=True)
    return seen


def _fill(seen: SdkResponse, response: dict[str, Any], *, text: bool) -> None:
    seen.status = response.get("status")
    usage = response.get("usage")
    if usage:
        seen.usage = (usage["input_tokens"], usage["output_tokens"])
    for item in response["output"]:
        if item["type"] in ("function_call", "custom_tool_call"):
            seen.calls.append((item["name"], item.get("arguments") or item.get("input") or ""))
        for part in item.get("summary") or ():
            seen.reasoning += part["text"]
        for part in item.get("content") or () if text else ():
            seen.text += part.get("text") or ""


def _client(body: bytes, content_type: str) -> openai.OpenAI:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": content_type}, content=body)

    return openai.OpenAI(
        api_key="test",
        base_url="http://provider.test/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
    )


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """The JSON of a stream's events; comments do not count."""
    lines = [line for line in stream.decode().splitlines() if line.startswith("data: {")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]
