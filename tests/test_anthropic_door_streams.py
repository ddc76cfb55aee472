"""Streams at the Messages door: what other dialects tell, and what goes out as it came."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from signalbox.adapters.anthropic_door import MessagesDoor
from signalbox.adapters.chat import (
    Citation,
    CitationPiece,
    FinishPiece,
    Native,
    NativePiece,
    ReasoningFormat,
    ReasoningPiece,
    TextPiece,
    ToolCallPiece,
)
from signalbox.adapters.protocol import Delta, Seam
from signalbox.errors import ApiError
from signalbox.types import Dialect, Usage
from tests.anthropic_sdk import Seen, sdk_stream
from tests.chat_pieces import (
    USAGE,
    Told,
    counts,
    delta_of,
    refusal_stream,
    request_of,
    told_streams,
)

DOOR = MessagesDoor()
REQUEST = request_of(Dialect.MESSAGES)
REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
ERROR = ApiError(status=503, type="server_error", code="all_routes_failed", message="nothing left")
SEAM = Seam("p2", "m2", "prefill", 3)


def written(*deltas: Delta) -> list[Delta]:
    writer = DOOR.event_writer(REQUEST)
    return [event for delta in deltas for event in writer.write(delta)]


def sent(*deltas: Delta, usage: Usage | None = USAGE) -> bytes:
    encoder = DOOR.encoder(REQUEST)
    return b"".join(map(encoder.delta, deltas)) + encoder.finish("p", "0.5", usage)


def events(stream: bytes) -> list[tuple[str, Any]]:
    told = []
    for event in stream.split(b"\n\n"):
        if event and not event.startswith(b":"):
            name, data = event.split(b"\ndata: ")
            told.append((name.removeprefix(b"event: ").decode(), json.loads(data)))
    return told


def calls_of(seen: Seen) -> list[tuple[str, str, Any]]:
    assert seen.message is not None
    blocks = seen.message.content
    return [(b.id, b.name, b.input) for b in blocks if b.type == "tool_use"]


@settings(max_examples=60, deadline=None)
@given(told_streams())
def test_the_sdk_reads_what_was_told(told: Told) -> None:
    stream = sent(*written(*told.deltas))
    seen = sdk_stream(stream)
    message = seen.message
    assert message is not None
    blocks = message.content
    assert "".join(b.text for b in blocks if b.type == "text") == told.said.text
    assert "".join(b.thinking for b in blocks if b.type == "thinking") == told.said.reasoning
    assert sorted(calls_of(seen), key=str) == sorted(told.said.calls, key=str)
    assert message.stop_reason == REASONS[told.said.finish]
    assert (message.id, message.model) == ("msg_t1", "their-model" if blocks else message.model)
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens) == (10, 3)
    assert usage.output_tokens == 9
    assert events(stream)[-2][1]["usage"]["cost"] == 0.5


@settings(max_examples=60, deadline=None)
@given(told_streams())
def test_events_count_what_the_deltas_count(told: Told) -> None:
    assert counts(written(*told.deltas)) == counts(told.deltas)


@settings(max_examples=40, deadline=None)
@given(told_streams())
def test_each_block_stops_before_the_next_one_starts(told: Told) -> None:
    open_block = None
    for number, (name, event) in enumerate(events(sent(*written(*told.deltas)))):
        assert event["type"] == name
        assert (name == "message_start") == (number == 0)
        match name:
            case "content_block_start":
                assert open_block is None
                open_block = event["index"]
            case "content_block_delta":
                assert event["index"] == open_block
            case "content_block_stop":
                assert event["index"] == open_block
                open_block = None
            case "message_delta" | "message_stop":
                assert open_block is None


def test_thinking_is_signed_and_redacted_thinking_is_a_block_of_its_own() -> None:
    anthropic = ReasoningFormat.ANTHROPIC
    seen = sdk_stream(
        sent(
            *written(
                delta_of(ReasoningPiece("Hm", format=anthropic)),
                delta_of(ReasoningPiece(signature="sig", format=anthropic, closes=True)),
                delta_of(ReasoningPiece(encrypted="xyz", format=anthropic)),
                delta_of(ReasoningPiece(encrypted="foreign", format=ReasoningFormat.OPENAI)),
                delta_of(TextPiece("So")),
                delta_of(FinishPiece("stop", stop_sequence="END"), usage=USAGE),
            )
        )
    )
    assert seen.message is not None
    assert [block.to_dict() for block in seen.message.content] == [
        {"type": "thinking", "thinking": "Hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "So"},
    ]
    assert (seen.message.stop_reason, seen.message.stop_sequence) == ("stop_sequence", "END")


def test_citations_and_own_parts_are_told_and_others_left_out() -> None:
    own = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
    page = {
        "type": "page_location",
        "cited_text": "q",
        "document_index": 0,
        "document_title": None,
        "start_page_number": 1,
        "end_page_number": 2,
    }
    seen = sdk_stream(
        sent(
            *written(
                delta_of(NativePiece(Native(Dialect.MESSAGES, own))),
                delta_of(NativePiece(Native(Dialect.GENERATE, {"executableCode": {}}))),
                delta_of(TextPiece("So")),
                delta_of(CitationPiece(Citation(url="https://a.test", title="A", quote="q"))),
                delta_of(CitationPiece(Citation(dialect=Dialect.MESSAGES, native=page))),
                delta_of(FinishPiece("stop"), usage=USAGE),
            )
        )
    )
    assert seen.message is not None
    server, text = seen.message.content
    assert server.to_dict() == own
    assert text.type == "text"
    assert [c.type for c in text.citations or ()] == ["web_search_result_location", "page_location"]


def test_a_refusal_is_text_and_says_so_at_the_end() -> None:
    seen = sdk_stream(sent(*written(*refusal_stream())))
    assert seen.message is not None
    assert seen.message.stop_reason == "refusal"
    assert seen.message.content[0].to_dict() == {"type": "text", "text": "I will not."}


def test_the_end_is_held_until_it_is_certain() -> None:
    encoder = DOOR.encoder(REQUEST)
    deltas = written(delta_of(TextPiece("Hi")), delta_of(FinishPiece("stop"), usage=USAGE))
    before = b"".join(map(encoder.delta, deltas))
    assert b"message_delta" not in before
    assert b"message_stop" not in before
    seen = sdk_stream(before + encoder.error(ERROR))
    assert seen.error is not None
    assert seen.error.type == "api_error"
    assert seen.error.error_code == "all_routes_failed"
    assert seen.message is None


# A provider of the same dialect


def own(name: str, counted: dict[str, Any] | None = None, **fields: Any) -> Delta:
    raw = b'{ "type":"%s",' % name.encode() + msgspec.json.encode(fields)[1:] + b"   "
    if not fields:
        raw = b'{"type": "%s"}' % name.encode()
    return Delta(raw=raw, event=name, **(counted or {}))


def text_delta(text: str, index: int = 0) -> Delta:
    counted = {"content_chars": len(text), "text": text}
    delta = {"type": "text_delta", "text": text}
    return own("content_block_delta", counted, index=index, delta=delta)


def block_start(block: dict[str, Any], index: int = 0, **counted: Any) -> Delta:
    return own("content_block_start", counted, index=index, content_block=block)


START = own("message_start", message={"id": "msg_own", "content": [], "usage": {"input_tokens": 3}})
TEXT = block_start({"type": "text", "text": ""})
STOPPED = own("content_block_stop", index=0)
END = own(
    "message_delta",
    {"finish_reasons": ((0, "stop"),), "usage": USAGE},
    delta={"stop_reason": "end_turn", "stop_sequence": None},
    usage={"output_tokens": 12, "server_tool_use": {"web_search_requests": 1}},
)


def test_events_of_the_same_dialect_keep_their_names_and_bytes() -> None:
    encoder = DOOR.encoder(REQUEST)
    for delta in (START, TEXT, own("ping"), text_delta("Hi"), STOPPED):
        expected = b"event: " + delta.event.encode() + b"\ndata: " + delta.raw + b"\n\n"
        assert encoder.delta(delta) == expected
    assert encoder.delta(END) + encoder.delta(own("message_stop")) == b""
    last = events(encoder.finish("p", None, USAGE))
    assert [name for name, _ in last] == ["message_delta", "message_stop"]
    assert last[0][1]["usage"] == {
        "output_tokens": 12,
        "server_tool_use": {"web_search_requests": 1},
    }


def test_an_estimate_replaces_what_the_provider_could_not_say() -> None:
    estimate = Usage(prompt=4, completion=6, estimated=True)
    [(_, last), _] = events(sent(START, END, usage=estimate))[1:]
    assert (last["usage"]["input_tokens"], last["usage"]["output_tokens"]) == (4, 6)


def test_a_stream_without_any_event_is_still_a_message() -> None:
    seen = sdk_stream(sent())
    assert seen.message is not None
    assert (seen.message.content, seen.message.usage.output_tokens) == ([], 9)


# After a seam


def kept(*deltas: Delta) -> list[Delta]:
    """What of a resumed attempt's events is given to the encoder."""
    return [d for d in deltas if d.content_chars or d.opaque or d.finish_reasons]


