"""Requests as they go to providers: URLs, and heads that stay what they are."""

from __future__ import annotations

import httpx
import pytest

from signalbox.http.upstream_request import RequestHeads, RequestRefused, split_url


def head_of(
    url: str, headers: tuple[tuple[str, str], ...] = (), method: str = "POST", length: int = 0
) -> bytes:
    return RequestHeads().encode(method, split_url(httpx.URL(url)), headers, length)[0]


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("http://api.test/v1/chat?a=b", "api.test", "/v1/chat?a=b"),
        ("https://api.test:443", "api.test", "/"),
        ("http://api.test:8080/", "api.test:8080", "/"),
        ("http://[::1]:8080/", "[::1]:8080", "/"),
        ("https://bücher.test/ä", "xn--bcher-kva.test", "/%C3%A4"),
    ],
)
def test_a_head_names_host_and_path(url: str, host: str, path: str) -> None:
    assert head_of(url, method="GET") == f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def test_the_length_is_counted_not_believed() -> None:
    claimed = (("Content-Length", "7"), ("Transfer-Encoding", "chunked"), ("x-a", "b"))
    assert head_of("http://a.test/", claimed, length=3) == (
        b"POST / HTTP/1.1\r\nHost: a.test\r\nx-a: b\r\nContent-Length: 3\r\n\r\n"
    )


@pytest.mark.parametrize(
    "url", ["ftp://a.test/", "http:///path", "/path", "https://user:password@a.test/"]
)
def test_a_url_that_is_not_plain_http_is_refused(url: str) -> None:
    with pytest.raises(RequestRefused) as refusal:
        split_url(httpx.URL(url))
    assert "password" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-a", "hidden\r\nx-b: c"),
        ("x-a", "hidden\n"),
        ("x-a", "hidden\0"),
        ("x-a", "hidden…"),
        ("hidden: b\r\nx-a", "c"),
        ("", "hidden"),
    ],
)
def test_a_header_that_would_not_stay_one_header_is_refused(name: str, value: str) -> None:
    with pytest.raises(RequestRefused) as refusal:
        head_of("http://a.test/", ((name, value),))
    assert "hidden" not in str(refusal.value)
