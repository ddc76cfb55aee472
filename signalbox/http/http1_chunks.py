"""The chunked transfer coding of a request's body (RFC 9112, section 7.1), without I/O."""

from __future__ import annotations

import re
from typing import Final

from signalbox.http.http1_violation import Violation

MAX_CHUNK_LINE: Final = 512
"""Bytes of a size with its extensions, which nobody here reads. A signed chunk of AWS has 86."""

MAX_TRAILERS: Final = 8 * 1024
"""Bytes of the fields behind a body, which are dropped."""

_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[\t -~\x80-\xff]*)?\r\n")
"""Eight digits are 4 GiB. More, whitespace, signs and `0x` are what two readers disagree about."""
_LINE_BEGUN = re.compile(rb"(?:[0-9A-Fa-f]{1,8}(?:;[\t -~\x80-\xff]*)?\r?)?\Z")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t -~\x80-\xff]*\r\n")
_NOT_TRAILERS = frozenset({b"content-length", b"transfer-encoding", b"host", b"trailer"})
"""Fields that frame or route a message do not come behind it (RFC 9110, section 6.5.1)."""


class ChunkReader:
    """One body. `read` is given all bytes that wait, and says how many of them it has used."""

    __slots__ = ("_in_trailers", "_left", "_trailer_bytes", "ended")

    def __init__(self) -> None:
        self.ended = False
        self._left = 0
        """Bytes of the chunk under way, its CR LF among them; 0: a chunk's line comes next."""
        self._in_trailers = False
        self._trailer_bytes = 0

    def read(self, data: bytes) -> tuple[bytes, int]:
        """The body's bytes in `data`, and how many bytes of `data` are done with.

        Raises `Violation`; before it come, in calls of their own, the bytes that were in order.
        """
        pieces: list[bytes] = []
        place = 0
        try:
            while not self.ended:
                if self._in_trailers:
                    used = self._read_trailer(data, place)
                elif self._left:
                    used = self._read_data(data, place, pieces)
                else:
                    used = self._read_line(data, place)
                if not used:
                    break
                place += used
        except Violation:
            if not place:
                raise
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), place

    def _read_line(self, data: bytes, place: int) -> int:
        line = _LINE.match(data, place, place + MAX_CHUNK_LINE)
        if line is None:
            rest = data[place : place + MAX_CHUNK_LINE]
            if len(rest) == MAX_CHUNK_LINE or _LINE_BEGUN.match(rest) is None:
                raise Violation(400, "A chunk of the body has a malformed size or extension.")
            return 0
        size = int(line[1], 16)
        self._in_trailers = not size
        self._left = size + 2 if size else 0
        return line.end() - place

    def _read_data(self, data: bytes, place: int, pieces: list[bytes]) -> int:
        there = len(data) - place
        body = min(there, self._left - 2)
        if body > 0:
            pieces.append(data[place : place + body])
            self._left -= body
            return body
        # The chunk's own end: two bytes, taken together.
        if there < 2:
            if there and data[place] != 0x0D:
                raise Violation(400, "A chunk of the body is longer than its size.")
            return 0
        if data[place : place + 2] != b"\r\n":
            raise Violation(400, "A chunk of the body is longer than its size.")
        self._left = 0
        return 2

    def _read_trailer(self, data: bytes, place: int) -> int:
        room = MAX_TRAILERS - self._trailer_bytes
        end = data.find(b"\n", place, place + room)
        if end < 0:
            if len(data) - place >= room:
                raise Violation(431, f"The trailers are longer than {MAX_TRAILERS} bytes.")
            return 0
        end += 1
        self._trailer_bytes += end - place
        if data[place:end] == b"\r\n":
            self.ended = True
        else:
            field = _FIELD.fullmatch(data, place, end)
            if field is None:
                raise Violation(400, "A trailer field is malformed.")
            if field[1].lower() in _NOT_TRAILERS:
                raise Violation(400, f"{field[1].decode()} cannot be a trailer field.")
        return end - place
