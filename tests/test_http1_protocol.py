"""The server's reading of HTTP/1.1: the same whatever the cuts, one outcome for what is wrong."""

from __future__ import annotations

from collections.abc import Sequence

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.http.http1_chunks import MAX_CHUNK_LINE, MAX_TRAILERS
from signalbox.http.http1_protocol import (
    HTTP2_PREFACE,
    MAX_BLANK_LINES,
    MAX_FIELDS,
    MAX_HEAD,
    HandOver,
    Http1Protocol,
    Request,
)
from signalbox.http.http1_violation import Violation
from tests.garbled import garbled
from tests.http1_bytes import cut, joined, outcome_of, requests

PLACES = st.lists(st.integers(0, 400), max_size=8)


def alike(data: bytes, places: Sequence[int]) -> list[tuple[object, ...]]:
    """The outcome of the bytes in one piece, which is the same for every cut of them."""
    whole = joined(outcome_of([data]))
    assert joined(outcome_of([data[i : i + 1] for i in range(len(data))])) == whole
    assert joined(outcome_of(cut(data, places))) == whole
    return whole


@given(st.lists(requests(), max_size=3), PLACES)
def test_requests_are_read_as_they_were_written(
    several: list[tuple[bytes, tuple[object, ...]]], places: list[int]
) -> None:
    data = b"".join(it for it, _ in several)
    assert alike(data, places) == [*(it for _, it in several), ("open", True)]


PIECES = (
    *(b"GET / HTTP/1.1\r\n", b"Host: a\r\n", b"Content-Length: 3\r\n", b"\r\n", b"abc", b"\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"POST /x HTTP/1.0\r\n"),
    *(b"\r", b" ", b"\t", b"\0", b":", b";", b"-1", b"+", b"0x", b"\xff", b"gzip, ", b"HTTP/2.0"),
    *(b"Connection: upgrade\r\nUpgrade: websocket\r\n", HTTP2_PREFACE, b"Expect: 100-continue\r\n"),
)
SHREDS = st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)


