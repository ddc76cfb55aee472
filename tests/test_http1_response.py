"""One response from ASGI's messages to bytes."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalbox.http.http1_response import Response, ResponseMisused

DATE = b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
TEXT = (b"content-type", b"text/plain")


def response(
    *headers: tuple[bytes, bytes],
    status: int = 200,
    to_head: bool = False,
    http_1_0: bool = False,
    keep_alive: bool = True,
) -> Response:
    made = Response(to_head=to_head, http_1_0=http_1_0, keep_alive=keep_alive)
    made.start(status, headers)
    return made


def lines_of(data: bytes) -> tuple[list[bytes], bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    return head.split(b"\r\n"), body


def test_head_and_body_are_one_piece_and_its_length_is_said() -> None:
    made = response(TEXT)
    assert made.encode_body(b"hello", False, DATE) == (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
        + DATE
        + b"content-length: 5\r\n\r\nhello"
    )
    assert (made.complete, made.keep_alive) == (True, True)


def test_a_body_of_pieces_is_chunked() -> None:
    made = response(TEXT)
    first = made.encode_body(b"hello", True, DATE)
    assert lines_of(first)[0][-1] == b"transfer-encoding: chunked"
    assert lines_of(first)[1] == b"5\r\nhello\r\n"
    assert made.encode_body(b"", True, DATE) == b""  # An empty chunk would be the end.
    assert not made.complete
    assert made.encode_body(b"!" * 16, False, DATE) == b"10\r\n!!!!!!!!!!!!!!!!\r\n0\r\n\r\n"
    assert made.complete


def test_an_end_without_bytes_is_the_last_chunk() -> None:
    made = response()
    made.encode_body(b"x", True, DATE)
    assert made.encode_body(b"", False, DATE) == b"0\r\n\r\n"


def test_a_length_that_the_application_says_is_kept() -> None:
    made = response((b"Content-Length", b"3"))
    lines, body = lines_of(made.encode_body(b"a", True, DATE))
    assert (lines[-1], body) == (b"content-length: 3", b"a")
    assert made.encode_body(b"bc", False, DATE) == b"bc"


def send_all(made: Response, before: list[bytes], last: bytes) -> None:
    for data in before:
        made.encode_body(data, True, DATE)
    made.encode_body(last, False, DATE)


@pytest.mark.parametrize("pieces", [[b"abcd"], [b"ab", b"cd"], [b"ab"], [b""], [b"a", b"b"]])
def test_a_body_of_another_length_than_was_said_is_a_fault(pieces: list[bytes]) -> None:
    made = response((b"content-length", b"3"))
    *before, last = pieces
    with pytest.raises(ResponseMisused, match=r"the body is (longer|shorter)"):
        send_all(made, before, last)
    assert made.begun is (len(pieces) > 1)
    assert not made.complete


@pytest.mark.parametrize("status", [204, 304])
def test_some_statuses_have_no_body(status: int) -> None:
    made = response(status=status)
    lines, body = lines_of(made.encode_body(b"ignored", False, DATE))
    assert body == b""
    assert not [it for it in lines if it.startswith((b"content-length", b"transfer-encoding"))]


def test_a_204_has_no_length_and_a_304_may_have_one() -> None:
    length = (b"content-length", b"9")
    assert b"content-length" not in response(length, status=204).encode_body(b"", False, DATE)
    assert b"content-length: 9" in response(length, status=304).encode_body(b"", False, DATE)


@pytest.mark.parametrize(
    ("headers", "pieces", "expected"),
    [
        ([], [b"hello"], b"content-length: 5"),
        ([(b"content-length", b"7")], [b""], b"content-length: 7"),
        ([(b"content-length", b"7")], [b"a", b"b"], b"content-length: 7"),
        ([], [b""], None),
        ([], [b"a", b"b"], None),
    ],
)
def test_the_answer_to_head_says_the_length_and_sends_nothing(
    headers: list[tuple[bytes, bytes]], pieces: list[bytes], expected: bytes | None
) -> None:
    made = response(*headers, to_head=True)
    data = b"".join(
        made.encode_body(it, place < len(pieces), DATE) for place, it in enumerate(pieces, 1)
    )
    lines, body = lines_of(data)
    assert (body, made.complete, made.keep_alive) == (b"", True, True)
    said = [it for it in lines if it.startswith(b"content-length")]
    assert said == ([] if expected is None else [expected])
    assert b"transfer-encoding" not in data


def test_http_1_0_has_lengths_or_ends_with_the_connection() -> None:
    whole = response(http_1_0=True)
    assert lines_of(whole.encode_body(b"a", False, DATE))[0][-1] == b"connection: keep-alive"
    pieces = response(http_1_0=True)
    lines, body = lines_of(pieces.encode_body(b"a", True, DATE))
    assert (lines[-1], body) == (b"connection: close", b"a")
    assert not [it for it in lines if it.startswith((b"content-length", b"transfer-encoding"))]
    assert pieces.ends_with_connection
    assert not pieces.keep_alive


@pytest.mark.parametrize(
    ("headers", "keep_alive"),
    [([], False), ([(b"connection", b"close")], True), ([(b"Connection", b"a, Close")], True)],
)
def test_a_connection_that_is_to_end_says_so_once(
    headers: list[tuple[bytes, bytes]], keep_alive: bool
) -> None:
    made = response(*headers, keep_alive=keep_alive)
    data = made.encode_body(b"", False, DATE)
    assert data.lower().count(b"connection:") == 1
    assert b"\r\nconnection: close\r\n" in data
    assert not made.keep_alive


def test_framing_and_connection_are_the_server_s_own() -> None:
    made = response((b"Transfer-Encoding", b"gzip"), (b"connection", b"upgrade"))
    data = made.encode_body(b"a", True, DATE)
    assert b"gzip" not in data
    assert b"upgrade" not in data
    assert b"transfer-encoding: chunked" in data


def test_a_date_of_the_application_s_stays() -> None:
    data = response((b"Date", b"then")).encode_body(b"", False, DATE)
    assert data.lower().count(b"\r\ndate:") == 1
    assert b"Date: then\r\n" in data


@pytest.mark.parametrize(
    "header",
    [
        *((b"x", b"a\r\nset-cookie: b"), (b"x", b"a\nb"), (b"x", b"a\rb"), (b"x", b"\0")),
        *((b"x y", b"a"), (b"x:", b"a"), (b"", b"a"), (b"x\r\ny", b"a"), (b"\xe4", b"a")),
        *((b"content-length", b"-1"), (b"content-length", b""), (b"content-length", b"1\n")),
        *((b"date", b"a\r\nb: c"), (b"x" * 5 + b"\0", b"a")),
    ],
)
def test_no_header_becomes_two(header: tuple[bytes, bytes]) -> None:
    for _ in range(2):  # Names are remembered; bad ones are not.
        made = response(header)
        with pytest.raises(ResponseMisused):
            made.encode_body(b"", False, DATE)
        assert not made.begun


def test_two_lengths_must_be_one() -> None:
    length = (b"content-length", b"1")
    assert response(length, length).encode_body(b"a", False, DATE).count(b"content-length") == 1
    with pytest.raises(ResponseMisused):
        response(length, (b"content-length", b"2")).encode_body(b"a", False, DATE)


@pytest.mark.parametrize("status", [0, 99, 100, 101, 199, 1000])
def test_only_final_statuses_are_responses(status: int) -> None:
    with pytest.raises(ResponseMisused, match="expected 200 to 999"):
        response(status=status)


def test_an_unknown_status_has_no_words() -> None:
    assert response(status=299).encode_body(b"", False, DATE).startswith(b"HTTP/1.1 299 \r\n")


def test_messages_have_their_order() -> None:
    fresh = Response(to_head=False, http_1_0=False, keep_alive=True)
    with pytest.raises(ResponseMisused, match="before"):
        fresh.encode_body(b"", False, DATE)
    fresh.start(200, [])
    with pytest.raises(ResponseMisused, match="twice"):
        fresh.start(200, [])
    fresh.encode_body(b"", False, DATE)
    with pytest.raises(ResponseMisused, match="ended"):
        fresh.encode_body(b"", False, DATE)


NAMES = st.sampled_from([b"x-a", b"X-B", b"server", b"set-cookie"])
VALUES = st.text("ab \t;,=\xe4", max_size=9).map(lambda it: it.strip().encode("latin-1"))


@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=5),
    st.lists(st.binary(max_size=30), min_size=1, max_size=5),
    st.booleans(),
    st.booleans(),
)
def test_a_strict_reader_reads_what_was_meant(
    headers: list[tuple[bytes, bytes]], pieces: list[bytes], says_length: bool, to_head: bool
) -> None:
    body = b"".join(pieces)
    given = list(headers)
    if says_length:
        given.append((b"content-length", b"%d" % len(body)))
    made = response(*given, to_head=to_head)
    reader = h11.Connection(h11.CLIENT)
    reader.send(
        h11.Request(method="HEAD" if to_head else "GET", target="/", headers=[("host", "")])
    )
    reader.send(h11.EndOfMessage())
    for place, it in enumerate(pieces, 1):
        if data := made.encode_body(it, place < len(pieces), DATE):
            reader.receive_data(data)
    event = reader.next_event()
    assert isinstance(event, h11.Response)
    read = [
        field for field in event.headers if field[0] in (b"x-a", b"x-b", b"server", b"set-cookie")
    ]
    assert read == [(name.lower(), value) for name, value in headers]
    received = b""
    while isinstance(event := reader.next_event(), h11.Data):
        received += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert received == (b"" if to_head else body)
    assert reader.trailing_data == (b"", False)
