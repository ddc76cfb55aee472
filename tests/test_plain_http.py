"""Plain HTTP at the model doors: bodies, versions, keep-alives, browsers, hostile bytes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import httpx
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from signalbox.ids import is_uuid7
from signalbox.simulator import Step
from tests.doors import door_client, error_of
from tests.garbled import JSON, garbled
from tests.gateway import KEY, Gateway, Provider, config_for, gateway, simulated_provider
from tests.raw_http import (
    KeptAlive,
    ask,
    connected,
    exchange,
    kept_alive,
    raw_request,
    read_reply,
    reply,
)
from tests.simulator_client import chat

ORIGIN = "https://app.example"
MAX_BODY = 20_000
BEARER = {"authorization": f"Bearer {KEY}"}
CHAT = json.dumps(chat()).encode()
STREAM = json.dumps(chat(stream=True)).encode()
CONFIG = f"""
[server]
keepalive = 0.4
body_timeout = 0.5
max_body_bytes = {MAX_BODY}
cors_origins = ["{ORIGIN}"]
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[Provider]:
    with simulated_provider() as started:
        yield started


@pytest.fixture(scope="module")
def running(simulator: Provider) -> Iterator[Gateway]:
    fuzzed = Provider(simulator.url, "fuzzed")
    model = '[models.fuzzed]\nroutes = [{ provider = "fuzzed", model = "fuzzed" }]'
    with gateway(config_for(simulator, fuzzed, more=CONFIG + model)) as started:
        yield started


@pytest.fixture(scope="module")
def http(running: Gateway) -> Iterator[httpx.Client]:
    with door_client(running.url) as client:
        yield client


@pytest.fixture(scope="module")
def line(running: Gateway) -> Iterator[KeptAlive]:
    with kept_alive(running.url) as connection:
        yield connection


@pytest.fixture
def provider(simulator: Provider) -> Provider:
    simulator.plays()
    return simulator


def post(http: httpx.Client, body: bytes, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post("/v1/chat/completions", content=body, headers=BEARER | named)


# Bodies


@pytest.mark.parametrize(
    ("coding", "data"),
    [
        ("gzip", gzip.compress(CHAT, mtime=0)),
        ("zstd", zstandard.compress(CHAT)),
        ("identity", CHAT),
    ],
)
def test_a_compressed_body_reaches_the_provider_in_the_clear(
    http: httpx.Client, provider: Provider, coding: str, data: bytes
) -> None:
    assert post(http, data, content_encoding=coding).status_code == 200
    [received] = provider.received()
    assert received["body"] == chat()
    assert "content-encoding" not in received["headers"]


@pytest.mark.parametrize(
    ("coding", "data", "status", "code"),
    [
        ("gzip", gzip.compress(CHAT, mtime=0)[:-4], 400, "invalid_value"),
        ("zstd", zstandard.compress(CHAT)[:-1], 400, "invalid_value"),
        ("gzip", gzip.compress(bytes(1_000_000)), 413, "request_too_large"),
        ("zstd", zstandard.compress(bytes(1_000_000)), 413, "request_too_large"),
        ("br", CHAT, 415, "unsupported_encoding"),
    ],
)
def test_a_compressed_body_that_cannot_be_taken(
    http: httpx.Client, coding: str, data: bytes, status: int, code: str
) -> None:
    answer = post(http, data, content_encoding=coding)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b'{"temperature": NaN}', "the body is not JSON"),
        (b'{"seed": 1e999}', "the body is not JSON"),
        (b'{"seed": 1%s}' % (b"0" * 5000), "the body is not JSON"),
        (b'{"model": "\\ud800"}', "the body is not JSON"),
        (b"[" * 10_000, "nested too deep"),
        (b'{"model": "m", "messages": %s}' % (b"[" * 5000 + b"]" * 5000), "nested too deep"),
        (b"[]", "must be a JSON object, got a list"),
        (b'"hello"', "must be a JSON object, got the string"),
        (b"null", "must be a JSON object, got nothing"),
        (b"{}", "model: expected the name of a model"),
        (b'{"model": "m"}', "messages: expected a list"),
    ],
)
def test_a_body_that_is_wrong_is_400_and_says_why(
    http: httpx.Client, body: bytes, words: str
) -> None:
    answer = post(http, body)
    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (400, "invalid_value")
    assert words in error["message"]


