"""What Anthropic's messages and streams say, held against the vendor's own SDK."""

import json
from contextlib import suppress
from typing import Any

import pytest
from anthropic.types import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.adapters.anthropic_wire import read_usage
from signalbox.adapters.chat import ChatAnswer, FinishPiece, ReasoningPiece, ToolCallPiece
from signalbox.adapters.protocol import Answer, Delta, StreamError, StreamFinished
from signalbox.errors import FailureKind, ProviderProtocolError
from signalbox.types import Usage
from tests.anthropic_wire import (
    ADAPTER,
    MESSAGES,
    OWN,
    RECORDED,
    Said,
    decode,
    deltas,
    said_by_parts,
    said_by_pieces,
    said_by_sdk,
    sdk_message,
)
from tests.recordings import Exchange, cut


def is_whole_stream(exchange: Exchange | None) -> bool:
    return exchange is not None and exchange.streamed and b"message_stop" in exchange.body


ALL = [*OWN, *RECORDED]
STREAMS = [p for p in ALL if p.values[0] is not None and p.values[0].streamed]
WHOLE_STREAMS = [p for p in ALL if is_whole_stream(p.values[0])]
KNOWN_STREAMS = [p for p in WHOLE_STREAMS if p.id != "stream-unknown"]
ANSWERS = [
    p
    for p in RECORDED
    if p.values[0] is None or (p.values[0].status == 200 and not p.values[0].streamed)
]
FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}


def usage_of_sdk(usage: dict[str, Any]) -> tuple[int, int]:
    """(input, output) in total."""
    parts = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return sum(usage.get(name) or 0 for name in parts), usage["output_tokens"]


@pytest.mark.parametrize("exchange", KNOWN_STREAMS)
def test_a_stream_says_what_the_vendors_sdk_reads_in_it(exchange: Exchange) -> None:
    events = decode(exchange.body)
    told, message = deltas(events), sdk_message(exchange.body)
    said = said_by_pieces([piece for delta in told for piece in delta.pieces])
    assert said == said_by_sdk(message)
    assert isinstance(events[-1], StreamFinished)
    assert "".join(delta.text for delta in told) == said.text
    assert sum(d.reasoning_chars for d in told) == len(said.thinking) + len(said.redacted)
    [(_, finish)] = [reason for delta in told for reason in delta.finish_reasons]
    assert finish == FINISH[message["stop_reason"]]
    usage = [delta.usage for delta in told if delta.usage is not None][-1]
    assert (usage.input_total, usage.output_total) == usage_of_sdk(message["usage"])
    assert {delta.model for delta in told} == {message["model"]}
    assert told[0].id == message["id"]
    made = [value for delta in told for value in delta.made]
    assert {*said.signatures, *said.redacted} <= {*made}


@pytest.mark.parametrize("exchange", ANSWERS)
def test_a_whole_answer_says_what_the_vendors_sdk_reads_in_it(exchange: Exchange) -> None:
    answer = ADAPTER.decode_answer(exchange.body, MESSAGES)
    message = Message.model_validate_json(exchange.body).model_dump()
    assert isinstance(answer, Answer)
    assert isinstance(answer.told, ChatAnswer)
    [choice] = answer.told.choices
    assert said_by_parts(choice.parts, choice.native_finish) == said_by_sdk(message)
    assert answer.finish_reason == choice.finish == FINISH[message["stop_reason"]]
    assert choice.stop_sequence == message["stop_sequence"]
    assert answer.usage is not None
    assert (answer.usage.input_total, answer.usage.output_total) == usage_of_sdk(message["usage"])
    assert answer.body == json.loads(exchange.body)
    assert (answer.id, answer.told.model) == (message["id"], message["model"])


@pytest.mark.parametrize("exchange", KNOWN_STREAMS)
def test_a_stream_folded_is_the_whole_answer(exchange: Exchange) -> None:
    message = sdk_message(exchange.body)
    answer = ADAPTER.decode_answer(json.dumps(message).encode(), MESSAGES)
    assert isinstance(answer, Answer)
    assert isinstance(answer.told, ChatAnswer)
    told = deltas(decode(exchange.body))
    [choice] = answer.told.choices
    pieces = [piece for delta in told for piece in delta.pieces]
    assert said_by_pieces(pieces) == said_by_parts(choice.parts, choice.native_finish)
    [finish] = [piece for piece in pieces if isinstance(piece, FinishPiece)]
    assert (finish.finish, finish.stop_sequence) == (choice.finish, choice.stop_sequence)
    assert (finish.extra == {}) == (choice.extra == {})
    assert set(answer.made) == {value for delta in told for value in delta.made}


@pytest.mark.parametrize("exchange", STREAMS)
@given(places=st.lists(st.integers(0, 10**6), max_size=8), crlf=st.booleans())
@settings(max_examples=8)
def test_where_the_bytes_are_cut_makes_no_difference(
    exchange: Exchange, places: list[int], crlf: bool
) -> None:
    body = exchange.body.replace(b"\n", b"\r\n") if crlf else exchange.body
    assert decode(*cut(body, places)) == decode(exchange.body)


@pytest.mark.long
@pytest.mark.parametrize("exchange", STREAMS)
def test_byte_by_byte_it_is_the_same_stream(exchange: Exchange) -> None:
    assert decode(*cut(exchange.body, range(len(exchange.body)))) == decode(exchange.body)


