"""The bytes of both ends: what the load asks, and what the upstream answers.

The answer is the same text in every dialect and in every form, numbered words, so that whatever a
gateway makes of it can be checked without knowing how it writes JSON. Shapes are those of the
vendors' documentation, sizes those of a usual chat: a request and an answer of about 1 KB each,
pieces of a stream of about 270 bytes.
"""

from __future__ import annotations

import json
from typing import Any

CHUNKS = 100
"""Pieces of text in a stream, one word each."""
CHUNK_SECONDS = 0.04
"""Between two pieces: 25 tokens a second. At 256 streams these are 6,400 pieces a second, which
keeps pieces apart for every server that needs less than 156 µs for one."""
IDLE_CHUNK_SECONDS = 20.0
"""Between two pieces of a stream that is as good as idle."""
DELAY_SECONDS = 0.1
"""What the model takes in the cases with a slow upstream."""

WORDS = [f" w{number:03d}" for number in range(CHUNKS)]
TEXT = "".join(WORDS).strip() + "."
CREATED = 1_750_000_000
PROMPT_TOKENS, COMPLETION_TOKENS = 187, 100
PROMPT = (
    "You are helpful, and you answer with numbered words and nothing else. The first is w000, and "
    "each one that follows is greater by one. "
) * 6


def _dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def chat_body(model: str, *, stream: bool = False, prompt: str = PROMPT) -> bytes:
    """A request of chat completions: about 1 KB with the usual prompt."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [
            {"role": "system", "content": prompt},
            {"role": "user", "content": "Count, please."},
        ],
        "temperature": 0.7,
        "max_tokens": 512,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return _dumps(body)


def long_prompt(size: int) -> str:
    """Text of `size` characters."""
    return (PROMPT * (size // len(PROMPT) + 1))[:size]


def http_request(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


_OPENAI_USAGE = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": COMPLETION_TOKENS,
    "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}


def openai_answer() -> bytes:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": TEXT,
        "refusal": None,
        "annotations": [],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    answer = {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": CREATED,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [choice],
        "usage": _OPENAI_USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_72ed7ab54c",
    }
    return _dumps(answer)


def openai_stream() -> list[bytes]:
    """The events of a stream: the role, `CHUNKS` pieces, then all that ends it in one."""

    def event(choices: list[Any], usage: Any = None) -> bytes:
        chunk = {
            "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": "gpt-4o-mini-2024-07-18",
            "service_tier": "default",
            "system_fingerprint": "fp_72ed7ab54c",
            "choices": choices,
            "usage": usage,
        }
        return b"data: " + _dumps(chunk) + b"\n\n"

    def choice(delta: dict[str, Any], finish: str | None = None) -> list[Any]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]

    first = event(choice({"role": "assistant", "content": "", "refusal": None}))
    pieces = [event(choice({"content": word})) for word in WORDS]
    end = event(choice({}, "stop")) + event([], _OPENAI_USAGE) + b"data: [DONE]\n\n"
    return [first, *pieces, end]


def anthropic_answer() -> bytes:
    answer = {
        "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-20250514",
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _anthropic_usage(COMPLETION_TOKENS),
    }
    return _dumps(answer)


def _anthropic_usage(output: int) -> dict[str, Any]:
    return {
        "input_tokens": PROMPT_TOKENS,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output,
        "service_tier": "standard",
    }


def anthropic_stream() -> list[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: ".encode() + _dumps({"type": kind, **fields}) + b"\n\n"

    message = json.loads(anthropic_answer())
    message |= {"content": [], "stop_reason": None, "usage": _anthropic_usage(1)}
    block = {"type": "text", "text": ""}
    first = event("message_start", message=message)
    first += event("content_block_start", index=0, content_block=block)
    pieces = [
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
        for word in WORDS
    ]
    end = event("content_block_stop", index=0)
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    end += event("message_delta", delta=stop, usage={"output_tokens": COMPLETION_TOKENS})
    return [first, *pieces, end + event("message_stop")]


def _gemini(text: str, finish: str | None, output: int) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}}
    if finish is not None:
        candidate["finishReason"] = finish
    usage = {
        "promptTokenCount": PROMPT_TOKENS,
        "candidatesTokenCount": output,
        "totalTokenCount": PROMPT_TOKENS + output,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": PROMPT_TOKENS}],
    }
    return {
        "candidates": [{**candidate, "index": 0}],
        "usageMetadata": usage,
        "modelVersion": "gemini-2.5-flash",
        "responseId": "mAitaLmkHPPlz7IPvtfUqQ4",
    }


def gemini_answer() -> bytes:
    return _dumps(_gemini(TEXT, "STOP", COMPLETION_TOKENS))


def gemini_stream() -> list[bytes]:
    """Gemini has no event before the first piece and none after the last: that one ends it."""
    last = len(WORDS) - 1
    return [
        b"data: " + _dumps(_gemini(word, "STOP" if at == last else None, at + 1)) + b"\r\n\r\n"
        for at, word in enumerate(WORDS)
    ]


def overloaded() -> bytes:
    error = {"message": "The server is overloaded. Try again.", "type": "server_error"}
    return _dumps({"error": {**error, "param": None, "code": None}})