@given(
    SHREDS
    | st.binary(max_size=60)
    | garbled(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", *PIECES)
    | garbled(
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        *PIECES,
    ),
    PLACES,
)
def test_no_bytes_have_another_outcome_than_requests_and_one_violation(
    data: bytes, places: list[int]
) -> None:
    alike(data, places)


@given(
    garbled(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", *PIECES)
    | garbled(
        b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        *PIECES,
    )
    | SHREDS
)
def test_what_is_read_here_another_strict_reader_reads_alike(data: bytes) -> None:
    """The first request of the bytes, by h11: two that disagree can be played off against each
    other."""
    protocol = Http1Protocol()
    protocol.feed(data)
    try:
        request = protocol.next_request()
        if not isinstance(request, Request):
            return
        body = b""
        while not protocol.body_ended:
            piece = protocol.read_body()
            body += piece
            if not piece and not protocol.body_ended:
                return
    except Violation:
        return
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(data.lstrip(b"\r\n"))  # Empty lines before it are nothing to h11.
    event = reader.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method.decode(), event.target) == (request.method, request.target)
    assert list(event.headers) == request.headers
    theirs = b""
    while isinstance(event := reader.next_event(), h11.Data):
        theirs += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert theirs == body
    assert protocol.buffered == len(reader.trailing_data[0])


def request_of(lines: bytes, start: bytes = b"GET / HTTP/1.1") -> Request:
    protocol = Http1Protocol()
    protocol.feed(b"%b\r\nHost: a\r\n%b\r\n" % (start, lines))
    request = protocol.next_request()
    assert isinstance(request, Request)
    return request


@pytest.mark.parametrize(
    ("start", "lines", "kept"),
    [
        (b"GET / HTTP/1.1", b"", True),
        (b"GET / HTTP/1.1", b"Connection: Close\r\n", False),
        (b"GET / HTTP/1.1", b"Connection: keep-alive, close\r\n", False),
        (b"GET / HTTP/1.1", b"Connection: keep-alive\r\nConnection: x, close\r\n", False),
        (b"GET / HTTP/1.1", b"Connection: closed\r\n", True),
        (b"GET / HTTP/1.0", b"", False),
        (b"GET / HTTP/1.0", b"Connection: Keep-Alive\r\n", True),
        (b"GET / HTTP/1.0", b"Connection: x,KEEP-ALIVE\r\n", True),
        (b"GET / HTTP/1.0", b"Connection: keep-alive, close\r\n", False),
    ],
)
def test_whether_the_connection_lives_on(start: bytes, lines: bytes, kept: bool) -> None:
    assert request_of(lines, start).keep_alive is kept


def test_a_target_is_path_and_query() -> None:
    request = request_of(b"", b"GET /a%2Fb?c=d?e HTTP/1.1")
    assert (request.raw_path, request.query) == (b"/a%2Fb", b"c=d?e")


@pytest.mark.parametrize("spelling", [b"100-continue", b"100-Continue"])
def test_a_body_that_waits_for_100(spelling: bytes) -> None:
    line = b"Expect: %b\r\n" % spelling
    assert request_of(line + b"Content-Length: 1\r\n").continue_awaited
    assert not request_of(line).continue_awaited  # There is no body to wait with.
    assert not request_of(line + b"Content-Length: 1\r\n", b"PUT / HTTP/1.0").continue_awaited


UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\n"
WEBSOCKET = UPGRADE + b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n"
H2C = UPGRADE + b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n"


@pytest.mark.parametrize(
    ("data", "protocol"), [(WEBSOCKET, "websocket"), (H2C, "h2"), (HTTP2_PREFACE, "h2")]
)
def test_a_change_of_protocol_takes_every_byte_with_it(data: bytes, protocol: str) -> None:
    for sent in (data, data + b"\x01more"):
        connection = Http1Protocol()
        connection.feed(sent)
        handed_over = connection.next_request()
        assert isinstance(handed_over, HandOver)
        assert (handed_over.protocol, handed_over.data) == (protocol, sent)
        assert connection.buffered == 0
    assert alike(data, [3, 20]) == [("handed over", protocol)]


@pytest.mark.parametrize(
    "data",
    [
        UPGRADE + b"Upgrade: websocket\r\n\r\n",
        UPGRADE + b"Connection: upgrade\r\n\r\n",
        UPGRADE + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        UPGRADE + b"Connection: upgrade\r\nUpgrade: tls/1.0\r\n\r\n",
        WEBSOCKET.replace(b"GET", b"PUT"),
        WEBSOCKET.replace(b"1.1", b"1.0"),
        WEBSOCKET.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx"),
    ],
)
def test_an_upgrade_that_cannot_be_is_a_plain_request(data: bytes) -> None:
    request, end = alike(data + WEBSOCKET, [])
    assert len(request) == 5
    assert end == ("handed over", "websocket")


def test_the_preface_of_http_2_begins_a_connection_or_nothing() -> None:
    get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert alike(get + HTTP2_PREFACE, [])[-1] == ("violation", 505)


def big_head(size: int) -> bytes:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n"
    return data.replace(b"X: ", b"X: " + b"x" * (size - len(data)))


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (big_head(MAX_HEAD), ("open", True)),
        (big_head(MAX_HEAD + 1), ("violation", 431)),
        (b"GET /" + b"x" * MAX_HEAD, ("violation", 414)),
        (b"GET /" + b"x" * MAX_HEAD + b" HTTP/1.1\r\nHost: a\r\n\r\n", ("violation", 414)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A:\r\n" * (MAX_FIELDS - 1) + b"\r\n", ("open", True)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A:\r\n" * MAX_FIELDS + b"\r\n", ("violation", 431)),
        (b"\r\n" * MAX_BLANK_LINES + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", ("open", True)),
        (b"\r\n" * (MAX_BLANK_LINES + 1), ("violation", 400)),
    ],
)
def test_a_head_has_its_limits(data: bytes, end: tuple[object, ...]) -> None:
    assert outcome_of([data])[-1] == end
    assert outcome_of([data[:-1], data[-1:]])[-1] == end
    assert outcome_of(cut(data, range(0, len(data), 1000)))[-1] == end


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("body", "end"),
    [
        (b"0;" + b"x" * (MAX_CHUNK_LINE - 4) + b"\r\n\r\n", ("open", True)),
        (b"0;" + b"x" * (MAX_CHUNK_LINE - 3) + b"\r\n\r\n", ("violation", 400)),
        (b"0;" + b"x" * MAX_CHUNK_LINE, ("violation", 400)),
        (b"0\r\nA:" + b"x" * (MAX_TRAILERS - 6) + b"\r\n\r\n", ("open", True)),
        (b"0\r\nA:" + b"x" * (MAX_TRAILERS - 5) + b"\r\n\r\n", ("violation", 431)),
        (b"0\r\n" + b"A: b\r\n" * MAX_TRAILERS, ("violation", 431)),
        (b"FFFFFFFF\r\nabc", ("open", False)),
        (b"100000000\r\nabc", ("violation", 400)),
        (b"FFFFFFFFFFFFFFFF\r\nabc", ("violation", 400)),
        (b"000000003\r\nabc\r\n0\r\n\r\n", ("violation", 400)),
    ],
)
def test_chunks_have_their_limits(body: bytes, end: tuple[object, ...]) -> None:
    assert alike(CHUNKED + body, [80, 100])[-1] == end


def test_bytes_before_a_bad_chunk_are_read() -> None:
    data = CHUNKED + b"3\r\nabc\r\nno size"
    assert alike(data, [])[0][4] == b"abc"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\nHost: a\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\n",
        b"\n",
        b"\x16\x03\x01\x02",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\n",
    ],
)
def test_what_cannot_become_a_request_is_not_waited_for(data: bytes) -> None:
    assert alike(data, [])[-1] == ("violation", 400)


def test_a_violation_is_final() -> None:
    protocol = Http1Protocol()
    protocol.feed(b"GET  / HTTP/1.1\r\n")
    for _ in range(2):
        with pytest.raises(Violation):
            protocol.next_request()
    protocol.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises(Violation):
        protocol.next_request()
