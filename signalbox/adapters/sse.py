"""Server-sent events, as the WHATWG HTML standard defines them (section 9.2, "Server-sent events",
https://html.spec.whatwg.org/multipage/server-sent-events.html), decoded from bytes cut anywhere.

One departure, on purpose: the standard throws away a last event that no blank line follows.
Providers do leave that blank line out, so `end()` gives such an event to the caller.
"""

from __future__ import annotations

import msgspec

from signalbox.errors import ProviderProtocolError

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""The largest event known is a generated picture of some megabytes as one base64 data URL; text
events are below 100 KB. More than this in one event is a fault or an attack."""

_BOM = b"\xef\xbb\xbf"


class ServerSentEvent(msgspec.Struct, frozen=True):
    """One event. `name` is empty where the stream gave none; `id` and `retry` are not kept."""

    data: bytes
    name: bytes = b""


class EventStreamDecoder:
    """Turns the bytes of an event stream into events. Raises only `ProviderProtocolError`.

    Lines may end in LF, CRLF or CR. What is held between two calls is at most one event.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._line_parts: list[bytes] = []
        self._data_lines: list[bytes] = []
        self._name = b""
        self._held = 0
        self._after_cr = False
        self._at_start = True

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """The events that `data` completes, in order."""
        if (
            not (self._held or self._name or self._at_start or self._after_cr)
            and data.startswith(b"data: ")
            and data.find(b"\n") == len(data) - 2
            and data.endswith(b"\n\n")
            and b"\r" not in data
        ):
            # One whole event in one read, as most come.
            self._hold(len(data) - 2)
            self._held = 0
            return [ServerSentEvent(data[6:-2])]
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if not data:
            return []
        lines = data.splitlines()
        self._after_cr = data.endswith(b"\r")
        complete = self._after_cr or data.endswith(b"\n")
        if self._line_parts and (complete or len(lines) > 1):
            begun = self._take_line_parts()
            self._held -= len(begun)
            lines[0] = begun + lines[0]
        unfinished = None if complete else lines.pop()
        events = self._read_lines(lines)
        if unfinished is not None:
            self._line_parts.append(unfinished)
            self._hold(len(unfinished))
        return events

    def end(self) -> list[ServerSentEvent]:
        """The bytes ended: the event that still waited for its blank line, if there is one."""
        return self._read_lines([self._take_line_parts(), b""])

    def _take_line_parts(self) -> bytes:
        begun = b"".join(self._line_parts)
        self._line_parts.clear()
        return begun

    def _read_lines(self, lines: list[bytes]) -> list[ServerSentEvent]:
        if self._at_start and lines:
            lines[0] = lines[0].removeprefix(_BOM)
            self._at_start = False
        events = []
        for line in lines:
            if line.startswith(b"data: "):
                self._data_lines.append(line[6:])
                self._hold(len(line))
            elif line:
                self._read_field(line)
            else:
                if self._data_lines:
                    events.append(ServerSentEvent(b"\n".join(self._data_lines), self._name))
                    self._data_lines.clear()
                self._name = b""
                self._held = 0
        return events

    def _read_field(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data_lines.append(value.removeprefix(b" "))
            self._hold(len(line))
        elif field == b"event":
            self._name = value.removeprefix(b" ")
            self._hold(len(line))

    def _hold(self, size: int) -> None:
        self._held += size
        if self._held > self._max_event_bytes:
            raise ProviderProtocolError(
                f"an event of the stream is larger than {self._max_event_bytes} bytes"
            )


def sse_event(data: bytes) -> bytes:
    """`data` framed as one event; line breaks in it become several data lines."""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.splitlines())
    return b"data: " + data + b"\n\n"


def sse_comment(text: bytes) -> bytes:
    """A comment, which clients ignore; `text` is one line."""
    return b": " + text + b"\n\n"