def test_of_a_field_given_twice_the_last_counts_for_all(
    http: httpx.Client, provider: Provider
) -> None:
    body = b'{"model": "nobody", "user": "a", "user": "b", ' + CHAT[1:]
    assert post(http, body).status_code == 200
    [received] = provider.received()
    assert received["body"] == chat(user="b")


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=latin-1", "x"])
def test_the_content_type_of_a_body_does_not_matter(
    http: httpx.Client, provider: Provider, content_type: str
) -> None:
    assert post(http, CHAT, content_type=content_type).status_code == 200


def test_a_body_in_chunks(http: httpx.Client, provider: Provider) -> None:
    pieces = (CHAT[place : place + 1] for place in range(len(CHAT)))
    answer = http.post("/v1/chat/completions", content=pieces, headers=BEARER)
    assert answer.request.headers["transfer-encoding"] == "chunked"
    assert answer.status_code == 200


def test_a_body_that_is_too_large_is_413_and_the_connection_lives(
    http: httpx.Client, line: KeptAlive, provider: Provider
) -> None:
    filler = chat("x" * MAX_BODY)
    for body in (json.dumps(filler).encode(), b"x" * 5_000_000):
        answer = post(http, body)
        assert (answer.status_code, error_of(answer)["code"]) == (413, "request_too_large")
        assert str(MAX_BODY) in error_of(answer)["message"]
    assert line.status(b"x" * 100_000) == 413
    assert line.status(CHAT) == 200


def test_a_wrong_key_is_told_before_the_body_is_there(running: Gateway) -> None:
    head = raw_request(headers={"authorization": "Bearer wrong"}, length=100)
    with connected(running.url) as connection:
        connection.sendall(head)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")


def test_many_small_chunks_that_nobody_wants_do_not_hold_the_connection(running: Gateway) -> None:
    chunked = {"authorization": "Bearer wrong", "transfer-encoding": "chunked"}
    head = raw_request(headers=chunked).replace(b"content-length: 0\r\n", b"")
    assert reply(exchange(running.url, head + b"1\r\nx\r\n" * 1000 + b"0\r\n\r\n")).status == 401


def test_a_body_that_never_comes_is_408(running: Gateway) -> None:
    with connected(running.url) as connection:
        connection.sendall(raw_request(length=10))
        answer = read_reply(connection)
    assert (answer.status, answer.error["code"]) == (408, "request_timeout")
    assert "0.5 s" in answer.error["message"]


def test_a_client_that_leaves_in_its_body_is_no_fault(running: Gateway) -> None:
    for _ in range(3):
        with connected(running.url) as connection:
            connection.sendall(raw_request(length=10))
    assert ask(running.url, body=CHAT).status == 200
    assert "Traceback" not in running.output


# Versions


def test_http_1_0_gets_no_chunks(running: Gateway, provider: Provider) -> None:
    answer = ask(running.url, body=STREAM, version="1.0")
    assert answer.status == 200
    assert "transfer-encoding" not in answer.headers
    assert answer.body.startswith(b"data: {")
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_a_client_may_wait_for_100_continue(running: Gateway, provider: Provider) -> None:
    data = raw_request(body=CHAT, headers={"expect": "100-continue"})
    head, body = data.removesuffix(CHAT), CHAT
    with connected(running.url) as connection:
        connection.sendall(head)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/nowhere", "/v1/models", "/traces"])
def test_a_connection_that_is_to_be_closed_is_closed(running: Gateway, path: str) -> None:
    for version in ("1.0", "1.1"):
        answer = ask(running.url, path, method="GET", version=version)
        assert len(answer.body) == int(answer.headers["content-length"])


# Keep-alives


def lines_of(answer: httpx.Response) -> list[str]:
    return [line for line in answer.text.split("\n\n") if line]