@pytest.mark.parametrize("started", [True, False])
def test_text_goes_on_in_the_block_that_was_open(started: bool) -> None:
    encoder = DOOR.encoder(REQUEST)
    stream = b"".join(map(encoder.delta, (START, TEXT, text_delta("One "))))
    stream += encoder.resumed(SEAM)
    tool = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
    arguments = {"type": "input_json_delta", "partial_json": '{"a": 1}'}
    second = [
        START,
        TEXT,
        text_delta("two"),
        STOPPED,
        block_start(tool, 1, content_chars=1, opaque=True),
        own("content_block_delta", {"opaque": True}, index=1, delta=arguments),
        own("content_block_stop", index=1),
        text_delta("three", 2),
        END,
    ]
    stream += b"".join(map(encoder.delta, second if started else kept(*second)))
    stream += encoder.finish("p2", None, USAGE)
    seen = sdk_stream(stream)
    assert seen.message is not None
    text, call, more = seen.message.content
    assert (text.to_dict()["text"], more.to_dict()["text"]) == ("One two", "three")
    assert call.to_dict()["input"] == {"a": 1}
    starts = [event["index"] for name, event in events(stream) if name == "content_block_start"]
    assert starts == [0, 1, 2]
    assert [name for name, _ in events(stream)].count("message_start") == 1
    [resumed] = [e["x_signalbox"]["resumed"] for n, e in events(stream) if n == "message_delta"]
    assert (resumed[0]["provider"], resumed[0]["how"]) == ("p2", "prefill")
    assert seen.message.usage.input_tokens == 10


