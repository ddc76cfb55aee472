"""Bytes of Gemini's API as Google's own SDK understands them."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx2
from google import genai
from google.genai import errors, types


@dataclass
class Seen:
    """What the SDK made of a stream."""

    chunks: list[types.GenerateContentResponse] = field(default_factory=list)
    error: errors.APIError | None = None

    def parts(self, candidate: int = 0) -> list[types.Part]:
        return [
            part
            for chunk in self.chunks
            for one in chunk.candidates or ()
            if (one.index or 0) == candidate and one.content
            for part in one.content.parts or ()
        ]

    def finish(self, candidate: int = 0) -> list[str]:
        return [
            one.finish_reason.value
            for chunk in self.chunks
            for one in chunk.candidates or ()
            if (one.index or 0) == candidate and one.finish_reason
        ]


def sdk_stream(body: bytes) -> Seen:
    seen = Seen()
    client = _client(body, "text/event-stream")
    try:
        for chunk in client.models.generate_content_stream(model="m", contents="Hi"):
            seen.chunks.append(chunk)
    except errors.APIError as error:
        seen.error = error
    finally:
        client.close()
    return seen


def sdk_answer(body: bytes) -> types.GenerateContentResponse:
    client = _client(body, "application/json")
    try:
        return client.models.generate_content(model="m", contents="Hi")
    finally:
        client.close()


def _client(body: bytes, content_type: str) -> genai.Client:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": content_type}, content=body)

    transport = httpx2.Client(transport=httpx2.MockTransport(answer))
    options = types.HttpOptions(base_url="http://gateway.test", httpx_client=transport)
    return genai.Client(api_key="test", http_options=options)
