"""Whether an answer is the one that it must be. Bytes in, a complaint or None out."""

from __future__ import annotations

import re

from benchmarks import wire

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
WORD = re.compile(rb'"(?:content|text)": ?" ?w(\d\d\d)\.?"')
FINISH = re.compile(rb'"finish_reason": ?"stop"')
USAGE = re.compile(rb'"completion_tokens": ?%d\b' % wire.COMPLETION_TOKENS)
FIRST_WORD = wire.WORDS[0].strip().encode()
TEXT = wire.TEXT.encode()
CHUNKS_END = b"0\r\n\r\n"
PIECES = wire.CHUNKS
NUMBERS = [word.strip().encode()[1:] for word in wire.WORDS]


class BadFraming(Exception):
    """What came is no HTTP answer as one part of it says."""


def is_whole(data: bytes) -> bool:
    """Whether an answer has come to its end, by its length or by its last chunk."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    length = LENGTH.search(data, 0, end)
    if length is not None:
        return len(data) >= end + 4 + int(length[1])
    return data.endswith(CHUNKS_END)


def body_of(data: bytes) -> bytes:
    """The body of a whole answer, without the frames of its chunks. Raises `BadFraming`."""
    end = data.find(b"\r\n\r\n") + 4
    if LENGTH.search(data, 0, end) is not None:
        return data[end:]
    pieces: list[bytes] = []
    while True:
        line_end = data.find(b"\r\n", end)
        if line_end < 0:
            raise BadFraming("a chunk without an end")
        size = int(data[end:line_end].partition(b";")[0], 16)
        if size == 0:
            if line_end + 4 != len(data):
                raise BadFraming("bytes after the last chunk")
            return b"".join(pieces)
        pieces.append(data[line_end + 2 : line_end + 2 + size])
        end = line_end + 2 + size + 2


def complaint_about_json(data: bytes) -> str | None:
    """Of a whole answer in one piece."""
    if not data.startswith(b"HTTP/1.1 200"):
        return refusal(data)
    if TEXT not in data:
        return f"another text: {data[-200:]!r}"
    if USAGE.search(data) is None:
        return f"no usage: {data[-300:]!r}"
    return None


def complaint_about_stream(data: bytes) -> str | None:
    """Of a whole stream: all words in their order, one a piece, then the finish and `[DONE]`."""
    if not data.startswith(b"HTTP/1.1 200"):
        return refusal(data)
    try:
        body = body_of(data)
    except (BadFraming, ValueError) as error:
        return f"framing: {error}"
    words = WORD.findall(body)
    if words != NUMBERS:
        return f"{len(words)} pieces where {wire.CHUNKS} were sent: {body[-200:]!r}"
    if FINISH.search(body) is None:
        return "no finish reason"
    if not body.rstrip().endswith(b"data: [DONE]"):
        return f"no [DONE]: {body[-100:]!r}"
    return None


def refusal(data: bytes) -> str:
    """Of what says no: its first line, and the end of its body."""
    status = data.partition(b"\r\n")[0].decode("latin-1")
    return f"{status}: {data[-300:].decode('latin-1')}"
