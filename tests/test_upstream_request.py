"""Requests as they go to providers: URLs, and heads that stay what they are."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from signalbox.http import upstream_request
from signalbox.http.upstream_request import (
    MAX_REMEMBERED,
    REMEMBERED_HEADS,
    Proxy,
    RequestHeads,
    RequestRefused,
    Target,
    split_url,
)
from signalbox.types import Secret


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


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_same_head_is_the_same_again_but_for_the_length(method: str) -> None:
    heads = RequestHeads()
    target = split_url(httpx.URL("http://a.test/"))
    for length in (5, 0, 5, 12):
        fresh = RequestHeads().encode(method, target, (("x-a", "b"),), length)
        assert heads.encode(method, target, (("x-a", "b"),), length) == fresh


def test_heads_that_differ_in_anything_are_not_taken_for_each_other() -> None:
    heads = RequestHeads()
    a, b = (split_url(httpx.URL(f"http://{name}.test/")) for name in "ab")
    proxy = Proxy("p.test", 80, Secret("Basic hidden"))
    variants: list[tuple[str, Target, tuple[tuple[str, str], ...], int, Proxy | None]] = [
        (method, target, headers, 0, over)
        for method in ("GET", "POST")
        for target in (a, b)
        for headers in ((), (("x-key", "1"),), (("x-key", "2"),), (("connection", "close"),))
        for over in (None, proxy)
    ]
    for _ in range(2):
        assert len({heads.encode(*variant)[0] for variant in variants}) == len(variants)
        assert all(
            heads.encode(*variant)[1] == (variant[2] != (("connection", "close"),))
            for variant in variants
        )


def test_heads_are_remembered_within_bounds_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[str] = []
    encode = upstream_request._encode  # What is counted is the work that is saved.

    def counting(method: str, target: Target, *rest: Any) -> tuple[bytes, bool]:
        encoded.append(target.path)
        return encode(method, target, *rest)

    monkeypatch.setattr(upstream_request, "_encode", counting)
    heads = RequestHeads()

    def send(path: str, value: str = "hidden") -> None:
        heads.encode("GET", split_url(httpx.URL(f"http://a.test{path}")), (("x-a", value),), 0)

    for _ in range(3):
        send("/first")
    assert encoded == ["/first"]
    for number in range(REMEMBERED_HEADS):
        send(f"/{number}")
    send("/first")
    assert encoded.count("/first") == 2
    for _ in range(2):
        send("/long", "v" * MAX_REMEMBERED)
    assert encoded.count("/long") == 2
    assert "hidden" not in repr(heads)


def test_a_refused_head_is_refused_again() -> None:
    heads = RequestHeads()
    for _ in range(2):
        with pytest.raises(RequestRefused):
            heads.encode("GET", split_url(httpx.URL("http://a.test/")), (("x-a", "\n"),), 0)
