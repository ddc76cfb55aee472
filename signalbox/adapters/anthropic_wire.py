"""The parts of Anthropic's Messages format that the gateway reads.

Only what decides something is declared; everything else goes through as bytes. Source: Anthropic
API reference, Messages and "Streaming Messages".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from signalbox.types import Usage

DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not JSON of the wanted shape or are nested too deep."""

MOST_TOKENS = 1_000_000_000
"""A hundred times the longest context there is. A larger count is an error of the provider's."""


class Block(msgspec.Struct, gc=False):
    """A content block, or the start of one."""

    kind: str = msgspec.field(name="type")
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None
    citations: list[dict[str, Any]] | None = None


class BlockDelta(msgspec.Struct, gc=False):
    """What a block gains, or in `message_delta` what the message does."""

    kind: str | None = msgspec.field(default=None, name="type")
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    citation: dict[str, Any] | None = None
    content: Any = None
    encrypted_content: Any = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None
    container: Any = None


class Message(msgspec.Struct, gc=False):
    """A whole message, or the head of one."""

    id: Any = None
    model: Any = None
    content: list[Block] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Any = None
    container: Any = None
    usage: Any = None


class Event(msgspec.Struct, gc=False):
    kind: str = msgspec.field(name="type")
    index: int = 0
    delta: BlockDelta | None = None
    content_block: Block | None = None
    message: Message | None = None
    usage: Any = None


class Kind(msgspec.Struct, gc=False):
    kind: str = msgspec.field(name="type")


_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}


def finish_of(stop_reason: str) -> str:
    """In OpenAI's words; one that is new is an end like any other."""
    return _FINISH.get(stop_reason, "stop")


def read_usage(reported: object, earlier: Usage | None = None) -> Usage | None:
    """`usage` in disjoint classes; None where it says nothing.

    Counts are cumulative: those of `message_delta` replace those of `message_start`, and what it
    does not repeat stays as it was (`earlier`). `input_tokens` leaves the cache out already.
    """
    if not isinstance(reported, dict):
        return earlier
    prompt = _count(reported.get("input_tokens"))
    read = _count(reported.get("cache_read_input_tokens"))
    written = _count(reported.get("cache_creation_input_tokens"))
    hour = _for_an_hour(reported.get("cache_creation"))
    tier = text_of(reported.get("service_tier"))
    completion = _count(reported.get("output_tokens"))
    details = reported.get("output_tokens_details")
    reasoning = _count(details.get("thinking_tokens")) if isinstance(details, dict) else None
    if completion is not None and reasoning is not None:
        reasoning = min(reasoning, completion)
        completion -= reasoning
    if earlier is not None:
        prompt = earlier.prompt if prompt is None else prompt
        read = earlier.cached_read if read is None else read
        hour = earlier.cache_write_1h if hour is None else hour
        tier = tier or earlier.service_tier
        if written is None:
            written = (earlier.cache_write or 0) + (hour or 0)
            written = None if earlier.cache_write is None else written
    if written is not None and hour is not None:
        hour = min(hour, written)
        written -= hour
    if not any((prompt, read, written, hour, completion, reasoning)):
        return None
    return Usage(
        prompt=prompt,
        cached_read=read,
        cache_write=written,
        completion=completion,
        reasoning=reasoning,
        cache_write_1h=hour,
        service_tier=tier,
    )


def _for_an_hour(created: object) -> int | None:
    """Of the tokens written to the cache, those that stay there for an hour."""
    return _count(created.get("ephemeral_1h_input_tokens")) if isinstance(created, dict) else None


def of_prompt(usage: Usage | None) -> Usage | None:
    """What `message_start` says for sure; its one output token is no count of the answer's."""
    if usage is None:
        return None
    return replace(usage, completion=None, reasoning=None)


def container_id(container: object) -> Iterator[str]:
    if isinstance(container, dict):
        id = container.get("id")
        if isinstance(id, str) and id:
            yield id


def native_state(block: object) -> Iterator[str]:
    """What a block that only Anthropic understands gives out: files, and the seal of a summary."""
    yield from file_ids(block)
    if isinstance(block, dict) and block.get("type") == "compaction":
        for name in ("encrypted_content", "signature"):
            seal = block.get(name)
            if isinstance(seal, str) and seal:
                yield seal


def file_ids(value: object, depth: int = 8) -> Iterator[str]:
    """Ids of files that a server tool made, wherever in its block they stand."""
    if not depth:
        return
    if isinstance(value, dict):
        id = value.get("file_id")
        if isinstance(id, str) and id:
            yield id
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from file_ids(item, depth - 1)


def text_of(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        return None
    return value