def test_a_silent_stream_is_kept_alive_by_comments(http: httpx.Client, provider: Provider) -> None:
    provider.plays(Step(first_token_delay=1.0))
    answer = post(http, STREAM)
    lines = lines_of(answer)
    assert answer.status_code == 200
    assert lines[0] == ": keep-alive"
    assert lines[-1] == "data: [DONE]"
    assert "x-signalbox-provider" not in answer.headers  # not known when the headers went out
    assert is_uuid7(answer.headers["x-request-id"])


def test_a_stream_that_falls_silent_is_kept_alive(http: httpx.Client, provider: Provider) -> None:
    provider.plays(Step(text="one two", token_delay=1.0))
    lines = lines_of(post(http, STREAM))
    with_text = [place for place, line in enumerate(lines) if '"content":"' in line]
    assert ": keep-alive" in lines[with_text[-2] : with_text[-1]]


def test_after_a_keep_alive_a_failure_is_told_in_the_stream(
    http: httpx.Client, provider: Provider
) -> None:
    provider.plays(Step(delay=1.0, status=400))
    answer = post(http, STREAM)
    *comments, failure, done = lines_of(answer)
    assert answer.status_code == 200
    assert set(comments) == {": keep-alive"}
    chunk = json.loads(failure.removeprefix("data: "))
    assert chunk["error"]["code"] == "invalid_value"
    assert chunk["error"]["metadata"]["trace_id"] == answer.headers["x-request-id"]
    assert chunk["choices"][0]["finish_reason"] == "error"
    assert done == "data: [DONE]"


def test_a_whole_answer_waits_in_silence(http: httpx.Client, provider: Provider) -> None:
    provider.plays(Step(first_token_delay=1.0))
    answer = post(http, CHAT)
    assert answer.headers["content-type"] == "application/json"
    assert answer.content.startswith(b"{")


# Browsers


def test_a_preflight_needs_no_key(http: httpx.Client) -> None:
    asked = {"origin": ORIGIN, "access-control-request-headers": "authorization, x-stainless-os"}
    answer = http.options("/v1/chat/completions", headers=asked)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-methods"] == "POST"
    assert answer.headers["access-control-allow-headers"] == "authorization, x-stainless-os"
    assert answer.headers["vary"] == "origin"


def test_options_without_an_origin_says_what_is_allowed(http: httpx.Client) -> None:
    answer = http.options("/v1/models")
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert "access-control-allow-methods" not in answer.headers


@pytest.mark.parametrize(("key", "status"), [(KEY, 200), ("wrong", 401)])
def test_pages_of_an_allowed_origin_may_read_answers_and_errors(
    http: httpx.Client, provider: Provider, key: str, status: int
) -> None:
    answer = post(http, CHAT, authorization=f"Bearer {key}", origin=ORIGIN)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    for name in ("x-request-id", "x-signalbox-cost", "x-should-retry", "retry-after-ms"):
        assert name in exposed


def test_pages_of_another_origin_may_not(http: httpx.Client) -> None:
    headers = {"origin": "https://elsewhere.example"}
    for answer in (http.options("/v1/models", headers=headers), http.get("/v1/models")):
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert answer.headers["vary"] == "origin"


# Hostile bytes

FIELD_NAMES = st.sampled_from(
    [
        *("model", "messages", "stream", "stream_options", "n", "max_tokens", "temperature"),
        *(
            "tools",
            "tool_choice",
            "response_format",
            "stop",
            "user",
            "metadata",
            "extra",
            "plugins",
        ),
    ]
)
BODIES = (
    st.binary(max_size=100)
    | garbled(CHAT, b'{"model":"fuzzed","messages":[', b"]}")
    | st.dictionaries(FIELD_NAMES, JSON, max_size=5).map(
        lambda fields: json.dumps(chat() | {"model": "fuzzed"} | fields).encode()
    )
)


@settings(max_examples=300)
@given(body=BODIES)
def test_no_body_is_the_gateway_s_own_fault(running: Gateway, line: KeptAlive, body: bytes) -> None:
    assert line.status(body) != 500
    assert running.process.poll() is None
