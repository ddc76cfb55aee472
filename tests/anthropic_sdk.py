"""Bytes of the Messages API as Anthropic's own SDK understands them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2
from anthropic.types import Message

_ASK: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "Hi"}],
}


@dataclass
class Seen:
    """What the SDK made of a stream."""

    events: list[Any] = field(default_factory=list)
    message: Message | None = None
    error: anthropic.APIStatusError | None = None


def sdk_stream(body: bytes) -> Seen:
    seen = Seen()
    with _client(body, "text/event-stream") as client, client.messages.stream(**_ASK) as stream:
        try:
            for event in stream:
                seen.events.append(event)
        except anthropic.APIStatusError as error:
            seen.error = error
        else:
            seen.message = stream.get_final_message()
    return seen


def sdk_answer(body: bytes) -> Message:
    with _client(body, "application/json") as client:
        answer = client.messages.create(**_ASK)
    assert isinstance(answer, Message)
    return answer


def _client(body: bytes, content_type: str) -> anthropic.Anthropic:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": content_type}, content=body)

    return anthropic.Anthropic(
        api_key="test",
        base_url="http://gateway.test",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
    )