def test_what_was_held_back_at_the_seam_comes_before_the_end() -> None:
    encoder = DOOR.encoder(REQUEST)
    stream = b"".join(map(encoder.delta, (START, TEXT, text_delta("One "))))
    stream += encoder.resumed(SEAM)
    stream += encoder.delta(DOOR.retold(END, "two"))
    seen = sdk_stream(stream + encoder.finish("p2", None, USAGE))
    assert seen.message is not None
    assert [block.to_dict()["text"] for block in seen.message.content] == ["One two"]


def test_thinking_that_was_cut_off_is_a_block_of_its_own() -> None:
    thinking = {"type": "thinking", "thinking": "", "signature": ""}

    def thought(words: str) -> Delta:
        counted = {"content_chars": len(words), "reasoning_chars": len(words)}
        delta = {"type": "thinking_delta", "thinking": words}
        return own("content_block_delta", counted, index=0, delta=delta)

    encoder = DOOR.encoder(REQUEST)
    stream = b"".join(map(encoder.delta, (START, block_start(thinking), thought("Hm"))))
    stream += encoder.resumed(SEAM)
    stream += b"".join(map(encoder.delta, kept(thought("Well"), text_delta("So", 1), END)))
    seen = sdk_stream(stream + encoder.finish("p2", None, USAGE))
    assert seen.message is not None
    said = [b.to_dict().get("thinking") or b.to_dict().get("text") for b in seen.message.content]
    assert said == ["Hm", "Well", "So"]


def test_events_that_only_count_can_be_retold() -> None:
    silent = Delta(raw=b"", content_chars=3, reasoning_chars=3)
    assert DOOR.retold(silent, "") == Delta(raw=b"")


def test_a_call_s_fragments_after_its_end_are_left_out() -> None:
    deltas = (
        delta_of(ToolCallPiece(0, "{}", id="a", name="f")),
        delta_of(ToolCallPiece(1, "{", id="b", name="g")),
        delta_of(ToolCallPiece(0, " ")),
        delta_of(ToolCallPiece(1, "}")),
        delta_of(FinishPiece("tool_calls"), usage=USAGE),
    )
    assert calls_of(sdk_stream(sent(*written(*deltas)))) == [("a", "f", {}), ("b", "g", {})]
    assert counts(written(*deltas)) == counts(deltas)
