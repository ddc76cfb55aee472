"""What the official OpenAI SDK makes of an answer's bytes: the oracle for decoder and encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx2
import openai
from openai.types.chat import ChatCompletion


@dataclass
class SdkStream:
    chunks: list[dict[str, Any]]
    error: openai.APIError | None = None


def sdk_stream(body: bytes) -> SdkStream:
    """The chunks that the SDK yields, and the error that it raises at their end, if any."""
    seen = SdkStream([])
    with _client(body, "text/event-stream") as client:
        stream = client.chat.completions.create(model="m", messages=[], stream=True)
        try:
            seen.chunks.extend(chunk.to_dict(warnings=False) for chunk in stream)
        except openai.APIError as error:
            seen.error = error
    return seen


def sdk_answer(body: bytes) -> ChatCompletion:
    with _client(body, "application/json") as client:
        return client.chat.completions.create(model="m", messages=[])


def _client(body: bytes, content_type: str) -> openai.OpenAI:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": content_type}, content=body)

    return openai.OpenAI(
        api_key="test",
        base_url="http://provider.test/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
    )