@pytest.mark.parametrize("exchange", WHOLE_STREAMS)
def test_a_stream_that_is_cut_short_has_no_finish_reason(exchange: Exchange) -> None:
    events = exchange.body.split(b"\n\n")
    finish = next(
        i
        for i, event in enumerate(events)
        if b'"stop_reason":' in event and b"message_delta" in event
    )
    for kept in range(finish + 1):
        told = decode(b"\n\n".join(events[:kept]) + b"\n\n")
        assert not any(isinstance(event, StreamFinished) for event in told)
        assert not any(delta.finish_reasons for delta in deltas(told))
        assert all(d.usage is None or d.usage.completion is None for d in deltas(told))


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("stream-error-first", FailureKind.OVERLOADED, ""),
        ("stream-error-midtext", FailureKind.SERVER_ERROR, "Half"),
    ],
)
def test_an_error_event_ends_the_stream(name: str, kind: FailureKind, text: str) -> None:
    [exchange] = [p.values[0] for p in OWN if p.id == name]
    events = decode(exchange.body + b'event: ping\ndata: {"type": "ping"}\n\n')
    assert isinstance(events[-1], StreamError)
    assert events[-1].failure.kind is kind
    assert "".join(delta.text for delta in deltas(events)) == text


def own(name: str) -> list[Delta]:
    [exchange] = [p.values[0] for p in OWN if p.id == name]
    return deltas(decode(exchange.body))


def test_a_tool_without_arguments_has_an_empty_object() -> None:
    pieces = [piece for delta in own("stream-thinking-tools") for piece in delta.pieces]
    calls = [piece for piece in pieces if isinstance(piece, ToolCallPiece)]
    assert [(c.index, c.id, c.name, c.arguments) for c in calls] == [
        (0, "toolu_a", "tide", ""),
        (0, None, None, '{"port": '),
        (0, None, None, '"Leith"}'),
        (1, "toolu_b", "now", ""),
        (1, None, None, "{}"),
    ]


def test_blocks_of_thinking_are_closed_and_their_proofs_told_whole() -> None:
    told = own("stream-thinking-tools")
    pieces = [
        piece for delta in told for piece in delta.pieces if isinstance(piece, ReasoningPiece)
    ]
    assert [(p.text, p.signature, p.encrypted, p.closes) for p in pieces] == [
        ("Two ports, ", None, None, False),
        ("so two calls.", None, None, False),
        ("", "c2lnbmVk", None, False),
        ("", None, None, True),
        ("", None, "aGlkZGVu", True),
    ]
    assert [value for delta in told for value in delta.made] == ["c2lnbmVk", "aGlkZGVu"]


def test_usage_is_cumulative_and_what_is_not_repeated_stays() -> None:
    first, last = [delta.usage for delta in own("stream-thinking-tools") if delta.usage]
    common = Usage(cached_read=300, cache_write=5, cache_write_1h=2, service_tier="standard")
    assert first == replace(common, prompt=40)
    assert last == replace(common, prompt=41, completion=60, reasoning=30)
    assert read_usage({"input_tokens": 0, "output_tokens": 0}) is None
    assert read_usage({"input_tokens": -1, "output_tokens": True}) is None
    assert read_usage(None) is None


def test_events_that_are_not_known_go_through_without_content() -> None:
    told = own("stream-unknown")
    raw = {delta.event: delta for delta in told}
    assert json.loads(raw["weather"].raw) == {"type": "weather", "mood": "fog"}
    assert raw["weather"].content_chars == 0
    assert not raw["weather"].pieces
    said = said_by_pieces([piece for delta in told for piece in delta.pieces])
    assert said == Said(text="Fine.", native=[("hologram", None)], finish="end_turn")


def test_state_of_the_provider_is_told() -> None:
    assert "container_9" in own("stream-server-tool-citations")[-1].made
    ping = [delta for delta in own("stream-text") if delta.event == "ping"]
    assert [(delta.content_chars, delta.has_choices) for delta in ping] == [(0, False)]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**12) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "id", "name", "input", "content", "usage", "delta"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
KINDS = st.sampled_from(
    [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "error",
        "ping",
        "new",
    ]
)
PARTS = st.sampled_from(["text", "text_delta", "thinking", "tool_use", "input_json_delta", "new"])
PART = st.builds(
    lambda kind, more: {**more, "type": kind},
    PARTS,
    st.dictionaries(
        st.sampled_from(
            ["text", "thinking", "partial_json", "signature", "id", "name", "citations"]
        ),
        VALUES,
        max_size=3,
    ),
)
EVENT = st.builds(
    lambda kind, more: {**more, "type": kind},
    KINDS,
    st.fixed_dictionaries(
        {},
        optional={
            "index": st.integers(0, 2) | VALUES,
            "delta": PART | VALUES,
            "content_block": PART | VALUES,
            "message": VALUES,
            "usage": VALUES,
            "error": VALUES,
        },
    ),
)


@given(st.lists(EVENT | VALUES, max_size=6), st.binary(max_size=30))
@settings(max_examples=200)
def test_a_decoder_raises_nothing_but_protocol_errors(events: list[Any], junk: bytes) -> None:
    stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    for data in (stream, stream + junk, junk + stream, b"event: error\ndata: " + junk + b"\n\n"):
        with suppress(ProviderProtocolError):
            for delta in deltas(decode(data)):
                ADAPTER.retold(delta, "é")


@given(
    st.dictionaries(
        st.sampled_from(["type", "content", "usage", "id", "error", "stop_reason"]),
        VALUES | st.lists(PART, max_size=3),
    ),
    st.binary(max_size=20),
)
def test_whole_answers_likewise(fields: dict[str, Any], junk: bytes) -> None:
    for data in (json.dumps(fields).encode(), junk):
        with suppress(ProviderProtocolError):
            ADAPTER.decode_answer(data, MESSAGES)
