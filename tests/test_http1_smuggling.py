"""Requests that two readers could take for different ones: refused, and nothing after them is
served. Most are the classics of RFC 9112, section 11, as the tools for finding them send them."""

from __future__ import annotations

import json

import pytest

from signalbox.http.asgi import Receive, Scope, Send
from tests.http1_servers import answer, app_of, read_all, serving, with_patience

GET = b"GET / HTTP/1.1\r\n"
HOST = b"Host: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

REFUSED: dict[str, tuple[int, bytes]] = {
    # Two lengths
    "length and coding": (
        400,
        POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "coding and length": (
        400,
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    ),
    "the same length twice": (400, POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
    "two different lengths": (400, POST + b"Content-Length: 0\r\nContent-Length: 3\r\n\r\nabc"),
    "lengths in one field": (400, POST + b"Content-Length: 3, 3\r\n\r\nabc"),
    # What is no length
    "plus": (400, POST + b"Content-Length: +3\r\n\r\nabc"),
    "minus": (400, POST + b"Content-Length: -3\r\n\r\nabc"),
    "hex": (400, POST + b"Content-Length: 0x3\r\n\r\nabc"),
    "underscore": (400, POST + b"Content-Length: 1_0\r\n\r\nabc"),
    "space inside": (400, POST + b"Content-Length: 1 0\r\n\r\nabc"),
    "vertical tab": (400, POST + b"Content-Length: \x0b3\r\n\r\nabc"),
    "no digits": (400, POST + b"Content-Length: \r\n\r\nabc"),
    "other digits": (400, POST + b"Content-Length: \xb2\r\n\r\nabc"),
    "overflow": (400, POST + b"Content-Length: 18446744073709551619\r\n\r\nabc"),
    "twenty digits": (400, POST + b"Content-Length: 00000000000000000003\r\n\r\nabc"),
    "length with a space before the colon": (400, POST + b"Content-Length : 3\r\n\r\nabc"),
    # Codings
    "unknown coding": (400, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "identity": (400, POST + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    "chunked and another after it": (400, POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n"),
    "another under chunked": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked twice": (400, POST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n"),
    "chunked twice in one": (400, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "chunked, then identity": (
        400,
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    "chunked with a parameter": (400, POST + b"Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n"),
    "quoted": (400, POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n'),
    "coding after a vertical tab": (400, POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
    "coding with a space before the colon": (
        400,
        POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
    "coding folded": (400, POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    "coding in HTTP/1.0": (
        400,
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    # Line ends
    "LF after the request line": (400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    "LF after a field": (400, GET + b"Host: a\nX: y\r\n\r\n"),
    "LF at the end of the head": (400, GET + HOST + b"\n"),
    "only LF": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "CR alone": (400, GET + HOST + b"X: a\rY: b\r\n\r\n"),
    "CR CR LF": (400, b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    "LF before the request": (400, b"\n" + GET + HOST + b"\r\n"),
    # Fields
    "obs-fold": (400, GET + HOST + b"X: a\r\n b\r\n\r\n"),
    "obs-fold by tab": (400, GET + HOST + b"X: a\r\n\tb\r\n\r\n"),
    "space before the first field": (400, GET + b" Host: a\r\n\r\n"),
    "space before a colon": (400, GET + b"Host : a\r\n\r\n"),
    "no colon": (400, GET + HOST + b"X\r\n\r\n"),
    "no name": (400, GET + HOST + b": x\r\n\r\n"),
    "NUL in a name": (400, GET + HOST + b"X\0: x\r\n\r\n"),
    "NUL in a value": (400, GET + HOST + b"X: a\0b\r\n\r\n"),
    "control character": (400, GET + HOST + b"X: a\x01b\r\n\r\n"),
    "DEL": (400, GET + HOST + b"X: a\x7fb\r\n\r\n"),
    "bytes above ASCII in a name": (400, GET + HOST + b"X\xe4: a\r\n\r\n"),
    # Hosts
    "no Host": (400, GET + b"X: y\r\n\r\n"),
    "no fields": (400, GET + b"\r\n"),
    "two Hosts": (400, GET + HOST + b"Host: b\r\n\r\n"),
    "the same Host twice": (400, GET + HOST + HOST + b"\r\n"),
    "Host with a path": (400, GET + b"Host: a/b\r\n\r\n"),
    "Host with userinfo": (400, GET + b"Host: a@b\r\n\r\n"),
    "Host of two": (400, GET + b"Host: a b\r\n\r\n"),
    "another host in the target": (400, b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    # Request lines
    "two spaces": (400, b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "space in the target": (400, b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n"),
    "space at the end": (400, b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n"),
    "tab": (400, b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    "fragment": (400, b"GET /#a HTTP/1.1\r\n" + HOST + b"\r\n"),
    "NUL in the target": (400, b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "bytes above ASCII in the target": (400, b"GET /\xe4 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "no path": (400, b"GET a HTTP/1.1\r\n" + HOST + b"\r\n"),
    "another scheme": (400, b"GET ftp://a/ HTTP/1.1\r\n" + HOST + b"\r\n"),
    "asterisk": (400, b"GET * HTTP/1.1\r\n" + HOST + b"\r\n"),
    "simple request": (400, b"GET /\r\n\r\n"),
    "lower-case version": (400, b"GET / http/1.1\r\n" + HOST + b"\r\n"),
    "two-digit version": (400, b"GET / HTTP/1.10\r\n" + HOST + b"\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    "HTTP/0.9": (505, b"GET / HTTP/0.9\r\n" + HOST + b"\r\n"),
    "HTTP/1.2": (505, b"GET / HTTP/1.2\r\n" + HOST + b"\r\n"),
    "HTTP/2 as text": (505, b"GET / HTTP/2.0\r\n" + HOST + b"\r\n"),
    "CONNECT": (501, b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n"),
    "unknown method": (501, b"SMUGGLE / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "lower-case method": (501, b"get / HTTP/1.1\r\n" + HOST + b"\r\n"),
    "another expectation": (417, POST + b"Expect: a\r\nContent-Length: 1\r\n\r\nx"),
    # Chunks
    "size with LF": (400, CHUNKED + b"3\nabc\r\n0\r\n\r\n"),
    "data with LF": (400, CHUNKED + b"3\r\nabc\n0\r\n\r\n"),
    "data without an end": (400, CHUNKED + b"3\r\nabc0\r\n\r\n"),
    "data longer than its size": (400, CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n"),
    "size with 0x": (400, CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n"),
    "size with a sign": (400, CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n"),
    "size with a space": (400, CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n"),
    "space before a size": (400, CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n"),
    "no size": (400, CHUNKED + b"\r\nabc\r\n0\r\n\r\n"),
    "size that overflows": (400, CHUNKED + b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    "extension with LF": (400, CHUNKED + b"3;a\nabc\r\n0\r\n\r\n"),
    "extension with CR": (400, CHUNKED + b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
    "extension with NUL": (400, CHUNKED + b"3;\0\r\nabc\r\n0\r\n\r\n"),
    "last chunk with LF": (400, CHUNKED + b"0\n\r\n"),
    "trailer with a length": (400, CHUNKED + b"0\r\nContent-Length: 3\r\n\r\n"),
    "trailer with a coding": (400, CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "trailer with LF": (400, CHUNKED + b"0\r\nA: b\n\r\n"),
    "trailer folded": (400, CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n"),
    "trailer with a space before its colon": (400, CHUNKED + b"0\r\nA : b\r\n\r\n"),
    "trailers that end with LF": (400, CHUNKED + b"0\r\nA: b\r\n\n"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_refused_and_nothing_after_it_is_served(name: str) -> None:
    status, data = REFUSED[name]
    served: list[str] = []

    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        served.append(scope["path"])
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            """Reads to the end of the body, or to where it breaks off."""
        if message["type"] == "http.request":
            await answer(send, b"served")

    with with_patience():
        async with serving(app_of(handler)) as server:
            client = await server.connect()
            good = b"GET /before HTTP/1.1\r\nHost: a\r\n\r\n"
            await client.send(good + data + SMUGGLED)
            assert (await client.reply()).body == b"served"
            refusal = await client.reply()
            assert await client.is_closed()
    assert refusal.status == status
    assert refusal.header("connection") == "close"
    error = json.loads(refusal.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["message"].endswith(".")
    assert "/smuggled" not in served
    # Only where the fault lies in the body has the application seen the request.
    assert served in (["/before"], ["/before", "/"])
    assert (served != ["/before"]) == data.startswith(CHUNKED)


ACCEPTED = {
    "length with a space behind": POST + b"Content-Length: 3 \r\n\r\nabc",
    "length with zeros before": POST + b"Content-Length: 003\r\n\r\nabc",
    "absolute target": b"GET http://A/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "empty Host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "IPv6 Host": b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "empty lines before": b"\r\n\r\n" + GET + HOST + b"\r\n",
    "capitals in chunked": POST + b"Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
    "extension": CHUNKED + b'1;a="b;c";d\r\nx\r\n0\r\n\r\n',
    "trailers": CHUNKED + b"0\r\nX-Sum: 1\r\nY:\r\n\r\n",
    "without Host in HTTP/1.0": b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
}


@pytest.mark.parametrize("name", ACCEPTED)
async def test_what_is_only_unusual_is_served(name: str) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await read_all(receive)
        await answer(send, scope["path"].encode())

    with with_patience():
        async with serving(app_of(handler)) as server:
            client = await server.connect()
            await client.send(ACCEPTED[name] + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.reply()).status == 200
            assert (await client.reply()).body == b"/next"
