"""Request bodies as they come in parts, compressed, too large, too slow or not at all."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import trio
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from signalbox.errors import ApiError
from signalbox.http import asgi
from signalbox.http.asgi import ClientDisconnected, Incoming, Message, RequestError

LIMIT = 1000
PATIENCE = 5.0
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "zstd": zstandard.compress,
}


def received(*parts: bytes, then: str = "end") -> Incoming:
    """The parts of a body; `then` it ends, the client leaves (`gone`), or nothing (`silence`)."""
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": True} for part in parts
    ]
    if then == "end":
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    if then == "gone":
        messages.append({"type": "http.disconnect"})

    async def receive() -> Message:
        await trio.lowlevel.checkpoint()
        if not messages:
            await trio.sleep_forever()
        return messages.pop(0)

    return Incoming(receive)


async def read(receive: Incoming, **headers: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await asgi.read_body(receive, named, limit=LIMIT, patience=PATIENCE)


async def refused(receive: Incoming, **headers: str) -> ApiError:
    with pytest.raises(RequestError) as caught:
        await read(receive, **headers)
    return caught.value.error


@given(st.lists(st.binary(max_size=20)))
def test_a_body_is_its_parts(parts: list[bytes]) -> None:
    assert trio.run(read, received(*parts)) == b"".join(parts)


@given(st.binary(max_size=LIMIT), st.sampled_from(sorted(CODINGS)), st.integers(1, 100))
def test_a_compressed_body_is_decoded(body: bytes, coding: str, step: int) -> None:
    data = CODINGS[coding](body)
    parts = [data[start : start + step] for start in range(0, len(data), step)]

    async def decode() -> bytes:
        return await read(received(*parts), content_encoding=coding.upper())

    assert trio.run(decode) == body


@given(st.binary(min_size=1, max_size=300), st.sampled_from(["gzip", "zstd"]), st.data())
def test_a_compressed_body_that_is_cut_is_refused(
    body: bytes, coding: str, data: st.DataObject
) -> None:
    whole = CODINGS[coding](body)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]

    async def decode() -> ApiError:
        return await refused(received(cut), content_encoding=coding)

    error = trio.run(decode)
    assert (error.status, error.code) == (400, "invalid_value")
    assert error.message.startswith(f"The body is not valid {coding}: ")


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_what_follows_the_compressed_data_is_refused(coding: str) -> None:
    error = await refused(received(CODINGS[coding](b"{}") + b"x"), content_encoding=coding)
    assert "something follows" in error.message


@given(st.binary(max_size=100), st.sampled_from(["gzip", "zstd"]))
def test_bytes_that_are_not_compressed_are_refused(data: bytes, coding: str) -> None:
    async def decode() -> ApiError:
        return await refused(received(data), content_encoding=coding)

    assert trio.run(decode).status == 400


def zstd_of_unknown_size(data: bytes, **parameters: Any) -> bytes:
    """A frame that does not say how much it holds."""
    chosen = zstandard.ZstdCompressionParameters(**parameters)
    out = io.BytesIO()
    compressor = zstandard.ZstdCompressor(compression_params=chosen)
    with compressor.stream_writer(out, closefd=False) as writer:
        writer.write(data)
    return out.getvalue()


@pytest.mark.parametrize(("coding", "compress"), [*CODINGS.items(), ("zstd", zstd_of_unknown_size)])
async def test_a_bomb_is_refused(coding: str, compress: Callable[[bytes], bytes]) -> None:
    data = compress(bytes(500_000))
    assert len(data) < LIMIT
    error = await refused(received(data), content_encoding=coding)
    assert (error.status, error.code) == (413, "request_too_large")


async def test_a_zstd_window_beyond_what_the_standard_allows_is_refused() -> None:
    data = zstd_of_unknown_size(b"abc" * 100, window_log=24)
    error = await refused(received(data), content_encoding="zstd")
    assert error.status == 400
    assert "memory" in error.message


def test_decoding_a_bomb_takes_little_memory() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 26))
    assert len(asgi._unzstd(bomb, LIMIT)) < 2 * asgi.ZSTD_WINDOW
    assert len(asgi._gunzip(zlib_bomb(), LIMIT)) == LIMIT + 1


def zlib_bomb() -> bytes:
    compressor = zlib.compressobj(9, wbits=31)
    return compressor.compress(bytes(1 << 26)) + compressor.flush()


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip", "x"])
async def test_an_unknown_coding_is_415(coding: str) -> None:
    error = await refused(received(b"{}"), content_encoding=coding)
    assert (error.status, error.code) == (415, "unsupported_encoding")
    assert coding in error.message
    assert "gzip or zstd" in error.message


async def test_a_body_is_too_large_by_what_it_says_or_by_what_it_is() -> None:
    assert await read(received(b"x" * LIMIT), content_length=str(LIMIT)) == b"x" * LIMIT
    declared = received(then="silence")
    error = await refused(declared, content_length=str(LIMIT + 1))
    assert (error.status, error.type) == (413, "invalid_request_error")
    assert "server.max_body_bytes" in error.message
    assert (await refused(received(b"x" * LIMIT, b"x", then="silence"))).status == 413


async def test_a_body_that_never_comes_is_408(autojump_clock: MockClock) -> None:
    error = await refused(received(b"{", then="silence"))
    assert (error.status, error.code) == (408, "request_timeout")
    assert trio.current_time() == PATIENCE


async def test_a_client_that_leaves_is_told_nothing() -> None:
    with pytest.raises(ClientDisconnected):
        await read(received(b"{", then="gone"))


# Answers before the body has ended


class Sent:
    """What was sent, and the request's parts still unread when the answer was over."""

    def __init__(self, receive: Incoming) -> None:
        self.messages: list[Message] = []
        self._receive = receive
        self.ended_when_over: bool | None = None

    async def __call__(self, message: Message) -> None:
        await trio.lowlevel.checkpoint()
        self.messages.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.ended_when_over = self._receive.ended

    @property
    def body(self) -> bytes:
        return b"".join(m["body"] for m in self.messages if m["type"] == "http.response.body")


