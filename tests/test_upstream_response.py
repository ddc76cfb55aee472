"""The parser of providers' answers, fed in every way."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from signalbox.http.upstream_response import MAX_HEADERS, MAX_OVERHEAD, ResponseParser


def parse(pieces: list[bytes], method: str = "POST") -> tuple[ResponseParser, bytes]:
    parser = ResponseParser(method)
    body = b""
    for piece in pieces:
        if parser.violation is None and not parser.complete:
            parser.feed(piece)
            body += parser.take()
    return parser, body


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if start < end]


def chunked(body: bytes, size: int, trailers: bytes = b"") -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x;n=1\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n%b\r\n" % trailers


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A valid answer that says where it ends, and its body."""
    body = draw(st.binary(max_size=200))
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" * 2]))
    head = b"HTTP/1.1 200 Fine\r\nContent-Type: text/event-stream\r\n"
    if draw(st.booleans()):
        return interim + head + b"Content-Length: %d\r\n\r\n" % len(body) + body, body
    trailers = draw(st.sampled_from([b"", b"Digest: abc\r\n"]))
    encoded = chunked(body, draw(st.integers(1, 60)), trailers)
    return interim + head + b"Transfer-Encoding: chunked\r\n\r\n" + encoded, body


@given(answers(), st.lists(st.integers(0, 1000), max_size=8))
def test_an_answer_reads_the_same_however_it_is_cut(
    given_answer: tuple[bytes, bytes], places: list[int]
) -> None:
    data, body = given_answer
    whole, whole_body = parse([data])
    for pieces in (cut(data, places), [bytes([byte]) for byte in data]):
        parser, read = parse(pieces)
        assert (parser.head, read) == (whole.head, whole_body)
        assert parser.complete
        assert parser.keep_alive
    assert whole_body == body
    assert whole.head is not None
    assert (whole.head.status, whole.head.reason) == (200, b"Fine")
    assert whole.head.headers[0] == ("content-type", "text/event-stream")


@given(answers(), st.integers(0, 1000))
def test_an_answer_cut_short_is_never_whole(given_answer: tuple[bytes, bytes], place: int) -> None:
    data, body = given_answer
    parser, read = parse([data[: place % len(data)]])
    assert not parser.end()
    assert parser.violation is None
    assert body.startswith(read)


def test_a_body_without_length_ends_with_the_connection_and_the_connection_with_it() -> None:
    parser, body = parse([b"HTTP/1.1 200 OK\r\n\r\nall ", b"of it"])
    assert not parser.complete
    assert parser.end()
    assert body == b"all of it"
    assert not parser.keep_alive


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("POST", "204 No Content"), ("GET", "304 Same")]
)
def test_an_answer_without_body_is_whole_with_its_head(method: str, status: str) -> None:
    parser, body = parse([f"HTTP/1.1 {status}\r\nContent-Length: 9\r\n\r\n".encode()], method)
    assert (parser.complete, parser.keep_alive, parser.surplus, body) == (True, True, False, b"")


@pytest.mark.parametrize(
    "surplus",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"garbage", b"HTTP/1.1 101 x\r\nConnection: upgrade\r\n\r\n"],
)
@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
def test_bytes_after_the_answer_are_surplus_and_not_its_body(surplus: bytes, close: bytes) -> None:
    whole = b"HTTP/1.1 200 OK\r\n" + close + b"Content-Length: 2\r\n\r\nok"
    parser, body = parse([whole + surplus])
    assert (parser.complete, parser.surplus, body) == (True, True, b"ok")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "Expected HTTP/"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "version 2.0"),
        (b"HTTP/1.1 999 Odd\r\n\r\n", "status 999"),
        (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "status 101"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "transfer coding"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "Content-Length",
        ),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * (MAX_HEADERS + 1) + b"\r\n", "header fields"),
    ],
)
def test_what_is_no_answer_is_refused_by_name(data: bytes, words: str) -> None:
    parser, _ = parse([data])
    assert parser.violation is not None
    assert words in parser.violation
    assert parser.head is None


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"HTTP/1.1 200 OK\r\nx: ", b"a" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 40),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"e" * 1000),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: ", b"a" * 1000),
    ],
    ids=["head", "interim answers", "chunk extension", "trailers"],
)
def test_what_is_not_body_has_a_bound(start: bytes, more: bytes) -> None:
    parser, _ = parse([start] + [more] * (MAX_OVERHEAD // len(more) + 1))
    assert parser.violation is not None
    assert str(MAX_OVERHEAD) in parser.violation


def test_a_long_body_is_not_taken_for_overhead() -> None:
    length = 4 * MAX_OVERHEAD
    parser, body = parse([answer_head(length)] + [b"a" * 1000] * (length // 1000 + 1))
    assert parser.complete
    assert len(body) == length


def answer_head(length: int) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length


@given(st.lists(st.binary(min_size=1), max_size=5), st.sampled_from(["POST", "HEAD"]))
@example([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"-1\r\n"], "POST")
def test_no_bytes_make_the_parser_raise(pieces: list[bytes], method: str) -> None:
    parser, _ = parse(pieces, method)
    parser.end()
