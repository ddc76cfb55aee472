"""Answers from a folder of recorded exchanges.

One JSON file an exchange: `id`; `request` with `path` and `body` (JSON, or null where none was
kept); `response` with `status`, `headers`, and either `body` (JSON, or a string that was not
JSON) or `sse` (the raw text of the event stream), optionally `chunk_bytes` (the sizes of the
network reads). Other fields are ignored.

A recording answers a request that names it (header `x-simulator-recording: <id>`, or model
`recording/<id>`) and every request that says the same: the same path after its version
(`/v1/chat/completions` and `/openai/v1/chat/completions` are one) and an equal body, whatever the
order of its keys. `stream_options` is left out of the comparison: a gateway asks for usage where
its client did not. Of several recordings that match, the first by id answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from signalbox.simulator.actions import Action, SendBody, SendHead
from signalbox.simulator.errors import SimulatorError
from signalbox.simulator.headers import BODILESS_STATUSES, FRAMING_HEADERS, header_problem

MODEL_PREFIX = "recording/"
HEADER = "x-simulator-recording"

_VERSION = re.compile(r"(?:.*/)?v\d+[a-z0-9]*/")


class RecordingError(SimulatorError):
    """A recording that cannot be read; the message names the file and the fault."""


class _Request(Struct, frozen=True):
    path: str
    body: Any = None


class _Response(Struct, frozen=True):
    status: Annotated[int, Meta(ge=200, le=599)]
    headers: dict[str, str] = {}
    body: Any = None
    sse: str | None = None
    chunk_bytes: list[Annotated[int, Meta(ge=1)]] | None = None


class _File(Struct, frozen=True):
    id: str
    request: _Request
    response: _Response


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded answer as it goes out again. `pieces` are the network reads of its body."""

    id: str
    status: int
    headers: dict[str, str]
    pieces: tuple[bytes, ...]

    def script(self) -> Iterator[Action]:
        yield SendHead(self.status, self.headers)
        for piece in self.pieces:
            yield SendBody(piece)


class Recordings:
    """A folder's recordings, in memory."""

    def __init__(self, folder: Path) -> None:
        """Reads every `*.json` in the folder. Raises RecordingError naming the file."""
        if not folder.is_dir():
            raise RecordingError(f"{folder}: not a folder of recordings")
        self._by_id: dict[str, Recording] = {}
        self._by_request: dict[tuple[str, bytes], Recording] = {}
        for path in sorted(folder.glob("*.json")):
            file = _read(path)
            if file.id in self._by_id:
                raise RecordingError(f"{path}: id {file.id!r} is in another file too")
            recording = _recording(path, file)
            self._by_id[file.id] = recording
            if isinstance(file.request.body, dict):
                key = (_endpoint(file.request.path), canonical(file.request.body))
                self._by_request.setdefault(key, recording)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._by_id)

    def by_id(self, recording_id: str) -> Recording | None:
        return self._by_id.get(recording_id)

    def matching(self, path: str, body: dict[str, Any]) -> Recording | None:
        return self._by_request.get((_endpoint(path), canonical(body)))


def canonical(body: dict[str, Any]) -> bytes:
    """The same bytes for requests that ask for the same."""
    asked = {name: value for name, value in body.items() if name != "stream_options"}
    return msgspec.json.encode(asked, order="sorted")


def _endpoint(path: str) -> str:
    return _VERSION.sub("", path.partition("?")[0].strip("/"), count=1)


def _read(path: Path) -> _File:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise RecordingError(f"{path}: {error.strerror or error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingError(f"{path}: not a recorded exchange: {error}") from error


def _recording(path: Path, file: _File) -> Recording:
    response = file.response
    if response.status in BODILESS_STATUSES:
        raise RecordingError(f"{path}: response.status: {response.status} has no body to replay")
    headers = {name.lower(): value for name, value in response.headers.items()}
    for name, value in headers.items():
        if problem := header_problem(name, value):
            raise RecordingError(f"{path}: response.headers: {problem}")
    kept = {name: value for name, value in headers.items() if name not in FRAMING_HEADERS}
    if response.sse is not None:
        own = {"content-type": "text/event-stream"}
        pieces = _reads(path, response.sse.encode(), response.chunk_bytes)
    else:
        text = isinstance(response.body, str)
        body = response.body.encode() if text else msgspec.json.encode(response.body)
        own = {"content-type": "text/plain" if text else "application/json"}
        kept["content-length"] = str(len(body))
        pieces = (body,)
    return Recording(file.id, response.status, own | kept, pieces)


def _reads(path: Path, sse: bytes, sizes: list[int] | None) -> tuple[bytes, ...]:
    """The stream in its recorded reads; where they were not recorded, one read an event."""
    if sizes is None:
        return tuple(re.findall(rb".+?(?:\r\n\r\n|\n\n|\r\r|\Z)", sse, re.DOTALL))
    if sum(sizes) != len(sse):
        raise RecordingError(
            f"{path}: response.chunk_bytes: {sum(sizes)} bytes, the stream has {len(sse)}"
        )
    return tuple(sse[start:end] for start, end in pairwise(accumulate(sizes, initial=0)))