async def answer(receive: Incoming, status: int = 401) -> Sent:
    sent = Sent(receive)
    await asgi.send_whole(sent, receive, status, [("a", "b")], b"no")
    assert sent.body == b"no"
    return sent


async def test_the_rest_of_a_body_is_read_before_the_answer_is_over() -> None:
    sent = await answer(received(b"x" * 100, b"x"))
    assert sent.ended_when_over
    assert sent.messages[0]["headers"] == [(b"a", b"b"), (b"content-length", b"2")]


async def test_a_body_that_does_not_end_is_not_waited_for(autojump_clock: MockClock) -> None:
    sent = await answer(received(b"x", then="silence"))
    assert sent.ended_when_over is False
    assert trio.current_time() == asgi.LINGER_SECONDS


async def test_a_body_without_end_is_not_read_for_ever(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    monkeypatch.setattr(asgi, "LINGER_BYTES", 10)
    sent = await answer(received(*[b"xxxx"] * 4, then="silence"))
    assert sent.ended_when_over is False
    assert trio.current_time() == 0


async def test_a_204_has_no_length() -> None:
    receive = received()
    sent = Sent(receive)
    await asgi.send_whole(sent, receive, 204, [("a", "b")], b"")
    assert sent.messages[0]["headers"] == [(b"a", b"b")]


async def test_a_server_that_is_closing_the_connection_is_no_error() -> None:
    async def send(message: Message) -> None:
        raise trio.BusyResourceError if message["type"] == "closing" else OSError("broken")

    outgoing = asgi.Outgoing(send)
    await outgoing({"type": "closing"})
    with pytest.raises(OSError, match="broken"):
        await outgoing({"type": "broken"})


def test_of_a_repeated_header_the_first_counts() -> None:
    fields = asgi.header_fields({"headers": [(b"A", b"1"), (b"b", b"\xff"), (b"a", b"2")]})
    assert fields == (("a", "1"), ("b", "\xff"), ("a", "2"))
    assert asgi.header_map(fields) == {"a": "1", "b": "\xff"}
