"""The event stream decoder against the rules of the standard, and against any cutting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.adapters.sse import (
    EventStreamDecoder,
    ServerSentEvent,
    sse_comment,
    sse_event,
)
from signalbox.errors import ProviderProtocolError
from tests.recordings import cut


def decode(*pieces: bytes) -> list[ServerSentEvent]:
    decoder = EventStreamDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.end()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: one\n\ndata: two\n\n", [(b"one", b""), (b"two", b"")]),
        (b"data:no space\n\ndata:  two spaces\n\n", [(b"no space", b""), (b" two spaces", b"")]),
        (b"data: a\ndata: b\ndata\ndata: c\n\n", [(b"a\nb\n\nc", b"")]),
        (b"data\n\n", [(b"", b"")]),
        (b"event: ping\n\ndata: x\n\n", [(b"x", b"")]),
        (b"event: error\ndata: x\n\ndata: y\n\n", [(b"x", b"error"), (b"y", b"")]),
        (b": comment\n\n: another\ndata: x\n: in between\n\n", [(b"x", b"")]),
        (b"id: 1\nretry: 10\ndata: x\nunknown: y\nunknown\n\n", [(b"x", b"")]),
        (b"\xef\xbb\xbfdata: x\n\n", [(b"x", b"")]),
        (b"data: x\n\n\n\n\n", [(b"x", b"")]),
        (b" data: not a field\n\n", []),
        (b"data: without a blank line", [(b"without a blank line", b"")]),
        (b"", []),
    ],
)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_fields_and_events(
    stream: bytes, events: list[tuple[bytes, bytes]], line_end: bytes
) -> None:
    expected = [ServerSentEvent(data, name) for data, name in events]
    assert decode(stream.replace(b"\n", line_end)) == expected


LINES = st.sampled_from(
    [b"data: x", b"data:", b"event: e", b": c", b"", b"", b"\xef\xbb\xbf", b"d"]
)
LINE_ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
STREAM_BYTES = st.lists(st.tuples(LINES, LINE_ENDS).map(b"".join), max_size=20).map(b"".join)


@given(STREAM_BYTES, st.lists(st.integers(0, 1000)))
def test_where_the_bytes_are_cut_changes_nothing(stream: bytes, places: list[int]) -> None:
    assert decode(*cut(stream, places)) == decode(stream)
    assert decode(*(bytes([byte]) for byte in stream)) == decode(stream)


@pytest.mark.parametrize("pieces", [(b"data: x\r", b"\n", b"\n"), (b"data: x\r\n\r", b"\n")])
def test_a_line_end_cut_in_two_is_one(pieces: tuple[bytes, ...]) -> None:
    decoder = EventStreamDecoder()
    assert [event for piece in pieces for event in decoder.feed(piece)] == [ServerSentEvent(b"x")]


@given(st.lists(st.text().map(str.encode)))
def test_what_is_encoded_is_decoded(texts: list[bytes]) -> None:
    stream = b"".join(sse_comment(b"wait") + sse_event(text) for text in texts)
    expected = [b"\n".join(text.splitlines()) for text in texts]
    assert [event.data for event in decode(stream)] == expected


def test_one_event_has_a_bound_but_a_stream_has_none() -> None:
    decoder = EventStreamDecoder(max_event_bytes=100)
    for _ in range(50):
        assert len(decoder.feed(b"data: " + b"x" * 80 + b"\n\n")) == 1


@pytest.mark.parametrize("piece", [b"x" * 10, b"data: x\n", b"event: x\n", b"data\n"])
def test_an_event_without_an_end_is_refused(piece: bytes) -> None:
    decoder = EventStreamDecoder(max_event_bytes=100)
    with pytest.raises(ProviderProtocolError, match="larger than 100 bytes"):
        list(map(decoder.feed, [piece] * 100))


def test_the_bound_counts_each_byte_once_however_it_is_cut() -> None:
    event = b"data: " + b"x" * 90 + b"\n\n"
    decoder = EventStreamDecoder(max_event_bytes=100)
    assert len([e for byte in event for e in decoder.feed(bytes([byte]))]) == 1
