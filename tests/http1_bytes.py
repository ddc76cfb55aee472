"""Requests as bytes, good and bad, and what a protocol makes of bytes cut anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from signalbox.http.http1_protocol import HandOver, Http1Protocol, Request
from signalbox.http.http1_violation import Violation

Outcome = list[tuple[Any, ...]]
"""Requests as `(method, target, version, headers, body)`, then how it ended."""


def outcome_of(pieces: Sequence[bytes]) -> Outcome:
    """What comes of the bytes. Anything raised but a `Violation` is a fault."""
    protocol = Http1Protocol()
    found: Outcome = []
    body: list[bytes] | None = None
    for data in pieces:
        protocol.feed(data)
        try:
            body = _take_all(protocol, found, body)
        except Violation as violation:
            return [*found, ("violation", violation.status)]
        if found and found[-1][0] == "handed over":
            rest = b"".join(pieces)
            assert rest.endswith(found[-1][2]) or len(found[-1][2]) < len(rest)
            return [*found[:-1], found[-1][:2]]
    return [*found, ("open", protocol.body_ended)]


def _take_all(protocol: Http1Protocol, found: Outcome, body: list[bytes] | None) -> list[bytes]:
    body = [] if body is None else body
    while True:
        while not protocol.body_ended:
            piece = protocol.read_body()
            found[-1][4].append(piece)
            if not piece and not protocol.body_ended:
                return body
        request = protocol.next_request()
        if request is None:
            return body
        if isinstance(request, HandOver):
            found.append(("handed over", request.protocol, request.data))
            return body
        assert isinstance(request, Request)
        fields = tuple(request.headers)
        found.append((request.method, request.target, request.http_version, fields, []))


def joined(outcome: Outcome) -> Outcome:
    """With the bodies' pieces put together: how they are cut is nobody's concern."""
    return [
        (*it[:4], b"".join(it[4])) if len(it) == 5 and isinstance(it[4], list) else it
        for it in outcome
    ]


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


TOKENS = st.text("abcXYZ019-_", min_size=1, max_size=8).map(str.encode)
VALUES = st.text("ab ,;=\"'\t\xe4", max_size=12).map(lambda it: it.strip().encode("latin-1"))
TARGETS = st.text("abz019/%2F?&=:@-._~", max_size=12).map(lambda it: b"/" + it.encode())


@st.composite
def fields(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-" + name, value)
        for name, value in draw(st.lists(st.tuples(TOKENS, VALUES), max_size=4))
    ]


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, tuple[Any, ...]]:
    """The bytes of one request, and what is to be read from them."""
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS"]))
    target = draw(TARGETS)
    body = draw(st.binary(max_size=40) | st.just(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"))
    headers = [(b"Host", b"example:8080"), *draw(fields())]
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    if framing == "none":
        body = sent = b""
    elif framing == "length":
        headers.append((b"Content-Length", b"%d" % len(body)))
        sent = body
    else:
        headers.append((b"Transfer-Encoding", draw(st.sampled_from([b"chunked", b"Chunked"]))))
        sent = draw(chunked(body))
    lines = b"".join(b"%b: %b\r\n" % field for field in headers)
    data = b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, target, lines, sent)
    expected = tuple((name.lower(), value) for name, value in headers)
    return data, (method.decode(), target, "1.1", expected, body)


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    pieces = [it for it in cut(body, draw(st.lists(st.integers(0, 60), max_size=4))) if it]
    extension = draw(st.sampled_from([b"", b";a=b", b';q="x y"']))
    size = draw(st.sampled_from([b"%x", b"%X", b"%04x"]))
    trailers = draw(st.sampled_from([b"", b"x-sum: 1\r\n", b"a: b\r\nc:\r\n"]))
    chunks = b"".join(b"%b%b\r\n%b\r\n" % (size % len(it), extension, it) for it in pieces)
    return chunks + b"0%b\r\n%b\r\n" % (extension, trailers)
