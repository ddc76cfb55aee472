"""Gemini's streams cut anywhere, with either line end, cut short, and garbled."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from signalbox.adapters.protocol import Delta, StreamEvent
from signalbox.errors import FailureKind, ProviderProtocolError
from tests.garbled import JSON
from tests.gemini_cases import (
    ADAPTER,
    EVENT_STREAMS,
    NATIVE,
    OWN_STREAMS,
    RECORDED_STREAMS,
    TRANSLATED,
    decode,
    deltas,
    failure,
    finish_reasons,
)
from tests.recordings import Exchange, cut

STREAMS = pytest.mark.parametrize("exchange", [*RECORDED_STREAMS, *OWN_STREAMS])
EVENTS = pytest.mark.parametrize("exchange", EVENT_STREAMS)
STREAMED = replace(TRANSLATED, stream=True)
CHUNK = b'data: {"candidates":[{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP"}]}\r\n\r\n'


@STREAMS
@settings(max_examples=8, deadline=None)
@given(
    places=st.lists(st.integers(0, 100_000), max_size=12), line_end=st.sampled_from(["lf", "crlf"])
)
def test_cuts_and_line_ends_change_nothing(
    exchange: Exchange, places: list[int], line_end: str
) -> None:
    body = exchange.body.replace(b"\r\n", b"\n")
    if line_end == "crlf":
        body = body.replace(b"\n", b"\r\n")
    assert told(decode(STREAMED, *cut(body, places))) == told(decode(STREAMED, exchange.body))


def test_one_byte_at_a_time_changes_nothing() -> None:
    for parameter in OWN_STREAMS:
        exchange: Exchange = parameter.values[0]
        single = (exchange.body[i : i + 1] for i in range(len(exchange.body)))
        assert told(decode(STREAMED, *single)) == told(decode(STREAMED, exchange.body))


@pytest.mark.long
@STREAMS
def test_every_stream_byte_by_byte(exchange: Exchange) -> None:
    single = (exchange.body[i : i + 1] for i in range(len(exchange.body)))
    assert told(decode(STREAMED, *single)) == told(decode(STREAMED, exchange.body))


def told(events: list[StreamEvent]) -> list[object]:
    """Errors read from one whole body quote it with its own line ends."""
    return [replace(e, raw=b"") if isinstance(e, Delta) else e for e in events]


@EVENTS
def test_a_stream_cut_short_has_no_finish_reason(exchange: Exchange) -> None:
    """At every event, and in the middle of every one: never an end that did not come."""
    ends = [len(exchange.body)]
    for number, byte in enumerate(exchange.body[:-1]):
        if byte == 0x0A and exchange.body[number + 1 : number + 2] in (b"\r", b"\n"):
            ends.append(number + 1)
    finished_at = exchange.body.find(b'"finishReason"')
    blocked_at = exchange.body.find(b'"blockReason"')
    first = min((at for at in (finished_at, blocked_at) if at >= 0), default=len(exchange.body))
    for end in {*ends, *(max(0, end - 7) for end in ends)}:
        if end <= first:
            assert not finish_reasons(decode(STREAMED, exchange.body[:end]))


def test_blank_bytes_before_a_plain_error_change_nothing() -> None:
    body = b'{"error": {"code": 503, "message": "no", "status": "UNAVAILABLE"}}'
    failed = failure(decode(STREAMED, b"\r\n", b" ", b"\n" + body))
    assert failed is not None
    assert failed.kind is FailureKind.OVERLOADED


def test_nothing_follows_an_error() -> None:
    error = b'data: {"error": {"code": 500, "message": "no", "status": "INTERNAL"}}\n\n'
    events = decode(STREAMED, CHUNK + error + CHUNK, CHUNK)
    assert len(deltas(events)) == 1
    assert len(events) == 2


def test_good_chunks_before_a_bad_one_are_not_lost() -> None:
    events = decode(STREAMED, CHUNK + b"data: {\n\n" + CHUNK)
    assert len(deltas(events)) == 1
    failed = failure(events)
    assert failed is not None
    assert failed.kind is FailureKind.PROTOCOL_ERROR


@pytest.mark.parametrize("body", [b"[]", b'[{"candidates": []}]', b"{}", b"<p>no</p>", b'{"a":'])
def test_a_whole_body_that_is_no_error_is_a_protocol_error(body: bytes) -> None:
    with pytest.raises(ProviderProtocolError):
        decode(STREAMED, body)


def test_a_body_without_end_is_not_kept() -> None:
    decoder = ADAPTER.stream_decoder(STREAMED)
    for _ in range(8):
        decoder.feed(b"{" * 1024 * 1024)
    with pytest.raises(ProviderProtocolError, match="more than"):
        decoder.feed(b"{")


PARTS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "text": st.text(max_size=5),
            "thought": st.booleans(),
            "thoughtSignature": st.text(max_size=4),
            "functionCall": st.fixed_dictionaries(
                {"name": st.text(max_size=3)}, optional={"args": JSON}
            ),
            "executableCode": JSON,
            "other": JSON,
        },
    ),
    max_size=3,
)
CHUNKS = st.fixed_dictionaries(
    {},
    optional={
        "candidates": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "content": st.fixed_dictionaries({}, optional={"parts": PARTS | JSON}),
                    "finishReason": st.sampled_from(["STOP", "SAFETY", "NEW", None]) | JSON,
                    "index": st.integers(0, 3),
                    "groundingMetadata": JSON
                    | st.fixed_dictionaries({"groundingSupports": JSON, "groundingChunks": JSON}),
                    "citationMetadata": st.fixed_dictionaries({"citations": st.lists(JSON)}),
                    "logprobsResult": st.fixed_dictionaries({"chosenCandidates": JSON}) | JSON,
                },
            ),
            max_size=2,
        )
        | JSON,
        "promptFeedback": JSON | st.fixed_dictionaries({"blockReason": JSON}),
        "usageMetadata": JSON
        | st.dictionaries(
            st.sampled_from(["promptTokenCount", "totalTokenCount", "thoughtsTokenCount"]),
            st.integers(-5, 50),
        ),
        "responseId": st.text(max_size=3),
        "error": JSON,
    },
)


@settings(max_examples=150, deadline=None)
@given(came=st.lists(CHUNKS, max_size=4), text=st.text(max_size=3), native=st.booleans())
def test_whatever_comes_is_read_or_a_protocol_error(
    came: list[object], text: str, native: bool
) -> None:
    request = replace(NATIVE if native else TRANSLATED, stream=True)
    stream = b"".join(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in came)
    try:
        events = decode(request, stream)
    except ProviderProtocolError:
        events = []
    for delta in deltas(events):
        again = ADAPTER.retold(delta, text)
        if delta.has_choices:
            assert again.reasoning_chars == 0
            assert again.text == text
    for chunk in came:
        try:
            ADAPTER.decode_answer(json.dumps(chunk).encode(), request)
        except ProviderProtocolError:
            continue


@settings(max_examples=100, deadline=None)
@given(
    data=st.lists(st.binary(max_size=20) | st.sampled_from([CHUNK, b"data: ", b"\r\n\r\n", b"{"]))
)
def test_any_bytes_are_read_or_a_protocol_error(data: list[bytes]) -> None:
    try:
        decode(STREAMED, *data)
        ADAPTER.decode_answer(b"".join(data), TRANSLATED)
    except ProviderProtocolError:
        pass


# ── retold ────────────────────────────────────────────────────────────────────────────────────


@EVENTS
def test_a_retold_chunk_says_the_new_text_and_no_thoughts(exchange: Exchange) -> None:
    for delta in deltas(decode(NATIVE, exchange.body)):
        again = ADAPTER.retold(delta, "NEW")
        if not delta.has_choices:
            assert again == delta
            continue
        (read,) = deltas(decode(NATIVE, b"data: " + again.raw + b"\n\n"))
        assert read.text == "NEW"
        assert read.reasoning_chars == 0
        assert read.content_chars == again.content_chars
        # A call may have passed in an earlier chunk: then this one alone ends in another word.
        assert dict(read.finish_reasons).keys() == dict(delta.finish_reasons).keys()
        assert read.usage == delta.usage


def test_a_retold_chunk_keeps_what_is_unknown() -> None:
    raw = b"""{"candidates":[{"content":{"parts":[{"thought":true,"text":"hm"},
    {"thought":true,"inlineData":{"mimeType":"image/png","data":"aWk="}},{"text":"a"},
    {"functionCall":{"name":"f"}},{"text":"b"}],"role":"model","x":1},"y":2}],"z":3}"""
    (delta,) = deltas(decode(NATIVE, b"data: " + raw.replace(b"\n", b"") + b"\n\n"))
    again = json.loads(ADAPTER.retold(delta, "new").raw)
    parts = [{"text": "new"}, {"functionCall": {"name": "f"}}]
    assert again == {
        "candidates": [{"content": {"parts": parts, "role": "model", "x": 1}, "y": 2}],
        "z": 3,
    }
