"""What answers in Anthropic's and Google's own dialects give out of state: what a request that
sends it back is found to refer to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from signalbox.adapters.anthropic import AnthropicAdapter
from signalbox.adapters.gemini import GeminiAdapter
from signalbox.adapters.protocol import Adapter, Answer, Delta
from signalbox.adapters.provider_state import references
from signalbox.types import Dialect, Request
from tests.outgoing import REQUEST
from tests.test_vendor_state import (
    REDACTED,
    THOUGHT,
    UPLOADED,
    assistant,
    called,
    contents,
    messages,
)

MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "container": {"id": "container_1", "expires_at": "2030-01-01T00:00:00Z"},
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 2},
    "content": [
        {"type": "compaction", "content": "Before.", "encrypted_content": "seal"},
        THOUGHT,
        REDACTED,
        {
            "type": "bash_code_execution_tool_result",
            "tool_use_id": "srvtoolu_1",
            "content": {
                "type": "bash_code_execution_result",
                "content": [{"type": "bash_code_execution_output", "file_id": "file_1"}],
            },
        },
        {"type": "text", "text": "Done."},
    ],
}
CANDIDATE: dict[str, Any] = {
    "index": 0,
    "content": {
        "role": "model",
        "parts": [{"fileData": {"mimeType": "image/png", "fileUri": UPLOADED}}, called()],
    },
    "finishReason": "STOP",
}


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def message_events() -> bytes:
    """The same message as a stream: what is sealed or signed comes after its block's start."""
    start = {**MESSAGE, "content": [], "stop_reason": None}
    stream = event("message_start", message=start)
    for index, block in enumerate(MESSAGE["content"]):
        begun, deltas = dict(block), []
        if block["type"] == "thinking":
            begun |= {"thinking": "", "signature": ""}
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        elif block["type"] == "compaction":
            begun = {"type": "compaction", "content": None}
            deltas = [{**block, "type": "compaction_delta"}]
        stream += event("content_block_start", index=index, content_block=begun)
        for delta in deltas:
            stream += event("content_block_delta", index=index, delta=delta)
        stream += event("content_block_stop", index=index)
    return stream + event("message_delta", delta={"stop_reason": "end_turn"}, usage={})


def given_out(adapter: Adapter, request: Request, whole: bytes, stream: bytes) -> list[set[str]]:
    answer = adapter.decode_answer(whole, request)
    assert isinstance(answer, Answer)
    decoder = adapter.stream_decoder(request)
    events = [*decoder.feed(stream), *decoder.end()]
    return [
        set(answer.made),
        {each for delta in events if isinstance(delta, Delta) for each in delta.made},
    ]


@pytest.mark.parametrize("door", [Dialect.MESSAGES, Dialect.CHAT])
def test_what_anthropic_gives_out_is_what_a_request_may_send_back(door: Dialect) -> None:
    whole = json.dumps(MESSAGE).encode()
    request = replace(REQUEST, door=door)
    found = given_out(AnthropicAdapter("a"), request, whole, message_events())
    body = messages(assistant(*MESSAGE["content"]), container=MESSAGE["container"])
    sent_back = {each.value for each in references(body, Dialect.MESSAGES)}
    assert found == [sent_back, sent_back]
    assert sent_back == {"container_1", "seal", "sig", "blob", "file_1"}


@pytest.mark.parametrize("door", [Dialect.GENERATE, Dialect.CHAT])
def test_what_gemini_gives_out_is_what_a_request_may_send_back(door: Dialect) -> None:
    whole = json.dumps({"candidates": [CANDIDATE], "responseId": "r"}).encode()
    request = replace(REQUEST, door=door)
    found = given_out(GeminiAdapter("a"), request, whole, b"data: " + whole + b"\n\n")
    body = contents(CANDIDATE["content"])
    assert found == [{each.value for each in references(body, Dialect.GENERATE)}] * 2
    assert found[0] == {UPLOADED, "sig"}
